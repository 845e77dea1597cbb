"""What panels say of a board, read as text: they tell what is known, and ``-`` where nothing is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rollcage.core.board import Board, EngineView, TrackerView
from rollcage.core.model import AgentState, Health, Hold, OptionType, RiskLevel, RollbackState
from rollcage.widgets.effects import loses_text
from rollcage.widgets.evidence import evidence_lines
from rollcage.widgets.fleet import FleetPanel
from rollcage.widgets.lifecycle import lifecycle_lines
from rollcage.widgets.line_view import text_of
from rollcage.widgets.live_table import Bars
from rollcage.widgets.marks import agent_mark
from rollcage.widgets.options import held, option_lines, subject
from rollcage.widgets.phases import phase_lines
from rollcage.widgets.spans import Span, line_width
from rollcage.widgets.status import status_line
from rollcage.widgets.view import View
from tests import boards
from tests.boards import NOW

SITUATIONS = pytest.mark.parametrize("board", [make() for make in boards.SITUATIONS.values()], ids=boards.SITUATIONS)


def status(board: Board, cells: int = 120, *, read_only: bool = False) -> str:
    return text_of([status_line(View(board, NOW), cells, read_only=read_only)])


def test_the_first_line_says_who_must_do_something() -> None:
    text = status(boards.waiting())
    for part in ("shop@main 3f2a91c", "✖ CRITICAL 1", "1 needs you", "engine here", "14:02 UTC"):
        assert part in text


def test_nobody_is_told_that_all_is_well_where_nobody_looks() -> None:
    assert "all well" in status(boards.healthy())
    assert "all well" not in status(boards.empty())
    blind = replace(boards.healthy(), engine=EngineView())
    assert "not watched" in status(blind)
    assert "no engine" in status(blind)


def test_a_read_only_console_says_so() -> None:
    assert "read-only" in status(boards.healthy(), read_only=True)


def test_the_tracker_is_told_with_its_budget_and_what_waits() -> None:
    def told(tracker: TrackerView, cells: int = 120) -> str:
        return status(replace(boards.waiting(), tracker=tracker), cells)

    assert "engine here   github online 4,812/5,000" in told(TrackerView("github", True, 4812, 5000))
    assert "github offline 3 to send" in told(TrackerView("github", False, waiting=3))
    assert "github   " in told(TrackerView("github"))
    assert "tracker" not in status(boards.waiting())
    for cells in (60, 80):  # who has to settle something is told so before who carries decisions out
        text = told(TrackerView("github", True, 4812, 5000, conflicts=2), cells)
        assert ("2 in conflict" in text) >= ("engine here" in text)
        assert len(text) <= cells


@SITUATIONS
@pytest.mark.parametrize("cells", [20, 40, 80, 200])
def test_the_first_line_fits(board: Board, cells: int) -> None:
    assert line_width(status_line(View(board, NOW), cells)) <= cells


def cells(name: str, board: Board) -> list[str]:
    panel = FleetPanel()
    panel.pick(View(board, NOW))
    status = next(status for status in board.agents if status.name == name)
    found = []
    for cell in panel.cells_of(status):
        spans = () if isinstance(cell, Bars) else (cell,) if isinstance(cell, Span) else cell
        found.append("".join(span.text for span in spans))
    return found


def test_an_agent_in_trouble_is_known_by_glyph_and_word() -> None:
    assert cells("executor", boards.waiting()) == [
        "✖ executor",
        "executor",
        "‖ paused",
        "CRITICAL",
        "",
        "6.9 GB↑",
        "0.20",
        "1s",
    ]


def test_what_is_not_known_of_an_agent_is_a_dash() -> None:
    assert cells("retrospective", boards.waiting())[3:] == ["ok", "-", "- ", "-", "-"]


def test_what_holds_an_agent_goes_before_its_state() -> None:
    agent = boards.healthy().agents[1]
    words = {hold: agent_mark(replace(agent, hold=hold)).word for hold in Hold}
    assert words == {
        Hold.NONE: "running",
        Hold.WAITING: "waiting",
        Hold.STANDBY: "standby",
        Hold.PAUSED: "paused",
        Hold.STOPPED: "stopped",
    }
    assert len({agent_mark(replace(agent, state=state)) for state in AgentState}) == len(AgentState)


def test_the_worst_agents_stand_first() -> None:
    panel = FleetPanel()
    panel.pick(View(boards.thousand(), NOW))
    assert [status.health for status in panel.items[:4]] == [Health.CRITICAL] * 3 + [Health.HEALTHY]
    assert panel.key == "agent-0007"


def test_the_lifecycle_of_the_fleet_is_drawn_as_a_chain() -> None:
    first, second, third = text_of(lifecycle_lines(View(boards.waiting(), NOW), 120, 9)).split("\n")
    assert first == "planner ──────▶ analyzer ───▶ ✖ executor ──▶ monitor ────▶ retrospective"
    assert second.split() == ["✓", "completed", "◌", "standby", "‖", "paused", "◌", "standby", "○", "idle"]
    assert "for monitor" in third


def test_agents_that_wait_for_each_other_are_named() -> None:
    board = boards.healthy()
    agents = tuple(replace(a, depends_on=("monitor",)) if a.name == "planner" else a for a in board.agents)
    text = text_of(lifecycle_lines(View(replace(board, agents=agents), NOW), 120, 20))
    assert text.startswith("▲ they wait for each other")
    assert "after monitor" in text


@SITUATIONS
@pytest.mark.parametrize("cells", [20, 45, 100])
def test_lines_fit_their_panel(board: Board, cells: int) -> None:
    view = View(board, NOW)
    lines = list(lifecycle_lines(view, cells, 10))
    for item in board.incidents:
        lines += evidence_lines(item, view, cells)
        for choice in item.options:
            lines += option_lines(choice, view, cells)
    for rollback in board.rollbacks:
        lines += phase_lines(rollback, view, cells)
    assert all(line_width(line) <= max(cells, 24) for line in lines)


def test_the_evidence_names_the_culprit_and_why() -> None:
    text = text_of(list(evidence_lines(boards.waiting().incidents[0], View(boards.waiting(), NOW), 110)))
    for part in ("a41be07 0.97  executor", "tidy add", "passes on its parent, 3 of 3 each"):
        assert part in text
    for part in ("last good 81c0d2e", "verdict   act", "suspect   b7710fe 0.02"):
        assert part in text


def test_while_it_is_being_looked_for_it_says_how_far_it_is() -> None:
    board = boards.diagnosing()
    text = text_of(list(evidence_lines(board.incidents[0], View(board, NOW), 110)))
    assert "searching: 3 of about 5 check runs" in text
    assert "culprit" not in text


def test_an_option_says_what_it_takes_back_and_loses() -> None:
    first, second, third, last = boards.options()
    assert [subject(item) for item in (first, second, third, last)] == [
        "calc.py +1 −1",
        "a41be07 +2 −6",
        "3 commits +2 −6",
        "loses 2 commits +2 −6",
    ]
    assert loses_text(first) == ("nothing", "")
    assert loses_text(last) == ("lose 2 commits", "critical")


@pytest.mark.parametrize(
    ("passed", "conflicts", "found"),
    [(True, (), True), (None, (), None), (False, (), False), (True, ("calc.py",), False)],
)
def test_a_rehearsal_holds_only_where_it_applies_and_every_check_passes(
    passed: bool | None, conflicts: tuple[str, ...], found: bool | None
) -> None:
    option = boards.option(1, OptionType.SINGLE_COMMIT, RiskLevel.LOW, 1, 2.0, passed=passed, conflicts=conflicts)
    assert held(option.option.rehearsal) is found


def test_the_phases_show_what_is_done_is_being_done_and_is_to_come() -> None:
    board = boards.rolling_back()
    lines = text_of(list(phase_lines(board.rollbacks[0], View(board, NOW), 118))).split("\n")
    assert lines[0].startswith("FILE_SELECTIVE calc.py +1 −1")
    assert lines[0].endswith("4.2s of about 4.2s")
    assert lines[1] == "1 make safe   ✓ stop agent executor 0.3s   ✓ stand by 0.3s"
    assert lines[2] == "3 roll back   ✓ snapshot 0.3s   ✓ commit 0.3s   ✓ publish 0.3s   ● checks"
    assert lines[3] == "4 verify      · verify   · restart agent executor   · metrics executor   · resume others"


def test_a_rollback_that_ended_says_how_and_where_the_branch_is() -> None:
    board = boards.recovered()
    text = text_of(list(phase_lines(board.rollbacks[0], View(board, NOW), 118)))
    assert "✓ done, verified   3f2a91c → 9d02c44   approved by you@host" in text
    assert "others stood by for 8.5s" in text
    failed = replace(
        board.rollbacks[0],
        rollback=replace(board.rollbacks[0].rollback, state=RollbackState.FAILED, note="publish: index.lock is held"),
    )
    assert "✖ failed" in text_of(list(phase_lines(failed, View(board, NOW), 118)))
    assert "index.lock is held" in text_of(list(phase_lines(failed, View(board, NOW), 118)))


def test_an_incident_that_ended_is_news_for_a_quarter_of_an_hour() -> None:
    board = boards.recovered()
    assert View(board, NOW).recent
    assert not View(board, NOW + timedelta(minutes=16)).recent
    assert View(boards.waiting(), NOW + timedelta(days=3)).recent
