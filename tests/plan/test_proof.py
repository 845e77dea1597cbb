"""A tree is no proof where the test that shows the fault is gone: real git, real checks, what may act alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from rollcage.core.model import CheckOutcome, Diagnosis, OptionType, RecoveryPlan, RollbackOption
from rollcage.core.plan.options import Wish, build_options, rehearse
from rollcage.core.plan.proof import Proof, prove
from rollcage.core.services import Services
from tests.conftest import git
from tests.execute.scene import diagnosis_of, incident_of
from tests.gitrepo.conftest import commit
from tests.plan.test_smallest import ADD, BAD, CHECK, Files, opened

RUN = """
import glob, runpy, sys
report, failed = [], 0
for name in sorted(glob.glob("test_*.py")):
    try:
        made = runpy.run_path(name)
        tests = {key: made[key] for key in made if key.startswith("test_")}
    except Exception:
        tests = {"": lambda: 1 / 0}
    for key, test in tests.items():
        case = f'<testcase classname="{name[:-3]}" name="{key}">'
        try:
            test()
        except Exception:
            case, failed = case + "<failure/>", failed + 1
        report.append(case + "</testcase>")
open("report.xml", "w").write(f"<testsuite>{''.join(report)}</testsuite>")
sys.exit(bool(failed))
"""
NAMING = {**CHECK, "run": [sys.executable, "-S", "-B", "-c", "import sys\nsys.path.insert(0, '.')" + RUN]}
TEST = "import calc\n\n\ndef test_add():\n    assert calc.add(1, 2) == 3\n"
TWICE = "def twice(a):\n    return a + a\n"
TEST_TWICE = "from twice import twice\n\n\ndef test_twice():\n    assert twice(2) == {}\n"


@dataclass
class Case:
    """A repository with a test, a check that names its tests, or does not, and what was said of it last."""

    top: Path
    services: Services
    diagnosis: Diagnosis = field(init=False)
    plan: RecoveryPlan = field(init=False)

    def option(self, files: Files, *parts: str) -> RollbackOption:
        """Commit ``files`` as the bad commit, and return the option that takes it back, or parts of it."""
        good = git(self.top, "rev-parse", "main")
        bad = commit(self.top, files, "bad")
        incident = incident_of(self.services, "")
        self.diagnosis = replace(diagnosis_of(incident, bad, agent=None), last_good=good, head=self.head)
        if parts:
            wish = Wish(OptionType.FILE_SELECTIVE, (bad,), parts=parts)
            option, self.plan = rehearse(self.services, incident, self.diagnosis, wish, "opt-1.1")
        else:
            option, self.plan = build_options(self.services, incident, self.diagnosis)[0]
        return option

    @property
    def head(self) -> str:
        return git(self.top, "rev-parse", "main")


@pytest.fixture(params=["named", "unnamed"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    (tmp_path / "shop").mkdir()
    git(tmp_path / "shop", "init", "-q", "-b", "main")
    commit(tmp_path / "shop", {"calc.py": ADD, "test_calc.py": TEST}, "begin")
    check = {**NAMING, "junit": "report.xml"} if request.param == "named" else NAMING
    services = opened(tmp_path / "shop", tmp_path / "state", check)
    yield Case(tmp_path / "shop", services)
    services.store.close()


def test_code_that_goes_while_the_tests_stay_is_proof(case: Case) -> None:
    option = case.option({"calc.py": BAD})
    assert option.rehearsal.proven
    assert option.rehearsal.other_tests == ()


def test_the_test_that_shows_the_fault_taken_away_is_none(case: Case) -> None:
    option = case.option({"twice.py": TWICE, "test_twice.py": TEST_TWICE.format(5)}, "test_twice.py")
    assert option.rehearsal.checks[0].passed
    assert not option.rehearsal.proven
    words = {"takes away the test that shows the fault: test_twice.test_twice", "tests go along, and tests names none"}
    assert any(effect.startswith(tuple(words)) for effect in option.side_effects)


def test_what_only_its_own_test_shows_is_for_a_human(case: Case) -> None:
    option = case.option({"twice.py": TWICE, "test_twice.py": TEST_TWICE.format(5)})
    assert option.type is OptionType.SINGLE_COMMIT
    assert option.rehearsal.checks[0].passed
    assert not option.rehearsal.proven


def test_a_fault_that_older_tests_show_too_goes_with_its_own_tests(case: Case) -> None:
    """By name only: of a check that tells of no tests it is not known whether the old ones were among them."""
    files: Files = {"calc.py": BAD, "test_bad.py": "import calc\n\n\ndef test_bad():\n    assert calc.add(1, 1) == 9\n"}
    option = case.option(files)
    named = case.services.settings.checks[0].junit is not None
    assert option.rehearsal.checks[0].passed
    assert option.rehearsal.proven is named
    if named:
        assert "its tests are those of the last good commit" in option.side_effects


def test_weakened_tests_must_be_as_strong_as_before(case: Case) -> None:
    """The wrong sum goes and the weak test stays: by the last good tests what is left is still wrong."""
    strict = "import calc\n\n\ndef test_more():\n    assert calc.mul(2, 3) == 6\n"
    commit(case.top, {"calc.py": ADD + "\n\ndef mul(a, b):\n    return a * b\n", "test_more.py": strict}, "mul")
    wrong = BAD + "\n\ndef mul(a, b):\n    return a ** b\n"
    option = case.option({"calc.py": wrong, "test_more.py": strict.replace("6", "8")}, "calc.py#1")
    assert option.rehearsal.checks[0].passed
    assert not option.rehearsal.proven
    assert "with the last good tests not: tests" in option.side_effects
    assert [outcome.name for outcome in option.rehearsal.other_tests] == ["tests with the last good tests"]


def test_a_file_that_could_not_be_loaded_is_seen_by_its_tests(case: Case) -> None:
    option = case.option({"calc.py": "def add(a, b)\n"})
    assert option.rehearsal.proven


@pytest.mark.parametrize("case", ["named"], indirect=True)
def test_a_test_that_is_flaky_at_the_head_too_speaks_against_nothing(case: Case, tmp_path: Path) -> None:
    place = tmp_path / "counter"
    weather = (
        f"import os\n\n\ndef test_weather():\n    if not os.path.exists({str(place)!r}):\n        return\n"
        f"    with open({str(place)!r}, 'a+') as file:\n        file.write('.')\n"
        "        file.seek(0)\n        assert len(file.read()) % 2 == 0\n"
    )
    commit(case.top, {"test_weather.py": weather}, "weather")
    option = case.option({"calc.py": BAD})
    place.touch()  # from here on it fails every other time
    name = "test_weather.test_weather"
    mixed = CheckOutcome("tests", None, 2, 1.0, (name,), "flaky: failed 1 of 2 runs")

    def proof(outcome: CheckOutcome) -> Proof:
        rehearsal = replace(option.rehearsal, checks=(outcome,))
        return prove(case.services, case.diagnosis, case.plan, rehearsal, option.affected_files, ())

    seen = proof(mixed)
    assert (seen.holds, seen.known_flaky) == (True, ("tests",))
    for worse in (
        replace(mixed, unseen=("test_calc.test_add",)),
        replace(mixed, failing=(name, "test_calc.test_add")),
        replace(mixed, failing=("test_steady.test_it",)),
        replace(mixed, detail="flaky: fails by other tests each time: a, b"),
    ):
        seen = proof(worse)
        assert (seen.holds, seen.known_flaky) == (False, ()), worse
