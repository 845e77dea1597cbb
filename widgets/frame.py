"""A frame around panels: boxes that share their lines, with titles in them, drawn as one background.

The boxes are computed by a plain function of the size and of what the panels want, so that a screen keeps still while
nothing changes and finds its shape again at once when the terminal is resized.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from rich.segment import Segment
from textual import events
from textual.app import ComposeResult
from textual.geometry import NULL_OFFSET, NULL_SPACING, Region, Size
from textual.layout import ArrangeResult, Layout, WidgetPlacement
from textual.strip import Strip
from textual.widget import Widget

from ..themes.looks import look_of
from .line_view import LineView
from .spans import EMPTY, Line, cut_line, line_width, safe
from .view import Panel, View

ROOMY = 40
"""From this width on a box has a blank column at its left."""
_NORTH, _EAST, _SOUTH, _WEST = 1, 2, 4, 8
GLYPHS = " ╵╶╰╷│╭├╴╯─┴╮┤┬┼"
"""Box-drawing characters by the directions that meet in them: north 1, east 2, south 4, west 8."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a panel needs of a column: lines of content, without the frame."""

    panel: str
    least: int
    """With fewer lines it is left out."""
    want: int
    keep: int = 0
    """Where there is no room for all, the lowest goes first."""
    grow: bool = False
    """Takes what is to spare."""


def share(height: int, needs: Sequence[Need]) -> dict[str, int]:
    """Return the lines of content that each panel of a column gets; a frame line stands above, below and between."""
    kept = list(needs)
    while kept and sum(need.least for need in kept) + len(kept) + 1 > height:
        kept.remove(min(kept, key=lambda need: need.keep))
    lines = {need.panel: need.least for need in kept}
    spare = height - sum(lines.values()) - len(kept) - 1
    by_weight = sorted(kept, key=lambda need: -need.keep)
    while spare > 0:
        hungry = [need for need in by_weight if lines[need.panel] < need.want]
        if not hungry:
            break
        for need in hungry[:spare]:
            lines[need.panel] += 1
        spare -= len(hungry[:spare])
    growing = [need for need in kept if need.grow] or kept[-1:]
    for place, need in enumerate(growing):
        if spare > 0:
            lines[need.panel] += spare // len(growing) + (place < spare % len(growing))
    return lines


def stack(area: Region, needs: Sequence[Need]) -> dict[str, Region]:
    """Return the boxes of a column that fills ``area``, from top to bottom, sharing their lines."""
    boxes, y = {}, area.y
    for panel, lines in share(area.height, needs).items():
        boxes[panel] = Region(area.x, y, area.width, lines + 2)
        y += lines + 1
    return boxes


Arrange = Callable[[Size, Mapping[str, int]], dict[str, Region]]
"""From the size of the frame and the lines that each panel wants to the box of each panel shown, frame included."""


def inside(box: Region) -> Region:
    """Return where the content of a box goes: within its lines, and with a margin where there is room for one."""
    return box.shrink((1, 1, 1, 2 if box.width >= ROOMY else 1))


class _Boxes(Layout):
    """Places each panel inside its box; a panel without a box is not shown."""

    name = "boxes"

    def arrange(self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True) -> ArrangeResult:
        frame = cast("Frame", parent)
        boxes = frame.boxes(size)
        return [
            WidgetPlacement(inside(boxes[child.id]), NULL_OFFSET, NULL_SPACING, child)
            for child in children
            if child.id in boxes
        ]


class Frame(Widget):
    """Holds panels, each a widget with an id that is also a `Panel`."""

    DEFAULT_CSS = """
    Frame { width: 1fr; height: 1fr; background: $background; }
    """

    def __init__(self, panels: Iterable[Widget], arrange: Arrange, *, id: str | None = None) -> None:  # noqa: A002
        """Take the panels in the order of Tab, and the function that finds their boxes."""
        super().__init__(id=id)
        self._panels = list(panels)
        self._find_boxes = arrange
        self._boxes: dict[str, Region] = {}
        self._key: object = None
        self._masks: list[list[int]] = []
        self._masks_of: Size | None = None
        self._view: View | None = None
        self._titles: dict[str, Line] = {}
        self.first = ""
        """The panel that gets the focus where none has it."""
        self.alone = ""
        """The only panel to show; empty: all that fit."""
        self._placing = _Boxes()

    @property
    def layout(self) -> Layout:
        """See `Widget.layout`: always ours."""
        return self._placing

    def compose(self) -> ComposeResult:
        """Yield the panels."""
        yield from self._panels

    @property
    def panels(self) -> Mapping[str, Panel]:
        """The panels by id."""
        return {panel.id: cast("Panel", panel) for panel in self._panels if panel.id}

    @property
    def shown(self) -> frozenset[str]:
        """The ids of the panels that have a box now."""
        return frozenset(self._boxes)

    def box(self, panel: str) -> Region | None:
        """Return the box of a panel, relative to the frame."""
        return self._boxes.get(panel)

    def show(self, view: View) -> View:
        """Give all panels a new moment; find the boxes again where a panel wants another size.

        Return the view with what is picked now. What a panel picks, the panels behind it see.
        """
        view = self.pick(view)
        for panel in self.panels.values():
            panel.show(view)
        self._view = view
        self.refit()
        return view

    def pick(self, view: View) -> View:
        """Return the view with what the cursors are on at this moment."""
        for panel in self.panels.values():
            view = panel.pick(view)
        return view

    def foresee(self, size: Size) -> None:
        """Find the boxes for the ``size`` that the frame will have, so that the first picture is the right one."""
        for _ in range(2):  # what a panel wants may depend on its width
            self._place(size)
            for panel in self._panels:
                box = self._boxes.get(panel.id or "")
                if box is None:
                    continue
                for part in (panel, *panel.query(LineView)):
                    if isinstance(part, LineView):
                        part.expected = inside(box).width
            if self._view is not None:
                for item in self.panels.values():
                    item.show(self._view)
        self._titles = {panel: self.panels[panel].title() for panel in self._boxes}
        self._sync()

    def show_alone(self, panel: str) -> None:
        """Show one panel alone, or all again where it is alone already or ``panel`` is empty."""
        self.alone = "" if panel == self.alone else panel
        self.refit()

    def refit(self) -> None:
        """Repaint titles that changed; lay out again where the boxes did."""
        if self.size:
            before = self._boxes
            if self.boxes(self.size) != before:
                self.refresh(layout=True)
        for panel, box in self._boxes.items():
            title = self.panels[panel].title()
            if self._titles.get(panel) != title:
                self._titles[panel] = title
                self.refresh(Region(box.x, box.y, box.width, 1))

    def boxes(self, size: Size) -> dict[str, Region]:
        """Return the boxes for a frame of ``size``; the same dictionary as long as nothing changes."""
        if self._find_key(size) != self._key and self._place(size):
            self.call_later(self._sync)
        return self._boxes

    def _find_key(self, size: Size) -> object:
        return (size, self.alone, *(item.wanted() for item in self.panels.values()))

    def _place(self, size: Size) -> bool:
        """Find the boxes again; return whether they are others now."""
        self._key = self._find_key(size)
        wants = {panel: item.wanted() for panel, item in self.panels.items()}
        boxes = {self.alone: size.region} if self.alone else self._find_boxes(size, wants)
        if boxes == self._boxes and self._masks_of == size:
            return False
        self._boxes, self._masks_of = boxes, size
        self._masks = _masks(size, boxes.values())
        return True

    def _sync(self) -> None:
        """Take panels without a box out of the Tab order, and the focus off them."""
        for panel in self._panels:
            shown = panel.id in self._boxes
            if panel.display != shown:
                panel.display = shown
        self.focus_somewhere()
        self.refresh()

    def focus_somewhere(self) -> None:
        """Give the focus to a panel where none has it that is shown."""
        focused = self.screen.focused
        if (focused is None or not focused.focusable) and not self.focus_panel(self.first):
            any(self.focus_panel(panel) for panel in self._boxes)

    def focus_panel(self, panel: str) -> bool:
        """Move the focus to a panel; return whether it is shown and takes the focus."""
        widget = next((item for item in self._panels if item.id == panel and panel in self._boxes), None)
        if widget is None:
            return False
        targets = [widget, *widget.query("*").results(Widget)]
        target = next((item for item in targets if item.focusable), None)
        if target is None:
            return False
        self.screen.set_focus(target)
        return True

    @property
    def focused_panel(self) -> str:
        """The id of the panel that has the focus, or holds what has it."""
        node = self.screen.focused if self.is_attached else None
        while isinstance(node, Widget):
            if node.id in self._boxes and node.parent is self:
                return node.id
            node = cast("Widget | None", node.parent)
        return ""

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Light up the box of the panel that got the focus."""
        self._edges_changed()

    def on_descendant_blur(self, event: events.DescendantBlur) -> None:
        """Let the box of the panel go back that lost the focus."""
        self._edges_changed()

    def _edges_changed(self) -> None:
        for box in self._boxes.values():
            self.refresh(
                Region(box.x, box.y, box.width, 1),
                Region(box.x, box.bottom - 1, box.width, 1),
                Region(box.x, box.y, 1, box.height),
                Region(box.right - 1, box.y, 1, box.height),
            )

    def on_click(self, event: events.Click) -> None:
        """Focus the panel whose frame was clicked; a click inside a panel comes here too, with the panel's own x, y."""
        x, y = event.screen_x - self.region.x, event.screen_y - self.region.y
        for panel, box in self._boxes.items():
            if box.contains(x, y):
                self.focus_panel(panel)
                return

    def render_line(self, y: int) -> Strip:
        """Return a row of the frame; where panels are it stays blank."""
        look = look_of(self.app.current_theme.name)
        base = self.rich_style
        width = self.size.width
        if y >= len(self._masks):
            return Strip.blank(width, base)
        glyphs = [GLYPHS[mask] for mask in self._masks[y]]
        styles = ["frame"] * len(glyphs)
        focused = self.focused_panel
        lit = self._boxes.get(focused)
        if lit is not None and lit.y <= y < lit.bottom:
            edge = y in {lit.y, lit.bottom - 1}
            for x in range(lit.x, lit.right) if edge else (lit.x, lit.right - 1):
                styles[x] = "frame-focus"
        starts = {box.x: panel for panel, box in self._boxes.items() if box.y == y}
        segments: list[Segment] = []
        x = 0
        while x < len(glyphs):
            panel = starts.get(x - 2)
            title = self._title(panel, look_focus=panel == focused) if panel else EMPTY
            if title:
                segments += [Segment(span.text, base + look.styles[span.style]) for span in title]
                x += line_width(title)
                continue
            end = x + 1
            while end < len(glyphs) and styles[end] == styles[x] and starts.get(end - 2) is None:
                end += 1
            segments.append(Segment("".join(glyphs[x:end]), base + look.styles[styles[x]]))
            x = end
        return Strip(segments).adjust_cell_length(width, base)

    def _title(self, panel: str, *, look_focus: bool) -> Line:
        title = self._titles.get(panel) or self.panels[panel].title()
        box = self._boxes[panel]
        room = box.width - 6
        if not title or room < 3:
            return EMPTY
        spans = [span._replace(text=safe(span.text)) for span in cut_line(title, room)]
        first = "title-focus" if look_focus else "title"
        spans[0] = spans[0]._replace(text=f" {spans[0].text}", style=spans[0].style or first)
        spans[-1] = spans[-1]._replace(text=f"{spans[-1].text} ")
        return tuple(span._replace(style=span.style or first) for span in spans)


def _masks(size: Size, boxes: Iterable[Region]) -> list[list[int]]:
    """Return for each cell of the frame in which directions lines leave it."""
    masks = [[0] * size.width for _ in range(size.height)]

    def join(x: int, y: int, mask: int) -> None:
        if 0 <= x < size.width and 0 <= y < size.height:
            masks[y][x] |= mask

    for box in boxes:
        right, bottom = box.right - 1, box.bottom - 1
        for x in range(box.x, right):
            for y in (box.y, bottom):
                join(x, y, _EAST)
                join(x + 1, y, _WEST)
        for y in range(box.y, bottom):
            for x in (box.x, right):
                join(x, y, _SOUTH)
                join(x, y + 1, _NORTH)
    return masks
