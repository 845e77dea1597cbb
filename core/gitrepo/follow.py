"""A working tree follows its branch: from the old commit to the new one, or back, with local work kept.

What git's two-tree ``read-tree -m -u`` can do it does. Paths with local work are set to the new entries beforehand in
a temporary index, which makes git leave their files alone, and are written here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import GitError, RefusedError
from ..text import clean
from .edits import Edit, FileState
from .entries import GITLINK, Change, Entry, index_info
from .examine import Standing, file_state, named
from .git import Git
from .index_lock import IndexLock, copy_index
from .mirror import Mirror
from .paths import quoted
from .reconcile import Found, Whereabouts, tangled_paths
from .repository import Worktree
from .submodules import move
from .view import View, look
from .working_files import kind, place, remove, sync_file, sync_files, sync_folder, write

# A sparse index is unfolded meanwhile: git 2.39 mixes folded and single entries up when some are set by hand.
_DURABLY = ("-c", "core.fsync=all", "-c", "index.sparse=false")
Contents = Callable[[str], bytes]
"""Gives the bytes of a blob that was kept."""

_Line = tuple[bytes, Entry | None, int]
# One worker: killed, it leaves at most one file half written.
_READ_TREE = (*_DURABLY, "-c", "submodule.recurse=false", "-c", "checkout.workers=1", "read-tree", "-m", "-u")


@dataclass(frozen=True, slots=True)
class Follower:
    """One working tree on its way from a commit to another, with its lock and its changes."""

    worktree: Worktree
    lock: IndexLock
    mirror: Mirror
    old: str
    new: str
    changes: tuple[Change, ...]
    inherit: tuple[int, ...] = ()
    """Descriptors that git processes get, so that a lock on them outlives us."""

    @property
    def git(self) -> Git:
        """Git in this working tree."""
        return Git(self.worktree.path)

    @property
    def environment(self) -> dict[str, str]:
        """What makes git use the temporary index, take paths as they are, and find what only the mirror has."""
        return {
            "GIT_INDEX_FILE": str(self.lock.temporary),
            "GIT_LITERAL_PATHSPECS": "1",
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": quoted(os.fsencode(self.mirror.objects)).decode(),
        }

    def prepare(self, standing: Standing) -> None:
        """Make the temporary index from the index, with what is held set to the new entries. Raises GitError."""
        self.lock.copy_index()
        _set_aside(self.git, self.environment, self.old, standing)
        _refresh(self.git, self.environment)

    def check(self, standing: Standing) -> None:
        """Ask git whether `read_tree` would do. Raises RefusedError ``overlap`` with git's own words."""
        base = _without(self.mirror, self.old, _moved_away(standing))
        _dry_run(self.git, self.environment, self.worktree.path, base, self.new)

    def read_tree(self, standing: Standing) -> None:
        """Let git bring files and temporary index from old to new. Raises GitError; some files may be new then."""
        self._read_tree(_without(self.mirror, self.old, _moved_away(standing)), self.new)

    def write_edits(self, edits: Iterable[Edit], contents: Contents, before_each: Callable[[bytes], None]) -> None:
        """Give the files with local work their merged bytes; those that have them already stay.

        Raises RefusedError ``third_content`` if a file is not what it was when it was merged.
        """
        with look(self.worktree.path, self.mirror) as view:
            for edit in edits:
                if edit.file == edit.file_after or file_state(view, edit.path) == edit.file_after:
                    continue
                before_each(edit.path)
                if file_state(view, edit.path) != edit.file:
                    raise third_content(self.worktree.path, [edit.path])
                self._put(edit.path, edit.file_after, contents)

    def finish_index(self, standing: Standing) -> None:
        """Give the temporary index what git's merge does not know: staged work, unmerged entries, marks. Durable."""
        git, environment = self.git, self.environment
        new = {change.path: change.new for change in standing.held}
        lines: list[_Line] = [
            (edit.path, edit.staged_after, 0) for edit in standing.edits if edit.staged_after != new[edit.path]
        ]
        for path, entries in standing.unmerged.items():
            lines += [(path, None, 0), *((path, line.entry, line.stage) for line in entries)]
        _set_entries(git, environment, lines, self.old)
        if standing.held:  # their entries have no times yet; without them every later look would read the files
            _refresh(git, environment)
        _mark(git, environment, "--assume-unchanged", standing.assumed)
        _mark(git, environment, "--skip-worktree", standing.skipped)
        sync_files(self.worktree.path, [change.path for change in self.changes])
        if self.lock.temporary.exists():
            sync_file(self.lock.temporary)
            self.lock.temporary.replace(self.lock.ready)
            sync_folder(self.lock.git_dir)

    def install(self) -> None:
        """Make the complete copy the index, in one move. Durable."""
        if self.lock.ready.exists():
            self.lock.ready.replace(self.lock.index)
            sync_folder(self.lock.git_dir)

    def go_back(self, found: Found, edits: Mapping[bytes, Edit], contents: Contents) -> list[bytes]:
        """Bring the files back to the old commit; the index was never changed. Idempotent.

        Returns the paths that somebody changed since; those are left alone. Raises GitError, OSError.
        """
        top = self.worktree.path
        returning = self._returning(found, edits)
        if returning:
            self._clear([*found.all_in(Whereabouts.PARTIAL), *(returning & set(found.all_in(Whereabouts.OLD)))])
            self.lock.copy_index()
            lines: list[_Line] = [(path, None, 0) for path in found.unmerged]
            lines += [(each.path, each.new if each.path in returning else each.old, 0) for each in self.changes]
            _set_entries(self.git, self.environment, lines, self.old)
            _refresh(self.git, self.environment)
            came = [edit.path for edit in edits.values() if edit.file is None and edit.staged is None]
            self._read_tree(_without(self.mirror, self.new, came), self.old)
        for edit in edits.values():
            if found.files[edit.path] is Whereabouts.NEW and edit.file != edit.file_after:
                self._put(edit.path, edit.file, contents)
        self.clear_drafts(edits.values())
        sync_files(top, [change.path for change in self.changes])
        return list(found.all_in(Whereabouts.STRANGE))

    def clear_partial(self, found: Found) -> None:
        """Remove the files that git was killed in the middle of writing: it would take them for somebody's."""
        self._clear(found.all_in(Whereabouts.PARTIAL))

    def _read_tree(self, old: str, new: str) -> None:
        self.lock.amid.touch()
        sync_folder(self.lock.git_dir)
        self.git.run(*_READ_TREE, old, new, env=self.environment, inherit=self.inherit)
        self.lock.amid.unlink()

    def _clear(self, paths: Iterable[bytes]) -> None:
        """Remove files that will be written again, and the folders made for them where a file was or will be."""
        changed = {change.path for change in self.changes}
        for path in paths:
            remove(self.worktree.path, path)
            parts = path.split(b"/")
            for above in (b"/".join(parts[:depth]) for depth in range(len(parts) - 1, 0, -1)):
                if above in changed:
                    with contextlib.suppress(OSError):  # it has something else in it: git will say so
                        place(self.worktree.path, above).rmdir()

    def _returning(self, found: Found, edits: Mapping[bytes, Edit]) -> frozenset[bytes]:
        """Return the paths that git is to bring back: all that moved, and with them files that are folders as new."""
        moved = {Whereabouts.NEW, Whereabouts.GONE, Whereabouts.PARTIAL}
        ours = {
            change.path
            for change in self.changes
            if change.path not in edits
            and found.staged[change.path] == change.old
            and not (change.path in found.skipped and kind(self.worktree.path, change.path) is None)
        }
        back = {path for path in ours if found.files[path] in moved}
        tangled = {path for path in ours & tangled_paths(self.changes) if found.files[path] is Whereabouts.OLD}
        return frozenset(back | tangled) if back else frozenset()

    def clear_drafts(self, edits: Iterable[Edit]) -> None:
        """Remove what a kill in the middle of `write_edits` left beside the files."""
        for edit in edits:
            place(self.worktree.path, edit.path).with_name(self._draft).unlink(missing_ok=True)

    @property
    def _draft(self) -> str:
        return f".rollcage-{self.lock.token}"

    def _put(self, path: bytes, state: FileState | None, contents: Contents) -> None:
        if state is None:
            remove(self.worktree.path, path)
        elif state.mode == GITLINK:
            move(self.worktree.path, path, state)
        else:
            place(self.worktree.path, path).parent.mkdir(parents=True, exist_ok=True)  # of a renamed file
            write(self.worktree.path, path, [contents(state.oid)], state.mode, self._draft)


def would_follow(view: View, index: Path, standing: Standing, old: str, new: str) -> None:
    """Ask git whether it could bring the working tree from ``old`` to ``new``; changes nothing.

    Raises RefusedError ``overlap`` with git's own words.
    """
    copy = view.scratch / "index"
    copy_index(index, copy)
    environment = view.environment(copy)
    _set_aside(view.git, environment, old, standing)
    _refresh(view.git, environment)
    _dry_run(view.git, environment, view.top, _without(view.mirror, old, _moved_away(standing)), new)


def third_content(top: Path, paths: Sequence[bytes]) -> RefusedError:
    """Return the refusal for files that somebody changed while they were being replaced."""
    return RefusedError(
        "third_content",
        f"somebody changed {named(paths)} in {clean(str(top))} during the publication; nothing there was overwritten: "
        "look at it, move the edit out of the way, then resume, or take the publication back",
    )


def _dry_run(git: Git, environment: Mapping[str, str], top: Path, old: str, new: str) -> None:
    try:
        git.run(*_READ_TREE, "--dry-run", old, new, env=environment)
    except GitError as error:
        said = clean(error.stderr or str(error), limit=300)
        raise RefusedError("overlap", f"git would not change the files of {clean(str(top))}: {said}") from error


def _moved_away(standing: Standing) -> list[bytes]:
    """Return the files whose local work goes along to another name."""
    return [edit.path for edit in standing.edits if edit.file_after is None and edit.staged_after is None]


def _without(mirror: Mirror, commit: str, paths: Sequence[bytes]) -> str:
    """Return ``commit``, or its tree without ``paths``: files that we write and remove ourselves.

    Git would refuse to remove what is not in the index any more.
    """
    if not paths:
        return commit
    with mirror.workspace() as folder:
        index = {"GIT_INDEX_FILE": str(folder / "index")}
        mirror.git.run("read-tree", commit, env=index)
        lines = index_info(((path, None, 0) for path in paths), commit)
        mirror.git.run("update-index", "-z", "--index-info", stdin=lines, env=index)
        return mirror.git.text("write-tree", env=index)


def _set_aside(git: Git, environment: Mapping[str, str], old: str, standing: Standing) -> None:
    """Set what is held to its new entry, and what is unmerged to the old commit's, in the temporary index."""
    lines: list[_Line] = [(change.path, change.new, 0) for change in standing.held]
    if standing.unmerged:
        paths = [os.fsdecode(path) for path in standing.unmerged]
        lines += [(path, None, 0) for path in standing.unmerged]
        for line in git.run("ls-tree", "-z", "--full-tree", old, "--", *paths, env=environment).out.split(b"\0")[:-1]:
            facts, _, path = line.partition(b"\t")
            mode, _kind, oid = facts.decode().split(" ")
            lines.append((path, Entry(mode, oid), 0))
    _set_entries(git, environment, lines, old)
    held = {change.path for change in standing.held}
    _mark(git, environment, "--no-assume-unchanged", standing.assumed)  # refreshed like the others; marked again later
    _mark(git, environment, "--skip-worktree", [path for path in standing.skipped if path in held])


def _set_entries(git: Git, environment: Mapping[str, str], lines: Sequence[_Line], any_id: str) -> None:
    if lines:
        listed = index_info(lines, any_id)
        git.run(*_DURABLY, "update-index", "-z", "--index-info", stdin=listed, env=environment)


def _refresh(git: Git, environment: Mapping[str, str]) -> None:
    """Let git compare contents where only times differ: its merge goes by the times alone."""
    git.run(*_DURABLY, "update-index", "-q", "--refresh", env=environment, ok=(0, 1))


def _mark(git: Git, environment: Mapping[str, str], mark: str, paths: Sequence[bytes]) -> None:
    if paths:
        listed = b"".join(path + b"\0" for path in paths)
        git.run(*_DURABLY, "update-index", mark, "-z", "--stdin", stdin=listed, env=environment)
