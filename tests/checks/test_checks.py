"""Checks tell passed, failed and flaky commits apart, and say clearly when they cannot."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from rollcage.core.model import CheckOutcome
from tests.checks.conftest import PYTHON, MakeCheck, Project, shell

REPORTER = """
import sys
report, failing, passing = sys.argv[1], sys.argv[2].split(), sys.argv[3].split()
cases = [f'<testcase classname="t" name="{name}"><failure/></testcase>' for name in failing]
cases += [f'<testcase classname="t" name="{name}"/>' for name in passing]
open(report, "w").write(f"<testsuite>{''.join(cases)}</testsuite>")
sys.exit(bool(failing))
"""
BROKEN = "def add(a, b):\n    return a - b\n"


def run(project: Project, settings: object, **more: object) -> CheckOutcome:
    checks = project.checks(settings)  # type: ignore[arg-type]
    return checks.run(*project.head(), settings, **more)  # type: ignore[arg-type]


def test_a_good_commit_passes_and_a_bad_one_fails_by_what_it_prints(project: Project, check: MakeCheck) -> None:
    good = run(project, check())
    assert (good.passed, good.runs, good.failing) == (True, 1, ())
    project.commit({"calc.py": BROKEN})
    bad = run(project, check(retries=2))
    assert (bad.passed, bad.runs) == (False, 3)
    assert bad.detail.endswith("AssertionError: add is broken")


def test_what_is_not_committed_has_no_say(project: Project, check: MakeCheck) -> None:
    (project.top / "calc.py").write_text(BROKEN)
    (project.top / "sitecustomize.py").write_text("raise SystemExit(1)\n")
    assert run(project, check()).passed is True


def test_a_result_is_known_by_tree_and_definition(project: Project, check: MakeCheck, tmp_path: Path) -> None:
    counting = check(shell(f"echo run >> {tmp_path}/runs"), link=())
    first = run(project, counting)
    project.commit()
    assert run(project, counting) == first
    assert run(project, counting.model_copy(update={"name": "renamed"})).passed
    assert (tmp_path / "runs").read_text().count("run") == 1
    assert run(project, counting, fresh=True).passed
    assert (tmp_path / "runs").read_text().count("run") == 2
    for change in ({"timeout": 21}, {"retries": 0}, {"env": {"A": "1"}}, {"setup": ("true",)}, {"junit": "r.xml"}):
        assert project.checks().definition(check(**change)) != project.checks().definition(check())


def test_the_hash_of_all_checks_changes_with_any(project: Project, check: MakeCheck) -> None:
    one, other = check(), check(name="lint", run=("true",))
    hashes = {project.checks(*some).checks_hash for some in [(), (one,), (other,), (one, other), (other, one)]}
    assert len(hashes) == 5


def test_what_fails_and_then_passes_is_flaky(project: Project, check: MakeCheck, tmp_path: Path) -> None:
    script = f"echo x >> {tmp_path}/count; echo try $(wc -l < {tmp_path}/count); [ $(wc -l < {tmp_path}/count) -ge 2 ]"
    flaky = run(project, check(shell(script), retries=3))
    assert (flaky.passed, flaky.runs) == (None, 2)
    assert flaky.detail == "flaky: failed 1 of 2 runs\ntry 1"


def test_a_search_runs_it_once_and_whoever_wants_to_be_sure_runs_it_anew(
    project: Project, check: MakeCheck, tmp_path: Path
) -> None:
    settings = check(shell(f"echo x >> {tmp_path}/runs; exit 1"), retries=2)
    assert run(project, settings, once=True).runs == 1
    assert run(project, settings, once=True).runs == 1
    assert (tmp_path / "runs").read_text().count("x") == 1
    assert run(project, settings).runs == 3
    assert run(project, settings, once=True).runs == 3
    assert (tmp_path / "runs").read_text().count("x") == 4


def test_each_try_has_a_fresh_tree(project: Project, check: MakeCheck) -> None:
    # In a tree where the first try left its mark the second would pass: that is no flakiness, it is a failure.
    outcome = run(project, check(shell("[ -e mark ] || { touch mark; exit 1; }"), retries=2))
    assert (outcome.passed, outcome.runs) == (False, 3)


def test_failing_tests_are_named_and_others_each_time_are_flaky(
    project: Project, check: MakeCheck, tmp_path: Path
) -> None:
    project.commit({"report.py": REPORTER})
    steady = check((PYTHON, "report.py", "r.xml", "a b", "c"), junit="r.xml")
    assert run(project, steady).failing == ("t.a", "t.b")
    turns = f"echo x >> {tmp_path}/n; n=$(wc -l < {tmp_path}/n); exec {PYTHON} report.py r.xml"
    mixed = run(project, check(shell(f'{turns} "always t$n" ""'), junit="r.xml", retries=2))
    assert (mixed.passed, mixed.failing, mixed.runs) == (False, ("t.always",), 3)
    other = run(project, check(shell(f'{turns} "t$n" ""'), junit="r.xml"))
    assert other.passed is None
    assert other.detail.startswith("flaky: fails by other tests each time: t.t")


def test_a_report_of_an_earlier_run_or_commit_is_never_read(project: Project, check: MakeCheck) -> None:
    stale = '<testsuite><testcase name="old"><failure/></testcase></testsuite>'
    project.commit({"r.xml": stale})
    outcome = run(project, check(shell("exit 1"), junit="r.xml"))
    assert (outcome.passed, outcome.failing) == (False, ())
    assert outcome.detail.startswith("exit status 1; no JUnit report")


def test_only_the_tests_followed_count(project: Project, check: MakeCheck) -> None:
    project.commit({"report.py": REPORTER})
    settings = check((PYTHON, "report.py", "r.xml", "a b", "c"), junit="r.xml", retries=0)
    checks = project.checks(settings)

    def follow(*only: str) -> CheckOutcome:
        return checks.run(*project.head(), settings, only=only)

    assert (follow("t.a").passed, follow("t.a").failing) == (False, ("t.a",))
    assert follow("t.c").passed is True
    unknown = follow("t.new", "t.c")
    assert unknown.passed is None
    assert unknown.detail.startswith("fails otherwise than by the tests followed")
    assert follow("t").passed is True, (
        "a file that could not be imported failed by its own name; now a test in it passes"
    )
    assert checks.cached(project.head()[1], settings) is None, "what was followed is not the whole"
    assert follow().failing == ("t.a", "t.b")
    assert checks.cached(project.head()[1], settings, ["t.b"]) is not None


def test_a_hang_is_a_failure_and_is_tried_once_more_only(project: Project, check: MakeCheck) -> None:
    hung = run(project, check(("sleep", "60"), timeout=0.4, retries=5), only=["needs a report"])
    assert (hung.passed, hung.runs) == (False, 2)
    assert hung.detail == "timed out after 400 ms"


@pytest.mark.parametrize(
    ("seconds", "spoken"), [(600, "10 min"), (90, "90 s"), (7200, "2 h"), (1.5, "1500 ms"), (0.1234, "0.1234 s")]
)
def test_times_are_spoken(seconds: float, spoken: str) -> None:
    from rollcage.core.checks.attempt import _spoken

    assert _spoken(seconds) == spoken


def test_what_cannot_be_started_has_no_verdict_and_is_not_remembered(project: Project, check: MakeCheck) -> None:
    missing = check(("no-such-runner", "-q"))
    outcome = run(project, missing)
    assert (outcome.passed, outcome.runs) == (None, 1)
    assert outcome.detail.startswith("cannot be started: no-such-runner: No such file or directory; it must be on PATH")
    assert project.checks().cached(project.head()[1], missing) is None
    lost = run(project, check(link=("nothing",)))
    assert lost.detail == f"cannot be started: link: nothing is not in the checkout {project.top}"


def test_exit_status_125_asks_to_skip_the_commit(project: Project, check: MakeCheck) -> None:
    skipped = run(project, check(shell("echo no compiler; exit 125")))
    assert (skipped.passed, skipped.runs) == (None, 1)
    assert skipped.detail == "exit status 125: it cannot judge this tree\nno compiler"


def test_setup_runs_first_in_the_tree_and_its_failure_is_no_verdict(project: Project, check: MakeCheck) -> None:
    assert run(project, check(("test", "-e", "built"), setup=("touch", "built"))).passed is True
    failed = run(project, check(("true",), setup=shell("echo no network; exit 7")))
    assert failed.passed is None
    assert failed.detail == "setup failed: exit status 7\nno network"
    assert project.checks().cached(project.head()[1], check(("true",), setup=shell("exit 7"))) is None


def test_links_lead_to_the_checkout(project: Project, check: MakeCheck) -> None:
    (project.top / ".gitignore").write_text("deps/\n")
    project.commit()
    (project.top / "deps").mkdir()
    (project.top / "deps" / "four.py").write_text("FOUR = 4\n")
    settings = check(("python3", "-c", "from deps.four import FOUR; assert FOUR == 4"), link=("deps",))
    assert run(project, settings).passed is True
    assert run(project, settings, fresh=True).passed is True
    assert (project.top / "deps" / "four.py").exists(), "cleaning the tree leaves what is linked"


def test_runs_in_its_folder_with_its_environment(project: Project, check: MakeCheck) -> None:
    project.commit({"back/x.txt": ""})
    settings = check(shell('[ "$(basename "$PWD")" = back ] && [ "$COLOUR" = red ]'), cwd="back", env={"COLOUR": "red"})
    assert run(project, settings).passed is True
    assert run(project, check(cwd="front")).detail == "cannot be started: cwd: front is no folder in this tree"


def test_stopping_ends_all_of_them_and_remembers_nothing(project: Project, check: MakeCheck) -> None:
    slow = [check(("sleep", "60"), name=f"slow {number}") for number in range(3)]
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    outcomes = project.checks(*slow).run_all(*project.head(), stop=stop)
    assert [(outcome.passed, outcome.detail) for outcome in outcomes] == [(None, "stopped")] * 3
    assert project.checks().cached(project.head()[1], slow[0]) is None


def test_all_checks_run_in_the_order_of_the_settings(project: Project, check: MakeCheck) -> None:
    some = [check(("true",), name="a"), check(("false",), name="b", retries=0), check(name="c")]
    outcomes = project.checks(*some).run_all(*project.head())
    assert [(outcome.name, outcome.passed) for outcome in outcomes] == [("a", True), ("b", False), ("c", True)]


def test_a_tree_without_a_commit_is_checked_too(project: Project, check: MakeCheck) -> None:
    settings = check()
    assert project.checks(settings).run("", project.head()[1], settings).passed is True


def test_a_real_test_runner_names_its_failing_tests(project: Project, check: MakeCheck) -> None:
    tests = "def test_add():\n    assert add(2, 2) == 4\ndef test_zero():\n    assert add(0, 0) == 0\n"
    project.commit({"calc.py": BROKEN, "tests/test_real.py": f"from calc import add\n{tests}"})
    command = (sys.executable, "-m", "pytest", "-q", "--junitxml=out/report.xml", "tests")
    env = {"PYTHONPATH": ".", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    outcome = run(project, check(command, junit="out/report.xml", env=env, retries=0))
    assert (outcome.passed, outcome.failing) == (False, ("tests.test_real.test_add",))
    assert "1 failed, 1 passed" in outcome.detail
    assert len(outcome.detail) <= 2_000
