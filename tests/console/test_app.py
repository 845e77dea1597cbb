"""The console as its operator meets it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from textual.screen import Screen

from rollcage.console.actions import ACTIONS, BY_ID
from rollcage.core.board import EngineView
from rollcage.core.config import ConsoleSettings
from rollcage.core.errors import UsageError
from rollcage.core.model import Hold, IncidentState
from tests import boards
from tests.console.stage import stage

HASH = "7c1f1" + "e" * 59


class TestLooking:
    """What is wrong, who did it, and what can be done are seen without a key."""

    async def test_one_glance_tells_who_why_and_what_can_be_done(self) -> None:
        async with stage() as it:
            for part in (
                "✖ CRITICAL 1",
                "1 needs you",
                "✖ executor",
                "a41be07 0.97",
                "1 FILE_SELECTIVE",
                "A approve",
            ):
                assert part in it.picture

    @pytest.mark.parametrize("situation", boards.SITUATIONS)
    async def test_every_situation_has_a_screen_at_every_size(self, situation: str) -> None:
        async with stage(boards.SITUATIONS[situation]()) as it:
            for width, height in ((80, 24), (200, 60), (60, 90), (20, 5), (1, 1), (160, 12)):
                await it.pilot.resize_terminal(width, height)
                await it.settle()
                assert "rollc" in it.picture or width < 10

    async def test_a_resize_finds_another_shape_at_once(self) -> None:
        async with stage() as it:
            assert "Metrics" in it.picture
            await it.pilot.resize_terminal(80, 24)
            await it.settle()
            assert "Metrics" not in it.picture
            assert "FILE_SELECTIVE" in it.picture
            await it.pilot.resize_terminal(200, 60)
            await it.settle()
            assert "Diff of opt-12.1" in it.picture

    async def test_a_new_board_shows_at_once(self) -> None:
        async with stage(boards.healthy()) as it:
            assert "all well" in it.picture
            await it.give(boards.waiting())
            assert "✖ CRITICAL 1" in it.picture

    async def test_what_is_picked_stays_picked_when_the_board_changes(self) -> None:
        async with stage() as it:
            await it.press("g", "o", "down", "down")
            assert it.app.selection().option == "opt-12.3"
            board = boards.waiting()
            first = board.incidents[0]
            fewer = replace(board, incidents=(replace(first, options=first.options[1:]), *board.incidents[1:]))
            await it.give(fewer)
            assert it.app.selection().option == "opt-12.3"

    async def test_another_incident_begins_with_its_best_option(self) -> None:
        board = boards.waiting()
        first = board.incidents[0]
        options = tuple(
            replace(item, option=replace(item.option, id=f"opt-13.{place}", incident="inc-13"))
            for place, item in enumerate(first.options, 1)
        )
        other = replace(first, incident=replace(first.incident, id="inc-13"), options=options)
        async with stage(replace(board, incidents=(first, other))) as it:
            await it.press("g", "o", "end")
            assert it.app.selection().option == "opt-12.4"
            await it.press("g", "i", "down")
            assert it.app.selection().option == "opt-13.1"

    async def test_a_new_incident_does_not_pull_the_cursor_from_one_that_is_open(self) -> None:
        async with stage() as it:
            board = boards.waiting()
            newer = replace(board.incidents[0], incident=replace(boards.incident(), id="inc-13"), options=())
            await it.give(replace(board, incidents=(newer, *board.incidents), needs_you=2))
            assert it.app.selection().incident == "inc-12"

    async def test_but_from_one_that_has_ended(self) -> None:
        async with stage(boards.healthy()) as it:
            assert it.app.selection().incident == "inc-11"
            await it.give(boards.waiting())
            assert it.app.selection().incident == "inc-12"

    async def test_tab_and_numbers_and_jump_go_to_panels(self) -> None:
        async with stage() as it:
            assert it.app.selection().panel == "fleet"
            await it.press("tab")  # Tab goes by rows, as one reads
            assert it.app.selection().panel == "incidents"
            await it.press("g", "e")
            assert it.app.selection().panel == "events"
            await it.press("4")
            assert it.app.selection().panel == "incidents"
            assert "Fleet" not in it.picture
            await it.press("4")
            assert "Fleet" in it.picture

    async def test_a_filter_shows_matching_rows_until_it_is_dropped(self) -> None:
        async with stage() as it:
            await it.press("slash")
            await it.type("analy")
            await it.press("enter")
            assert "Fleet 1 of 5 /analy" in it.picture
            assert it.app.selection().agent == "analyzer"
            await it.press("slash", "escape")
            assert "Fleet 5" in it.picture

    async def test_rows_open_in_full_and_close_again(self) -> None:
        async with stage(boards.recovered()) as it:
            for keys, screen in (
                (["enter"], "AgentScreen"),
                (["g", "i", "enter"], "IncidentScreen"),
                (["g", "r", "enter"], "RollbackScreen"),
                (["g", "e", "enter"], "AuditScreen"),
                (["g", "w", "enter"], "IncidentScreen"),
                (["d"], "DiffScreen"),
                (["h"], "AuditScreen"),
            ):
                await it.press(*keys)
                assert it.screen == screen
                assert "q back" in it.picture
                await it.press("q")
                assert it.screen == "FleetScreen"

    async def test_the_help_lists_every_action_and_why_some_cannot_be_had(self) -> None:
        async with stage(size=(120, 70)) as it:
            await it.press("question_mark")
            for action in ACTIONS:
                assert action.description in it.picture
            assert "(nothing was rolled back)" in it.picture

    async def test_commands_find_an_action_by_its_name(self) -> None:
        async with stage() as it:
            await it.press("colon")
            await it.type("history")
            await it.press("enter")
            assert it.screen == "AuditScreen"

    async def test_the_theme_changes_and_with_it_every_panel(self) -> None:
        async with stage() as it:
            await it.press("t")
            assert it.app.theme == "rollcage-light"
            await it.press("t", "t")
            assert it.app.theme == "rollcage-dark"

    async def test_ages_grow_while_the_board_stands_still(self) -> None:
        async with stage() as it:
            it.clock.advance(300)
            it.app.show_all()
            assert " 5m" in it.picture

    async def test_copying_takes_what_is_picked_in_the_panel(self) -> None:
        async with stage() as it:
            await it.press("y")
            assert it.app.clipboard == "executor"
            await it.press("g", "o", "y")
            assert it.app.clipboard == "opt-12.1"

    async def test_warnings_about_rollcage_itself_stand_above_all(self) -> None:
        async with stage(replace(boards.healthy(), warnings=("settings are not trusted", "two"))) as it:
            assert "▲ settings are not trusted  (and 1 more" in it.picture


class TestSending:
    """A line is spared: what is as it was is not sent again."""

    async def test_the_same_board_sends_nothing_and_one_value_a_few_hundred_bytes(self) -> None:
        async with stage() as it:
            sent: list[int] = []
            display = it.app._display

            def counted(screen: Screen[Any], renderable: Any) -> None:
                if renderable is not None:
                    sent.append(len(renderable.render_segments(it.app.console).encode()))
                display(screen, renderable)

            it.app._display = counted  # type: ignore[method-assign]
            await it.give(boards.waiting())
            it.clock.advance(1)
            it.app.show_all()
            await it.settle()
            assert sum(sent) < 1_500  # some ages went on by a second
            sent.clear()
            it.app.show_all()
            await it.settle()
            assert sent == []
            agents = boards.waiting().agents
            one = tuple(replace(agent, memory=1.1e9) if agent.name == "analyzer" else agent for agent in agents)
            await it.give(replace(boards.waiting(), agents=one))
            assert 0 < sum(sent) < 600

    async def test_a_flood_of_boards_is_shown_as_its_last(self) -> None:
        async with stage() as it:
            for number in range(500):
                agents = tuple(replace(agent, memory=1e9 + number * 1e8) for agent in boards.waiting().agents)
                it.source.give(replace(boards.waiting(), agents=agents))
            last = it.source.board
            while it.app.board != last:
                await it.pilot.pause(0.01)
            await it.settle()
            assert "50.9 GB" in it.picture


class TestApproving:
    """The default answer is Cancel, and what is approved is what was shown."""

    async def test_a_low_risk_is_run_by_one_more_key(self) -> None:
        async with stage() as it:
            await it.press("A")
            assert it.screen == "ApprovalScreen"
            for part in (
                "why",
                "changes   calc.py +1 −1",
                "loses     nothing",
                "tests passed",
                "plan 7c1f1eee",
                "you@host",
            ):
                assert part in it.picture
            await it.press("A")
            assert it.operator.wishes == [("approve", "opt-12.1", HASH, "")]
            assert it.told == ["opt-12.1 is approved"]

    async def test_a_key_typed_ahead_approves_nothing_that_nobody_saw(self) -> None:
        async with stage() as it:
            await it.press("g", "o")
            it.type_ahead("down", "A", "A")
            await it.settle()
            assert it.screen == "ApprovalScreen"
            assert "Approve opt-12.2" in it.picture  # and the cursor was followed at once
            assert it.operator.wishes == []
            await it.press("A")
            assert it.operator.wishes[0][:2] == ("approve", "opt-12.2")

    async def test_nor_stops_it_an_agent(self) -> None:
        async with stage() as it:
            it.type_ahead("S", "S")
            await it.settle()
            assert it.screen == "ConfirmScreen"
            assert it.operator.wishes == []

    @pytest.mark.parametrize("key", ["enter", "escape", "q"])
    async def test_enter_escape_and_q_cancel(self, key: str) -> None:
        async with stage() as it:
            await it.press("A", key)
            assert it.screen == "FleetScreen"
            assert it.operator.wishes == []

    async def test_a_high_risk_needs_a_second_key(self) -> None:
        async with stage() as it:
            await it.press("g", "o", "down", "down", "A", "A")
            assert it.operator.wishes == []
            assert "risk HIGH" in it.picture
            await it.press("A")  # any other key goes back
            assert it.operator.wishes == []
            await it.press("A", "Y")
            assert it.operator.wishes == [("approve", "opt-12.3", "7c1f3" + "e" * 59, "")]

    async def test_a_critical_risk_needs_the_words_that_say_what_is_lost(self) -> None:
        async with stage() as it:
            await it.press("g", "o", "end", "A", "A")
            await it.type("yes")
            await it.press("enter")
            assert it.operator.wishes == []
            await it.press(*["backspace"] * 3)
            await it.type("lose 2 commits")
            await it.press("enter")
            assert it.operator.wishes == [("approve", "opt-12.4", "7c1f4" + "e" * 59, "lose 2 commits")]

    async def test_a_plan_that_changes_while_it_is_looked_at_cannot_be_approved(self) -> None:
        async with stage() as it:
            await it.press("A")
            board = boards.waiting()
            first = board.incidents[0]
            other = first.options[0]
            changed = replace(
                other, option=replace(other.option, plan_hash="beef"), plan=replace(other.plan, plan_hash="beef")
            )
            view = replace(first, options=(changed, *first.options[1:]))
            await it.give(replace(board, incidents=(view, *board.incidents[1:])))
            assert "the plan has changed" in it.picture
            await it.press("A", "right", "enter")
            assert it.operator.wishes == []

    async def test_nor_one_that_somebody_else_decided_meanwhile(self) -> None:
        async with stage() as it:
            await it.press("A")
            await it.give(boards.rolling_back())
            assert "inc-12 is rolling back" in it.picture
            await it.press("A")
            assert it.operator.wishes == []

    async def test_a_branch_that_moved_is_said(self) -> None:
        async with stage(replace(boards.waiting(), head="f" * 40)) as it:
            await it.press("A")
            assert "main moved 3f2a91c → fffffff since" in it.picture

    async def test_a_refusal_is_shown_as_one_line(self) -> None:
        async with stage() as it:
            it.operator.refusal = "the plan of opt-12.1 is now\nanother"
            await it.press("A", "A")
            assert it.told == ["the plan of opt-12.1 is now another"]

    async def test_without_an_engine_the_decision_waits_and_says_so(self) -> None:
        async with stage(replace(boards.waiting(), engine=EngineView())) as it:
            await it.press("A", "A")
            assert it.told == ["opt-12.1 is approved; no engine runs now, it waits for one"]

    async def test_what_cannot_be_approved_says_why(self) -> None:
        async with stage(boards.diagnosing()) as it:
            await it.press("A")
            assert it.screen == "FleetScreen"
            assert it.told == ["approve: no option is picked"]

    async def test_an_escalated_incident_can_still_be_decided(self) -> None:
        board = boards.waiting()
        view = replace(board.incidents[0], incident=boards.incident(IncidentState.ESCALATED))
        async with stage(replace(board, incidents=(view,))) as it:
            await it.press("A", "A")
            assert it.operator.wishes

    async def test_rejecting_takes_a_reason_and_a_second_key(self) -> None:
        async with stage() as it:
            await it.press("R", "tab")
            await it.press("shift+tab", "shift+tab")
            await it.type("flaky test")
            await it.press("enter", "R")
            assert it.operator.wishes == [("reject", "opt-12.1", "flaky test")]


class TestActing:
    """What changes the world is upper-case, asks again, and is gone in a read-only console."""

    async def test_stopping_an_agent_asks_and_names_it(self) -> None:
        async with stage() as it:
            await it.press("S")
            assert "Stop executor?" in it.picture
            assert "q quit" in it.picture  # the screen below is still the main one
            await it.press("enter")
            assert it.operator.wishes == []
            await it.press("S", "S")
            assert it.operator.wishes == [("stop", "executor")]

    async def test_stopping_all_takes_two_steps(self) -> None:
        async with stage() as it:
            await it.press("exclamation_mark")
            assert "Stop all agents?" in it.picture
            await it.press("exclamation_mark")
            ((wish, *agents),) = it.operator.wishes
            assert wish == "stop all"
            assert sorted(map(str, agents)) == ["analyzer", "executor", "monitor", "planner", "retrospective"]

    async def test_pause_turns_into_resume_where_an_agent_is_held(self) -> None:
        async with stage(boards.healthy()) as it:
            await it.press("down", "P")
            assert it.operator.wishes == [("pause", "analyzer")]
            held = boards.healthy()
            agents = tuple(replace(a, hold=Hold.PAUSED) if a.name == "analyzer" else a for a in held.agents)
            await it.give(replace(held, agents=agents))
            await it.press("P")
            assert it.operator.wishes[-1] == ("resume", "analyzer")

    async def test_undo_turns_the_rollback_round_that_is_shown(self) -> None:
        async with stage(boards.recovered()) as it:
            await it.press("U")
            assert "Undo rb-1?" in it.picture
            await it.press("U")
            assert it.operator.wishes == [("undo", "rb-1")]

    async def test_redo_does_it_again_after_its_undo(self) -> None:
        board = boards.recovered()
        done = board.rollbacks[0]
        undo = replace(done, rollback=replace(done.rollback, id="rb-2", kind="undo", of="rb-1"))
        async with stage(replace(board, rollbacks=(done, undo))) as it:
            await it.press("Z")
            assert "Do rb-1 again?" in it.picture
            await it.press("Z")
            assert it.operator.wishes == [("redo", "rb-1")]

    async def test_a_running_rollback_cannot_be_undone(self) -> None:
        async with stage(boards.rolling_back()) as it:
            await it.press("U")
            assert it.told == ["undo: rb-1 is still running"]

    async def test_a_read_only_console_changes_nothing(self) -> None:
        async with stage(read_only=True) as it:
            for action in ACTIONS:
                if action.dangerous:
                    await it.press(action.key)
                    assert it.told[-1] == f"{action.label}: this console only reads"
            assert it.operator.wishes == []
            assert "A approve" not in it.picture

    async def test_the_same_wish_is_not_sent_twice_while_it_is_under_way(self) -> None:
        async with stage() as it:
            import threading

            gate = threading.Event()
            it.app.call("approve opt-12.1", gate.wait)
            it.app.call("approve opt-12.1", gate.wait)
            assert it.told == ["approve opt-12.1: still under way"]
            gate.set()
            await it.settle()


class TestEditing:
    """The plan goes to the operator's editor and back; what is wrong with it is shown, and the text is not lost."""

    async def test_an_edited_plan_is_handed_back(self) -> None:
        async with stage() as it:
            it.app.edit_text = lambda text: text.replace("as it was", "another")  # type: ignore[method-assign]
            await it.press("E")
            await it.settle()
            assert it.operator.wishes == [("edit", "opt-12.1", "option: opt-12.1\nmessage: another\n")]
            assert it.told[-1] == "the edited plan of opt-12.1 is accepted: it is rehearsed again"

    async def test_a_plan_left_as_it_was_is_not(self) -> None:
        async with stage() as it:
            it.app.edit_text = lambda text: text  # type: ignore[method-assign]
            await it.press("E")
            assert it.operator.wishes == []

    async def test_problems_are_shown_and_the_editor_is_offered_again_with_the_same_text(self) -> None:
        async with stage() as it:
            seen: list[str] = []

            def edit(text: str) -> str:
                seen.append(text)
                return text + "#"

            it.app.edit_text = edit  # type: ignore[method-assign]
            it.operator.problems = ["line 2: no such target [/] [@click=app.quit]"]
            await it.press("E")
            await it.settle()
            assert it.screen == "NoticeScreen"
            assert "no such target [/] [@click=app.quit]" in it.picture
            it.operator.problems = []
            await it.press("E")
            await it.settle()
            assert seen[1] == seen[0] + "#"
            assert it.operator.wishes[-1] == ("edit", "opt-12.1", seen[0] + "##")

    async def test_an_editor_that_is_missing_is_one_clear_line(self) -> None:
        async with stage() as it:

            def edit(text: str) -> str:
                raise UsageError("the editor 'emacs' of $EDITOR is not installed")

            it.app.edit_text = edit  # type: ignore[method-assign]
            await it.press("E")
            assert it.told[-1] == "the editor 'emacs' of $EDITOR is not installed"


class TestKeys:
    """Keys come from one registry; the operator may choose others."""

    async def test_another_key_takes_the_place_of_the_default(self) -> None:
        async with stage(settings=ConsoleSettings(keymap={"approve": "ctrl+y"})) as it:
            await it.press("A")
            assert it.screen == "FleetScreen"
            await it.press("ctrl+y")
            assert it.screen == "ApprovalScreen"
            assert "Ctrl+Y approve and run" in it.picture
            await it.press("ctrl+y")
            assert it.operator.wishes

    async def test_a_click_on_a_frame_or_a_row_focuses_its_panel(self) -> None:
        async with stage() as it:
            lines = it.picture.split("\n")
            row = next(y for y, line in enumerate(lines) if "Incidents" in line)
            await it.pilot.click(offset=(lines[row].index("Incidents"), row))
            assert it.app.selection().panel == "incidents"
            row = next(y for y, line in enumerate(lines) if "analyzer start" in line or "executor start" in line)
            await it.pilot.click(offset=(5, row))
            assert it.app.selection().panel == "events"

    async def test_a_hint_below_can_be_clicked(self) -> None:
        async with stage() as it:
            line = it.picture.split("\n")[-1]
            await it.pilot.click(offset=(line.index("history") if "history" in line else line.index("diff"), 39))
            await it.settle()
            assert it.screen in {"AuditScreen", "DiffScreen"}

    def test_what_changes_the_world_is_upper_case_or_asks_twice(self) -> None:
        for action in ACTIONS:
            if action.dangerous:
                assert action.key.isupper() or action.id == "stop_all"
            else:
                assert not action.key.isupper()

    def test_no_default_is_taken_by_tmux_screen_or_the_shell(self) -> None:
        taken = {f"ctrl+{letter}" for letter in "abhjklos"} | {"escape"}
        assert not taken & {action.key for action in ACTIONS}
        assert len({action.key for action in ACTIONS}) == len(ACTIONS) == len(BY_ID)
