"""What rehearsal promises: 100 reverts at most 5 times the bare merges, and under 0.5 s among 10,000 commits.

Run ``python -m tests.gitrepo.bench``; it exits with 1 where the promise does not hold.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rollcage.core.gitrepo.mirror import Mirror
from rollcage.core.gitrepo.rehearse import rehearse_reverts
from rollcage.core.gitrepo.repository import Repository

ROUNDS = 5


def write_history(top: Path, *, commits: int, files: int = 1_000, lines: int = 200) -> None:
    """Make a repository of ``commits`` commits, each of which changes a line in two of ``files`` files."""
    subprocess.run(["git", "init", "-q", "-b", "main", str(top)], check=True)
    chance = random.Random(1)
    content = [[f"line {line} of file {file}" for line in range(lines)] for file in range(files)]
    stream = []
    for number in range(commits):
        stream.append(b"commit refs/heads/main\ncommitter A <a@b> %d +0000\ndata 0\n" % (1_700_000_000 + 60 * number))
        for file in range(files) if number == 0 else chance.sample(range(files), 2):
            content[file][chance.randrange(lines)] = f"changed by {number}"
            text = "\n".join(content[file]).encode() + b"\n"
            stream.append(
                b"M 644 inline d%d/s%d/f%d\ndata %d\n" % (file % 40, file % 7, file, len(text)) + text + b"\n"
            )
    subprocess.run(["git", "-C", str(top), "fast-import", "--quiet"], input=b"".join(stream), check=True)


def bare_pairs(top: Path, targets: list[str]) -> bytes:
    """Return the input of ``git merge-tree --stdin`` for the same reverts, its commits written beforehand."""

    def commit(tree: str, *parents: str) -> str:
        words = ["git", "-C", str(top), "-c", "user.name=a", "-c", "user.email=a", "commit-tree", "-m", "x", tree]
        words += [word for parent in parents for word in ("-p", parent)]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()

    lines = []
    for target in targets:
        base = commit(f"{target}^{{tree}}")
        lines.append(f"{commit('main^{tree}', base)} {commit(f'{target}^^{{tree}}', base)}\n")
    return "".join(lines).encode()


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(*, commits: int = 10_000, reverts: int = 100) -> tuple[float, float]:
    """Return the median seconds of (the bare merges, our rehearsal); each round in a mirror of its own."""
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder) / "top"
        write_history(top, commits=commits)
        repository = Repository.discover(top)
        head = repository.tip("main")
        assert head is not None
        targets = repository.git.text("rev-list", f"--max-count={reverts}", "main").split()
        pairs = bare_pairs(top, targets)
        bare, ours = [], []
        for number in range(ROUNDS):
            mirrors = [Mirror(repository, Path(folder) / f"{name}{number}.git") for name in ("bare", "ours")]
            for mirror in mirrors:
                mirror.ensure()
            command = ["git", f"--git-dir={mirrors[0].path}", "merge-tree", "--write-tree", "--stdin"]
            bare.append(timed(lambda: subprocess.run(command, input=pairs, capture_output=True, check=True)))  # noqa: B023
            ours.append(timed(lambda: rehearse_reverts(mirrors[1], head, targets)))  # noqa: B023
    return statistics.median(bare), statistics.median(ours)


def main() -> int:
    bare, ours = measure()
    times = f"bare {bare * 1e3:.0f} ms, rehearsed {ours * 1e3:.0f} ms, {ours / bare:.2f} times"
    print(f"100 reverts among 10,000 commits: {times}")
    return int(ours > 5 * bare or ours > 0.5)


if __name__ == "__main__":
    sys.exit(main())
