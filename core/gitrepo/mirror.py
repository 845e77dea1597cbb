"""``mirror.git``: a bare repository of our own beside the user's, which lends it its objects.

Rehearsals, snapshots and scratch trees live here, under our configuration alone. Nothing enters the user's repository
before publication.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from ..errors import StoreError
from ..text import clean
from .git import Git, revision
from .partial import fill, promisors
from .paths import quoted
from .repository import Repository

if TYPE_CHECKING:
    from .objects import CommitObject

KEPT_REFS = "refs/rollcage/kept"
"""What lies under here is whole within the mirror: it does not need the user's objects."""
BRANCHES = "refs/rollcage/branches"
"""Below it the mirror knows where each branch of the user's was, when it was last looked at."""
_LEFT_S = 86_400.0
"""What lies in the folder for work for so long, in seconds, was left by a kill."""

_CONFIGURATION = """\
[core]
\trepositoryFormatVersion = {version}
\tbare = {bare}
\tlogAllRefUpdates = false
[gc]
\tauto = 0
[maintenance]
\tauto = false
[fastimport]
\tunpackLimit = 0
"""
_SHA256 = "[extensions]\n\tobjectFormat = sha256\n"


class Mirror:
    """Our bare repository for one repository of the user's. Safe between threads and processes."""

    def __init__(self, repository: Repository, path: Path) -> None:
        """Take the user's repository and the folder ``mirror.git``; `ensure` before use."""
        self.repository, self.path = repository, path.absolute()
        self.git = Git(self.path, bare=True, isolated=True)
        self.commits: dict[str, CommitObject] = {}
        """What `rollcage.core.gitrepo.objects` has read: that never changes."""

    @property
    def objects(self) -> Path:
        """The folder of the mirror's own objects."""
        return self.path / "objects"

    def ensure(self) -> None:
        """Create the mirror, or mend one that is half made, damaged or whose user's repository moved. Idempotent.

        Raises StoreError if it cannot be written, RefusedError ``partial_clone`` where objects cannot be had.
        """
        with self._locked():
            lay_out(
                self.path,
                alternates=(self.repository.common_dir / "objects",),
                object_format=self.repository.object_format(),
            )
            self._follow_shallow()
        self._sweep()
        if promisors(self.repository):
            fill(self)

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """Yield an empty folder beside the mirror that goes in the end; what a kill left goes a day later.

        Not in the machine's folder for temporary files: nobody would ever look for it there. Raises OSError.
        """
        folder = self.path.with_name("work")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            yield Path(place)

    def _sweep(self) -> None:
        folder = self.path.with_name("work")
        for left in folder.iterdir() if folder.is_dir() else ():
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > _LEFT_S:
                    shutil.rmtree(left, ignore_errors=True)

    def keep(self, sha: str, why: str) -> str:
        """Make ``sha`` and all it reaches part of the mirror itself, for ever; return the name of the ref that does it.

        Afterwards it survives whatever happens to the user's repository. ``why`` becomes part of the ref's name.
        The first call copies the history, later ones what is new. Durable when it returns. Raises GitError if there
        is no such object or it cannot be copied, StoreError if the mirror cannot be written.
        """
        return self.keep_all([sha], why)[0]

    def keep_all(self, shas: Sequence[str], why: str) -> list[str]:
        """Like `keep`, for several at once with as few processes as for one."""
        reason = re.sub(r"[^a-z0-9]+", "-", why.lower()).strip("-")[:60] or "kept"
        wanted = {f"{KEPT_REFS}/{reason}/{revision(sha)}": sha for sha in shas}
        with self._locked():
            listed = self.git.text("for-each-ref", "--format=%(refname) %(objectname)", KEPT_REFS).splitlines()
            kept = dict(line.split(" ") for line in listed)
            new = {ref: sha for ref, sha in wanted.items() if ref not in kept}
            if new:
                pack = str(self.objects / "pack" / "pack")
                durably = ("-c", "core.fsync=all")
                revisions = "".join([*(f"{sha}\n" for sha in new.values()), *(f"^{oid}\n" for oid in kept.values())])
                # Of a partial clone only what is here can be kept; the rest its remote has.
                partly = ("--missing=allow-any",) if promisors(self.repository) else ()
                packing = ("pack-objects", "--quiet", "--revs", "--non-empty", *partly, pack)
                self.git.run(*durably, *packing, stdin=revisions.encode())
                updates = "".join(f"update {ref} {sha}\n" for ref, sha in new.items())
                self.git.run(*durably, "update-ref", "--stdin", stdin=updates.encode())
        return list(wanted)

    def keep_branches(self) -> bool:
        """Keep all that the user's branches and working trees have, and where each branch is.

        Returns whether any of it was new. Cheap where nothing has moved. So ``rm -rf .git`` loses no commit that was
        there at the last look. Raises GitError, StoreError; nothing is forgotten where the user's repository has lost
        its branches.
        """
        repository = self.repository
        listing = ("for-each-ref", "--format=%(objectname) %(refname:lstrip=2)", "refs/heads")
        theirs = dict(_pairs(repository.git.run(*listing).out))
        if not theirs:
            return False
        ours = dict(_pairs(self.git.run(*listing[:1], "--format=%(objectname) %(refname:lstrip=3)", BRANCHES).out))
        heads = {worktree.head for worktree in repository.worktrees() if worktree.head} - set(theirs.values())
        kept = self.git.run("for-each-ref", "--format=%(refname:lstrip=-1)", f"{KEPT_REFS}/engine").out.decode().split()
        if ours == theirs and heads <= set(kept):
            return False
        if promisors(repository):
            fill(self)
        self.keep_all([*dict.fromkeys(theirs.values()), *sorted(heads)], "engine")
        gone = [b"delete %s/%s\n" % (BRANCHES.encode(), name) for name in ours.keys() - theirs.keys()]
        # In two goes: git makes no branch a/b in the one that removes the branch a.
        for lines in (gone, [b"update %s/%s %s\n" % (BRANCHES.encode(), *item) for item in _as_bytes(theirs)]):
            if lines:
                self.git.run("-c", "core.fsync=all", "update-ref", "--stdin", stdin=b"".join(lines))
        return True

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with FileLock(self.path.with_name(self.path.name + ".lock")):
                yield
        except OSError as error:
            place = clean(os.fsdecode(error.filename or self.path))
            raise StoreError(f"cannot write {place}: {error.strerror}; make room or mend its permissions") from error

    def _follow_shallow(self) -> None:
        """In a shallow clone the history ends where git's file says so; the mirror must see the same end."""
        theirs, ours = self.repository.common_dir / "shallow", self.path / "shallow"
        if theirs.exists():
            _write(ours, theirs.read_bytes())
        else:
            ours.unlink(missing_ok=True)


def _pairs(listed: bytes) -> Iterator[tuple[bytes, str]]:
    """Yield (name, object id) of lines ``ID NAME``."""
    for line in listed.splitlines():
        oid, _, name = line.partition(b" ")
        yield name, oid.decode()


def _as_bytes(named: Mapping[bytes, str]) -> Iterator[tuple[bytes, bytes]]:
    for name, oid in named.items():
        yield name, oid.encode()


def lay_out(
    path: Path, *, alternates: tuple[Path, ...], object_format: str, bare: bool = True, durable: bool = True
) -> None:
    """Make ``path`` a git directory with our configuration that borrows objects from ``alternates``; idempotent.

    The layout is that of gitrepository-layout(5). Files that differ from what they must be are replaced in one move,
    so that a process killed here, or one that reads meanwhile, finds the old or the new.
    """
    for folder in ("objects/info", "objects/pack", "refs/heads", "info"):
        (path / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    sha256 = object_format != "sha1"
    configuration = _CONFIGURATION.format(version=int(sha256), bare=str(bare).lower()) + (_SHA256 if sha256 else "")
    borrowed = b"".join(quoted(os.fsencode(folder)) + b"\n" for folder in alternates)
    _write(path / "config", configuration.encode(), durable=durable)
    _write(path / "objects/info/alternates", borrowed, durable=durable)
    _write(path / "HEAD", b"ref: refs/heads/none\n", durable=durable)


def _write(file: Path, content: bytes, *, durable: bool = True) -> None:
    try:
        if file.read_bytes() == content:
            return
    except FileNotFoundError:
        pass
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
