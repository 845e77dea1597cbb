"""Several faults at once, each followed to its own commit, on real histories with real checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rollcage.core.diagnose.diagnose import diagnose
from rollcage.core.model import Diagnosis, Incident, RiskLevel, Verdict
from rollcage.core.plan.options import build_options
from tests.conftest import git
from tests.loop import Shop

SUITE = """\
status=0
echo '<testsuite>' >report.xml
for case in *.case; do
    outcome= name="${case%.case}"
    for part in $(cat "$case"); do
        grep -q good "$part" || outcome='<failure/>' status=1
        case "$part" in *.py) test -e "$part" || name="$name.import" ;; esac
    done
    echo "<testcase name='$name'>$outcome</testcase>" >>report.xml
done
echo '</testsuite>' >>report.xml
exit $status
"""
"""A tiny test runner: each ``NAME.case`` names the files that must be good; one without a .py file has another name."""

RUN = ["sh", "suite.sh"]
JUNIT: dict[str, Any] = {"name": "tests", "run": RUN, "retries": 0, "timeout": "20s", "junit": "report.xml"}
NAMELESS: dict[str, Any] = {"name": "tests", "run": RUN, "retries": 0, "timeout": "20s"}


@pytest.fixture
def suite(shop: Shop) -> Shop:
    """A shop with two tests, each of a file of its own, which is marked good."""
    shop.commit("planner", "tests", {"suite.sh": SUITE, "a.case": "a\n", "b.case": "b\n", "a": "good\n", "b": "good\n"})
    shop.configure(checks=[JUNIT])
    shop.mark_good()
    return shop


def found(shop: Shop, incident: Incident | None = None) -> Diagnosis:
    return diagnose(shop.services, incident or shop.incident())


def notes(shop: Shop, *names: str) -> None:
    for name in names:
        shop.commit("planner", name, {f"{name}.md": f"{name}\n"})


def shas(diagnosis: Diagnosis) -> list[str]:
    return [culprit.sha for culprit in diagnosis.culprits]


def test_two_faults_of_two_agents_that_two_checks_show_are_both_found_the_newest_first(suite: Shop) -> None:
    suite.configure(checks=[JUNIT, {"name": "lint", "run": ["grep", "-q", "good", "a"], "retries": 0}])
    suite.mark_good()
    first = suite.commit("executor", "tidy a", {"a": "bad\n"})
    notes(suite, "one", "two")
    second = suite.commit("planner", "tidy b", {"b": "bad\n"})
    diagnosis = found(suite, suite.incident(suite.finding(), suite.finding("check:lint")))
    assert (diagnosis.verdict, shas(diagnosis)) == (Verdict.ACT, [second, first])
    assert diagnosis.agents == ("planner", "executor")
    assert diagnosis.last_good == git(suite.path, "rev-parse", f"{first}~1"), "what was before both"
    assert diagnosis.culprits[0].evidence[0].startswith("tests fails there and not on its parent")
    assert "lint" in diagnosis.culprits[1].evidence[0]
    assert "together make" in diagnosis.root_cause
    assert diagnosis.check_runs.rehearse == 2, "all is well without them, says either check"


def test_a_search_does_not_drift_onto_another_fault_that_was_mended(suite: Shop) -> None:
    """Red is not red: the same check failed for another reason in between."""
    suite.commit("planner", "break b", {"b": "bad\n"})
    notes(suite, "one")
    suite.commit("planner", "mend b", {"b": "good\n"})
    bad = suite.commit("executor", "tidy a", {"a": "bad\n"})
    suite.commit("planner", "break b again", {"b": "bad\n"})
    notes(suite, "two")
    suite.commit("planner", "mend b again", {"b": "good again\n"})
    assert shas(found(suite)) == [bad]


def test_a_fault_hidden_behind_another_of_the_same_test_is_found_too(suite: Shop) -> None:
    suite.commit("planner", "a needs c", {"a.case": "a c\n", "c": "good\n"})
    suite.mark_good()
    first = suite.commit("executor", "tidy a", {"a": "bad\n"})
    notes(suite, "one", "two")
    second = suite.commit("planner", "tidy c", {"c": "bad\n"})
    notes(suite, "three")
    diagnosis = found(suite)
    assert (diagnosis.verdict, shas(diagnosis)) == (Verdict.ACT, [second, first])
    assert diagnosis.culprits[0].evidence[0].endswith(f"with {first[:12]} taken back")


def test_without_test_names_a_hidden_fault_is_for_a_human(suite: Shop) -> None:
    suite.configure(checks=[NAMELESS])
    suite.mark_good()
    first = suite.commit("executor", "tidy a", {"a": "bad\n"})
    second = suite.commit("planner", "tidy b", {"b": "bad\n"})
    diagnosis = found(suite)
    assert (diagnosis.verdict, shas(diagnosis)) == (Verdict.ASK, [second, first])
    assert "names no tests (junit:)" in diagnosis.reasons[0]


def test_who_needs_what_the_culprit_brought_is_not_blamed(suite: Shop) -> None:
    """Without the culprit later work fails; but that passes as it is."""
    bad = suite.commit("executor", "tidy a, and a helper", {"a": "bad\n", "helper": "good\n"})
    suite.commit("planner", "use the helper", {"c.case": "helper\n"})
    diagnosis = found(suite)
    assert (diagnosis.verdict, shas(diagnosis)) == (Verdict.ACT, [bad])


def test_an_error_that_no_commit_had_before_is_no_second_fault(suite: Shop) -> None:
    """Without the culprit a later test cannot even be imported."""
    bad = suite.commit("executor", "tidy a, and a module", {"a": "bad\n", "module.py": "good\n"})
    suite.commit("planner", "use the module", {"c.case": "module.py\n"})
    diagnosis = found(suite)
    assert (diagnosis.verdict, shas(diagnosis)) == (Verdict.ACT, [bad])
    assert any("needs something of it" in line and "c.import fails" in line for line in diagnosis.culprits[0].evidence)


def test_a_fault_that_the_failure_of_a_whole_file_hid_is_found_too(suite: Shop) -> None:
    suite.commit("planner", "a module", {"c.case": "module.py b\n", "module.py": "good\n", "b.case": "a\n"})
    suite.mark_good()
    git(suite.path, "rm", "-q", "module.py")
    git(suite.path, "commit", "-q", "-m", "who needs that\n\nAgent: executor")
    first = suite.head()
    second = suite.commit("planner", "tidy b", {"b": "bad\n"})
    assert shas(found(suite)) == [second, first]


def test_a_fault_on_the_lines_of_another_is_found_by_taking_that_back_by_words(suite: Shop) -> None:
    suite.commit("planner", "a needs c", {"a.case": "a c\n", "c": "1 good\n2 good\n"})
    suite.mark_good()
    first = suite.commit("executor", "tidy a", {"a": "bad\n", "c": "one good\n2 good\n"})
    suite.commit("planner", "a remark", {"c": "one good # here\n2 good # there\n"})
    second = suite.commit("planner", "tidy c", {"c": "one bad # here\n2 bad # there\n"})
    diagnosis = found(suite)
    assert (diagnosis.verdict, shas(diagnosis)) == (Verdict.ACT, [second, first])


def test_where_the_culprit_cannot_be_taken_back_whole_the_plan_must_prove_itself_or_a_human_decides(
    suite: Shop,
) -> None:
    bad = suite.commit("executor", "tidy a", {"a": "bad one\n"})
    suite.commit("planner", "write it anew", {"a": "another bad\n"})
    diagnosis = found(suite)
    assert (diagnosis.verdict, shas(diagnosis)) == (Verdict.ACT, [bad])
    assert any("conflicts with later work" in line for line in diagnosis.culprits[0].evidence)
    incident = suite.incident(suite.finding(agent="executor"))
    for option, _ in build_options(suite.services, incident, diagnosis):
        proven = option.rehearsal.applies and option.rehearsal.proven
        assert not proven or option.risk_level is RiskLevel.CRITICAL  # what throws both away


def test_who_only_brought_the_failing_test_is_for_a_human(suite: Shop) -> None:
    suite.commit("executor", "a bad thing without a test", {"c": "bad\n"})
    notes(suite, "one")
    test = suite.commit("planner", "test the thing", {"c.case": "c\n"})
    diagnosis = found(suite)
    assert (diagnosis.verdict, shas(diagnosis)) == (Verdict.ASK, [test])
    assert "the fault may be older than its tests" in diagnosis.reasons[0]


def test_a_renamed_test_hides_where_it_began_and_nobody_is_blamed_for_the_renaming(suite: Shop) -> None:
    bad = suite.commit("executor", "tidy a", {"a": "bad\n"})
    notes(suite, "one")
    git(suite.path, "mv", "a.case", "alpha.case")
    git(suite.path, "commit", "-q", "-m", "a better name\n\nAgent: planner")
    renamed = suite.head()
    diagnosis = found(suite)
    assert diagnosis.verdict is Verdict.ASK
    assert diagnosis.culprits == ()
    assert {bad, renamed} <= {suspect.sha for suspect in diagnosis.suspects}


def test_faults_on_both_sides_of_a_merge_are_found_where_they_are(suite: Shop) -> None:
    """Main was fast-forwarded to the agent's side, which had merged it: the first parent is the agent's."""
    git(suite.path, "checkout", "-q", "-b", "work")
    notes(suite, "one")
    suite.commit("executor", "tidy a", {"a": "bad\n"})
    ours = git(suite.path, "rev-parse", "work")
    git(suite.path, "checkout", "-q", "main")
    theirs = suite.commit("planner", "tidy b", {"b": "bad\n"})
    git(suite.path, "checkout", "-q", "work")
    git(suite.path, "merge", "-q", "--no-ff", "-m", "take main in", "main")
    git(suite.path, "checkout", "-q", "main")
    git(suite.path, "merge", "-q", "--ff-only", "work")
    diagnosis = found(suite)
    assert diagnosis.verdict is Verdict.ACT
    assert set(shas(diagnosis)) == {ours, theirs}


def test_a_check_that_fails_now_and_then_blames_nobody(suite: Shop, tmp_path: Path) -> None:
    turns = tmp_path / "turns"
    odd = f"echo x >>{turns}; grep -q good a && test $(($(wc -l <{turns}) % 2)) -eq 0"
    suite.configure(checks=[{"name": "tests", "run": ["sh", "-c", odd], "retries": 2, "timeout": "20s"}])
    notes(suite, "one", "two", "three")
    diagnosis = found(suite)
    assert diagnosis.culprits == ()
    assert diagnosis.verdict is Verdict.CANNOT_TELL
    assert any("flaky" in reason for reason in diagnosis.reasons), diagnosis.reasons


def test_a_long_check_is_run_ahead_on_idle_cores(suite: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollcage.core.diagnose.probe._WORTH_S", 0.0)
    notes(suite, *(f"before {number}" for number in range(6)))
    bad = suite.commit("executor", "tidy a", {"a": "bad\n"})
    notes(suite, *(f"behind {number}" for number in range(6)))
    diagnosis = found(suite)
    assert shas(diagnosis) == [bad]


def test_a_search_runs_a_failing_check_once_and_confirms_by_two_runs_on_either_side(suite: Shop) -> None:
    suite.configure(checks=[{**JUNIT, "retries": 2}])
    suite.mark_good()
    suite.commit("executor", "tidy a", {"a": "bad\n"})
    notes(suite, "one", "two", "three")
    runs = found(suite).check_runs
    assert runs.search <= 4
    assert runs.confirm == 4, "retries are for telling flaky from broken at the head"
