"""Which of many changes can be taken back together, in one statement, and come out as if newest first.

Two changes have an order only where they are of the same row, where one's unique values are the other's, or where one
row refers to the other. Each change gets the lowest level above all newer ones that it has an order with; those of one
level, table and kind go together. What no level tells (a unique index over expressions, an exclusion) the database
refuses, and then they are taken back one by one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from .capture import Change


@dataclass(frozen=True, slots=True)
class Shape:
    """What gives the rows of a table an order among themselves and with others."""

    name: str = ""
    """What `refers` call it."""
    uniques: tuple[tuple[str, ...], ...] = ()
    """The columns of each unique index, its primary key among them, sorted."""
    refers: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = ()
    """Each foreign key: the table that it refers to, the columns here, and there."""


_Tie = tuple[str, tuple[str, ...], str]
"""A table, some of its columns, and their values."""


def arrange(targets: Sequence[Change], shapes: Mapping[str, Shape]) -> list[list[Change]]:
    """Return ``targets``, newest first, in groups of one table, kind and set of columns, each row once in a group."""
    levels = _Levels()
    groups: dict[tuple[int, str, str, tuple[str, ...]], list[Change]] = {}
    depths = _depths(shapes)
    for kind, group in groupby(targets, key=lambda change: change.kind):
        run = list(group)
        if kind == "D":  # what was emptied at once may stand in the record before what refers to it: parents first
            run.sort(key=lambda change: depths[change.table])
        read: list[tuple[_Tie, int]] = []
        for change in run:
            owned, needed = _ties(change, shapes[change.table])
            level = levels.of(owned, needed)
            before = tuple(sorted(json.loads(change.before))) if change.before else ()
            groups.setdefault((level, change.table, kind, before), []).append(change)
            read += [(tie, level) for tie in needed]
            if kind != "D":
                levels.read(read)
                read.clear()
        # One statement may bring back rows that refer to one another: the database looks at its end.
        levels.read(read)
    return [groups[key] for key in sorted(groups, key=lambda key: key[0])]


@dataclass(slots=True)
class _Levels:
    """How far the taking back of each value has come."""

    owners: dict[_Tie, int] = field(default_factory=dict)
    readers: dict[_Tie, int] = field(default_factory=dict)

    def of(self, owned: Iterable[_Tie], needed: Iterable[_Tie]) -> int:
        """Return the level of what owns and needs these values, and write down that it owns them."""
        owned = list(owned)
        above = [self.owners.get(tie, -1) for tie in (*owned, *needed)] + [self.readers.get(tie, -1) for tie in owned]
        level = max(above, default=-1) + 1
        self.owners.update(dict.fromkeys(owned, level))
        return level

    def read(self, ties: Iterable[tuple[_Tie, int]]) -> None:
        for tie, level in ties:
            self.readers[tie] = max(self.readers.get(tie, -1), level)


def _ties(change: Change, shape: Shape) -> tuple[list[_Tie], list[_Tie]]:
    """Return the values that ``change`` makes or takes away, and those that it starts or ceases to refer to."""
    rows = [json.loads(image, parse_int=str, parse_float=str) for image in (change.before, change.after) if image]
    owned = [(shape.name, columns, columns) for columns in shape.uniques]
    row: _Tie = (shape.name, (), change.key)
    return [row, *_changed(rows, owned)], _changed(rows, shape.refers)


def _changed(
    rows: Sequence[dict[str, object]], meant: Iterable[tuple[str, tuple[str, ...], tuple[str, ...]]]
) -> list[_Tie]:
    ties: list[_Tie] = []
    for table, columns, names in meant:
        found = {_values(row, columns) for row in rows}
        if len(found) == len(rows):  # an update that leaves them as they are has no order for their sake
            ties += [(table, names, values) for values in found if values]
    return ties


def _values(row: Mapping[str, object], columns: Sequence[str]) -> str:
    """Return the values as text; empty where one is NULL or not known, which equals nothing."""
    values = [row.get(column) for column in columns]
    return "" if None in values else json.dumps(values)


def _depths(shapes: Mapping[str, Shape]) -> dict[str, int]:
    """Return how many tables are above each one by its foreign keys; any number in a circle."""
    by_name = {shape.name: table for table, shape in shapes.items()}
    depths = dict.fromkeys(shapes, 0)
    for _ in shapes:
        for table, shape in shapes.items():
            parents = [by_name[name] for name, _, _ in shape.refers if name in by_name and name != shape.name]
            depths[table] = min(max((depths[parent] + 1 for parent in parents), default=0), len(shapes))
    return depths
