"""Grows a history in two worlds at once: as it happened, and as it would be without the faults, which is the truth."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from tests.conftest import git

from .edits import Edit, Unfit, good_work
from .faults import Fault, judge, pool
from .packages import Files, Package, fetch

AGENTS = ("planner", "builder", "fixer", "tester", "scribe")
START, EVERY_S = 1_790_000_000, 240
TRIES = 400


class Stillborn(Exception):
    """This seed gives no such case; the next one may."""


@dataclass(frozen=True, slots=True)
class Made:
    """A commit that was made, and both worlds as they were then."""

    parents: tuple[int, ...]
    message: str
    at: int
    real: Files
    ideal: Files


@dataclass(slots=True)
class Branch:
    """A line of work: its tip, and what was done on it in order, as (edit, fault)."""

    tip: int
    done: list[tuple[Edit, Edit]] = field(default_factory=list)


@dataclass(slots=True)
class Truth:
    """What a case knows of itself. Commits are places in the grower's list until they are shas."""

    culprits: list[int] = field(default_factory=list)
    aliases: dict[int, int] = field(default_factory=dict)
    """A commit that may be named in place of a culprit: the merge that brought nothing else."""
    good: int | None = None
    """The last commit that rollcage saw pass; None: it never saw one."""
    expect: str = "act"
    """``act``, ``ask``: there is a right tree, with and without a human; ``none``: there is none; ``healthy``."""
    joint: list[tuple[str, str, str]] = field(default_factory=list)
    """Lines that good work and a fault share: path, the line as it should be, the line as it is."""
    dirty: Files = field(default_factory=dict)
    """Uncommitted and untracked files of a human at the end."""
    own_lines: list[tuple[str, str]] = field(default_factory=list)
    """The lines in them that are the human's."""
    flaky: bool = False


class Grower:
    """Grows one case from a seed."""

    def __init__(self, package: Package, rng: random.Random) -> None:
        """Begin with the package as it was released."""
        self.package, self.rng = package, rng
        self.agents = rng.sample(AGENTS, rng.randint(2, 5))
        self.modules = list(package.modules)
        self.reserved: set[tuple[str, str]] = set()
        self.truth = Truth()
        self.commits: list[Made] = []
        self.branches: dict[str, Branch] = {}
        self.must: list[tuple[int, bool]] = []
        """Commits whose tests must pass, or must fail."""
        self._faults = pool(package)
        rng.shuffle(self._faults)
        self._clock = START
        files = fetch(package)
        self.branches["main"] = Branch(self._commit((), "import the package", files, files))

    # -- looking

    def real(self, branch: str = "main") -> Files:
        """Return the tree of a branch as it is."""
        return self.commits[self.branches[branch].tip].real

    def ideal(self, branch: str = "main") -> Files:
        """Return the tree of a branch as it would be without the faults."""
        return self.commits[self.branches[branch].tip].ideal

    def number(self) -> int:
        """Return a number for names, another one after each commit."""
        return len(self.commits)

    # -- doing

    def take(self, wanted: Callable[[Fault], bool] = lambda fault: True) -> Fault:
        """Choose a fault whose function nobody else will touch. Raises Stillborn."""
        for fault in self._faults:
            if fault.place not in self.reserved and wanted(fault):
                self._faults.remove(fault)
                self.reserved.add(fault.place)
                return fault
        raise Stillborn("no such fault")

    def others_in(self, fault: Fault) -> list[Fault]:
        """Return the other faults of the same function."""
        return [each for each in self._faults if each.place == fault.place]

    def wait(self, seconds: int) -> None:
        """Let time pass before the next commit."""
        self._clock += seconds

    def good(self, summary: str, edit: Edit, agent: str = "", branch: str = "main") -> int:
        """Commit good work. Raises Unfit."""
        return self.bad(summary, None, agent, branch, also=edit)

    def bad(
        self,
        summary: str,
        fault: Edit | None,
        agent: str = "",
        branch: str = "main",
        *,
        also: Edit = lambda files: files,
        trailer: str = "",
    ) -> int:
        """Commit a fault, and good work together with it. Raises Unfit."""
        seed = fault or (lambda files: files)
        line = self.branches[branch]
        before = self.commits[line.tip]
        real, ideal = also(seed(before.real)), also(before.ideal)
        if real == before.real:
            raise Unfit(summary)
        message = f"{summary}\n\nAgent: {agent or self.rng.choice(self.agents)}\n{trailer}"
        line.tip = self._commit((line.tip,), message, real, ideal)
        line.done.append((also, seed))
        return line.tip

    def noise(
        self, count: int, branch: str = "main", modules: Sequence[str] = (), agents: Sequence[str] = ()
    ) -> list[int]:
        """Commit good work of all kinds, ``count`` times."""
        made: list[int] = []
        while len(made) < count:
            agent = self.rng.choice(list(agents) or self.agents)
            found = [path for path in modules or self.modules if path in self.real(branch)]
            work = good_work(self.package, self.rng, self.real(branch), found, self.reserved, self.number(), agent)
            for summary, edit in islice(work, TRIES):
                try:
                    made.append(self.good(summary, edit, agent, branch))
                except (Unfit, SyntaxError):
                    continue
                break
            else:
                raise Stillborn("nothing good to do")
        return made

    def fork(self, name: str) -> None:
        """Begin a branch at main."""
        self.branches[name] = Branch(self.branches["main"].tip)
        self.branches["main"].done.clear()

    def merge(self, *names: str, summary: str, agent: str = "", brings: bool = True) -> int:
        """Merge branches into main by a merge commit; ``brings``: also in the world without faults."""
        main = self.branches["main"]
        real, ideal = self.real(), self.ideal()
        for name in names:
            for also, seed in self.branches[name].done:
                real = also(seed(real))
                ideal = also(ideal) if brings else ideal
        message = f"{summary}\n" + (f"\nAgent: {agent}\n" if agent else "")
        main.tip = self._commit((main.tip, *(self.branches[name].tip for name in names)), message, real, ideal)
        return main.tip

    def foxtrot(self, name: str, agent: str) -> int:
        """Merge main into a branch, and move main to that."""
        main, line = self.branches["main"], self.branches[name]
        real, ideal = self.real(name), self.ideal(name)
        for also, seed in main.done:
            real, ideal = also(seed(real)), also(ideal)
        message = f"merge main\n\nAgent: {agent}\n"
        main.tip = self._commit((line.tip, main.tip), message, real, ideal)
        return main.tip

    def _commit(self, parents: tuple[int, ...], message: str, real: Files, ideal: Files) -> int:
        self._clock += EVERY_S
        self.commits.append(Made(parents, message, self._clock, real, ideal))
        return len(self.commits) - 1

    # -- ending

    def verify(self) -> None:
        """Run the tests where the case says what they must say. Raises Stillborn."""
        if self.truth.expect in {"act", "ask"} and judge(self.package, self.ideal()).status:
            raise Stillborn("the world without the fault is not sound")
        head = self.branches["main"].tip
        wanted = [(head, self.truth.expect == "healthy"), *self.must]
        if self.truth.good is not None:
            wanted.append((self.truth.good, True))
        for number, passes in dict.fromkeys(wanted):
            status = judge(self.package, self.commits[number].real).status
            if status != (0 if passes else 1):
                raise Stillborn(f"commit {number} ends with {status}")

    def write(self, folder: Path) -> list[str]:
        """Make a bare repository of it; return the shas in the order of the commits."""
        folder.mkdir(parents=True)
        git(folder, "init", "-q", "--bare", "-b", "main")
        marks = folder / "marks"
        done = subprocess.run(
            ["git", "fast-import", "--quiet", f"--export-marks={marks}"],
            cwd=folder,
            input=b"".join(self._stream()),
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"fast-import: {done.stderr.decode(errors='replace')}")
        known = dict(line.split() for line in marks.read_text().splitlines())
        marks.unlink()
        shas = [known[f":{number + 1}"] for number in range(len(self.commits))]
        git(folder, "update-ref", "refs/heads/main", shas[self.branches["main"].tip])
        return shas

    def _stream(self) -> list[bytes]:
        stream: list[bytes] = []
        for number, made in enumerate(self.commits):
            before = self.commits[made.parents[0]].real if made.parents else {}
            text = made.message.encode()
            head = f"commit refs/grown\nmark :{number + 1}\ncommitter Ann <ann@example.com> {made.at} +0000\n"
            stream.append(head.encode() + b"data %d\n%s\n" % (len(text), text))
            if made.parents:
                stream.append(f"from :{made.parents[0] + 1}\n".encode())
                stream += [f"merge :{each + 1}\n".encode() for each in made.parents[1:]]
            stream += [f"D {path}\n".encode() for path in before if path not in made.real]
            for path, content in made.real.items():
                if before.get(path) != content:
                    data = content.encode()
                    stream.append(f"M 100644 inline {path}\n".encode() + b"data %d\n%s\n" % (len(data), data))
        stream.append(b"reset refs/grown\nfrom 0000000000000000000000000000000000000000\n\n")
        return stream
