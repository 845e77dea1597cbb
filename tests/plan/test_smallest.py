"""What is bad goes and nothing else: each case with real git and real checks, the tree compared whole."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rollcage.core.plan.smallest import Candidate, Granularity, find_smallest
from tests.conftest import git
from tests.gitrepo.conftest import commit
from tests.gitrepo.test_rehearse import files_in
from tests.loop import Shop

UNITTEST = [sys.executable, "-S", "-B", "-m", "unittest", "-q"]
ADD = "def add(a, b):\n    return a + b\n"
BAD = ADD.replace("a + b", "a - b")
MUL = "\n\ndef mul(a, b):\n    return a * b\n"
TEST = """\
import unittest

import calc


class AddTest(unittest.TestCase):
    def test_add(self):
        self.assertEqual(calc.add(1, 2), 3)
"""
Files = dict[str, str | bytes | None]


@dataclass
class Case:
    """A repository with a test, and what was committed to it."""

    shop: Shop
    targets: list[str] = field(default_factory=list)
    runs: int = 0

    def good(self, files: Files) -> str:
        return commit(self.shop.path, files, "good")

    def bad(self, files: Files) -> str:
        self.targets.append(commit(self.shop.path, files, "bad"))
        return self.targets[-1]

    def find(self, ways: dict[str, str] | None = None, **more: int) -> list[Candidate]:
        services = self.shop.services
        before = services.checks.runs
        found = find_smallest(services, self.shop.head(), self.targets, ways, **more)
        self.runs = services.checks.runs - before
        return found

    def best(self, ways: dict[str, str] | None = None) -> Candidate:
        best = self.find(ways)[0]
        assert best.passes, best
        return best

    def tree(self, candidate: Candidate) -> dict[str, str]:
        found = files_in(self.shop.services.mirror, candidate.tree)
        return {path: text.partition(" ")[2] for path, text in found.items() if path not in {"plan.md", "notes.md"}}


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    shop = Shop(tmp_path, checks=[{"name": "tests", "run": UNITTEST, "retries": 0, "timeout": "20s"}])
    case = Case(shop)
    case.good({"calc.py": ADD, "test_calc.py": TEST})
    yield case
    shop.close()


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
    case.good(
        {"m.py": MUL.lstrip(), "test_m.py": TEST.replace("calc.add(1, 2), 3", "m.mul(2, 2), 4").replace("calc", "m")}
    )
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
    (case.shop.path / "lib").mkdir()
    git(case.shop.path, "mv", "calc.py", "lib/sums.py")
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
    test = TEST.replace("calc.add(1, 2), 3", "helper.twice(2), 4").replace("calc", "helper")
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


def test_the_need_of_later_work_is_seen_though_no_name_tells(case: Case) -> None:
    case.good(
        {"test_data.py": TEST.replace("calc.add(1, 2), 3", "len(open('d').read()), 2").replace("import calc", "")}
    )
    git(case.shop.path, "rm", "-q", "test_data.py")
    case.bad({"calc.py": BAD, "d": "12"})
    case.good(
        {"test_data.py": TEST.replace("calc.add(1, 2), 3", "len(open('d').read()), 2").replace("import calc", "")}
    )
    best = case.best()
    assert best.parts == ("calc.py",)
    assert case.tree(best)["d"] == "12"
