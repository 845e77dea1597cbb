"""What a killed publication left in a working tree: which changed paths are still old, which new, which neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from .edits import Edit
from .entries import GITLINK, Change, Entry, IndexEntry
from .examine import Standing, file_state
from .index_lock import IndexLock
from .view import View, as_checked_out, index_of, unchanged
from .working_files import DIRECTORY, kind, place, read


class Whereabouts(Enum):
    """What the file at a changed path is."""

    OLD = auto()
    NEW = auto()
    GONE = auto()
    """Git was killed after it removed the file and before it wrote the new one."""
    PARTIAL = auto()
    """Git was killed while it wrote the file (it has the beginning of the new or old bytes), or it is to be redone."""
    STRANGE = auto()
    """Somebody's edit since."""


@dataclass(frozen=True, slots=True)
class Found:
    """A working tree after a kill."""

    files: Mapping[bytes, Whereabouts]
    """By changed path; of one with an edit, whether it has the bytes from before (OLD) or after (NEW)."""
    staged: Mapping[bytes, Entry | None]
    skipped: tuple[bytes, ...]
    assumed: tuple[bytes, ...]
    unmerged: Mapping[bytes, Sequence[IndexEntry]]

    def all_in(self, state: Whereabouts) -> tuple[bytes, ...]:
        """Return the paths that are in this state."""
        return tuple(path for path, found in self.files.items() if found is state)


def find(view: View, lock: IndexLock, changes: Sequence[Change], edits: Mapping[bytes, Edit]) -> Found:
    """Look at the working tree, whose index ``lock`` is for; ``edits`` are those of the journal. Changes nothing."""
    entries = index_of(view, lock.index, frozenset(change.path for change in changes))
    is_old = unchanged(view, {change.path: change.old for change in changes if change.old is not None})
    is_new = unchanged(view, {change.path: change.new for change in changes if change.new is not None})
    tangled = tangled_paths(changes)
    files = {}
    beginnings = []
    for change in changes:
        path = change.path
        staged = entries[path][0].entry if path in entries else None
        if path not in edits and GITLINK in {entry.mode for entry in (change.old, change.new) if entry}:
            # A submodule's folder is not looked into: only its entry moves.
            files[path] = Whereabouts.NEW if staged == change.new else Whereabouts.OLD
            continue
        if path in edits:
            state = file_state(view, path)
            edit = edits[path]
            known = {edit.file: Whereabouts.OLD, edit.file_after: Whereabouts.NEW}
            files[path] = known.get(state, Whereabouts.STRANGE)
            continue
        # A folder where a file was or will be: git is amid making one of the other; its files are looked at themselves.
        gone = kind(view.top, path) in {None, DIRECTORY}
        skipped = path in entries and entries[path][0].skipped
        if path in is_new or (gone and (change.new is None or skipped)):
            redo = path in tangled and staged == change.old and not skipped
            files[path] = (Whereabouts.GONE if gone else Whereabouts.PARTIAL) if redo else Whereabouts.NEW
        elif path in is_old or (gone and change.old is None):
            files[path] = Whereabouts.OLD
        elif gone:
            files[path] = Whereabouts.GONE if lock.amid.exists() else Whereabouts.STRANGE
        else:
            files[path] = Whereabouts.STRANGE
            beginnings += [path] if lock.amid.exists() and _is_beginning(view, change) else []
    # Git writes one file at a time; a second that is cut short was cut by somebody. Power loss leaves empty ones.
    with_content = [path for path in beginnings if place(view.top, path).stat().st_size]
    redone = beginnings if len(with_content) <= 1 else set(beginnings) - set(with_content)
    files.update(dict.fromkeys(redone, Whereabouts.PARTIAL))
    staying = [(change.path, entries[change.path][0]) for change in changes if change.new and change.path in entries]
    return Found(
        files=files,
        staged={change.path: entries[change.path][0].entry if change.path in entries else None for change in changes},
        skipped=tuple(path for path, line in staying if line.skipped),
        assumed=tuple(path for path, line in staying if line.assumed),
        unmerged={path: lines for path, lines in entries.items() if lines[0].stage},
    )


def is_installed(found: Found, changes: Sequence[Change], edits: Mapping[bytes, Edit]) -> bool:
    """Return whether the index has become the new one: the last step in a working tree, which is one move."""
    return all(
        found.staged[change.path] == (edits[change.path].staged_after if change.path in edits else change.new)
        for change in changes
    )


def strangers(found: Found, changes: Sequence[Change], edits: Mapping[bytes, Edit]) -> list[bytes]:
    """Return the paths where somebody worked since: the file is neither old nor new, or something else is staged."""
    strange = []
    for change in changes:
        path, staged = change.path, found.staged[change.path]
        if path in edits:
            expected = staged in (edits[path].staged, edits[path].staged_after)
        elif found.files[path] is Whereabouts.NEW:
            expected = staged in (change.old, change.new)
        else:
            expected = staged == change.old
        if not expected or path in found.unmerged or found.files[path] is Whereabouts.STRANGE:
            strange.append(path)
    return strange


def standing(found: Found, changes: Sequence[Change], edits: Mapping[bytes, Edit]) -> Standing:
    """Return what is to be done: as `examine` says it, with the paths that are new already held."""
    return Standing(
        held=tuple(change for change in changes if change.path in edits or found.files[change.path] is Whereabouts.NEW),
        edits=tuple(edits.values()),
        skipped=found.skipped,
        assumed=found.assumed,
        unmerged=found.unmerged,
    )


def tangled_paths(changes: Sequence[Change]) -> frozenset[bytes]:
    """Return the paths where a file becomes a folder or a folder a file.

    What is there already cannot be held: git takes it for something in the way of a removal. So it is done anew.
    """
    paths = {change.path for change in changes}
    found = set()
    for path in paths:
        parts = path.split(b"/")
        above = paths.intersection(b"/".join(parts[:depth]) for depth in range(1, len(parts)))
        found |= {*above, path} if above else set()
    return frozenset(found)


def _is_beginning(view: View, change: Change) -> bool:
    if not (kind(view.top, change.path) or "").startswith("100"):
        return False
    content = read(view.top, change.path)
    return any(
        as_checked_out(view, change.path, entry.oid).startswith(content)
        for entry in (change.old, change.new)
        if entry is not None and entry.is_regular
    )
