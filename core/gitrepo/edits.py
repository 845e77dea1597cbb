"""Local work on a path that a publication changes, as the journal has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from ..errors import StoreError
from .entries import Entry
from .paths import raw, shown

_State = TypeVar("_State", Entry, "FileState")


@dataclass(frozen=True, slots=True)
class FileState:
    """A file as its raw bytes: its mode, and the blob id of them without filters."""

    mode: str
    oid: str


@dataclass(frozen=True, slots=True)
class Edit:
    """Local work on a changed path: what the index and the file have, and what they get. None: nothing is there."""

    path: bytes
    staged: Entry | None
    staged_after: Entry | None
    file: FileState | None
    file_after: FileState | None


def edit_to_json(edit: Edit) -> dict[str, object]:
    """Return it as JSON values; the path as `rollcage.core.gitrepo.paths.shown` writes it."""
    return {
        "path": shown(edit.path),
        **{name: _pair(getattr(edit, name)) for name in ("staged", "staged_after", "file", "file_after")},
    }


def edit_from_json(value: object) -> Edit:
    """Return what `edit_to_json` wrote. Raises StoreError where it is damaged."""
    if not isinstance(value, Mapping) or not isinstance(value.get("path"), str):
        raise StoreError("a record of a publication is damaged: an edit has no path")
    return Edit(
        path=raw(value["path"]),
        staged=_unpaired(value.get("staged"), Entry),
        staged_after=_unpaired(value.get("staged_after"), Entry),
        file=_unpaired(value.get("file"), FileState),
        file_after=_unpaired(value.get("file_after"), FileState),
    )


def _pair(state: Entry | FileState | None) -> list[str] | None:
    return [state.mode, state.oid] if state else None


def _unpaired(value: object, kind: type[_State]) -> _State | None:
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise StoreError("a record of a publication is damaged: an edit has no mode and id")
    return kind(str(value[0]), str(value[1]))
