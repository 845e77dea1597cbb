"""Keeps raw bytes in ``mirror.git``, whole and for ever: one ``git fast-import`` writes blobs, a tree and a commit.

The tree has the blobs by their ids (``blobs/ab/cdef…``), so that any name, also one that git refuses, can be kept,
and ``manifest.json``, which says what they are.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO

from ..errors import GitError
from ..text import clean
from .git import IDENTITY
from .mirror import Mirror
from .working_files import sync_folder

MANIFEST = "manifest.json"

_CHUNK = 1 << 20
_REF = re.compile(r"refs/rollcage/[a-z]+/[A-Za-z0-9][A-Za-z0-9._-]*")
_OPTIONS = (
    *("-c", "core.fsync=all", "-c", "fastimport.unpackLimit=0"),
    # Level 1: the bytes are somebody's waiting; large files go straight to the pack and not through memory.
    *("-c", "pack.compression=1", "-c", "core.bigFileThreshold=4m"),
)


class ChangedWhileReadError(Exception):
    """The file was written to while it was read: what was read is no state that it ever had."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A blob that is kept: its id, the SHA-256 of its bytes, its size in bytes."""

    oid: str
    sha256: str
    size: int


class Vault:
    """One import into the mirror, used with ``with``: `add` and `add_file`, then `commit`; without it nothing stays.

    The blobs are stored even where the user's repository has them too: its garbage collection knows nothing of us.
    """

    def __init__(self, mirror: Mirror, ref: str, at: datetime) -> None:
        """Take the mirror, the ref under ``refs/rollcage/`` that will keep it (must be new) and the time of it."""
        if not _REF.fullmatch(ref) or ref.endswith((".", ".lock")) or ".." in ref:
            raise GitError(f"not a name to keep things under: {clean(ref, limit=80)}")
        self._mirror, self._ref, self._at = mirror, ref, at
        self._algorithm = mirror.repository.object_format()
        self._marks: dict[str, int] = {}
        self._next = 0

    def __enter__(self) -> Vault:
        """Start the import. Raises GitError, also if the ref exists already."""
        if self._mirror.git.run("show-ref", "--verify", "--quiet", self._ref, ok=(0, 1)).status == 0:
            raise GitError(f"{self._ref} exists already in {clean(str(self._mirror.path))}")
        environment = {"GIT_OBJECT_DIRECTORY": str(_own_objects(self._mirror))}
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

    def add(self, content: bytes) -> Kept:
        """Keep these bytes. Raises GitError."""
        oid = hashlib.new(self._algorithm, b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        if oid not in self._marks:
            self._send(self._header(len(content)), content, b"\n")
            self._marks[oid] = self._next
        return Kept(oid, hashlib.sha256(content).hexdigest(), len(content))

    def add_stream(self, stream: IO[bytes], size: int) -> Kept:
        """Keep exactly ``size`` bytes of ``stream``, read a piece at a time.

        Raises GitError, and ChangedWhileReadError if it ends before; the import can go on then.
        """
        if size <= _CHUNK:
            content = _read_all(stream, size)
            if len(content) < size:
                raise ChangedWhileReadError
            return self.add(content)
        named = hashlib.new(self._algorithm, b"blob %d\0" % size, usedforsecurity=False)
        plain = hashlib.sha256()
        self._send(self._header(size))
        left = size
        while left and (piece := stream.read(min(_CHUNK, left))):
            named.update(piece)
            plain.update(piece)
            self._send(piece)
            left -= len(piece)
        for start in range(0, left, _CHUNK):  # the stream has promised ``size``; what nobody refers to is not kept
            self._send(bytes(min(_CHUNK, left - start)))
        self._send(b"\n")
        if left:
            raise ChangedWhileReadError
        self._marks.setdefault(named.hexdigest(), self._next)
        return Kept(named.hexdigest(), plain.hexdigest(), size)

    def add_file(self, path: Path) -> Kept:
        """Keep a regular file's bytes or a symbolic link's target. Raises OSError, GitError, ChangedWhileReadError."""
        if path.is_symlink():
            return self.add(os.fsencode(path.readlink()))
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as stream:
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                raise ChangedWhileReadError
            kept = self.add_stream(stream, before.st_size)
            if _written(before) != _written(os.fstat(descriptor)):
                raise ChangedWhileReadError
        return kept

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
        environment = {"GIT_OBJECT_DIRECTORY": str(_own_objects(self._mirror))}
        git = self._mirror.git
        sha = git.text("rev-parse", "--verify", "--end-of-options", f"{self._ref}^{{commit}}", env=environment)
        listed = git.run("ls-tree", "-r", "-z", "-l", sha, env=environment).out.split(b"\0")
        found = {line.split(b" ")[2].decode() for line in listed if line and b" BAD\t" not in line}
        if not found or found != set(self._marks):
            raise GitError(f"{self._ref} came out incomplete: {len(found)} of {len(self._marks)} blobs are there")
        sync_folder(self._mirror.objects / "pack")
        sync_folder((self._mirror.path / self._ref).parent)
        return sha

    def _header(self, size: int) -> bytes:
        self._next += 1
        return b"blob\nmark :%d\ndata %d\n" % (self._next, size)

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


def _own_objects(mirror: Mirror) -> Path:
    """Return a view of the mirror's packs without its alternates; fast-import skips what any pack in reach has."""
    folder = mirror.path / "own"
    folder.mkdir(mode=0o700, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (folder / "pack").symlink_to("../objects/pack")
    return folder


def _read_all(stream: IO[bytes], size: int) -> bytes:
    pieces = []
    left = size
    while left and (piece := stream.read(left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _written(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
