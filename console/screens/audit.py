"""What was done: all rollbacks, snapshots and events, each in full."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from textual.geometry import Region, Size
from textual.widget import Widget

from ...core.board import RollbackView
from ...core.model import Event, Snapshot
from ...widgets import figures
from ...widgets.events import EventsPanel, words
from ...widgets.evidence import labelled
from ...widgets.frame import Need, stack
from ...widgets.line_view import TextLines
from ...widgets.live_table import Cell, Column, LiveTable
from ...widgets.marks import ROLLBACK
from ...widgets.spans import Line, Span, line
from ...widgets.titles import counted
from ...widgets.view import Unpicking, View
from .base import BoardScreen


class RollbacksPanel(LiveTable[RollbackView]):
    """A row for each rollback, newest first."""

    COLUMNS: ClassVar[Sequence[Column]] = (
        Column("  rollback", 9, most=12),
        Column("kind", 8, drop=4),
        Column("state", 19),
        Column("incident", 8, most=10, drop=3),
        Column("started", 10, most=16),
        Column("took", 7, right=True),
        Column(" branch", 18, drop=2),
        Column("approved by", 11, most=24, drop=1),
    )
    EMPTY: ClassVar[str] = "nothing was rolled back yet"

    def __init__(self) -> None:
        """Start empty."""
        super().__init__(id="rollbacks")
        self._view: View | None = None

    def pick(self, view: View) -> View:
        """See `Panel.pick`."""
        self._view = view
        self.show_items(view.board.rollbacks)
        return replace(view, rollback=self.key)

    def show(self, view: View) -> None:
        """See `Panel.show`."""

    def title(self) -> Line:
        """See `Panel.title`."""
        return counted("Rollbacks", self)

    def wanted(self) -> int:
        """See `Panel.wanted`."""
        return self.total() + 1

    def key_of(self, item: RollbackView) -> str:
        """See `LiveTable.key_of`."""
        return item.rollback.id

    def cells_of(self, item: RollbackView) -> Sequence[Cell]:
        """See `LiveTable.cells_of`."""
        rollback = item.rollback
        mark = ROLLBACK[rollback.state]
        started = figures.day_and_clock(rollback.started, self._view.now) if self._view else figures.UNKNOWN
        moved = rollback.head_after and rollback.head_after != rollback.head_before
        return (
            (mark.dot, Span(f" {rollback.id}")),
            Span(rollback.kind),
            Span(mark.word, mark.style),
            Span(rollback.incident or figures.UNKNOWN),
            Span(started, "muted"),
            Span(figures.took(rollback.started, rollback.ended)),
            Span(
                f" {figures.short(rollback.head_before)} → {figures.short(rollback.head_after)}"
                if moved
                else " not moved",
                "accent" if moved else "muted",
            ),
            Span(rollback.approved_by),
        )


class SnapshotsPanel(Unpicking, LiveTable[Snapshot]):
    """A row for each snapshot, newest first."""

    COLUMNS: ClassVar[Sequence[Column]] = (
        Column("snapshot", 22, most=28),
        Column("size", 8, right=True),
        Column("head", 7, drop=2),
        Column("holds", 12, most=30, drop=3),
        Column("why", 12, most=60, drop=1),
    )
    EMPTY: ClassVar[str] = "no snapshots yet"

    def __init__(self) -> None:
        """Start empty."""
        super().__init__(id="snapshots")

    def show(self, view: View) -> None:
        """See `Panel.show`."""
        self.show_items(view.board.snapshots)

    def title(self) -> Line:
        """See `Panel.title`."""
        return counted("Snapshots", self)

    def wanted(self) -> int:
        """See `Panel.wanted`."""
        return self.total() + 1

    def key_of(self, item: Snapshot) -> str:
        """See `LiveTable.key_of`."""
        return item.id

    def cells_of(self, item: Snapshot) -> Sequence[Cell]:
        """See `LiveTable.cells_of`."""
        holds = [figures.count(len(item.worktrees), "worktree"), figures.count(len(item.databases), "database")]
        warned = f"▲ {'; '.join(item.warnings)}  " if item.warnings else ""
        return (
            Span(item.id),
            Span(figures.size(item.size)),
            Span(figures.short(item.head), "accent"),
            Span(", ".join(holds), "muted"),
            (Span(warned, "warning"), Span(item.why)),
        )


class EventDetail(Unpicking, TextLines):
    """The event under the cursor, field by field."""

    def __init__(self, events: EventsPanel) -> None:
        """Take the table whose cursor counts."""
        super().__init__(id="detail", focusable=True)
        self._events = events

    def show(self, view: View) -> None:
        """See `Panel.show`."""
        event = self._events.item
        if event is None:
            self.show_lines([line("no event is picked", "muted")])
        else:
            self.show_lines(event_lines(event, max(self.cells, 30)))

    def title(self) -> Line:
        """See `Panel.title`."""
        event = self._events.item
        return (Span(f"Event {event.seq:,}" if event else "Event"),)

    def wanted(self) -> int:
        """See `Panel.wanted`."""
        return max(self.total(), 3)


def event_lines(event: Event, cells: int) -> list[Line]:
    """Return an event in full: its words, then each field of its body."""
    lines = labelled("at", f"{event.at.isoformat(timespec='seconds')}  {event.event}", cells, "strong")
    lines += labelled("", words(event), cells)
    for name, value in event.body.items():
        if value not in (None, "", [], {}, ()):
            for place, part in enumerate(labelled("", f"{name}: {value}", cells, "muted")):
                lines.append(part)
                if place == 11:  # one long field must not push all others out of sight
                    lines.append(line(" " * 10 + "…", "muted"))
                    break
    return lines


class AuditScreen(BoardScreen):
    """The past: rollbacks, snapshots, events."""

    FIRST: ClassVar[str] = "events"

    def __init__(self, *, event: str = "") -> None:
        """Take the event to put the cursor on; empty: the newest."""
        self._event = event
        super().__init__()

    def make_panels(self) -> Iterable[Widget]:
        """See `BoardScreen.make_panels`."""
        self._events = EventsPanel()
        return [RollbacksPanel(), SnapshotsPanel(), self._events, EventDetail(self._events)]

    def on_mount(self) -> None:
        """Go to the event."""
        if self._event:
            self.call_after_refresh(self._events.move_to, self._event)

    def boxes_for(self, size: Size, wants: Mapping[str, int]) -> dict[str, Region]:
        """See `BoardScreen.boxes_for`."""
        third = max(size.height // 4, 3)
        past = [
            Need("rollbacks", 2, min(wants["rollbacks"], third), 4),
            Need("snapshots", 2, min(wants["snapshots"], third), 1),
        ]
        events = Need("events", 3, wants["events"], 3, grow=True)
        detail = Need("detail", 3, min(wants["detail"], third), 2)
        if size.width < 120:
            return stack(size.region, [*past, events, detail])
        above = stack(size.region, [*past, events])
        box = above["events"]
        middle = round(size.width * 0.6)
        above["events"] = Region(0, box.y, middle + 1, box.height)
        above["detail"] = Region(middle, box.y, size.width - middle, box.height)
        return above
