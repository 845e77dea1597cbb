"""Data on standard output: tables for people, one JSON object a line for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from ..core.text import clean, clean_lines
from .diagnostics import say

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """A column of a table: its title, and how a row's cell is read. Numbers stand on the right."""

    title: str
    cell: Callable[[T], object]
    right: bool = False


def write_json(body: Mapping[str, object]) -> None:
    """Write one JSON object as one line, in ASCII: it is valid whatever the terminal's encoding."""
    print(json.dumps(body), flush=True)


def write_line(text: str = "") -> None:
    """Write one line for people, cleaned; its spaces stay."""
    print(_encodable(clean_lines(text, limit=10_000).replace("\n", " ")))


def write_block(text: str) -> None:
    """Write cleaned lines for people as they are, such as a diff."""
    print(_encodable(text))


def write_list(
    rows: Iterable[T],
    columns: Sequence[Column[T]],
    *,
    as_json: bool,
    body: Callable[[T], Mapping[str, object]],
    empty: str,
) -> None:
    """Write ``rows``: as JSON each row's ``body``; for people a table, or on standard error that it is ``empty``."""
    if as_json:
        for row in rows:
            write_json(body(row))
        return
    cells = [[_text(column.cell(row)) for column in columns] for row in rows]
    if not cells:
        say(empty)
        return
    _write_table(columns, cells)


def _write_table(columns: Sequence[Column[T]], cells: Sequence[Sequence[str]]) -> None:
    shown = [[_encodable(cell) for cell in row] for row in cells]
    if not sys.stdout.isatty():
        _write_whole(columns, shown)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False, soft_wrap=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column.title, justify="right" if column.right else "left")
    for row in shown:
        table.add_row(*map(Text, row))  # Text: brackets in a commit message are no markup
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        print(line.rstrip())


def _write_whole(columns: Sequence[Column[T]], cells: Sequence[Sequence[str]]) -> None:
    """Write the table where no terminal reads it: nothing is cut or wrapped, grep and awk see every cell whole.

    Not by rich, which takes 0.5 ms for each row: there may be 10,000 Issues.
    """
    from rich.cells import cell_len

    rows = [[column.title for column in columns], *cells]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = []
        for column, width, cell in zip(columns, widths, row, strict=True):
            space = " " * (width - cell_len(cell))
            padded.append(space + cell if column.right else cell + space)
        print("  ".join(padded).rstrip())


def _text(value: object) -> str:
    """Show a cell: nothing for what is not known, times in UTC to the second."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return moment(value)
    return clean(str(value))


def moment(at: datetime | None) -> str:
    """Return ``at`` for people, in UTC to the second; empty where it is not known."""
    return f"{at:%Y-%m-%dT%H:%M:%SZ}" if at else ""


def _encodable(text: str) -> str:
    """Replace what the terminal's encoding cannot show."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
