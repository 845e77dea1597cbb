"""Boxes share their lines, fill the frame, and give way in a fixed order where there is little room."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from textual.geometry import Region, Size

from rollcage.console.screens.fleet import arrange_fleet
from rollcage.console.screens.incident import arrange_incident
from rollcage.widgets.frame import Need, share, stack

NEEDS = st.lists(
    st.tuples(st.integers(1, 6), st.integers(0, 30), st.integers(0, 9), st.booleans()), min_size=1, max_size=8
)
FLEET = ("fleet", "metrics", "lifecycle", "locks", "incidents", "evidence", "phases", "options", "diff", "events")


def needs(rows: list[tuple[int, int, int, bool]]) -> list[Need]:
    return [
        Need(f"p{place}", least, max(least, want), keep, grow) for place, (least, want, keep, grow) in enumerate(rows)
    ]


@given(NEEDS, st.integers(0, 80))
def test_a_column_uses_all_its_lines_and_gives_each_panel_its_least(
    rows: list[tuple[int, int, int, bool]], height: int
) -> None:
    wanted = needs(rows)
    lines = share(height, wanted)
    if lines:
        assert sum(lines.values()) + len(lines) + 1 == height
    for need in wanted:
        assert need.panel not in lines or lines[need.panel] >= need.least
    assert list(lines) == [need.panel for need in wanted if need.panel in lines]


def test_where_there_is_no_room_what_matters_least_goes_first() -> None:
    wanted = [Need("a", 3, 3, keep=1), Need("b", 3, 3, keep=9), Need("c", 3, 3, keep=5)]
    assert set(share(13, wanted)) == {"a", "b", "c"}
    assert set(share(12, wanted)) == {"b", "c"}
    assert set(share(6, wanted)) == {"b"}
    assert share(4, wanted) == {}


def overlaps(boxes: list[Region]) -> bool:
    """Return whether the insides of two boxes overlap; their lines may be shared."""
    insides = [box.shrink((1, 1, 1, 1)) for box in boxes]
    return any(a.overlaps(b) for place, a in enumerate(insides) for b in insides[place + 1 :] if a.area and b.area)


WANTS = st.dictionaries(st.sampled_from(FLEET), st.integers(0, 60)).map(
    lambda wants: {**dict.fromkeys(FLEET, 0), **wants, "fleet": 5, "incidents": 2}
)


@given(WANTS, st.integers(20, 260), st.integers(4, 90))
def test_the_fleet_screen_has_a_place_for_its_panels_at_every_size(
    wants: dict[str, int], width: int, height: int
) -> None:
    boxes = arrange_fleet(Size(width, height), wants)
    area = Region(0, 0, width, height)
    assert all(area.contains_region(box) for box in boxes.values())
    assert not overlaps(list(boxes.values()))
    assert all(wants[panel] for panel in boxes)


@given(st.integers(20, 260), st.integers(8, 90), st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_so_has_the_screen_of_an_incident(width: int, height: int, options: int, phases: int, diff: int) -> None:
    wants = {"evidence": 12, "options": options, "phases": phases, "diff": diff, "decisions": 2}
    boxes = arrange_incident(Size(width, height), wants)
    assert all(Region(0, 0, width, height).contains_region(box) for box in boxes.values())
    assert not overlaps(list(boxes.values()))


WAITING = {
    "fleet": 6,
    "metrics": 11,
    "lifecycle": 3,
    "locks": 5,
    "incidents": 3,
    "evidence": 20,
    "options": 9,
    "diff": 9,
    "events": 10,
}


def test_80_by_24_shows_fleet_incident_cause_first_option_and_last_event() -> None:
    boxes = arrange_fleet(Size(80, 22), WAITING)
    assert list(boxes) == ["fleet", "incidents", "evidence", "options", "events"]
    assert boxes["fleet"].height - 2 == 6  # its head and all five agents


def test_a_wide_terminal_shows_evidence_and_diff_beside_the_options() -> None:
    boxes = arrange_fleet(Size(200, 58), WAITING)
    assert boxes["diff"].x == boxes["evidence"].x > boxes["options"].x == boxes["incidents"].x > boxes["fleet"].x


def test_a_portrait_terminal_stacks_all_panels() -> None:
    boxes = arrange_fleet(Size(60, 100), WAITING)
    assert set(boxes) == set(WAITING)
    assert {box.width for box in boxes.values()} == {60}


def test_a_stack_fills_its_area() -> None:
    boxes = stack(Region(3, 2, 20, 15), [Need("a", 2, 4), Need("b", 2, 4, grow=True)])
    assert boxes["a"].y == 2
    assert boxes["a"].bottom - 1 == boxes["b"].y
    assert boxes["b"].bottom == 17
