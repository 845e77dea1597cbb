"""Titles of panels, which count what is in them."""

from __future__ import annotations

from typing import Any

from .live_table import LiveTable
from .spans import Line, Span


def counted(name: str, table: LiveTable[Any], total: int | None = None, *, about: str = "") -> Line:
    """Return ``Fleet 5``, or ``Fleet 2 of 5 /words`` where a filter hides some, and behind it what it is about."""
    shown = len(table.items)
    everything = shown + table.hidden if total is None else total
    behind = f" {about}" if about else ""
    if table.words:
        return (Span(f"{name} {shown:,} of {everything:,}{behind} /{' '.join(table.words)}"),)
    return (Span(f"{name} {everything:,}{behind}"),)
