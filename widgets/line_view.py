"""A scrolling view made of lines, that repaints only what differs. The ground under every panel.

Textual's own tables repaint whole: one changed cell costs 15 kB on the line. Here a change is compared with what is
on the screen and only the cells that differ are sent; showing the same again sends nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from textual import events
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from ..themes.looks import look_of
from .spans import EMPTY, Line, changed_cells, line_width, safe

_Shown = tuple[Line, str]


class LineView(ScrollView, can_focus=False):
    """Shows lines that a subclass makes when they are needed; only the visible ones are ever made."""

    DEFAULT_CSS = """
    LineView { scrollbar-size-vertical: 1; scrollbar-size-horizontal: 1; background: $background; }
    """
    ALLOW_SELECT = False

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002 - Textual's word
        """Take Textual's id and classes."""
        super().__init__(id=id, classes=classes)
        self._shown: dict[int, _Shown] = {}
        self._theme = ""
        self.expected = 0

    # -- what subclasses say

    def total(self) -> int:
        """Return how many lines there are, without the head."""
        raise NotImplementedError

    def make(self, index: int, cells: int) -> Line:
        """Return line ``index``, made for a view of ``cells`` cells; only called for ``0 <= index < total()``."""
        raise NotImplementedError

    def head(self, cells: int) -> Line:
        """Return the line that stays at the top while the rest scrolls, where `has_head`."""
        return EMPTY

    def row_style(self, index: int) -> str:
        """Return ``cursor``, ``cursor-idle``, or nothing."""
        return ""

    def widest(self) -> int:
        """Return how many cells the widest line takes; 0 where lines always fit themselves to the view."""
        return 0

    # -- what callers use

    @property
    def has_head(self) -> bool:
        """Whether the first row of the view is a head that does not scroll."""
        return False

    @property
    def cells(self) -> int:
        """How many cells a line has room for; before the first layout, how many it is expected to have."""
        return self.scrollable_content_region.width or self.expected

    def changed(self) -> None:
        """Compare what is visible with what should be, and have the difference painted."""
        size = Size(self.widest(), self.total() + self.has_head)
        if self.virtual_size != size:
            self.virtual_size = size
        if not self.is_mounted:
            return
        cells, scroll_x = self.cells, self.scroll_offset.x
        for y in range(self.size.height):
            before, after = self._shown.get(y), self._row(y, cells)
            if before == after:
                continue
            self._shown[y] = after
            if before is None or before[1] != after[1]:
                self.refresh(Region(0, y, self.size.width, 1))
                continue
            start, end = changed_cells(before[0], after[0])
            start, end = max(start - scroll_x, 0), min(end - scroll_x, self.size.width)
            if start < end:
                self.refresh(Region(start, y, end - start, 1))

    def index_at(self, y: int) -> int | None:
        """Return the line shown at row ``y`` of the view; none where there is none, or at the head."""
        index = y - self.has_head + self.scroll_offset.y
        if y < self.has_head or not 0 <= index < self.total():
            return None
        return index

    # -- Textual

    def _row(self, y: int, cells: int) -> _Shown:
        if y == 0 and self.has_head:
            return self.head(cells), ""
        index = self.index_at(y)
        return (EMPTY, "") if index is None else (self.make(index, cells), self.row_style(index))

    def render_line(self, y: int) -> Strip:
        """Return row ``y`` of the view as Textual paints it."""
        spans, row_style = self._shown[y] = self._row(y, self.cells)
        look = look_of(self.app.current_theme.name)
        base = self.rich_style
        if row_style:
            base += look.cursor if row_style == "cursor" else look.cursor_idle
        segments: list[Segment] = []
        text, style = "", base
        for span in spans:
            # Neighbours of one style are one segment: each costs an escape sequence on the line.
            span_style = base + look.styles[span.style] if span.style else base
            if span_style == style:
                text += safe(span.text)
                continue
            if text:
                segments.append(Segment(text, style))
            text, style = safe(span.text), span_style
        if text:
            segments.append(Segment(text, style))
        strip = Strip(segments)
        width, scroll_x = self.size.width, self.scroll_offset.x
        if scroll_x:
            strip = strip.crop(scroll_x, scroll_x + width)
        return strip.adjust_cell_length(width, base)

    def on_resize(self, event: events.Resize) -> None:
        """Have painted what is different at the new size; Textual itself has all of it painted once."""
        self.changed()

    def notify_style_update(self) -> None:
        """Paint all anew in another theme; focus and hover, which come here too, change nothing of ours."""
        super().notify_style_update()
        theme = self.app.current_theme.name
        if theme != self._theme:
            self._theme = theme
            self._shown.clear()
            self.refresh()


class TextLines(LineView):
    """Shows lines made beforehand: explanations, phases, diffs."""

    def __init__(
        self,
        *,
        id: str | None = None,  # noqa: A002 - Textual's word
        classes: str | None = None,
        focusable: bool = False,
    ) -> None:
        """Take whether the keyboard can scroll it."""
        super().__init__(id=id, classes=classes)
        self.can_focus = focusable
        self._lines: Sequence[Line] = ()
        self._widest = 0

    @property
    def lines(self) -> Sequence[Line]:
        """The lines shown now."""
        return self._lines

    def show_lines(self, lines: Sequence[Line], *, fixed: bool = False) -> None:
        """Show these lines; ``fixed`` lines keep their width and scroll sideways, others fit the view as they are."""
        self._lines = lines
        self._widest = max((line_width(line) for line in lines), default=0) if fixed else 0
        self.changed()

    def total(self) -> int:
        """See `LineView.total`."""
        return len(self._lines)

    def make(self, index: int, cells: int) -> Line:
        """See `LineView.make`."""
        return self._lines[index]

    def widest(self) -> int:
        """See `LineView.widest`."""
        return self._widest


def text_of(lines: Sequence[Line]) -> str:
    """Return lines as plain text, as they are read."""
    return "\n".join("".join(safe(span.text) for span in line).rstrip() for line in lines)
