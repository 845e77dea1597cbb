"""What is bad goes and nothing else: each case with real git and real checks, the tree compared whole."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcage.core.clock import SystemClock
from rollcage.core.config import Settings
from rollcage.core.gitrepo.repository import Repository
from rollcage.core.model import Diagnosis, OptionType
from rollcage.core.plan.data_way import DataWay
from rollcage.core.plan.ddmin import ddmin
from rollcage.core.plan.options import build_options
from rollcage.core.plan.smallest import MOST_RUNS, Candidate, Granularity, candidate_of, find_smallest, granularity
from rollcage.core.services import Services, open_services
from rollcage.core.store.paths import RepositoryPaths
from rollcage.core.store.store import Store
from tests.conftest import git
from tests.execute.scene import diagnosis_of, incident_of
from tests.gitrepo.conftest import commit
from tests.gitrepo.test_rehearse import files_in

RUN = "import glob\nfor f in sorted(glob.glob('test_*.py')): exec(compile(open(f).read(), f, 'exec'), {})\n"
CHECK = {"name": "tests", "run": [sys.executable, "-S", "-B", "-c", RUN], "retries": 0, "timeout": "20s"}
ADD = "def add(a, b):\n    return a + b\n"
BAD = ADD.replace("a + b", "a - b")
MUL = "\n\ndef mul(a, b):\n    return a * b\n"
TEST = "import calc\n\nassert calc.add(1, 2) == 3\n"
Files = dict[str, str | bytes | None]


@dataclass
class Case:
    """A repository with a test, and what was committed to it."""

    top: Path
    state: Path
    services: Services
    targets: list[str] = field(default_factory=list)
    runs: int = 0

    @property
    def head(self) -> str:
        return git(self.top, "rev-parse", "main")

    def good(self, files: Files) -> str:
        return commit(self.top, files, "good")

    def bad(self, files: Files) -> str:
        self.targets.append(commit(self.top, files, "bad"))
        return self.targets[-1]

    def find(self, ways: dict[str, str] | None = None, budget: int = MOST_RUNS) -> list[Candidate]:
        before = self.services.checks.runs
        found = find_smallest(self.services, self.head, self.targets, ways, budget=budget)
        self.runs = self.services.checks.runs - before
        return found

    def best(self, ways: dict[str, str] | None = None) -> Candidate:
        best = self.find(ways)[0]
        assert best.passes, best
        return best

    def tree(self, candidate: Candidate) -> dict[str, str]:
        found = files_in(self.services.mirror, candidate.tree)
        return {path: text.partition(" ")[2] for path, text in found.items()}


def opened(top: Path, state: Path, *checks: dict[str, object]) -> Services:
    state.mkdir(exist_ok=True)
    clock, paths = SystemClock(), RepositoryPaths(state)
    found = Settings.model_validate({"checks": list(checks)})
    return open_services(Repository.discover(top), paths, Store.open(paths, clock), found, "0" * 64, clock)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("begun") / "shop"
    top.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{name}_NAME", "Ann")
            patch.setenv(f"GIT_{name}_EMAIL", "ann@example.com")
        git(top, "init", "-q", "-b", "main")
        commit(top, {"calc.py": ADD, "test_calc.py": TEST})
    return top


@pytest.fixture
def case(begun: Path, tmp_path: Path) -> Iterator[Case]:
    shutil.copytree(begun, tmp_path / "shop")
    services = opened(tmp_path / "shop", tmp_path / "state", CHECK)
    yield Case(tmp_path / "shop", tmp_path / "state", services)
    services.store.close()


# The commits as a whole


def test_a_commit_with_nothing_wanted_in_it_goes_as_a_whole(case: Case) -> None:
    case.bad({"calc.py": BAD, "other.py": "x = 1\n"})
    case.good({"later.py": "y = 2\n"})
    best = case.best()
    assert (best.granularity, best.parts, best.lost_lines, best.wanted) == (Granularity.COMMIT, (), 0, ())
    assert case.tree(best) == {"calc.py": ADD, "test_calc.py": TEST, "later.py": "y = 2\n"}
    assert case.runs == 1


def test_a_later_commit_edited_the_very_line(case: Case) -> None:
    case.bad({"calc.py": BAD})
    case.good({"calc.py": BAD.replace("a - b", "round(a - b, 2)")})
    best = case.best()
    assert case.tree(best) == {"calc.py": ADD.replace("a + b", "round(a + b, 2)"), "test_calc.py": TEST}
    assert (best.granularity, best.lost_lines, case.runs) == (Granularity.COMMIT, 0, 1)


def test_two_bad_ones_with_a_good_one_on_the_same_lines_between(case: Case) -> None:
    case.bad({"calc.py": BAD})
    case.good({"calc.py": BAD.replace("a - b", "round(a - b, 2)")})
    case.bad({"calc.py": BAD.replace("a - b", "round(a - b - 1, 2)")})
    best = case.best()
    assert case.tree(best)["calc.py"] == ADD.replace("a + b", "round(a + b, 2)")
    assert case.runs == 1


def test_bad_commits_of_several_agents_between_good_ones(case: Case) -> None:
    case.good({"m.py": MUL.lstrip(), "test_m.py": "import m\n\nassert m.mul(2, 2) == 4\n"})
    case.bad({"calc.py": BAD})
    case.good({"calc.py": BAD + MUL})
    case.bad({"m.py": "def mul(a, b):\n    return a / b\n"})
    case.good({"m.py": "def mul(a, b):\n    return float(a / b)\n"})
    case.bad({"calc.py": BAD.replace("a - b", "a - b - 1") + MUL})
    case.good({"calc.py": "# calc\n" + BAD.replace("a - b", "a - b - 1") + MUL})
    found = case.tree(case.best())
    assert found["calc.py"] == "# calc\n" + ADD + MUL
    assert found["m.py"] == "def mul(a, b):\n    return float(a * b)\n"
    assert case.runs == 1


def test_renamed_since_and_the_line_edited(case: Case) -> None:
    case.good({"calc.py": ADD + MUL})
    case.bad({"calc.py": BAD + MUL})
    (case.top / "lib").mkdir()
    git(case.top, "mv", "calc.py", "lib/sums.py")
    case.good({"test_calc.py": TEST.replace("import calc", "from lib import sums as calc")})
    case.good({"lib/sums.py": BAD.replace("a - b", "int(a - b)") + MUL})
    best = case.best()
    assert case.tree(best)["lib/sums.py"] == ADD.replace("a + b", "int(a + b)") + MUL
    assert case.runs == 1


# Wanted work in the bad commit


def test_a_wanted_file_that_later_work_imports_stays(case: Case) -> None:
    case.bad({"calc.py": BAD, "helper.py": "def twice(a):\n    return 2 * a\n"})
    case.good({"app.py": "import helper\n\nprint(helper.twice(2))\n"})
    best, *_, whole = case.find()
    assert best.passes
    assert (best.parts, best.granularity) == (("calc.py",), Granularity.FILE)
    assert set(case.tree(best)) == {"calc.py", "test_calc.py", "helper.py", "app.py"}
    assert case.tree(best)["calc.py"] == ADD
    assert whole.wanted == ("helper.py: later work imports it", "helper.py#1: later work uses twice")
    assert case.runs <= 4


def test_a_wanted_helper_in_the_very_file_stays(case: Case) -> None:
    case.good({"calc.py": ADD + MUL})
    case.bad({"calc.py": BAD + MUL + "\n\ndef helper(a):\n    return a\n"})
    case.good({"app.py": "from calc import helper\n"})
    best = case.best()
    assert (best.parts, best.granularity) == (("calc.py#1",), Granularity.HUNK)
    assert case.tree(best)["calc.py"] == ADD + MUL + "\n\ndef helper(a):\n    return a\n"
    assert case.runs <= 4


def test_a_wanted_parameter_in_the_very_line_stays(case: Case) -> None:
    case.good({"calc.py": "def add(a, b): return a + b\n"})
    case.bad({"calc.py": "def add(a, b, places=2): return a - b\n"})
    case.good({"app.py": "from calc import add\n\nprint(add(1, 2, places=3))\n"})
    best = case.best()
    assert (best.parts, best.granularity) == (("calc.py#1.2",), Granularity.TOKEN)
    assert case.tree(best)["calc.py"] == "def add(a, b, places=2): return a + b\n"


def test_a_wanted_test_stays_with_what_it_needs(case: Case) -> None:
    helper = "def twice(a):\n    return 2 * a\n"
    test = "import helper\n\nassert helper.twice(2) == 4\n"
    case.bad({"calc.py": BAD, "helper.py": helper, "test_helper.py": test})
    best = case.best()
    assert best.parts == ("calc.py",)
    assert case.tree(best) == {"calc.py": ADD, "test_calc.py": TEST, "helper.py": helper, "test_helper.py": test}


def test_what_later_work_extended_stays_and_the_bad_part_goes(case: Case) -> None:
    case.bad({"calc.py": BAD, "new.py": "A = 1\n"})
    case.good({"new.py": "A = 1\nB = 2\n"})
    best, *rest = case.find()
    assert best.parts == ("calc.py",)
    assert case.tree(best) == {"calc.py": ADD, "test_calc.py": TEST, "new.py": "A = 1\nB = 2\n"}
    assert rest[-1].reversal.conflicts == ("new.py: changed since, and would have to be deleted",)


DATA_TEST = "assert len(open('d').read()) == 2\n"


def test_the_need_of_later_work_is_seen_by_the_checks_though_no_name_tells(case: Case) -> None:
    case.bad({"calc.py": BAD, "d": "12"})
    case.good({"test_data.py": DATA_TEST})
    best = case.best()
    assert best.parts == ("calc.py",)
    assert case.tree(best)["d"] == "12"


def test_settings_of_the_checks_may_be_the_fault(case: Case) -> None:
    case.bad({"pytest.ini": "[bad]\n", "helper.py": "def twice(a):\n    return 2 * a\n"})
    case.good({"app.py": "import helper\n", "test_ini.py": "import os\n\nassert not os.path.exists('pytest.ini')\n"})
    best = case.best()
    assert best.parts == ("pytest.ini",)
    assert "helper.py" in case.tree(best)


def test_each_of_several_culprits_goes_as_fine_as_it_must(case: Case) -> None:
    first = case.bad({"calc.py": BAD, "helper.py": "def twice(a):\n    return 2 * a\n"})
    case.good({"app.py": "import helper\n"})
    second = case.bad({"calc.py": "import nothing_there\n" + BAD, "wanted.py": "def useful():\n    pass\n"})
    case.good({"more.py": "from wanted import useful\n"})
    best = case.best()
    assert best.parts == tuple(sorted((f"{first[:12]}:calc.py", f"{second[:12]}:calc.py")))
    assert case.tree(best) == {
        "calc.py": ADD, "test_calc.py": TEST, "helper.py": "def twice(a):\n    return 2 * a\n",
        "app.py": "import helper\n", "wanted.py": "def useful():\n    pass\n", "more.py": "from wanted import useful\n",
    }  # fmt: skip


# Merges, moves, copies


@pytest.mark.parametrize(("forward", "inner"), [(False, False), (True, True)])
def test_what_came_by_a_merge_goes_and_the_rest_of_the_merge_stays(case: Case, forward: bool, inner: bool) -> None:
    top = case.top
    git(top, "checkout", "-q", "-b", "agent")
    bad = case.good({"calc.py": BAD})
    case.good({"wanted.py": "def useful():\n    pass\n"})
    git(top, "checkout", "-q", "main")
    good = case.good({"main.py": "x = 1\n"})
    if forward:  # the agent merged main into its branch, and main went there
        git(top, "checkout", "-q", "agent")
        git(top, "merge", "-q", "-m", "merge main", "main")
        git(top, "checkout", "-q", "main")
        git(top, "merge", "-q", "--ff-only", "agent")
    else:
        git(top, "merge", "-q", "-m", "merge agent", "agent")
    merge = case.head
    case.good({"app.py": "from wanted import useful\n"})
    case.targets.append(bad if inner else merge)
    best = case.best({merge: good})
    assert best.parts == (() if inner else ("calc.py",))
    assert case.tree(best) == {
        "calc.py": ADD, "test_calc.py": TEST, "main.py": "x = 1\n", "wanted.py": "def useful():\n    pass\n",
        "app.py": "from wanted import useful\n",
    }  # fmt: skip


def test_the_bad_lines_go_from_where_they_were_moved_to(case: Case) -> None:
    case.good({"calc.py": MUL.lstrip() + "\n\n" + ADD})
    case.bad({"calc.py": MUL.lstrip() + "\n\n" + BAD})
    moved = "import math\n\n\n" + BAD + "\n\nPI = math.pi\n"
    case.good({"calc.py": "from sums import add\n\n\n" + MUL.lstrip(), "sums.py": moved})
    best = case.best()
    assert best.parts == ("calc.py#1@sums.py",)
    assert case.tree(best)["sums.py"] == moved.replace("a - b", "a + b")
    assert (best.granularity, best.lost_lines) == (Granularity.HUNK, 0)


# Tests are not the fault


def test_a_commit_that_only_adds_the_failing_test_says_so(case: Case) -> None:
    case.good({"calc.py": BAD.replace("a - b", "a + b + 0")})
    case.bad({"test_more.py": TEST.replace("== 3", "== 4")})
    (whole,) = case.find()
    assert whole.passes
    assert whole.why == ("it only changed tests: taking it back may hide a fault and not mend it",)


def test_a_fault_is_not_mended_by_taking_back_the_test_that_shows_it(case: Case) -> None:
    case.bad({"test_more.py": TEST.replace("== 3", "== 4"), "other.py": "x = 1\n"})
    whole = case.find()[-1]
    assert "the fault may be older" in whole.why[0]


def test_tests_weakened_by_the_bad_commit_are_as_they_were(case: Case) -> None:
    strict = TEST + "assert calc.add(0, 2) == 2\n"
    case.good({"test_calc.py": strict})
    case.bad(
        {
            "calc.py": BAD,
            "test_calc.py": strict.replace("== 2", "== -2"),
            "helper.py": "def twice():\n    pass\n",
        }
    )
    case.good({"app.py": "from helper import twice\n"})
    best = case.best()
    assert best.parts == ("calc.py", "test_calc.py")
    assert case.tree(best)["test_calc.py"] == strict
    assert "helper.py" in case.tree(best)


# What it may cost


def test_no_more_is_tried_than_may_be(case: Case) -> None:
    files: Files = {f"m{number}.py": f"def f{number}():\n    pass\n" for number in range(3)}
    case.bad({**files, "calc.py": BAD, "d": "12"})
    case.good({"test_data.py": DATA_TEST, "app.py": "from m1 import f1\n"})
    best = case.find(budget=40)[0]
    assert best.parts == ("calc.py",)
    assert case.runs <= 8
    found = case.find(budget=0)
    assert not found[0].passes
    assert "not all was tried: 0 check runs were spent" in found[0].why


def test_an_innocent_commit_is_not_searched(case: Case) -> None:
    case.good({"calc.py": BAD})
    case.bad({"m.py": MUL, "n.py": "x = 1\n", "test_m.py": "import m\n"})
    (whole,) = case.find()
    assert (whole.passes, whole.why) == (False, ("the checks fail without it just as they do with it",))
    assert case.runs == 2


def test_when_told_to_stop_it_says_what_it_has(case: Case) -> None:
    case.bad({"calc.py": BAD, "d": "12"})
    case.good({"test_data.py": DATA_TEST})
    stop = threading.Event()
    stop.set()
    found = find_smallest(case.services, case.head, case.targets, stop=stop)
    assert [candidate.passes for candidate in found] == [False]
    assert "stopped before all was tried" in found[0].why


# What can't be done


def test_what_cannot_be_done_is_refused_with_its_reason(case: Case) -> None:
    case.bad({"calc.py": BAD})
    case.good({"calc.py": BAD.replace("a - b", "a * b")})
    (refused,) = case.find()
    assert (refused.tree, refused.reversal.reason) == (None, "conflict")
    assert refused.reversal.conflicts == ("calc.py: the same words were changed in two ways: '-' to '*' and to '+'",)
    case.targets = ["1" * 40]
    (refused,) = case.find()
    assert (refused.tree, refused.reversal.reason) == (None, "unknown_commit")


def test_parts_that_an_operator_chose_are_tried_with_every_check(case: Case) -> None:
    bad = case.bad({"calc.py": BAD, "x": "1\n"})
    services, head = case.services, case.head
    chosen = candidate_of(services, head, [bad], ["calc.py"])
    assert (chosen.passes, chosen.granularity, chosen.lost_lines) == (True, Granularity.FILE, 0)
    assert not candidate_of(services, head, [bad], ["x"]).passes
    assert candidate_of(services, head, [bad], ["y"]).reversal.reason == "unknown_part"


def test_without_checks_what_is_wanted_stays_all_the_same(case: Case) -> None:
    case.services = opened(case.top, case.state)
    case.bad({"calc.py": BAD, "more.py": "x = 1\n", "helper.py": "def twice(a):\n    return 2 * a\n"})
    case.good({"app.py": "import helper\n"})
    best = case.best()
    assert (best.parts, best.outcomes) == (("calc.py", "more.py"), ())


@pytest.mark.parametrize(
    ("parts", "grain"),
    [
        ((), Granularity.COMMIT),
        (("a.py",), Granularity.FILE),
        (('"a#2.1"',), Granularity.FILE),
        (("a.py", "b.py#2"), Granularity.HUNK),
        (("a.py#1@b.py",), Granularity.HUNK),
        (("0123456789ab:a.py#1.2", "b"), Granularity.TOKEN),
    ],
)
def test_how_fine_parts_are_is_in_their_names(parts: tuple[str, ...], grain: Granularity) -> None:
    assert granularity(parts) is grain


# Delta debugging

units = st.lists(st.integers(0, 30).map(str), min_size=1, max_size=16, unique=True)


@settings(max_examples=40)
@given(st.data(), units)
def test_of_what_is_found_nothing_can_be_left_out(data: st.DataObject, whole: list[str]) -> None:
    needed = set(data.draw(st.lists(st.sampled_from(whole), min_size=1, max_size=4)))
    asked: list[tuple[str, ...]] = []

    def does(part: tuple[str, ...]) -> bool:
        asked.append(part)
        return needed <= set(part)

    assert set(ddmin(whole, does)) == needed
    assert len(asked) == len(set(asked))


@settings(max_examples=20)
@given(units)
def test_one_likely_unit_costs_one_run(whole: list[str]) -> None:
    runs: list[tuple[str, ...]] = []

    def does(part: tuple[str, ...]) -> bool:
        runs.append(part)
        return whole[0] in part

    assert ddmin(whole, does) == (whole[0],)
    assert len(runs) <= 1


def test_of_several_ways_with_the_same_commits_the_database_is_asked_once(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def find(_: Services, diagnosis: Diagnosis, targets: tuple[str, ...], agents: tuple[str, ...]) -> DataWay:
        asked.append(targets)
        return DataWay("same", words="stays")

    monkeypatch.setattr("rollcage.core.plan.options.find_data_way", find)
    bad = case.bad({"calc.py": BAD, "mul.py": MUL})
    case.good({"test_mul.py": "import mul\n\nassert mul.mul(2, 3) == 6\n"})
    incident = incident_of(case.services, "")
    pairs = build_options(case.services, incident, diagnosis_of(incident, bad, agent=None))
    assert [(option.target_commits, plan.database) for option, plan in pairs] == [((bad,), "stays")] * len(pairs)
    assert {option.type for option, _ in pairs} == {OptionType.FILE_SELECTIVE, OptionType.SINGLE_COMMIT}
    assert asked == [(bad,)]
