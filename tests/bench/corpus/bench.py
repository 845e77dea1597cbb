"""All cases through rollcage and through the obvious script, some at the same time; the table and the aims."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from tests.bench.measure import Row

from .cases import case, names
from .kinds import KINDS
from .run import run_rollcage
from .score import Score, table
from .script import run_script

Scores = Mapping[str, Sequence[Score]]


def measure(place: Path) -> list[Row]:
    """Run the whole corpus; the section of ``make bench``."""
    return report(run_all(names(), place, os.cpu_count() or 1))


def run_all(wanted: Sequence[str], place: Path, jobs: int, *, script: bool = True) -> Scores:
    """Run the cases of these names, ``jobs`` at the same time, and say how each went."""
    ours: list[Score] = []
    theirs: list[Score] = []
    started = time.monotonic()
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as executor:
        running = {executor.submit(_one, name, place, script): name for name in wanted}
        for number, done in enumerate(as_completed(running), 1):
            mine, other = done.result()
            ours.append(mine)
            theirs += [other] if other else []
            print(f"{time.monotonic() - started:5.0f} s {number:4}/{len(wanted)}  {_line(mine, other)}", flush=True)
            if mine.crashed:
                print(mine.crashed, file=sys.stderr)
    return {"rollcage": ours, "script": theirs}


def _one(name: str, place: Path, script: bool) -> tuple[Score, Score | None]:
    known = case(name)
    folder = place / name
    folder.mkdir()
    try:
        return run_rollcage(known, folder), (run_script(known, folder) if script else None)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _line(mine: Score, other: Score | None) -> str:
    how = "crashed" if mine.crashed else "exact" if mine.exact else "right" if mine.right else "NOT RIGHT"
    flags = [word for word in ("wrong", "alarm") if getattr(mine, word)]
    flags += [f"{getattr(mine, word)} {word}" for word in ("lost", "dirty_lost") if getattr(mine, word)]
    if mine.hit != mine.guilty or mine.named != mine.guilty:
        flags.append(f"culprits {mine.hit} of {mine.guilty}, {mine.named} named")
    runs = f"{mine.search}+{mine.confirm}+{mine.rehearse} runs" + (f" (script {other.search})" if other else "")
    return f"{mine.name:22} {how:9} {mine.seconds:5.1f} s  {runs}  {', '.join(flags)}  {mine.said}"


def report(scores: Scores) -> list[Row]:
    """Print the table by kind; return what there are aims for."""
    ours, theirs = scores["rollcage"], scores["script"]
    print("\n".join(table(scores, list(KINDS))))
    guilty = [each for each in ours if each.guilty]
    plain = {each.name: each.search for each in theirs}
    found = [each for each in guilty if each.name in plain and each.kind != "never_good"]
    named, hit, all_of_them = (sum(getattr(each, what) for each in guilty) for what in ("named", "hit", "guilty"))
    low = sum(each.risk in {"LOW", "MEDIUM"} for each in guilty if each.right)
    print(
        f"\n  rollcage: precision {_share(hit, named)}, recall {_share(hit, all_of_them)}; "
        f"{low} of {sum(each.right for each in guilty)} right ones are LOW or MEDIUM; "
        f"runs: search {sum(each.search for each in ours)}, confirmation {sum(each.confirm for each in ours)}, "
        f"rehearsal {sum(each.rehearse for each in ours)}; {sum(bool(each.crashed) for each in ours)} crashed"
    )
    print(f"  not right: {', '.join(sorted(each.name for each in ours if not each.right)) or 'none'}")
    searched, steps = sum(each.search for each in found), sum(plain[each.name] for each in found)
    rows = [
        Row("wanted lines lost, done", [sum(each.lost for each in ours if each.acted)], aim=0, unit="lines"),
        Row("wanted lines lost, proposed", [sum(each.lost for each in ours if not each.acted)], unit="lines"),
        Row("dirty bytes lost", [sum(each.dirty_lost for each in ours)], aim=0, unit="bytes"),
        Row("top-ranked option not right", [100 * (1 - _mean([each.right for each in ours]))], aim=5, unit="%"),
        Row("wrong unattended actions", [sum(each.wrong for each in ours)], aim=0, unit=""),
        Row("false alarms", [sum(each.alarm for each in ours)], aim=0, unit=""),
        Row("crashes", [sum(bool(each.crashed) for each in ours)], aim=0, unit=""),
    ]
    if steps:
        ratio = round(100 * searched / steps)
        note = f"{searched} runs to search in {len(found)} cases; git bisect run took {steps}, all rounds of the script"
        rows.append(Row("search runs, of plain bisection's", [ratio], aim=70, unit="%", note=note))
    return rows


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.3f} ({part} of {whole})" if whole else "-"


def _mean(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else 1.0
