"""How the console treats a terminal and its operator: looks, mouse, keys, quiet hours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from rollcage.console import actions
from rollcage.console.actions import BY_ID, Selection, copied, hints, key_name, reason_against
from rollcage.console.app import HANDLERS
from rollcage.console.appearance import appearance, plain_reason
from rollcage.console.attention import (
    call_sequence,
    calls,
    clipboard_sequence,
    is_quiet,
    quiet_hours,
    title_sequence,
)
from rollcage.console.keymap import canonical_key, keys_for
from rollcage.core import decisions
from rollcage.core.board import Board
from rollcage.core.config import ConsoleSettings
from rollcage.core.errors import SettingsError
from rollcage.core.model import Decision, DecisionVerdict, Hold, OptionType, RiskLevel, RollbackState
from tests import boards
from tests.console.stage import stage


@pytest.mark.parametrize(
    ("environment", "theme"),
    [
        ({"TERM": "xterm", "COLORTERM": "truecolor"}, "rollcage-dark"),
        ({"TERM": "xterm-256color"}, "rollcage-dark"),
        ({"TERM": "xterm-256color", "COLORFGBG": "0;15"}, "rollcage-light"),
        ({"TERM": "xterm-256color", "COLORFGBG": "15;0"}, "rollcage-dark"),
        ({"TERM": "linux"}, "rollcage-ansi"),
        ({"TERM": "screen"}, "rollcage-ansi"),
        ({"TERM": "xterm-kitty"}, "rollcage-dark"),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, "rollcage-ansi"),
        ({"TERM": "xterm-256color", "NO_COLOR": ""}, "rollcage-dark"),
    ],
)
def test_the_look_follows_what_the_terminal_says(environment: Mapping[str, str], theme: str) -> None:
    assert appearance(ConsoleSettings(), environment).theme == theme


def test_the_operator_has_the_last_word_but_for_no_color() -> None:
    settings = ConsoleSettings(theme="light", mouse=True)
    assert appearance(settings, {"TERM": "linux"}).theme == "rollcage-light"
    assert appearance(settings, {"TERM": "linux", "NO_COLOR": "1"}).theme == "rollcage-ansi"
    with pytest.raises(SettingsError, match=r"console\.theme: 'pink' is no theme; allowed: dark, light, ansi"):
        appearance(ConsoleSettings(theme="pink"), {})


def test_over_ssh_nothing_moves_and_the_mouse_is_the_terminals() -> None:
    remote = appearance(ConsoleSettings(), {"TERM": "xterm-256color", "SSH_CONNECTION": "1 2 3 4"})
    assert (remote.mouse, remote.remote, remote.frames) == (False, True, 10)
    assert appearance(ConsoleSettings(mouse=True), {"SSH_CONNECTION": "1 2 3 4"}).mouse
    assert appearance(ConsoleSettings(), {"TERM": "xterm"}).mouse


async def test_over_ssh_the_app_animates_nothing() -> None:
    async with stage(environment={"SSH_CONNECTION": "1 2 3 4"}) as it:
        assert it.app.animation_level == "none"


@pytest.mark.parametrize("term", ["dumb", "", "unknown"])
def test_a_dumb_terminal_gets_plain_lines(term: str) -> None:
    assert plain_reason({"TERM": term}, terminal=True)
    assert plain_reason({"TERM": "xterm"}, terminal=False) == "there is no terminal"
    assert plain_reason({"TERM": "xterm"}, terminal=True) == ""


class TestKeymap:
    """``console.keymap`` is checked before the screen opens, and the error says what is allowed."""

    def test_keys_are_written_as_people_do(self) -> None:
        assert keys_for({"approve": "a", "undo": "ctrl+u", "filter": "?", "help": "f1"}) | {} == {
            **{action.id: action.key for action in BY_ID.values()},
            "approve": "a",
            "undo": "ctrl+u",
            "filter": "question_mark",
            "help": "f1",
        }

    @pytest.mark.parametrize(
        ("keymap", "message"),
        [
            ({"aprove": "a"}, r"console\.keymap\.aprove: there is no such action; allowed: .*approve"),
            ({"approve": "shift+"}, r"console\.keymap\.approve: 'shift\+' is no key"),
            ({"approve": "f25"}, "is no key"),
            ({"approve": "hello"}, "is no key"),
            ({"approve": ""}, "is no key"),
            ({"approve": "\x1b[A"}, "is no key"),
            ({"approve": "ctrl+c"}, "cannot be given away"),
            ({"approve": "U"}, "U would be both approve and undo"),
            ({"approve": "x", "undo": "x"}, "would be both"),
        ],
    )
    def test_what_is_wrong_is_said(self, keymap: dict[str, str], message: str) -> None:
        with pytest.raises(SettingsError, match=message):
            keys_for(keymap)

    def test_two_actions_can_change_places(self) -> None:
        keys = keys_for({"approve": "U", "undo": "A"})
        assert (keys["approve"], keys["undo"]) == ("U", "A")

    def test_names_of_keys(self) -> None:
        assert [key_name(key) for key in ("question_mark", "tab", "ctrl+l", "A", "f5", "pageup")] == [
            "?",
            "Tab",
            "Ctrl+L",
            "A",
            "F5",
            "Pageup",
        ]
        assert canonical_key(":") == "colon"
        assert canonical_key("Ä") is None


class TestReasons:
    """An action that cannot be had says why."""

    def reason(self, action: str, selection: Selection, board: Board) -> str | None:
        return reason_against(BY_ID[action], board, selection)

    def test_of_approving(self) -> None:
        picked = Selection(option="opt-12.1")
        assert self.reason("approve", picked, boards.waiting()) is None
        assert self.reason("approve", picked, boards.rolling_back()) == "inc-12 is rolling back"
        assert self.reason("approve", picked, boards.recovered()) == "inc-12 is recovered"
        assert self.reason("approve", Selection(), boards.waiting()) == "no option is picked"
        assert self.reason("approve", replace(picked, read_only=True), boards.waiting()) == "this console only reads"

    def test_of_approving_what_does_not_apply_or_is_decided(self) -> None:
        board = boards.waiting()
        first = board.incidents[0]
        broken = boards.option(1, OptionType.SINGLE_COMMIT, RiskLevel.LOW, 1, 1.0, conflicts=("calc.py",))
        view = replace(first, options=(broken,))
        picked = Selection(option="opt-12.1")
        assert self.reason("approve", picked, replace(board, incidents=(view,))) == "opt-12.1 does not apply: calc.py"
        assert self.reason("edit", picked, replace(board, incidents=(view,))) is None
        waits = Decision(3, boards.NOW, "inc-12", "opt-12.1", "7c", DecisionVerdict.APPROVE, "ann@host")
        decided = replace(first, decisions=(waits,))
        assert self.reason("approve", picked, replace(board, incidents=(decided,))) == (
            "approve by ann@host waits for the engine"
        )

    def test_of_undoing(self) -> None:
        picked = Selection(rollback="rb-1")
        board = boards.recovered()
        assert self.reason("undo", picked, board) is None
        assert self.reason("undo", picked, boards.waiting()) == "nothing was rolled back"
        done = board.rollbacks[0]
        undo = replace(done, rollback=replace(done.rollback, id="rb-2", kind="undo", of="rb-1"))
        assert self.reason("undo", picked, replace(board, rollbacks=(undo, done))) == "rb-1 is undone by rb-2"
        assert self.reason("redo", picked, replace(board, rollbacks=(undo, done))) is None
        assert self.reason("redo", picked, board) == "rb-1 is not undone by an operator"
        redo = replace(done, rollback=replace(done.rollback, id="rb-3", kind="redo", of="rb-1"))
        assert self.reason("undo", picked, replace(board, rollbacks=(redo, undo, done))) is None
        assert self.reason("redo", picked, replace(board, rollbacks=(redo, undo, done))) is not None
        failed = replace(undo, rollback=replace(undo.rollback, state=RollbackState.UNDONE))
        assert self.reason("undo", picked, replace(board, rollbacks=(failed, done))) is None
        undone = replace(done, rollback=replace(done.rollback, state=RollbackState.UNDONE))
        assert self.reason("undo", picked, replace(board, rollbacks=(undone,))) == "rb-1 was undone already"
        stuck = replace(done, rollback=replace(done.rollback, state=RollbackState.FAILED))
        assert self.reason("undo", picked, replace(board, rollbacks=(stuck,))) is None

    def test_of_stopping(self) -> None:
        board = boards.rolling_back()
        assert self.reason("stop", Selection(agent="executor"), board) == "executor is stopped already"
        assert self.reason("stop", Selection(agent="planner"), board) is None
        assert self.reason("stop", Selection(), board) == "no agent is picked"
        assert self.reason("stop_all", Selection(), boards.empty()) == "there are no agents"
        stopped = tuple(replace(agent, hold=Hold.STOPPED) for agent in board.agents)
        assert self.reason("stop_all", Selection(), replace(board, agents=stopped)) == "all agents are stopped already"

    def test_the_footer_has_what_there_is_something_to_do_with(self) -> None:
        keys = keys_for({})
        shown = {hint.action: hint.enabled for hint in hints(boards.waiting(), Selection(option="opt-12.1"), keys)}
        assert shown["approve"]
        assert "undo" not in shown  # nothing was rolled back
        assert "approve" not in {
            hint.action for hint in hints(boards.waiting(), Selection(option="opt-12.1", read_only=True), keys)
        }

    def test_what_is_copied(self) -> None:
        assert copied(boards.waiting(), Selection(panel="fleet", agent="executor")) == "executor"
        assert copied(boards.waiting(), Selection(panel="locks")) == boards.HEAD


class TestAttention:
    """The bell rings for *needs you* and *ended*, and for nothing else."""

    def test_what_calls(self) -> None:
        assert calls(boards.healthy(), boards.waiting()) == ["1 incident needs you"]
        assert calls(None, boards.waiting()) == ["1 incident needs you"]
        assert calls(boards.waiting(), boards.waiting()) == []
        assert calls(boards.waiting(), boards.rolling_back()) == []
        assert calls(boards.rolling_back(), boards.recovered()) == ["rb-1 has ended: done, verified"]
        assert calls(None, boards.recovered()) == []

    def test_the_sequences_carry_no_foreign_escape(self) -> None:
        sequence = call_sequence("x", "evil\x07\x1b]52;c;eA==\x07")
        assert sequence == "\x07\x1b]9;rollcage evil: x\x07\x1b]2;rollcage evil: x\x07"
        assert title_sequence(boards.waiting()) == "\x1b]2;rollcage shop: 1 need you\x07"
        assert title_sequence(boards.healthy()) == "\x1b]2;rollcage\x07"

    @pytest.mark.parametrize(
        ("hours", "hour", "quiet"),
        [("22:00-07:00", 23, True), ("22:00-07:00", 6, True), ("22:00-07:00", 12, False), ("12:00-13:00", 12, True)],
    )
    def test_quiet_hours_are_on_the_operators_clock(self, hours: str, hour: int, *, quiet: bool) -> None:
        moment = datetime.now(UTC).astimezone().replace(hour=hour, minute=30)
        assert is_quiet(quiet_hours(hours), moment) is quiet

    @pytest.mark.parametrize("hours", ["22-7", "25:00-07:00", "night"])
    def test_wrong_quiet_hours_are_said(self, hours: str) -> None:
        with pytest.raises(SettingsError, match="is not like 22:00-07:00"):
            quiet_hours(hours)

    def test_copying_reaches_through_tmux_and_screen(self) -> None:
        assert clipboard_sequence("a", {}) == "\x1b]52;c;YQ==\x07"
        assert clipboard_sequence("a", {"TMUX": "x"}) == "\x1bPtmux;\x1b\x1b]52;c;YQ==\x07\x1b\\"
        assert clipboard_sequence("a", {"TERM": "screen"}) == "\x1bP\x1b]52;c;YQ==\x07\x1b\\"


def test_what_can_be_decided_here_is_what_the_engine_takes() -> None:
    assert decisions.DECIDABLE == actions.DECIDABLE


def test_every_action_does_something() -> None:
    assert set(HANDLERS) == set(BY_ID)
