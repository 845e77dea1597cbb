"""``make bench``, ``python -m tests.bench [SECTION...]``: measure, print a table for each section, and clean up."""

from __future__ import annotations

import importlib
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .measure import environment, show

SECTIONS = {
    "light": "Light verbs, as whole processes",
    "rehearse": "Rehearsing 100 reverts",
    "diagnose": "Diagnosis in a history of 100,000 commits",
    "calibration": "How often a diagnosis is right that says so",
    "recover": "From a finding to a finished rollback",
    "corpus": "Histories on real packages with seeded faults",
    "leases": "Locks side by side, alone and among eight processes",
    "github": "Issue operations at the rate that GitHub allows, safe against bare",
    "issues": "Issue operations on this machine, safe against bare",
    "console": "The console on a pseudo-terminal of 120x40",
}


def main(asked: list[str]) -> int:
    """Measure the sections asked for, all without an argument. Returns 2 for an unknown one, 1 if one cannot run."""
    unknown = [name for name in asked if name not in SECTIONS]
    if unknown:
        print(f"unknown section {unknown[0]}; there are: {', '.join(SECTIONS)}", file=sys.stderr)
        return 2
    git = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"Python {platform.python_version()}, {git}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    failed = 0
    started = time.monotonic()
    for name in asked or list(SECTIONS):
        with tempfile.TemporaryDirectory(prefix="rollcage-bench-") as folder:
            place = Path(folder).resolve()
            with environment(_of_its_own(place)):
                try:
                    section = importlib.import_module(f"{__package__}.{name}")
                    show(f"{SECTIONS[name]} ({name})", section.measure(place))
                except Exception as problem:  # the other sections are worth measuring all the same
                    failed = 1
                    print(f"\n{SECTIONS[name]} ({name})\n  not measured: {problem!r}", file=sys.stderr)
    print(f"\n{time.monotonic() - started:.0f} s in all. Nothing here is a test: ratios move with the machine's load.")
    return failed


def _of_its_own(place: Path) -> dict[str, str | None]:
    """Return the variables that keep everything within ``place``, compiled modules included."""
    home = place / "home"
    home.mkdir()
    mine: dict[str, str | None] = {name: None for name in os.environ if name.startswith(("GIT_", "ROLLCAGE_"))}
    return mine | {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "ROLLCAGE_STATE_DIR": str(home / "state"),
        "TMPDIR": str(place),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "Ann",
        "GIT_AUTHOR_EMAIL": "ann@example.com",
        "GIT_COMMITTER_NAME": "Ann",
        "GIT_COMMITTER_EMAIL": "ann@example.com",
        "PYTHONPYCACHEPREFIX": str(place / "compiled"),
        "PYTHONDONTWRITEBYTECODE": None,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
