"""What an option would change, line by line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.widget import Widget

from ...widgets.diff import DiffView, diff_summary
from ...widgets.spans import Line, Span
from ...widgets.view import View, find_option
from .base import BoardScreen


class _Whole(DiffView):
    """The diff of one option, whatever is picked elsewhere."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "file(1)", "Next file", show=False),
        Binding("p", "file(-1)", "Last file", show=False),
    ]

    def __init__(self, option: str) -> None:
        super().__init__(id="diff")
        self._option = option
        self._summary = ""

    def pick(self, view: View) -> View:
        """See `Panel.pick`."""
        return view

    def show(self, view: View) -> None:
        """See `Panel.show`."""
        found = find_option(view.board, self._option)
        if found is None:
            self._summary = "is gone"
            self.show_diff("", f"{self._option} is gone: its incident was diagnosed anew")
            return
        self._summary = diff_summary(found[1].plan.diff)
        self.show_diff(found[1].plan.diff, f"{self._option} changes no code")

    def title(self) -> Line:
        """See `Panel.title`."""
        return (Span(f"Diff of {self._option}  {self._summary}   n next file, p previous"),)

    def wanted(self) -> int:
        """See `Panel.wanted`."""
        return self.total()


class DiffScreen(BoardScreen):
    """One diff, on the whole screen."""

    FIRST: ClassVar[str] = "diff"

    def __init__(self, option: str) -> None:
        """Take the option's id."""
        self.option = option
        super().__init__()

    def make_panels(self) -> Iterable[Widget]:
        """See `BoardScreen.make_panels`."""
        return [_Whole(self.option)]

    def picked(self, view: View) -> View:
        """See `BoardScreen.picked`."""
        found = find_option(view.board, self.option)
        return replace(view, option=self.option, incident=found[0].incident.id) if found else view

    def boxes_for(self, size: Size, wants: Mapping[str, int]) -> dict[str, Region]:
        """See `BoardScreen.boxes_for`."""
        return {"diff": size.region}
