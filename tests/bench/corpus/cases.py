"""The cases: grown from seeds once, verified, kept in the cache until this code changes."""

from __future__ import annotations

import hashlib
import inspect
import json
import random
import shutil
import sys
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from .edits import Unfit
from .grow import Grower, Stillborn
from .kinds import KINDS
from .packages import PACKAGES, Files, Package, cache

SEEDS = 40
"""How many seeds are tried for a case before that is a defect."""


@dataclass(frozen=True, slots=True)
class Case:
    """One grown history and what is true of it; commits by sha."""

    name: str
    kind: str
    package: str
    head: str
    culprits: tuple[str, ...]
    aliases: dict[str, str]
    good: str | None
    expect: str
    joint: tuple[tuple[str, str, str], ...]
    dirty: dict[str, str]
    own_lines: tuple[tuple[str, str], ...]
    flaky: bool
    agents: tuple[str, ...]
    commits: int
    """How many there are from ``good`` to the head."""

    @property
    def of(self) -> Package:
        """The package that it grew on."""
        return next(package for package in PACKAGES if package.name == self.package)

    @property
    def repository(self) -> Path:
        """Its bare repository, to be cloned."""
        return _folder(self.name) / "repository.git"

    @property
    def ideal(self) -> Files:
        """The tree as it would be without the faults."""
        files: Files = json.loads((_folder(self.name) / "ideal.json").read_text())
        return files


def names() -> list[str]:
    """Return the names of the cases, all kinds in turn, so that any first few are of many kinds."""
    found: list[tuple[int, int, str]] = []
    for place, (kind, (_, count)) in enumerate(KINDS.items()):
        found += [(number, place, f"{kind}-{number + 1}") for number in range(count)]
    return [name for _, _, name in sorted(found)]


def case(name: str) -> Case:
    """Return a case, grown if it is not there yet. Raises RuntimeError where no seed gives one."""
    folder = _folder(name)
    if not (folder / "case.json").exists():
        _grow(name, folder)
    known: dict[str, Any] = json.loads((folder / "case.json").read_text())
    for field in ("joint", "own_lines"):
        known[field] = tuple(map(tuple, known[field]))
    for field in ("culprits", "agents"):
        known[field] = tuple(known[field])
    return Case(**known)


def _grow(name: str, folder: Path) -> None:
    kind, _, number = name.rpartition("-")
    make, _ = KINDS[kind]
    place = sum(kind.encode())  # where the packages' turn begins: of its own, whatever other kinds there are
    why = ""
    for seed in range(SEEDS):
        package = PACKAGES[(place + int(number) + seed) % len(PACKAGES)]
        grower = Grower(package, random.Random(f"{name}/{seed}"))
        try:
            make(grower)
            grower.verify()
        except (Stillborn, Unfit, SyntaxError) as problem:
            why = f"{type(problem).__name__}: {problem}"
            continue
        _keep(name, kind, package, grower, folder)
        return
    raise RuntimeError(f"no seed gives {name}; the last: {why}")


def _keep(name: str, kind: str, package: Package, grower: Grower, folder: Path) -> None:
    whole = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(whole, ignore_errors=True)
    shas = grower.write(whole / "repository.git")
    truth = grower.truth
    head = grower.branches["main"].tip
    (whole / "ideal.json").write_text(json.dumps(grower.ideal()))
    made = Case(
        name=name,
        kind=kind,
        package=package.name,
        head=shas[head],
        culprits=tuple(shas[each] for each in truth.culprits),
        aliases={shas[one]: shas[other] for one, other in truth.aliases.items()},
        good=None if truth.good is None else shas[truth.good],
        expect=truth.expect,
        joint=tuple(truth.joint),
        dirty=truth.dirty,
        own_lines=tuple(truth.own_lines),
        flaky=truth.flaky,
        agents=tuple(grower.agents),
        commits=len(shas) - 1 - (truth.good or 0),
    )
    (whole / "case.json").write_text(json.dumps(asdict(made)))
    shutil.rmtree(folder, ignore_errors=True)
    whole.rename(folder)


def _folder(name: str) -> Path:
    return cache() / f"cases-{_version(name.rpartition('-')[0])}" / name


@lru_cache
def _version(kind: str) -> str:
    """Return what changes with the code that such cases are grown by; other kinds may come and go."""
    here = Path(__file__).parent
    grown_by = ("edits", "templates", "faults", "grow", "packages", "story", "unit")
    texts = [(here / f"{each}.py").read_text() for each in grown_by]
    make, _ = KINDS[kind]
    beside = vars(sys.modules[make.__module__])
    helpers = [beside[name] for name in sorted(beside) if name.startswith("_") and inspect.isfunction(beside[name])]
    texts += [inspect.getsource(each) for each in (*helpers, make)]
    return hashlib.sha256("".join(texts).encode()).hexdigest()[:12]
