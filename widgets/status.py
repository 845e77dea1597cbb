"""The first line: is all well, does somebody have to do something, who carries decisions out."""

from __future__ import annotations

from ..core.board import Board, TrackerView
from ..core.model import Health, Severity
from . import figures
from .line_view import LineView
from .marks import HEALTH
from .spans import Line, Span, both_ends, cut_line, line, line_width
from .view import View, is_open

_CHIPS = {Health.HEALTHY: "chip-ok", Health.WARNING: "chip-warning", Health.CRITICAL: "chip-critical"}


def status_line(view: View, cells: int, *, read_only: bool = False) -> Line:
    """Return the state of the whole in one line; on narrow screens the least telling parts are left out."""
    board = view.board
    # To the minute: a clock that ticks each second would be the only thing to move on a screen where all is well.
    right = (Span(f"{view.now.strftime('%H:%M')} UTC ", "muted"),)
    parts: list[tuple[int, Line]] = [
        (0, line(" rollcage", "strong")),
        (5, (Span(f"{board.name}@{board.branch or figures.UNKNOWN}"), Span(f" {figures.short(board.head)}", "accent"))),
        (0, _health(board)),
    ]
    if board.needs_you:
        needs = "1 needs you" if board.needs_you == 1 else f"{board.needs_you} need you"
        parts.append((1, (Span(f" {needs} ", "chip-info"),)))
    if read_only:
        parts.append((2, (Span("read-only", "warning"),)))
    parts.append((3, _engine(board)))
    if board.tracker is not None:
        parts.append(_tracker(board.tracker))
    if board.engine.level:
        parts.append((6, line(f"level {board.engine.level}", "muted")))
    if board.engine.busy:
        parts.append((4, line(board.engine.busy, "info")))
    room = cells - line_width(right) - 1
    while len(parts) > 2 and _width(parts) > room:
        parts.remove(max(parts, key=lambda part: part[0]))
    return both_ends(_joined(parts), right, cells)


def _joined(parts: list[tuple[int, Line]]) -> Line:
    spans: list[Span] = []
    for place, (_weight, piece) in enumerate(parts):
        if place:
            spans.append(Span("   "))
        spans += piece
    return tuple(spans)


def _width(parts: list[tuple[int, Line]]) -> int:
    return line_width(_joined(parts))


def _health(board: Board) -> Line:
    mark = HEALTH[board.health]
    if board.health is Health.HEALTHY:
        # With nobody looking, or nothing to look at, there is no telling whether all is well.
        if board.engine.state == "none":
            return line("○ not watched", "warning")
        return (Span("● all well", "chip-ok"),) if board.agents else line("○ no agents", "muted")
    severity = Severity.CRITICAL if board.health is Health.CRITICAL else Severity.WARNING
    number = sum(is_open(view) and view.incident.severity is severity for view in board.incidents)
    return (Span(f" {mark.glyph} {mark.word}{f' {number}' if number else ''} ", _CHIPS[board.health]),)


def _engine(board: Board) -> Line:
    engine = board.engine
    if engine.state == "here":
        return line("engine here", "muted")
    if engine.state == "elsewhere":
        return line(f"engine {engine.holder}" if engine.holder else "engine elsewhere", "muted")
    return (Span("no engine: nothing is carried out", "warning"),)


def _tracker(tracker: TrackerView) -> tuple[int, Line]:
    """Return what is known of the tracker; where somebody has to look, few things are told before it."""
    words = {True: "online", False: "offline", None: ""}[tracker.online]
    spans = [Span(f"{tracker.kind} {words}".rstrip(), "warning" if tracker.online is False else "muted")]
    if tracker.online and tracker.remaining is not None and tracker.limit is not None:
        spans.append(Span(f" {tracker.remaining:,}/{tracker.limit:,}", "muted" if tracker.remaining else "warning"))
    if tracker.waiting:
        spans.append(Span(f" {tracker.waiting} to send", "muted"))
    if tracker.conflicts:
        spans.append(Span(f" {tracker.conflicts} in conflict", "warning"))
    return (2 if tracker.conflicts or tracker.online is False else 4), tuple(spans)


class StatusLine(LineView):
    """Shows `status_line`."""

    DEFAULT_CSS = """
    StatusLine { height: 1; background: $surface; overflow: hidden hidden; }
    """

    def __init__(self, *, read_only: bool = False) -> None:
        """Take whether this console may change anything."""
        super().__init__(id="status")
        self._read_only = read_only
        self._view: View | None = None

    def show(self, view: View) -> None:
        """Take in a new moment."""
        self._view = view
        self.changed()

    def total(self) -> int:
        """See `LineView.total`."""
        return 1

    def make(self, index: int, cells: int) -> Line:
        """See `LineView.make`."""
        return status_line(self._view, cells, read_only=self._read_only) if self._view else ()


class WarningLine(LineView):
    """What is wrong with rollcage itself; takes no room where nothing is."""

    DEFAULT_CSS = """
    WarningLine { height: 1; overflow: hidden hidden; }
    """

    def __init__(self) -> None:
        """Start without a warning."""
        super().__init__(id="warnings")
        self._warnings: tuple[str, ...] = ()
        self.display = False

    def show(self, view: View) -> None:
        """Take in a new moment."""
        self._warnings = view.board.warnings
        if self.display != bool(self._warnings):
            self.display = bool(self._warnings)
        self.changed()

    def total(self) -> int:
        """See `LineView.total`."""
        return 1

    def make(self, index: int, cells: int) -> Line:
        """See `LineView.make`."""
        if not self._warnings:
            return ()
        more = f"  (and {len(self._warnings) - 1} more: ? shows them)" if len(self._warnings) > 1 else ""
        return cut_line((Span(f" ▲ {self._warnings[0]}", "warning"), Span(more, "muted")), cells)
