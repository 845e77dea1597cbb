"""The main screen: is all well; if not, who, since when, why, what can be done, what would it cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from textual.geometry import Region, Size
from textual.widget import Widget

from ...widgets.diff import DiffPanel
from ...widgets.events import EventsPanel
from ...widgets.evidence import EvidencePanel
from ...widgets.fleet import FleetPanel
from ...widgets.frame import Need, stack
from ...widgets.incidents import IncidentsPanel
from ...widgets.lifecycle import LifecyclePanel
from ...widgets.locks import LocksPanel
from ...widgets.metrics import MetricsPanel
from ...widgets.options import OptionsPanel
from ...widgets.phases import PhasesPanel
from .base import BoardScreen

ONE_COLUMN, TWO_COLUMNS = 100, 160
"""Narrower than the first: one column; narrower than the second: two; else three."""
LOW = 16
"""Lower than this one column shows only the worst agents, so that the incident is seen too, and two have no events."""
TALL = 34
"""Lower than this one column shows nothing beside an incident but the fleet and the events."""

# Panel: lines without which it is not worth its frame, and what stays longest where there is little room.
_LEAST = {
    "fleet": (6, 9),
    "incidents": (2, 8),
    "phases": (3, 7),
    "options": (4, 6),
    "events": (1, 5),
    "evidence": (2, 4),
    "lifecycle": (2, 3),
    "locks": (2, 2),
    "metrics": (3, 1),
    "diff": (4, 0),
}
_MOST = {"fleet": 24, "incidents": 10, "metrics": 16, "locks": 10, "lifecycle": 14, "options": 16, "evidence": 24}
COLUMN_ORDER = (
    "fleet",
    "incidents",
    "evidence",
    "phases",
    "options",
    "lifecycle",
    "locks",
    "metrics",
    "diff",
    "events",
)


def _need(panel: str, wants: Mapping[str, int], *, grow: bool = False) -> Need:
    least, keep = _LEAST[panel]
    want = wants[panel] if grow else min(wants[panel], _MOST.get(panel, wants[panel]))
    return Need(panel, min(least, max(want, 1)), want, keep, grow)


def _column(panels: Iterable[str], wants: Mapping[str, int], grow: Iterable[str]) -> list[Need]:
    growing = set(grow)
    return [_need(panel, wants, grow=panel in growing) for panel in panels if wants.get(panel)]


def _height(needs: list[Need]) -> int:
    return sum(need.want for need in needs) + len(needs) + 1


def arrange_fleet(size: Size, wants: Mapping[str, int]) -> dict[str, Region]:
    """Return the boxes of the main screen for a frame of ``size``, by the lines that each panel wants."""
    area = size.region
    if size.width < ONE_COLUMN:
        if size.height < LOW:
            wants = {**wants, "fleet": min(wants["fleet"], 3)}
        hidden = {"diff"} if size.height < 60 else set()
        if wants.get("evidence") and size.height < TALL:
            hidden |= {"lifecycle", "locks", "metrics"}  # what went wrong and the way out need the room
        panels = [panel for panel in COLUMN_ORDER if panel not in hidden]
        return stack(area, _column(panels, wants, ["events"]))
    quiet = not wants.get("evidence")
    if size.width < TWO_COLUMNS:
        # Where nothing is wrong the right side has room for the metrics.
        left = ["fleet", "lifecycle", "locks"] if quiet else ["fleet", "metrics", "lifecycle", "locks"]
        right = ["incidents", "metrics"] if quiet else ["incidents", "evidence", "phases", "options"]
        columns = [left, right]
        shares = [0.57, 0.43]
    else:
        left = ["fleet", "metrics", "lifecycle", "locks"]
        columns = [left, ["incidents", "phases", "options"], ["evidence", "diff"]]
        shares = [0.40, 0.30, 0.30]
        if quiet:
            columns, shares = [["fleet", "lifecycle", "locks"], ["incidents", "metrics"]], [0.55, 0.45]
    needs = [_column(column, wants, _growing(column, wants)) for column in columns]
    needs = [column for column in needs if column]
    events = _need("events", wants, grow=True) if wants.get("events") and size.height >= LOW else None
    least = min(max(size.height // 5, 3), 12) if events else 0
    room = size.height - (least + 1 if events else 0)
    top = min(max(_height(column) for column in needs), room) if events else size.height
    boxes: dict[str, Region] = {}
    x = 0
    for place, column in enumerate(needs):
        last = place == len(needs) - 1
        right_edge = size.width if last else x + round(size.width * shares[place])
        boxes |= stack(Region(x, 0, right_edge - x, top), column)
        x = right_edge - 1
    if events:
        boxes["events"] = Region(0, top - 1, size.width, size.height - top + 1)
    return boxes


def _growing(column: list[str], wants: Mapping[str, int]) -> list[str]:
    """Return the panel of a column that takes what is to spare: the one that most often has more to say."""
    for panel in ("diff", "options", "phases", "metrics", "evidence", "locks"):
        if panel in column and wants.get(panel):
            return [panel]
    return []


class FleetScreen(BoardScreen):
    """The fleet, its incidents, and the way out of them."""

    FIRST: ClassVar[str] = "fleet"

    def make_panels(self) -> Iterable[Widget]:
        """See `BoardScreen.make_panels`."""
        return [
            FleetPanel(),
            MetricsPanel(),
            LifecyclePanel(),
            LocksPanel(),
            IncidentsPanel(),
            EvidencePanel(),
            PhasesPanel(),
            OptionsPanel(),
            DiffPanel(),
            EventsPanel(),
        ]

    def boxes_for(self, size: Size, wants: Mapping[str, int]) -> dict[str, Region]:
        """See `BoardScreen.boxes_for`."""
        return arrange_fleet(size, wants)
