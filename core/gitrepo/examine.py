"""What stands in a working tree on the paths that a publication changes, and what must become of it.

A changed path has two layers of possible local work: what is staged, and the file. Each is merged on its own (base the
old commit, theirs the new one), so that an edit stays an edit, staged work stays staged, and neither brings the old
content back. Where a merge conflicts the local work overlaps, and nothing is published.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import RefusedError
from ..text import clean
from .edits import Edit, FileState
from .entries import GITLINK, SYMLINK, Change, Entry, IndexEntry
from .paths import shown
from .renames import renamed
from .submodules import checked_out, why_it_stays
from .view import View, as_checked_out, entries_of_files, index_of, merged_blob, unchanged
from .working_files import DIRECTORY, OTHER, below_link, blob_id, kind, place, read

_NAMED = 5


@dataclass(frozen=True, slots=True)
class Standing:
    """What is to be done beside git's own two-tree merge of the old and the new commit."""

    held: tuple[Change, ...] = ()
    """Their entries are set to the new ones beforehand, so that git leaves their files alone."""
    edits: tuple[Edit, ...] = ()
    """The held ones with local work."""
    skipped: tuple[bytes, ...] = ()
    """Changed paths that are marked skip-worktree, and stay so."""
    assumed: tuple[bytes, ...] = ()
    """Changed paths that are marked assume-unchanged, and stay so."""
    unmerged: Mapping[bytes, Sequence[IndexEntry]] = field(default_factory=dict)
    """Entries of paths that do not change; git's merge wants none, so they step aside meanwhile."""
    contents: Mapping[str, bytes] = field(default_factory=dict)
    """The raw bytes of all files in ``edits``, before and after, by blob id."""


class _OverlapError(Exception):
    """Local work does not go together with the change."""


def examine(view: View, index: Path, changes: Sequence[Change]) -> Standing:
    """Return what to do in this working tree, whose index is ``index``; changes nothing.

    Raises RefusedError: ``overlap``, naming the paths whose local work would be lost or mixed up; ``submodule`` where
    one that is checked out would have to move too, and somebody works in it.
    """
    following = _following_submodules(view, changes)
    entries = index_of(view, index, frozenset(change.path for change in changes))
    untouched = unchanged(view, {change.path: change.old for change in changes if change.old is not None})
    removed = frozenset(change.path for change in changes if change.new is None)
    held: list[Change] = []
    doubtful: list[Change] = []
    overlaps: list[bytes] = []
    for change in changes:
        lines = entries.get(change.path, [])
        staged = lines[0].entry if lines else None
        if any(line.stage for line in lines):
            overlaps.append(change.path)
        elif change.path in following:
            if staged != change.old:
                overlaps.append(change.path)
            held.append(change)
        elif staged is None and change.old is None:
            if not _way_is_free(view.top, change.path, removed):
                overlaps.append(change.path)
        elif lines and lines[0].skipped and staged in (change.old, change.new) and kind(view.top, change.path) is None:
            held.append(change)  # a sparse checkout has no file there, and gets none
        elif staged is None or staged != change.old or change.path not in untouched:
            doubtful.append(change)
    judge = _Judge(view, {path: lines[0] for path, lines in entries.items()}, doubtful)
    edits = []
    moved = renamed(view, changes) if any(change.new is None for change in doubtful) else {}
    for change in doubtful:
        try:
            came = moved.get(change.path)
            if came is not None and came.path not in overlaps:
                edits += judge.moved(change, came)
                held += [change, came]
                continue
            edit = judge.merged(change)
        except _OverlapError:
            overlaps.append(change.path)
        else:
            held.append(change)
            edits.extend([edit] if edit else [])
    if overlaps:
        raise overlap(view.top, overlaps)
    staying = [(change.path, entries[change.path][0]) for change in changes if change.new and change.path in entries]
    return Standing(
        held=tuple(held),
        edits=(*edits, *following.values()),
        skipped=tuple(path for path, line in staying if line.skipped),
        assumed=tuple(path for path, line in staying if line.assumed),
        unmerged={path: lines for path, lines in entries.items() if lines[0].stage},
        contents=judge.contents,
    )


def _following_submodules(view: View, changes: Sequence[Change]) -> dict[bytes, Edit]:
    """Return the submodules that have to move along; refuse where one cannot.

    Left behind, the next ``commit -a`` would record its old commit again.
    """
    found, behind = {}, []
    for change in changes:
        if change.new is None or change.new.mode != GITLINK:
            continue
        here = checked_out(view.top, change.path)
        if here is None or here.oid == change.new.oid:
            continue
        why = why_it_stays(view.top, change)
        if why:
            behind.append(f"{named([change.path])} {why}")
        after = FileState(GITLINK, change.new.oid)
        found[change.path] = Edit(change.path, change.old, change.new, here, after)
    if behind:
        raise RefusedError(
            "submodule",
            f"the change moves a submodule that is checked out in {clean(str(view.top))}: {'; '.join(behind)}; "
            "check its new commit out there by hand first",
        )
    return found


def overlap(top: Path, paths: Sequence[bytes]) -> RefusedError:
    """Return the refusal that names ``paths``."""
    return RefusedError(
        "overlap",
        f"uncommitted work in {clean(str(top))} overlaps with the change: {named(paths)}; "
        "commit it or move it out of the way first",
    )


def named(paths: Sequence[bytes]) -> str:
    """Return the first few paths, and how many more there are."""
    first = ", ".join(clean(shown(path), limit=120) for path in paths[:_NAMED])
    return f"{first} and {len(paths) - _NAMED} more" if len(paths) > _NAMED else first


def file_state(view: View, path: bytes) -> FileState | None:
    """Return the raw bytes at ``path`` as a state; None: no file, link or submodule is there. Raises OSError."""
    what = kind(view.top, path)
    if what == DIRECTORY:
        return checked_out(view.top, path)
    if what is None or what in {DIRECTORY, OTHER}:
        return None
    return FileState(what, blob_id(read(view.top, path), view.algorithm))


class _Judge:
    """Merges the two layers of paths with local work, and collects the bytes before and after."""

    def __init__(self, view: View, entries: Mapping[bytes, IndexEntry], doubtful: Sequence[Change]) -> None:
        self._view, self._entries = view, entries
        self.contents: dict[str, bytes] = {}
        self._kinds = {change.path: kind(view.top, change.path) for change in doubtful}
        files = [path for path, what in self._kinds.items() if what is not None and what not in {DIRECTORY, OTHER}]
        # The bytes first: what somebody writes after this is found to differ from them when the file is to be replaced.
        self._bytes = {path: read(view.top, path) for path in files}
        base = {change.path: change.old for change in doubtful if change.old is not None}
        base.update({path: entries[path].entry for path in self._kinds if path in entries})
        self._as_added = entries_of_files(view, base, files)

    def merged(self, change: Change) -> Edit | None:
        """Return the edit; None: there is no work of anybody's, only the new content already."""
        path = change.path
        line = self._entries.get(path)
        staged = line.entry if line else None
        staged_after = self._merge(change.old, staged, change.new)
        what = self._kinds[path]
        if what in {DIRECTORY, OTHER}:
            raise _OverlapError
        found = self._as_added.get(path)
        if staged is None and found is not None:
            raise _OverlapError  # taken out of the index but kept: no longer tracked, and git's merge would remove it
        if found is None and line is not None and line.skipped:
            after = None  # a sparse checkout has no file there, and gets none
        else:
            after = self._merge(change.old, found, change.new)
        if staged_after == change.new and found == change.new == after:
            return None
        before_state = self._keep(what, self._bytes[path]) if found and what else None
        return Edit(path, staged, staged_after, before_state, self._after(change, found, after))

    def moved(self, gone: Change, came: Change) -> list[Edit]:
        """Return the edits that take local work from a renamed file's old name to its new one, which comes first."""
        path = gone.path
        line, what, found = self._entries.get(path), self._kinds[path], self._as_added.get(path)
        if line is None or line.skipped or what is None or found is None or not found.is_regular:
            raise _OverlapError
        if came.path in self._entries or not _can_be_made(self._view.top, came.path):
            raise _OverlapError
        staged_after = self._merge(gone.old, line.entry, came.new)
        after = self._after(came, found, self._merge(gone.old, found, came.new), of=path)
        before = self._keep(what, self._bytes[path])
        return [Edit(came.path, None, staged_after, None, after), Edit(path, line.entry, None, before, None)]

    def _after(
        self, change: Change, found: Entry | None, after: Entry | None, *, of: bytes | None = None
    ) -> FileState | None:
        path = change.path if of is None else of
        if after is None:
            return None
        what = self._kinds[path]
        mode = what if found and what and after.mode == found.mode else after.mode
        if found is not None and after.oid == found.oid:
            return self._keep(mode, self._bytes[path])
        theirs_alone = change.new is not None and after.oid == change.new.oid
        if found is not None and not theirs_alone and as_checked_out(self._view, path, found.oid) != self._bytes[path]:
            raise _OverlapError  # line endings or filters would not give back the bytes that were not merged
        if after.mode == SYMLINK:
            return self._keep(mode, self._view.mirror.git.run("cat-file", "blob", after.oid).out)
        return self._keep(mode, as_checked_out(self._view, change.path, after.oid))

    def _keep(self, mode: str, content: bytes) -> FileState:
        oid = blob_id(content, self._view.algorithm)
        self.contents[oid] = content
        return FileState(mode, oid)

    def _merge(self, base: Entry | None, ours: Entry | None, theirs: Entry | None) -> Entry | None:
        if ours == base:
            return theirs
        if theirs in (ours, base):
            return ours
        if base is None or ours is None or theirs is None:
            raise _OverlapError
        if not (base.is_regular and ours.is_regular and theirs.is_regular):
            raise _OverlapError
        mode = theirs.mode if ours.mode == base.mode else ours.mode
        if ours.oid in {base.oid, theirs.oid}:
            return Entry(mode, theirs.oid)
        if theirs.oid == base.oid:
            return Entry(mode, ours.oid)
        oid = merged_blob(self._view, base.oid, ours.oid, theirs.oid)
        if oid is None:
            raise _OverlapError
        return Entry(mode, oid)


def _can_be_made(top: Path, path: bytes) -> bool:
    """Return whether nothing is at ``path`` and all above it are folders, or missing: it is written before git acts."""
    parts = path.split(b"/")
    above = [kind(top, b"/".join(parts[:depth])) for depth in range(1, len(parts))]
    return kind(top, path) is None and set(above) <= {None, DIRECTORY}


def _way_is_free(top: Path, path: bytes, removed: frozenset[bytes]) -> bool:
    """Return whether a new file can be put at ``path`` without any loss.

    Git itself would overwrite there what is ignored (read-tree treats it as expendable).
    """
    if below_link(top, path):
        return False
    parts = path.split(b"/")
    for depth in range(1, len(parts)):
        parent = b"/".join(parts[:depth])
        if kind(top, parent) not in {None, DIRECTORY} and parent not in removed:
            return False
    what = kind(top, path)
    if what == DIRECTORY:
        return all(below in removed for below in _files_below(top, path))
    return what is None


def _files_below(top: Path, folder: bytes) -> list[bytes]:
    start = os.fsencode(place(top, folder))
    found = []
    for root, folders, files in os.walk(start):
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]  # noqa: PTH114, PTH118
        found += [folder + os.path.join(root, name)[len(start) :] for name in (*files, *links)]  # noqa: PTH118
    return found
