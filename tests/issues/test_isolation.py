"""Whatever an agent asks of its desk: what belongs to another competition stays as it is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollcage.core.errors import RollcageError
from rollcage.core.fleet.mailbox import read
from rollcage.core.fleet.start import start_agent
from rollcage.core.issues.batch import batch_operation_atomically
from rollcage.core.issues.comment import comment_on_issue
from rollcage.core.issues.context import in_place, right_scope, working_scope
from rollcage.core.issues.courier import Courier
from rollcage.core.issues.create import create_issue_atomically
from rollcage.core.issues.desk import Desk
from rollcage.core.issues.errors import ScopeViolationError
from rollcage.core.issues.issue import Draft, Issue
from rollcage.core.issues.notify import pending
from rollcage.core.issues.scope import scope_of
from rollcage.core.issues.update import update_issue_with_optimistic_lock
from rollcage.core.store.paths import RepositoryPaths
from rollcage.core.store.store import Store
from tests.conftest import ManualClock
from tests.console.cli_support import runner
from tests.fleet.conftest import nothing_left
from tests.issues.desks import opened
from tests.issues.test_scope import FLEET, LABELS, TITLES, competitions_of
from tests.loop import Shop

__all__ = ["nothing_left"]

LABEL = LABELS.filter(bool)
LISTS = st.lists(LABEL, max_size=3)
NUMBERS = st.integers(1, 8)
UPDATES = st.fixed_dictionaries(
    {},
    optional={
        "title": TITLES.filter(lambda title: bool(title.strip()) and title.isprintable()),
        "body": st.sampled_from(["", "x"]),
        "state": st.sampled_from(["open", "closed"]),
        "labels": LISTS,
        "add_labels": LISTS,
        "remove_labels": LISTS,
    },
)
Act = Callable[[Desk], object]


def creating(title: str, labels: list[str]) -> Act:
    return lambda desk: create_issue_atomically(desk, title, labels=labels)


def updating(number: int, updates: dict[str, Any]) -> Act:
    return lambda desk: update_issue_with_optimistic_lock(desk, number, updates)


def commenting(number: int) -> Act:
    return lambda desk: comment_on_issue(desk, number, "hello")


def batching(operations: list[dict[str, Any]]) -> Act:
    return lambda desk: batch_operation_atomically(desk, [{**each, "id": str(n)} for n, each in enumerate(operations)])


GOOD_TITLES = TITLES.filter(lambda title: bool(title.strip()) and title.isprintable())
BATCHES = st.lists(
    st.one_of(
        st.builds(lambda t, ls: {"op": "create", "args": {"title": t, "labels": ls}}, GOOD_TITLES, LISTS),
        st.builds(lambda n, u: {"op": "update", "args": {"number": n, "set": u}}, NUMBERS, UPDATES),
        st.builds(lambda n: {"op": "comment", "args": {"number": n, "body": "x"}}, NUMBERS),
        st.builds(lambda n, a: {"op": "label", "args": {"number": n, "add": a, "remove": []}}, NUMBERS, LISTS),
        st.builds(lambda n: {"op": "close", "args": {"number": n}}, NUMBERS),
    ),
    min_size=1,
    max_size=3,
)
ACTS: st.SearchStrategy[Act] = st.one_of(
    st.builds(creating, GOOD_TITLES, LISTS),
    st.builds(updating, NUMBERS, UPDATES),
    st.builds(commenting, NUMBERS),
    st.builds(batching, BATCHES),
)
THERE = [
    ("[titanic] executor: fit", ("comp:titanic", "agent:executor")),
    ("[titanic] monitor: look", ("comp:titanic", "agent:monitor")),
    ("[spaceship] miner: dig", ("Workspace: Spaceship", "agent:miner")),
    ("[else] stranger: roam", ("comp:else", "agent:stranger")),
    ("of nobody", ("bug",)),
    ("of both", ("comp:titanic", "Workspace: Spaceship")),
]


def all_there(desk: Desk) -> dict[int, tuple[Issue, int]]:
    issues = list(desk.tracker.issues(state="all"))
    return {issue.number: (issue, len(list(desk.tracker.comments(issue.number)))) for issue in issues}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["executor", "planner", "miner", "loner"]), st.lists(ACTS, min_size=4, max_size=10))
def test_misdirected_operations_write_nothing_outside(
    tmp_path_factory: pytest.TempPathFactory, agent: str, acts: list[Act]
) -> None:
    scope = scope_of(FLEET, agent)
    with opened(tmp_path_factory.mktemp("state"), ManualClock(), holder=agent, scope=scope) as desk:
        for title, labels in THERE:
            desk.tracker.create(Draft(title, labels=labels))
        before = all_there(desk)
        for act in acts:
            with suppress(RollcageError):
                act(desk)
        after = all_there(desk)
    own = {scope.competition} - {""}
    for number, (issue, comments) in before.items():
        if competitions_of(issue) != own:
            assert (after[number][0], after[number][1]) == (issue, comments)
    for issue, _ in after.values():
        if issue.number not in before:
            assert competitions_of(issue) == own


def test_some_of_them_come_through(tmp_path: Path, clock: ManualClock) -> None:
    """So that the test above does not hold for a desk that refuses everything."""
    with opened(tmp_path, clock, holder="executor", scope=scope_of(FLEET, "executor")) as desk:
        number = create_issue_atomically(desk, "fit").issue.number
        update_issue_with_optimistic_lock(desk, number, {"add_labels": ["status:done"], "state": "closed"})
        comment_on_issue(desk, number, "done")
        ((issue, comments),) = all_there(desk).values()
    assert issue.labels == ("agent:executor", "comp:titanic", "status:done")
    assert (issue.state, comments) == ("closed", 1)


def test_after_one_try_in_the_right_place_people_are_told(tmp_path: Path, clock: ManualClock) -> None:
    paths = RepositoryPaths(tmp_path)
    wrong, right = scope_of(FLEET, "executor", "spaceship"), right_scope(FLEET, paths, "executor")
    assert right == scope_of(FLEET, "executor")
    assert right_scope(FLEET, paths, "") is None
    with (
        opened(tmp_path, clock, holder="executor", scope=wrong) as desk,
        closing(Store.open(paths, clock)) as store,
        closing(Courier(FLEET, paths, store, clock, None)) as courier,
    ):
        for title, labels in THERE:
            desk.tracker.create(Draft(title, labels=labels))

        def close(number: int) -> Callable[[Desk], object]:
            return lambda there: update_issue_with_optimistic_lock(there, number, {"state": "closed"})

        in_place(desk, right, "close issue 1", close(1))
        assert desk.tracker.get(1).state == "closed"
        with pytest.raises(ScopeViolationError, match="belongs to competition else"):
            in_place(desk, right, "close issue 4", close(4))
        assert desk.tracker.get(4).state == "open"
        courier.look()
        courier.look()
        (alert,) = [each.body["text"] for each in store.recent_events(20) if each.event == "alert"]
        assert "executor, isolation, close issue 4: Issue 4 belongs to competition else" in str(alert)
        assert store.audit_records()[-1].what == "escalate"


@pytest.mark.usefixtures("nothing_left")
def test_the_supervisor_says_for_what_an_agent_works_whatever_its_environment_says(tmp_path: Path) -> None:
    paths = RepositoryPaths(tmp_path)
    lost = {"ROLLCAGE_AGENT": "miner", "ROLLCAGE_COMPETITION": "titanic"}
    assert working_scope(FLEET, paths, {}) is None
    assert working_scope(FLEET, paths, lost) == scope_of(FLEET, "miner", "titanic")
    agent = FLEET.agents["miner"].model_copy(update={"run": (sys.executable, "-S", "-c", "input()")})
    start_agent(paths, "miner", agent, tmp_path)
    assert working_scope(FLEET, paths, lost) == scope_of(FLEET, "miner")


def test_an_agent_and_people_hear_of_what_the_verbs_did(
    shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.configure(agents={"executor": {"competition": "titanic"}, "planner": {"competition": "titanic"}})
    monkeypatch.chdir(shop.path)
    config = str(shop.path.parent / "shop.yml")
    monkeypatch.setenv("ROLLCAGE_AGENT", "planner")
    monkeypatch.setenv("ROLLCAGE_COMPETITION", "titanic")
    run = runner(capsys)
    assert run("--config", config, "issue", "create", "--title", "[titanic] executor: fit").code == 0
    (message,) = read(shop.services.paths, "executor")
    assert (message.id, message.sender) == ("n-1", "planner")
    ran = run("--config", config, "issue", "update", "1", "--add-label", "comp:else")
    assert ran.code == 1
    assert "belongs to competition else" in ran.err
    assert run("signal", "message", f"seen {message.id}", "--agent", "executor").code == 0
    services = shop.services
    with closing(Courier(services.settings, services.paths, services.store, services.clock, None)) as courier:
        courier.look()
    (alert,) = [each.body["text"] for each in services.store.recent_events(20) if each.event == "alert"]
    assert str(alert).startswith("planner, isolation, update issue 1: after update of Issue 1 it belongs to")
    with opened(services.paths.root, services.clock) as desk:
        assert pending(desk.records) == []
