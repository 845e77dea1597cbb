"""What a result is worth: compared with the truth, counted in lines, bytes, commits and check runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import git

from .cases import Case
from .faults import judge
from .packages import Files

NOT_TO_BE_TOLD = frozenset({"unbuildable_culprit"})
"""Kinds whose culprit no test can tell: whoever is named for sure is named wrongly."""

WHOLE = frozenset({"combination"})
"""Kinds where only the ideal tree is right: with the test alone gone, what it tests would be as broken as before."""


@dataclass(slots=True)
class Score:
    """How one case ended, for rollcage or for the script."""

    name: str
    kind: str
    crashed: str = ""
    """What went wrong in the program that is measured; empty: nothing."""
    acted: bool = False
    """It changed the branch without a human."""
    said: str = ""
    """The verdict, the decision and how it ended, for people."""
    named: int = 0
    guilty: int = 0
    hit: int = 0
    exact: bool = False
    """The tree is the ideal one, to the byte."""
    right: bool = False
    """Or all wanted lines are there and the tests pass. Where there is no right tree: nothing was taken back."""
    passes: bool = False
    lost: int = 0
    """Wanted lines that are not there, in what was done or, where it waited, in what was proposed."""
    dirty_lost: int = 0
    """Bytes of a human's uncommitted work that are not there."""
    wrong: bool = False
    """It acted, and should not have, or not so."""
    alarm: bool = False
    """There was an incident, and nothing was wrong."""
    search: int = 0
    confirm: int = 0
    rehearse: int = 0
    risk: str = ""
    seconds: float = 0.0


def tree_files(directory: Path, tree: str) -> Files:
    """Return the texts of a tree."""
    files: Files = {}
    listed = git(directory, "ls-tree", "-r", "-z", tree).split("\0")
    entries = [entry.partition("\t") for entry in listed if entry]
    names = "".join(f"{about.split()[2]}\n" for about, _, _ in entries).encode()
    # One process for all: as bytes, for sizes are of bytes.
    out = git(directory, "cat-file", "--batch", stdin=names).encode(errors="surrogateescape") + b"\n"
    at = 0
    for _, _, path in entries:
        end = out.index(b"\n", at)
        size = int(out[at:end].split()[2])
        files[path] = out[end + 1 : end + 1 + size].decode()
        at = end + 2 + size
    return files


def lost_lines(ideal: Files, head: Files, result: Files, joint: Sequence[tuple[str, str, str]]) -> int:
    """Count the wanted lines that ``result`` lacks.

    Wanted is what is in the ideal tree and at the head, and of a line that good work and a fault share the good part:
    it is there as long as the line is, mended or not.
    """
    missing = 0
    for path, text in ideal.items():
        wanted = _lines(text) & _lines(head.get(path, ""))
        missing += (wanted - _lines(result.get(path, ""))).total()
    for path, line, faulty in joint:
        there = _lines(result.get(path, ""))
        missing += line not in there and faulty not in there
    return missing


def _lines(text: str) -> Counter[str]:
    return Counter(line for line in text.split("\n") if line.strip())


def judge_tree(score: Score, case: Case, head: Files, result: Files) -> None:
    """Write into ``score`` what the tree is worth that was made or proposed."""
    ideal = case.ideal
    score.exact = result == ideal
    score.lost = 0 if score.exact else lost_lines(ideal, head, result, case.joint)
    score.passes = score.exact or judge(case.of, result).status == 0
    score.right = score.exact or (score.passes and not score.lost and case.kind not in WHOLE)


def judge_culprits(score: Score, case: Case, named: Sequence[str]) -> None:
    """Count who was named, who is guilty, and who of them was named, or the merge that brought nothing else."""
    if case.kind in NOT_TO_BE_TOLD:
        score.named = len(set(named))
        return
    score.named, score.guilty = len(set(named)), len(case.culprits)
    score.hit = sum(one in named or case.aliases.get(one) in named for one in case.culprits)


def dirty_lost(case: Case, folder: Path, untouched: bool) -> int:
    """Count the bytes of the human's uncommitted lines, or files where nothing was done, that are gone."""
    missing = 0
    for path, line in case.own_lines:
        place = folder / path
        text = place.read_text() if place.exists() else ""
        if line not in (each.strip() for each in text.split("\n")):
            missing += len(line.encode())
    if untouched:
        for path, text in case.dirty.items():
            place = folder / path
            missing += len(text.encode()) if not place.exists() or place.read_text() != text else 0
    return missing


def settle(score: Score, case: Case) -> None:
    """Draw the last conclusions."""
    if case.expect in {"none", "healthy"}:
        score.right = not score.acted and not score.alarm
        score.lost = score.lost if score.acted else 0
    good = case.expect == "act" and score.right
    score.wrong = score.acted and not (good and not score.lost and not score.dirty_lost)


def table(scores: Mapping[str, Sequence[Score]], kinds: Sequence[str]) -> list[str]:
    """Return the table by kind, rollcage beside the script, as lines."""
    ours, theirs = scores["rollcage"], scores["script"]
    heads = ["kind", "cases", "right", "exact", "pass", "alone", "wrong", "lost", "dirty", "named", "hit", "of", "runs"]
    rows: list[list[str]] = [[*heads, "", "right", "pass", "lost", "dirty", "hit", "runs"]]
    for kind in [*kinds, ""]:
        mine = [each for each in ours if not kind or each.kind == kind]
        other = [each for each in theirs if not kind or each.kind == kind]
        if mine:
            rows.append([kind or "all", *_cells(mine), "", *_script_cells(other)])
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = ["  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return [f"{'':>{widths[0]}}  rollcage{'':>{sum(widths[1:14]) + 16}}script", *lines]


def _cells(some: Sequence[Score]) -> list[str]:
    counts = [
        len(some),
        sum(each.right for each in some),
        sum(each.exact for each in some),
        sum(each.passes for each in some),
        sum(each.acted for each in some),
        sum(each.wrong for each in some),
        sum(each.lost for each in some if each.acted),
        sum(each.dirty_lost for each in some),
        sum(each.named for each in some),
        sum(each.hit for each in some),
        sum(each.guilty for each in some),
        sum(each.search for each in some),
    ]
    return [str(count) for count in counts]


def _script_cells(some: Sequence[Score]) -> list[str]:
    counts = [
        sum(each.right for each in some),
        sum(each.passes for each in some),
        sum(each.lost for each in some),
        sum(each.dirty_lost for each in some),
        sum(each.hit for each in some),
        sum(each.search for each in some),
    ]
    return [str(count) for count in counts]
