"""Keeps raw bytes in ``mirror.git``, whole and for ever: one ``git fast-import`` writes blobs, a tree and a commit.

The tree has the blobs by their ids (``blobs/ab/cdef…``), so that any name, also one that git refuses, can be kept,
and ``manifest.json``, which says what they are.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from fcntl import LOCK_SH, flock
from pathlib import Path
from types import TracebackType

from ..errors import GitError, StoreError
from ..text import clean
from .content import Reader
from .git import IDENTITY
from .mirror import Mirror
from .working_files import sync_folder

MANIFEST = "manifest.json"

RECLAIM_LOCK = "reclaim.lock"
"""Shared by all who keep something, for they rely on what is there; taken alone by who drops what nobody needs."""
_LEFTOVER_AGE_S = 86_400.0

_REF = re.compile(r"refs/rollcage/[a-z]+/[A-Za-z0-9][A-Za-z0-9._-]*")
_OPTIONS = (
    *("-c", "core.fsync=all", "-c", "fastimport.unpackLimit=0"),
    # Level 1: the bytes are somebody's waiting; large files go straight to the pack and not through memory.
    *("-c", "pack.compression=1", "-c", "core.bigFileThreshold=4m"),
)


class Vault(Reader):
    """One import into the mirror, used with ``with``: `add` and its like, then `commit`; without it nothing stays.

    The blobs are stored even where the user's repository has them too: its garbage collection knows nothing of us.
    """

    def __init__(self, mirror: Mirror, ref: str, at: datetime) -> None:
        """Take the mirror, the ref under ``refs/rollcage/`` that will keep it (must be new) and the time of it."""
        if not _REF.fullmatch(ref) or ref.endswith((".", ".lock")) or ".." in ref:
            raise GitError(f"not a name to keep things under: {clean(ref, limit=80)}")
        super().__init__(mirror.repository.object_format())
        self._mirror, self._ref, self._at = mirror, ref, at
        self._marks: dict[str, int] = {}
        self._next = 0

    def __enter__(self) -> Vault:
        """Start the import. Raises GitError, also if the ref exists already; StoreError if the mirror is unwritable."""
        if self._mirror.git.run("show-ref", "--verify", "--quiet", self._ref, ok=(0, 1)).status == 0:
            raise GitError(f"{self._ref} exists already in {clean(str(self._mirror.path))}")
        try:
            environment = {"GIT_OBJECT_DIRECTORY": str(own_objects(self._mirror))}
            self._lock = os.open(self._mirror.path / RECLAIM_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            flock(self._lock, LOCK_SH)
        except OSError as error:
            place = clean(str(self._mirror.path))
            raise StoreError(f"cannot write {place}: {error.strerror}; make room or mend its permissions") from error
        self._process = self._mirror.git.start(
            *_OPTIONS, "fast-import", "--quiet", "--done", "--depth=0", env=environment
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the import; what was not committed is dropped."""
        if self._process.poll() is None:
            self._process.kill()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(BrokenPipeError):  # closing flushes to a process that is gone
                stream.close()
        if self._process.proc is not None:
            self._process.proc.wait()
        os.close(self._lock)

    def commit(self, manifest: Mapping[str, object], message: str) -> str:
        """Keep all that was added, with ``manifest``, durably; return the commit. Raises GitError."""
        described = self.add(json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n")
        name, address = IDENTITY
        text = message.encode()
        lines = [
            f"commit {self._ref}",
            f"committer {name} <{address}> {int(self._at.astimezone(UTC).timestamp())} +0000",
            f"data {len(text)}",
        ]
        self._send("\n".join(lines).encode() + b"\n", text, b"\n")
        self._send(*(f"M 100644 :{mark} {_place(oid)}\n".encode() for oid, mark in self._marks.items()))
        self._send(f"M 100644 :{self._marks[described.oid]} {MANIFEST}\n\ndone\n".encode())
        _, err = self._process.communicate()
        if self._process.returncode != 0:
            raise self._failure(err)
        return self._verified()

    def _verified(self) -> str:
        """Read back what was kept: an empty or incomplete import must not pass for one. Returns the commit."""
        environment = {"GIT_OBJECT_DIRECTORY": str(own_objects(self._mirror))}
        git = self._mirror.git
        sha = git.text("rev-parse", "--verify", "--end-of-options", f"{self._ref}^{{commit}}", env=environment)
        listed = git.run("ls-tree", "-r", "-z", "-l", sha, env=environment).out.split(b"\0")
        found = {line.split(b" ")[2].decode() for line in listed if line and b" BAD\t" not in line}
        if not found or found != set(self._marks):
            raise GitError(f"{self._ref} came out incomplete: {len(found)} of {len(self._marks)} blobs are there")
        sync_folder(self._mirror.objects / "pack")
        sync_folder((self._mirror.path / self._ref).parent)
        return sha

    def _begin(self, size: int, oid: str | None) -> bool:
        if oid in self._marks:
            return False
        self._next += 1
        self._send(b"blob\nmark :%d\ndata %d\n" % (self._next, size))
        return True

    def _take(self, piece: bytes) -> None:
        self._send(piece)

    def _end(self, oid: str | None) -> None:
        self._send(b"\n")
        if oid is not None:
            self._marks.setdefault(oid, self._next)

    def _send(self, *pieces: bytes) -> None:
        try:
            self._process.stdin.writelines(pieces)
        except BrokenPipeError:
            raise self._failure(self._process.stderr.read()) from None

    def _failure(self, err: bytes) -> GitError:
        lines = [line for line in err.decode(errors="replace").splitlines() if line.startswith(("fatal:", "error:"))]
        said = clean(lines[0]) if lines else f"exit status {self._process.poll()}"
        return GitError(f"cannot keep bytes in {clean(str(self._mirror.path))}: {said}", stderr=said)


def read_manifest(mirror: Mirror, commit: str) -> dict[str, object]:
    """Return the manifest that was kept with ``commit``. Raises GitError."""
    out = mirror.git.run("cat-file", "blob", f"{commit}:{MANIFEST}").out
    try:
        manifest = json.loads(out)
    except ValueError as error:
        raise GitError(f"the manifest of {clean(commit)} in {clean(str(mirror.path))} is damaged: {error}") from error
    if not isinstance(manifest, dict):
        raise GitError(f"the manifest of {clean(commit)} in {clean(str(mirror.path))} is damaged")
    return manifest


def _place(oid: str) -> str:
    return f"blobs/{oid[:2]}/{oid[2:]}"


def own_objects(mirror: Mirror) -> Path:
    """Return an object directory that is a view of the mirror's packs, without its alternates.

    For fast-import, which skips what any pack in reach has.
    """
    folder = mirror.path / "own"
    folder.mkdir(mode=0o700, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (folder / "pack").symlink_to("../objects/pack")
    for leftover in (mirror.objects / "pack").glob("tmp_pack_*"):  # of an import that was killed
        with contextlib.suppress(FileNotFoundError):
            if time.time() - leftover.stat().st_mtime > _LEFTOVER_AGE_S:
                leftover.unlink()
    return folder
