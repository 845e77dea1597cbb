"""The one table of the console: sorted by its owner, steady columns, a cursor that stays on its item, a filter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from .figures import sparkline
from .line_view import LineView
from .spans import Line, Span, cut_line, fit, line, line_width, safe

T = TypeVar("T")


class Bars(NamedTuple):
    """A cell that shows the newest of these values as bars, as many as the column has room for."""

    values: Sequence[float]
    low: float | None = None
    high: float | None = None


Cell = Span | Line | Bars


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its heading and how many cells it takes."""

    title: str
    width: int
    """At least so many cells."""
    most: int = 0
    """At most so many, where there is room to spare; 0: no more than ``width``."""
    right: bool = False
    drop: int = 0
    """What leaves first where there is no room: the highest number; 0 never leaves."""


GAP = 1


def column_widths(columns: Sequence[Column], cells: int) -> list[tuple[int, int]]:
    """Return (index, width) of the columns that ``cells`` cells have room for; all share in what is to spare."""
    kept = list(range(len(columns)))

    def needed() -> int:
        return sum(columns[index].width for index in kept) + GAP * (len(kept) - 1)

    while needed() > cells and any(columns[index].drop for index in kept):
        kept.remove(max(kept, key=lambda index: (columns[index].drop, index)))
    spare = cells - needed()
    sizes = {index: columns[index].width for index in kept}
    while spare > 0:
        hungry = [index for index in kept if sizes[index] < columns[index].most]
        if not hungry:
            break
        for index in hungry[:spare]:
            sizes[index] += 1
        spare -= len(hungry[:spare])
    widths = list(sizes.items())
    if spare < 0 and widths:  # not even the columns that never leave fit: the widest gives way
        place = max(range(len(widths)), key=lambda place: widths[place][1])
        index, size = widths[place]
        widths[place] = (index, max(size + spare, 1))
    return widths


class LiveTable(LineView, Generic[T], can_focus=True):
    """Shows items of one kind, a row each. Subclasses say what an item's key and cells are."""

    COLUMNS: ClassVar[Sequence[Column]] = ()
    EMPTY: ClassVar[str] = "nothing here"
    HEADED: ClassVar[bool] = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "cursor(-1)", "Up", show=False),
        Binding("down,j", "cursor(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "edge(0)", "First", show=False),
        Binding("end", "edge(1)", "Last", show=False),
        Binding("enter", "open", "Open", show=False),
    ]

    class Moved(Message):
        """The cursor is on another item."""

        def __init__(self, table: LiveTable[Any], key: str) -> None:
            """Take the table and the item's key."""
            super().__init__()
            self.table, self.key = table, key

    class Opened(Moved):
        """Enter or a double click: the operator wants to see the item in full."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002 - Textual's word
        """Take Textual's id and classes."""
        super().__init__(id=id, classes=classes)
        self._all: Sequence[T] = ()
        self._items: Sequence[T] = ()
        self._words: tuple[str, ...] = ()
        self._cursor = 0
        self._key = ""
        self._widths: tuple[int, list[tuple[int, int]]] = (-1, [])
        self.follow = False
        """Keep the cursor on the last item, as a log does, until somebody moves it away."""

    # -- what subclasses say

    def key_of(self, item: T) -> str:
        """Return what stays the same when the item changes."""
        raise NotImplementedError

    def cells_of(self, item: T) -> Sequence[Cell]:
        """Return the item's cells, one for each column."""
        raise NotImplementedError

    # -- what callers use

    @property
    def item(self) -> T | None:
        """The item under the cursor."""
        return self._items[self._cursor] if self._cursor < len(self._items) else None

    @property
    def key(self) -> str:
        """The key of the item under the cursor; empty where there is none."""
        return self._key

    @property
    def items(self) -> Sequence[T]:
        """The items that pass the filter."""
        return self._items

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the filter, all of which an item must contain."""
        return self._words

    @property
    def hidden(self) -> int:
        """How many items the filter hides."""
        return len(self._all) - len(self._items)

    def show_items(self, items: Sequence[T]) -> None:
        """Show these items, in this order; the cursor stays on the item that it is on."""
        at_end = self.follow and self._cursor >= len(self._items) - 1
        self._all = items
        self._items = [item for item in items if self._passes(item)] if self._words else items
        if at_end and self._items:
            self._place(len(self._items) - 1)
        else:
            found = self._find(self._key)
            self._place(self._cursor if found is None else found)
        self.changed()
        if at_end:
            self._reveal()

    def filter(self, text: str) -> None:
        """Show only items that contain every word of ``text``, whatever the case."""
        self._words = tuple(text.casefold().split())
        self.show_items(self._all)
        self._reveal()

    def reset(self) -> None:
        """Forget which item the cursor was on: what comes next has nothing to do with it."""
        self._cursor, self._key = 0, ""

    def move_to(self, key: str) -> bool:
        """Put the cursor on the item ``key``; return whether it is there."""
        found = self._find(key)
        if found is not None:
            self._place(found)
            self.changed()
            self._reveal()
        return found is not None

    # -- the view

    def total(self) -> int:
        """See `LineView.total`."""
        return max(len(self._items), 1)

    @property
    def has_head(self) -> bool:
        """See `LineView.has_head`."""
        return self.HEADED

    def head(self, cells: int) -> Line:
        """See `LineView.head`."""
        parts = []
        for index, size in self._columns(cells):
            column = self.COLUMNS[index]
            parts.append(fit(column.title, size, right=column.right))
        return line((" " * GAP).join(parts), "heading")

    def make(self, index: int, cells: int) -> Line:
        """See `LineView.make`."""
        if not self._items:
            return line(fit(f"no match for {' '.join(self._words)}" if self._words else self.EMPTY, cells), "muted")
        values = self.cells_of(self._items[index])
        spans: list[Span] = []
        for place, (column, size) in enumerate(self._columns(cells)):
            if place:
                spans.append(Span(" " * GAP))
            spans += _fitted(values[column], size, right=self.COLUMNS[column].right)
        return tuple(spans)

    def row_style(self, index: int) -> str:
        """See `LineView.row_style`."""
        if index != self._cursor or not self._items:
            return ""
        return "cursor" if self.has_focus else "cursor-idle"

    # -- keys and mouse

    def action_cursor(self, by: int) -> None:
        """Move the cursor by rows."""
        self._go(self._cursor + by)

    def action_page(self, by: int) -> None:
        """Move the cursor by pages."""
        self._go(self._cursor + by * max(self.size.height - self.has_head - 1, 1))

    def action_edge(self, last: int) -> None:
        """Move the cursor to the first or last row."""
        self._go(len(self._items) - 1 if last else 0)

    def action_open(self) -> None:
        """Ask for the item in full."""
        if self._items:
            self.post_message(self.Opened(self, self._key))

    def on_click(self, event: events.Click) -> None:
        """Move the cursor to the row clicked; open it on a double click."""
        area = self.scrollable_content_region  # without the bar, whose clicks come here too
        index = self.index_at(event.screen_y - area.y)
        if not area.contains(event.screen_x, event.screen_y) or index is None or not self._items:
            return
        self._go(index)
        if event.chain == 2:
            self.action_open()

    def on_focus(self) -> None:
        """Show the cursor as the one that keys move."""
        self.changed()

    def on_blur(self) -> None:
        """Show the cursor as resting."""
        self.changed()

    # -- parts

    def _columns(self, cells: int) -> list[tuple[int, int]]:
        if self._widths[0] != cells:
            self._widths = (cells, column_widths(self.COLUMNS, cells))
        return self._widths[1]

    def _passes(self, item: T) -> bool:
        text = " ".join(_plain(cell) for cell in self.cells_of(item)).casefold()
        return all(word in text for word in self._words)

    def _find(self, key: str) -> int | None:
        return next((index for index, item in enumerate(self._items) if self.key_of(item) == key), None)

    def _go(self, index: int) -> None:
        self._place(index)
        self.changed()
        self._reveal()

    def _place(self, index: int) -> None:
        self._cursor = min(max(index, 0), max(len(self._items) - 1, 0))
        key = self.key_of(self._items[self._cursor]) if self._items else ""
        if key != self._key:
            self._key = key
            self.post_message(self.Moved(self, key))

    def _reveal(self) -> None:
        """Scroll so that the cursor's row is visible; the head covers the first row of the view."""
        room = self.size.height - self.has_head
        if room <= 0:
            return
        top = self.scroll_offset.y
        if self._cursor < top:
            self.scroll_to(y=self._cursor, animate=False, force=True)
        elif self._cursor >= top + room:
            self.scroll_to(y=self._cursor - room + 1, animate=False, force=True)


def _plain(cell: Cell) -> str:
    if isinstance(cell, Bars):
        return ""
    return cell.text if isinstance(cell, Span) else "".join(span.text for span in cell)


def _fitted(cell: Cell, size: int, *, right: bool) -> list[Span]:
    if isinstance(cell, Bars):
        return [Span(sparkline(cell.values, size, low=cell.low, high=cell.high), "spark")]
    if isinstance(cell, Span):
        return [Span(fit(cell.text, size, right=right), cell.style)]
    spans = cut_line(tuple(Span(safe(span.text), span.style) for span in cell), size)
    fill = Span(" " * (size - line_width(spans)))
    return [fill, *spans] if right else [*spans, fill]
