"""Kills every task of `tests.execute.shapes` at each of its places: ``python -m tests.torture``, or ``make torture``.

A place at which the disk looks as it did at one before is left out: nobody who comes after the kill could tell them
apart. Scenes lie in memory where there is such a folder: what a killed process wrote is there all the same, and fsync
costs nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tests.execute.crash import CrashServer
from tests.execute.killing import Templates, tried
from tests.execute.shapes import BEGINNINGS

IN_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Told:
    """What came of one task."""

    title: str
    places: int
    killed: int
    bad: tuple[str, ...]
    seconds: float


def torture(name: str, back: bool, part: int, parts: int) -> Told:
    """Kill one task at each of its places, or at those of a part of them."""
    begun, title = time.monotonic(), f"{name}{' back' if back else ''}"
    for variable in [each for each in os.environ if each.startswith(("GIT_", "ROLLCAGE_", "XDG_"))]:
        del os.environ[variable]
    memory = IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="torture-", dir=memory))
    os.environ.update({"HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"})
    for who in ("AUTHOR", "COMMITTER"):
        os.environ.update({f"GIT_{who}_NAME": "Ann", f"GIT_{who}_EMAIL": "ann@example.com"})
    server = CrashServer()
    try:
        template = Templates(folder, server, looking=True).get(name, back=back)
        places = template.places()[part::parts]
        killed, bad = 0, []
        for place in places:
            was_killed, wrong = tried(template, server, place)
            killed += was_killed
            if wrong:
                bad.append(f"{title}: {' '.join(map(str, place))}: {wrong}")
        return Told(title, len(places), killed, tuple(bad), time.monotonic() - begun)
    except Exception as defect:
        return Told(title, 0, 0, (f"{title}: {type(defect).__name__}: {defect}"[:3_000],), time.monotonic() - begun)
    finally:
        server.close()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Torture all, or those named; return 1 where something is bad."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", help="tasks; by default all")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--part", default="1/1", help="2/3: the second third of the places of each")
    parser.add_argument("--only", choices=("forward", "back"), help="only the way forward, or only the way back")
    asked = parser.parse_args()
    part, parts = (int(word) for word in asked.part.split("/"))
    chosen = [
        (name, back)
        for name, back in BEGINNINGS
        if (not asked.names or name in asked.names) and asked.only != ("forward" if back else "back")
    ]
    begun, told = time.monotonic(), []
    with ProcessPoolExecutor(asked.workers) as pool:
        waiting = [pool.submit(torture, name, back, part - 1, parts) for name, back in chosen]
        for ended in as_completed(waiting):
            one = ended.result()
            told.append(one)
            words = f"{one.places} places, {one.killed} killed, {len(one.bad)} bad, {one.seconds:.0f} s"
            print(f"{len(told)}/{len(chosen)} {one.title}: {words}", *one.bad, sep="\n  ", flush=True)
    bad = sum(len(one.bad) for one in told)
    places, killed = sum(one.places for one in told), sum(one.killed for one in told)
    minutes = (time.monotonic() - begun) / 60
    print(f"{len(told)} tasks, {places} places, {killed} killed, {bad} bad, {minutes:.1f} min", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
