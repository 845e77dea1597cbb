"""``python -m tests.bench.corpus [-j JOBS] [-n COUNT] [KIND|CASE...]``: a part of the corpus, a line for each case."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.bench.__main__ import _of_its_own
from tests.bench.measure import environment

from .bench import report, run_all
from .cases import names
from .kinds import KINDS


def main() -> int:
    """Run what is asked for. Returns 1 if rollcage lost something, acted wrongly or crashed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.corpus")
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count() or 1, help="processes at the same time")
    parser.add_argument("-n", "--count", type=int, help="only the first so many cases; they are of all kinds in turn")
    parser.add_argument("--no-script", action="store_true", help="leave out the obvious script")
    parser.add_argument("what", nargs="*", help=f"kinds ({', '.join(KINDS)}) or cases, such as single-1")
    asked = parser.parse_args()
    wanted = [name for name in names() if not asked.what or name in asked.what or name.rpartition("-")[0] in asked.what]
    with tempfile.TemporaryDirectory(prefix="rollcage-corpus-") as folder:
        place = Path(folder).resolve()
        with environment(_of_its_own(place)):
            scores = run_all(wanted[: asked.count], place, asked.jobs, script=not asked.no_script)
    rows = report(scores)
    return int(any(row.aim is not None and row.ours[0] > row.aim for row in rows))


if __name__ == "__main__":
    sys.exit(main())
