"""The order of options: first what works, then what loses nothing, then what is small."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from rollcage.core.model import CheckOutcome, OptionType
from rollcage.core.plan.proof import Proof
from rollcage.core.plan.ranking import MOST_OPTIONS, Candidate, ranked

from .plans import option, plan

PASSED, FAILED, UNKNOWN = (CheckOutcome("tests", passed, 1, 1.0) for passed in (True, False, None))


def candidate(
    kind: OptionType = OptionType.SINGLE_COMMIT,
    *,
    tree: str = "d" * 40,
    applies: bool = True,
    check: CheckOutcome = PASSED,
    lost_lines: int = 0,
    lost_commits: int = 0,
    lines: int = 10,
    points: int = 1,
    overlaps: bool = False,
) -> Candidate:
    its = option(kind)
    rehearsal = replace(
        its.rehearsal,
        applies=applies,
        tree=tree if applies else None,
        checks=(check,) if applies else (),
        lost_lines=lost_lines,
        lost_commits=("e" * 40,) * lost_commits,
    )
    return Candidate(replace(its, rehearsal=rehearsal, risk_points=points), plan(kind), lines, overlaps)


candidates = st.builds(
    candidate,
    st.sampled_from(OptionType),
    tree=st.sampled_from(["1" * 40, "2" * 40, "3" * 40, "4" * 40]),
    applies=st.booleans(),
    check=st.sampled_from([PASSED, FAILED, UNKNOWN]),
    lost_lines=st.sampled_from([0, 0, 3]),
    lost_commits=st.sampled_from([0, 0, 2]),
    lines=st.integers(0, 50),
    points=st.integers(0, 10),
    overlaps=st.booleans(),
)


def loses(each: Candidate) -> bool:
    return bool(each.option.rehearsal.lost_lines or each.option.rehearsal.lost_commits)


@settings(max_examples=200, deadline=None)
@given(st.lists(candidates, min_size=1, max_size=9), st.booleans())
def test_what_works_and_loses_nothing_is_never_behind_what_does_not(found: list[Candidate], has_culprit: bool) -> None:
    order = ranked(found, has_culprit=has_culprit)
    assert 0 < len(order) <= MOST_OPTIONS
    best = order[0]
    for other in found:
        restarts = other.option.type, *((best.option.type,) if not has_culprit else ())
        if OptionType.RESTART_ONLY not in restarts and other.passed and not loses(other) and not other.overlaps:
            assert best.passed
            assert not best.overlaps
            assert not loses(best)
    codes = [each for each in order if each.option.type is not OptionType.RESTART_ONLY]
    assert not has_culprit or order[: len(codes)] == codes


def test_a_coarser_way_to_the_same_tree_is_left_out_unless_it_does_more() -> None:
    fine = candidate()
    kinds = [OptionType.FILE_SELECTIVE, OptionType.BRANCH_RESET, OptionType.FULL_AGENT_RESET]
    order = ranked([fine, *(candidate(kind) for kind in kinds)], has_culprit=True)
    assert [each.option.type for each in order] == [OptionType.SINGLE_COMMIT, OptionType.FULL_AGENT_RESET]


def test_the_smaller_change_is_better_and_the_likelier_suspect_before_that() -> None:
    small, large = candidate(lines=2, tree="1" * 40), candidate(lines=90, tree="2" * 40)
    assert ranked([large, small], has_culprit=True)[0] is small
    likely = replace(large, place=0)
    assert ranked([replace(small, place=1), likely], has_culprit=False)[0] is likely


def test_a_lucky_pass_of_a_flaky_check_is_no_reason_to_throw_work_away() -> None:
    flaky = candidate(check=UNKNOWN)
    lucky = candidate(OptionType.FULL_AGENT_RESET, tree="2" * 40, lost_commits=2)
    steady = candidate(OptionType.FILE_SELECTIVE, tree="3" * 40, lines=40)
    assert ranked([lucky, flaky], has_culprit=True)[0] is flaky
    assert ranked([lucky, flaky, steady], has_culprit=True)[0] is steady
    assert ranked([lucky, candidate(check=FAILED)], has_culprit=True)[0] is lucky


def test_what_only_hides_the_fault_goes_behind_but_not_behind_what_throws_work_away() -> None:
    hides = replace(candidate(OptionType.FILE_SELECTIVE, tree="1" * 40, lines=1), proof=Proof(False))
    whole = candidate(lines=50, lost_lines=1)
    reset = candidate(OptionType.BRANCH_RESET, tree="2" * 40, lost_commits=2)
    assert ranked([reset, hides, whole], has_culprit=True) == [whole, hides, reset]


def test_a_restart_that_did_not_last_goes_behind() -> None:
    restart = candidate(OptionType.RESTART_ONLY, lines=0, points=0)
    code = candidate(tree="2" * 40)
    assert ranked([code, restart], has_culprit=False)[0] is restart
    assert ranked([code, restart], has_culprit=False, restart_failed=True)[0] is code
