"""An agent writes to the Issues of its own competition and to no other, whatever it tries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rollcage.core.config import Settings
from rollcage.core.errors import UsageError
from rollcage.core.issues.errors import IsolationViolationError, ScopeViolationError
from rollcage.core.issues.issue import Draft, Issue, sorted_names
from rollcage.core.issues.scope import (
    Change,
    Operation,
    Scope,
    check_write,
    completed,
    ensure_execution_isolation,
    in_right_context,
    scope_of,
    scope_of_environment,
    validate_operation_scope,
)

FLEET = Settings.model_validate(
    {
        "agents": {
            "planner": {"stage": "planner", "competition": "titanic"},
            "executor": {"stage": "executor", "competition": "titanic"},
            "monitor": {"stage": "monitor", "competition": "titanic"},
            "miner": {"stage": "executor", "competition": "spaceship"},
            "loner": {},
        },
        "competitions": {"titanic": {}, "spaceship": {"label": "Workspace: Spaceship", "directory": "ships/one"}},
    }
)
EXECUTOR = scope_of(FLEET, "executor")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def issue(*labels: str, number: int = 7, title: str = "[titanic] executor: fit") -> Issue:
    return Issue(number, title, "", "open", sorted_names(labels), (), NOW, NOW)


MINE = issue("comp:titanic", "agent:executor")


def test_people_may_write_everything() -> None:
    assert scope_of_environment(FLEET, {}) is None
    check_write(None, "close", issue("comp:spaceship"), {})


def test_the_environment_says_who_works_and_for_what() -> None:
    assert scope_of_environment(FLEET, {"ROLLCAGE_AGENT": "executor"}) == EXECUTOR
    elsewhere = scope_of_environment(FLEET, {"ROLLCAGE_AGENT": "executor", "ROLLCAGE_COMPETITION": "spaceship"})
    assert elsewhere is not None
    assert (elsewhere.competition, elsewhere.label) == ("spaceship", "Workspace: Spaceship")
    with pytest.raises(UsageError, match=r"ROLLCAGE_COMPETITION is '\.\./x', no name"):
        scope_of_environment(FLEET, {"ROLLCAGE_COMPETITION": "../x"})


def test_a_creation_gets_the_labels_that_it_lacks() -> None:
    assert completed(EXECUTOR, Draft("fit a model")).labels == ("agent:executor", "comp:titanic")
    assert completed(EXECUTOR, Draft("[titanic] monitor: look")).labels == ("agent:monitor", "comp:titanic")
    assert completed(EXECUTOR, Draft("x", labels=("COMP:Titanic", "agent:monitor"))).labels == (
        "COMP:Titanic",
        "agent:monitor",
    )
    assert completed(None, Draft("x")) == Draft("x")


@pytest.mark.parametrize(
    ("found", "change"),
    [
        (MINE, {"body": "done"}),
        (MINE, {"add": ["status:done"], "remove": ["status:waiting", "agent:executor"]}),
        (MINE, {"labels": ["comp:titanic", "agent:monitor"]}),
        (issue("comp:titanic", "agent:monitor"), {"title": "[titanic] monitor: look again"}),
        (None, Draft("[Titanic] executor: fit", labels=("comp:titanic", "agent:executor"))),
        (None, Draft("a free title", labels=("comp:titanic",))),
        (None, Draft("[titanic] monitor: look", labels=("comp:titanic", "agent:monitor"))),
    ],
)
def test_what_is_right_passes(found: Issue | None, change: Change) -> None:
    check_write(EXECUTOR, "update", found, change)


@pytest.mark.parametrize(
    ("found", "change", "kind", "words"),
    [
        (issue("Workspace: Spaceship"), {}, IsolationViolationError, "Issue 7 belongs to competition spaceship"),
        (issue("comp:else", "comp:titanic"), {}, IsolationViolationError, "competition else"),
        (issue("bug"), {"body": "x"}, IsolationViolationError, "no label 'comp:titanic'"),
        (MINE, {"add": ["WORKSPACE: spaceship"]}, IsolationViolationError, "competition spaceship"),
        (MINE, {"remove": ["comp:titanic"]}, ScopeViolationError, "no label 'comp:titanic'"),
        (MINE, {"labels": ["comp:spaceship"]}, ScopeViolationError, "spaceship"),
        (issue("comp:titanic", "agent:monitor"), {"remove": ["Agent:Monitor"]}, ScopeViolationError, "its own"),
        (MINE, {"title": "[spaceship] executor: fit"}, IsolationViolationError, "allowed: [titanic] AGENT: TASK"),
        (MINE, {"title": "[titanic] monitor: fit"}, ScopeViolationError, "its labels executor"),
        (MINE, {"add": ["agent:miner"]}, IsolationViolationError, "agent miner belongs to competition spaceship"),
        (MINE, {"add": ["agent:planner"]}, ScopeViolationError, "stage planner, which comes before executor"),
        (None, Draft("x", labels=("agent:executor",)), IsolationViolationError, "no label 'comp:titanic'"),
        (None, Draft("x", labels=("comp:titanic", "agent:planner")), ScopeViolationError, "allowed: Issues for exec"),
    ],
)
def test_what_is_misdirected_is_refused(
    found: Issue | None, change: Change, kind: type[ScopeViolationError], words: str
) -> None:
    with pytest.raises(kind, match=r".*" + words.replace("[", r"\[").replace("]", r"\]")) as caught:
        check_write(EXECUTOR, "update", found, change)
    assert "\n" not in str(caught.value)


def test_one_who_works_for_no_competition_reaches_none() -> None:
    loner = scope_of(FLEET, "loner")
    check_write(loner, "close", issue("bug"), {})
    with pytest.raises(IsolationViolationError, match="agent loner works for no competition"):
        check_write(loner, "close", MINE, {})
    alone = scope_of(Settings(), "loner")
    check_write(alone, "close", MINE, {})


def test_an_operation_done_as_somebody_else_is_refused() -> None:
    operation = Operation("close", scope_of(FLEET, "monitor"), MINE, {})
    with pytest.raises(ScopeViolationError, match="done as agent 'monitor'"):
        validate_operation_scope(operation, EXECUTOR)


def test_an_agent_has_a_place_of_its_own(tmp_path: Path) -> None:
    isolation = ensure_execution_isolation(FLEET, "executor", "titanic", tmp_path)
    assert isolation.working_directory == "competitions/titanic/"
    assert isolation.virtual_environment == "competitions/titanic/.venv/"
    assert isolation.issue_filter == "comp:titanic"
    assert isolation.resource_namespace == "titanic_executor"
    assert isolation.agent_scope == EXECUTOR
    assert (tmp_path / "competitions/titanic").is_dir()
    assert ensure_execution_isolation(FLEET, "miner", "spaceship").virtual_environment == "ships/one/.venv/"
    with pytest.raises(ScopeViolationError, match="does not belong to competition spaceship but to titanic"):
        ensure_execution_isolation(FLEET, "executor", "spaceship")
    with pytest.raises(UsageError, match="no competition titanc; known: titanic, spaceship"):
        ensure_execution_isolation(FLEET, "executor", "titanc")
    with pytest.raises(UsageError, match="no agent nobody"):
        ensure_execution_isolation(FLEET, "nobody", "titanic")


def test_a_folder_that_is_a_link_out_of_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "top").mkdir()
    (tmp_path / "top/competitions").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IsolationViolationError, match="a link leads out of it"):
        ensure_execution_isolation(FLEET, "executor", "titanic", tmp_path / "top")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_after_a_violation_it_is_tried_once_where_the_agent_belongs_then_told() -> None:
    wrong = scope_of(FLEET, "executor", "spaceship")
    tried: list[Scope | None] = []
    told: list[ScopeViolationError] = []

    def work(found: Issue) -> str:
        def close(scope: Scope | None) -> str:
            tried.append(scope)
            check_write(scope, "close", found, {})
            return "closed"

        return in_right_context(close, wrong, EXECUTOR, told.append)

    assert work(MINE) == "closed"
    assert (tried, told) == ([wrong, EXECUTOR], [])
    with pytest.raises(IsolationViolationError, match="competition else"):
        work(issue("comp:else"))
    assert len(told) == 1
    with pytest.raises(IsolationViolationError):
        in_right_context(lambda scope: check_write(scope, "x", issue("bug"), {}), EXECUTOR, EXECUTOR, told.append)
    assert len(told) == 2


# -- misdirected operations, generated


COMPETITIONS = ("titanic", "spaceship", "else")
LABELS = st.sampled_from(
    [
        *(
            "comp:titanic",
            "COMP:TITANIC",
            "comp:spaceship",
            "Workspace: Spaceship",
            "workspace: spaceship",
            "comp:else",
        ),
        *(
            "agent:executor",
            "agent:miner",
            "agent:planner",
            "AGENT:monitor",
            "agent:stranger",
            "bug",
            "status:done",
            "",
        ),
    ]
)
TITLES = st.one_of(
    st.builds("[{}] {}: fit".format, st.sampled_from(COMPETITIONS), st.sampled_from(tuple(FLEET.agents))),
    st.text(max_size=30),
)
LISTS = st.lists(LABELS, max_size=4)
CHANGES: st.SearchStrategy[Change] = st.one_of(
    st.builds(lambda title, labels: Draft(title, labels=tuple(labels)), TITLES, LISTS),
    st.fixed_dictionaries({}, optional={"title": TITLES, "labels": LISTS, "add": LISTS, "remove": LISTS}),
)


class Recorder:
    """A tracker that keeps what was written to it, and what it was before."""

    def __init__(self) -> None:
        self.writes: list[tuple[Issue | None, Issue]] = []

    def write(self, found: Issue | None, change: Change) -> None:
        if isinstance(change, Draft):
            after = issue(*change.labels, title=change.title)
        else:
            assert found is not None
            labels = set(texts(change, "labels", found.labels)) - set(texts(change, "remove", ()))
            after = replace(found, labels=sorted_names(labels | set(texts(change, "add", ()))))
        self.writes.append((found, after))


def texts(change: Mapping[str, object], key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    value = change.get(key)
    return default if value is None else tuple(str(each) for each in value)  # type: ignore[attr-defined]


def competitions_of(found: Issue) -> set[str]:
    """Return whose ``found`` is, told apart from the code under test."""
    names = {"workspace: spaceship": "spaceship"}
    keys = [label.casefold() for label in found.labels]
    return {names.get(key, key.removeprefix("comp:")) for key in keys if key in names or key.startswith("comp:")}


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(tuple(FLEET.agents)), LISTS, CHANGES, st.booleans())
def test_nothing_is_written_outside_the_competition(agent: str, labels: list[str], change: Change, fill: bool) -> None:
    scope, tracker = scope_of(FLEET, agent), Recorder()
    found = None if isinstance(change, Draft) else issue(*labels)
    if fill and isinstance(change, Draft):
        change = completed(scope, change)
    try:
        check_write(scope, "create" if found is None else "update", found, change)
        tracker.write(found, change)
    except ScopeViolationError:
        return
    own = {scope.competition} - {""}
    for before, after in tracker.writes:
        assert before is None or competitions_of(before) == own
        assert competitions_of(after) == own
        agents = {key for key in map(str.casefold, after.labels) if key.startswith("agent:")}
        gained = agents - ({key.casefold() for key in before.labels} if before is not None else set())
        assert not (agent == "miner" and gained & {"agent:executor", "agent:planner", "agent:monitor"})
        assert not (agent == "executor" and gained & {"agent:miner", "agent:planner"})
        if before is not None:
            lost = {key.casefold() for key in before.labels} - {key.casefold() for key in after.labels}
            assert not {key for key in lost if key.startswith("agent:")} - {f"agent:{agent}"}


@settings(max_examples=100, deadline=None)
@given(LISTS, CHANGES)
def test_a_right_write_is_never_refused(labels: list[str], change: Change) -> None:
    """A body, a state, a status: whatever its own Issue looks like else."""
    found = issue("comp:titanic", *(label for label in labels if not label.casefold().startswith(("comp:", "work"))))
    check_write(EXECUTOR, "update", found, {"body": "x", "add": ["status:review"], "remove": ["status:done"]})
    assume(isinstance(change, Draft))
    assert isinstance(change, Draft)
    plain = Draft("fit", labels=tuple(label for label in change.labels if label in ("bug", "status:done")))
    check_write(EXECUTOR, "create", None, completed(EXECUTOR, plain))
