"""The corpus of grown histories: its edits change no behaviour, its faults do, and its scores count what is lost."""

from __future__ import annotations

import random
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.bench.corpus import unit
from tests.bench.corpus.cases import Case, names
from tests.bench.corpus.edits import Unfit, good_work, remark
from tests.bench.corpus.faults import candidates
from tests.bench.corpus.kinds import KINDS
from tests.bench.corpus.packages import PACKAGES, Files
from tests.bench.corpus.score import Score, lost_lines, settle

PATH = PACKAGES[0].modules[0]
MODULE = '''\
"""A module."""


def total(items, start=0):
    """Return the sum.

    It begins with ``start``.
    """
    found = start
    for item in items:
        if item > 10 and item != 'x':
            found += item
    return found - 1


def first(items):
    if not items:
        return None
    return total(items, start=len(items))
'''


def behaviour(files: Files) -> tuple[Any, ...]:
    scope: dict[str, Any] = {}
    exec(files[PATH], scope)
    return tuple(scope[name](items) for name in ("total", "first") for items in ([], [10, 11], [12, 13, 1]))


def test_good_edits_change_the_text_and_not_what_it_does() -> None:
    files, made = {PATH: MODULE}, 0
    work = good_work(PACKAGES[0], random.Random(1), files, [PATH], set(), 7, "planner")
    for _, edit in islice(work, 200):
        try:
            changed = edit(files)
        except Unfit:
            continue
        made += changed != files
        assert behaviour(changed) == behaviour(files)
    assert made > 50


def test_a_fault_is_one_small_change_and_its_inverse_mends_it() -> None:
    files = {PATH: MODULE}
    found = list(candidates(PATH, MODULE))
    assert {fault.operator for fault in found} >= {
        "comparison swapped",
        "off by one",
        "value dropped",
        "condition negated",
    }
    for fault in found:
        faulty = fault.edit(files)
        assert faulty != files
        assert fault.inverse.edit(faulty) == files


def test_a_fault_leaves_the_remark_behind_its_line() -> None:
    fault = next(each for each in candidates(PATH, MODULE) if each.operator == "comparison swapped")
    note = remark(PATH, fault.function, fault.offset, "on purpose")
    files = {PATH: MODULE}
    assert note(fault.edit(files)) == fault.edit(note(files)) != fault.edit(files)


def test_a_function_that_others_changed_does_not_take_the_fault() -> None:
    fault = next(candidates(PATH, MODULE))
    with pytest.raises(Unfit):
        fault.edit(fault.edit({PATH: MODULE}))


def test_lost_is_what_was_there_and_wanted() -> None:
    ideal, head = {"a": "1\n2\n3\n"}, {"a": "1\nbad\n3\n4\n"}
    assert lost_lines(ideal, head, ideal, ()) == 0
    assert lost_lines(ideal, head, head, ()) == 0
    assert lost_lines(ideal, head, {"a": "1\n2\n"}, ()) == 1
    assert lost_lines(ideal, head, {}, ()) == 2
    joint = [("a", "2  # why", "bad  # why")]
    assert lost_lines(ideal, head, {"a": "1\nbad  # why\n3\n"}, joint) == 0
    assert lost_lines(ideal, head, {"a": "1\n2\n3\n"}, joint) == 1


def case(expect: str) -> Case:
    return Case("one-1", "one", "toolz", "", (), {}, None, expect, (), {}, (), False, (), 1)


def test_acting_is_wrong_where_a_human_must_decide_or_something_is_lost() -> None:
    def wrong(expect: str, **about: Any) -> bool:
        score = Score("one-1", "one", acted=True, **about)
        settle(score, case(expect))
        return score.wrong

    assert not wrong("act", right=True)
    assert wrong("act", right=False)
    assert wrong("act", right=True, dirty_lost=1)
    assert wrong("ask", right=True)
    assert wrong("healthy")
    assert wrong("none")


def test_there_are_over_a_hundred_cases_and_the_first_ones_are_of_all_kinds() -> None:
    known = names()
    assert len(known) == len(set(known)) > 100
    assert {name.rpartition("-")[0] for name in known[: len(KINDS)]} == set(KINDS)


@pytest.mark.parametrize(("body", "status"), [("assert True", 0), ("assert 1 == 2", 1), ("return (", 125)])
def test_the_check_tells_a_failure_from_what_does_not_compile(tmp_path: Path, body: str, status: int) -> None:
    (tmp_path / "test_it.py").write_text(f"def test_it():\n    {body}\n")
    words = [sys.executable, unit.__file__, "report.xml", "test_it.py"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == status, done.stderr
    assert (tmp_path / "report.xml").exists() == (status != 125)
    assert ("failure" in (tmp_path / "report.xml").read_text()) == (status == 1) if status != 125 else True
