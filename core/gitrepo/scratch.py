"""Scratch trees: working trees of our own, exactly one commit each, in which checks run. A pool of them is reused.

A scratch tree is a shared clone of the mirror, not a linked worktree: that would run hooks and could move the user's
refs. What runs in it is agents' code and may leave anything behind. So git's own files that we trust (index and
configuration) lie beside the tree, out of its way; ``.git`` within it is a copy for the code that runs there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import GitError, StoreError
from ..text import clean
from .git import Git, revision
from .mirror import Mirror, lay_out
from .objects import read_commits, read_trees
from .rehearse import make_commit

_ALIKE = 0.5
"""Two trees of which one has more than twice as many files as the other are not alike."""
_NUL = b"\0"
_OTHER_PROCESSES_S = 0.1
"""How often to look whether another process has given a slot back; within this process waiters are woken."""


class ScratchPool:
    """At most ``size`` scratch trees under one folder, shared by all threads and processes that name it."""

    def __init__(self, mirror: Mirror, root: Path, size: int) -> None:
        """Take the mirror, the folder for the trees (created when needed) and how many may be in use at once."""
        self._mirror, self._root, self._size = mirror, root.absolute(), max(1, size)
        self._given_back = threading.Condition()

    @contextmanager
    def tree(self, commit_or_tree: str) -> Iterator[Path]:
        """Give a folder that holds exactly that commit or tree, with a ``.git`` at it; waits until one is free.

        What is left there afterwards is wiped before the next use, and never shared with it. No filter, hook or
        attribute of the user's configuration has a say: LFS pointers stay pointers. Raises GitError if there is no
        such commit, StoreError if the folder cannot be written.
        """
        commit, tree = self._resolved(commit_or_tree)
        entries = _entries(self._mirror, tree)
        with _clear_errors(self._root):
            slot, lock = self._free_slot(tree, entries.count(_NUL))
        try:
            with _clear_errors(self._root):
                slot.prepare(tree, commit, entries)
            yield slot.tree
        finally:
            slot.leave()
            lock.release()
            with self._given_back:
                self._given_back.notify()

    def _resolved(self, name: str) -> tuple[str, str]:
        """Return commit and tree; of a tree that has no commit, one is made. Raises GitError."""
        found = read_commits(self._mirror, [name]).get(name)
        if found is not None:
            return found.sha, found.tree
        (tree,) = read_trees(self._mirror, [name])
        return make_commit(self._mirror, tree, [], "rehearsed", datetime.fromtimestamp(0, UTC)), tree

    def _free_slot(self, tree: str, files: int) -> tuple[_Slot, FileLock]:
        """Wait for a slot; of several that are free, the one whose files are most like those wanted."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            slots = {number: _Slot(self._mirror, self._root / str(number)) for number in range(1, self._size + 1)}
            for number in sorted(slots, key=lambda number: slots[number].distance(tree, files)):
                lock = FileLock(self._root / f"{number}.lock", thread_local=False)
                with contextlib.suppress(Timeout):
                    lock.acquire(blocking=False)
                    return slots[number], lock
            with self._given_back:
                self._given_back.wait(_OTHER_PROCESSES_S)


@lru_cache(maxsize=4)
def _entries(mirror: Mirror, tree: str) -> bytes:
    return mirror.git.run("ls-tree", "-r", "-z", "--full-tree", revision(tree)).out


@contextmanager
def _clear_errors(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = clean(os.fsdecode(error.filename or root))
        raise StoreError(f"cannot write the scratch tree {place}: {error.strerror}; make room or mend it") from error


class _Slot:
    """One scratch tree and what belongs to it; whoever holds its lock may use it."""

    def __init__(self, mirror: Mirror, folder: Path) -> None:
        self._mirror, self._folder = mirror, folder
        self.tree = folder / "tree"
        self._git_dir = folder / "trusted.git"
        self._used = folder / "in-use"
        self._about = folder / "about"

    def distance(self, tree: str, files: int) -> tuple[int, float]:
        """Return how much would have to be written to make it ``tree``, which has so many files; a guess, to choose by.

        The same tree, then about as many files, then none yet, then quite another number of them: so the tree that a
        canary empties does not take the place of the one that the search goes on in.
        """
        try:
            there, _, count = self._about.read_text().partition(" ")
            ratio = abs(int(count) - files) / max(int(count), files, 1)
        except (OSError, ValueError):
            return 2, 0.0
        return (0 if there == tree else 1 if ratio < _ALIKE else 3), ratio

    def prepare(self, tree: str, commit: str, entries: bytes) -> None:
        """Mark the slot as used and make ``self.tree`` exactly ``tree``; what cannot be mended is made anew."""
        if self._used.exists():  # its last user died, and its processes may still write there
            self._discard()
        self._mark()
        try:
            self._check_out(tree, commit, entries)
        except (OSError, GitError, RecursionError):
            self._discard()
            self._mark()
            self._check_out(tree, commit, entries)

    def leave(self) -> None:
        """Say that its user left it in good order."""
        with contextlib.suppress(OSError):  # still marked, the slot is made anew the next time
            self._used.unlink(missing_ok=True)

    def _mark(self) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        os.close(os.open(self._used, os.O_CREAT | os.O_WRONLY, 0o777))

    def _check_out(self, tree: str, commit: str, entries: bytes) -> None:
        if not (self._git_dir / "index").exists():
            self._clone("sha1" if len(tree) == 40 else "sha256")
        if self.tree.is_symlink():  # its last user put it there: never followed
            raise NotADirectoryError(f"{self.tree} is a symbolic link")
        fresh_mode = stat.S_IMODE(self._used.stat().st_mode)  # what the umask leaves
        _prune(os.fsencode(self.tree), _wanted(entries), fresh_mode)
        git = Git(self._git_dir, bare=True, isolated=True)
        git.run(f"--work-tree={self.tree}", "-c", "core.fsync=none", "read-tree", "--reset", "-u", tree)
        (self._git_dir / "HEAD").write_text(f"{commit}\n")  # detached: nobody else uses this git directory
        self._about.write_text(f"{tree} {entries.count(_NUL)}")
        # A plain copy, made afresh each time: nothing that the last user did to it lives on.
        shutil.copytree(self._git_dir, self.tree / ".git")

    def _clone(self, object_format: str) -> None:
        """Lay out what ``git clone --shared --no-checkout`` would, without a remote: nobody shall push to the mirror.

        (Git 2.39 clones a repository that has no branches, as the mirror is, as sha1 whatever its format.)
        """
        lay_out(
            self._git_dir, alternates=(self._mirror.objects,), object_format=object_format, bare=False, durable=False
        )
        self.tree.mkdir(exist_ok=True)
        Git(self._git_dir, bare=True, isolated=True).run("read-tree", "--empty")  # an index shows that it is whole

    def _discard(self) -> None:
        """Move the slot out of the way before deleting it: whoever still writes there writes into the old one."""
        if self._folder.exists():
            self._folder.rename(Path(tempfile.mkdtemp(dir=self._folder.parent, prefix="discarded-")) / "slot")
        for grave in self._folder.parent.glob("discarded-*"):
            with contextlib.suppress(OSError, RecursionError):  # what cannot be deleted now is tried the next time
                _remove(os.fsencode(grave))


_Wanted = dict[bytes, "_Wanted | bytes"]
"""A folder's names: git's mode of a file or link, or another folder's names. A submodule is an empty folder."""


def _wanted(entries: bytes) -> _Wanted:
    """Return what ``git ls-tree -r -z`` lists, as folders."""
    top: _Wanted = {}
    for entry in entries.split(b"\0")[:-1]:
        about, _, path = entry.partition(b"\t")
        folder = top
        *parents, name = path.split(b"/")
        for parent in parents:
            inner = folder.setdefault(parent, {})
            assert isinstance(inner, dict), "git has no tree with a file and a folder of one name"
            folder = inner
        mode = about.partition(b" ")[0]
        folder[name] = {} if mode == b"160000" else mode
    return top


def _prune(folder: bytes, wanted: _Wanted, fresh_mode: int) -> None:
    """Remove from ``folder`` all that is not ``wanted``, of another kind or with other permissions than git would give.

    Git itself would leave a ``.git`` within a tracked folder, could not enter one without permissions, and does not see
    a file's permissions changed within the second in which it wrote it. Links are never followed.
    """
    os.chmod(folder, fresh_mode)  # noqa: PTH101 - bytes
    with os.scandir(folder) as found:
        entries = list(found)
    for entry in entries:
        inner = wanted.get(entry.name)
        if isinstance(inner, dict) and entry.is_dir(follow_symlinks=False):
            _prune(entry.path, inner, fresh_mode)
        elif not (isinstance(inner, bytes) and _is_intact(entry, inner, fresh_mode)):
            _remove(entry.path)


def _is_intact(entry: os.DirEntry[bytes], mode: bytes, fresh_mode: int) -> bool:
    if mode == b"120000":
        return entry.is_symlink()
    permissions = fresh_mode if mode == b"100755" else fresh_mode & 0o666
    return entry.stat(follow_symlinks=False).st_mode == stat.S_IFREG | permissions


def _remove(path: bytes) -> None:
    """Remove ``path`` and all below it, also where folders lack permissions."""
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        os.unlink(path)  # noqa: PTH108 - bytes
        return
    os.chmod(path, 0o700)  # noqa: PTH101
    with os.scandir(path) as found:
        entries = list(found)
    for entry in entries:
        _remove(entry.path)
    os.rmdir(path)  # noqa: PTH106
