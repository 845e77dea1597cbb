"""Trouble that came by a merge."""

from __future__ import annotations

import re

from .edits import (
    append,
    both,
    new_function,
    write,
)
from .faults import Fault
from .grow import Grower
from .packages import Files
from .story import end, seed, start


def _sides(grower: Grower, fault: Fault) -> tuple[list[str], list[str], str]:
    """Return the modules of the side with the fault, those of main, and the agent of the side."""
    rest = [path for path in grower.modules if path != fault.path]
    side = rest[: len(rest) // 3]
    return [fault.path, *side], [path for path in rest if path not in side], grower.agents[0]


def _side(grower: Grower, fault: Fault, wanted: bool) -> tuple[list[str], str]:
    mine, theirs, agent = _sides(grower, fault)
    grower.fork("side")
    if wanted:
        grower.noise(grower.rng.randint(1, 3), "side", mine, [agent])
    seed(grower, fault, branch="side", agent=agent)
    if wanted:
        grower.noise(grower.rng.randint(0, 3), "side", mine, [agent])
    grower.noise(grower.rng.randint(1, 5), modules=theirs, agents=grower.agents[1:])
    return theirs, agent


def merge_bad(grower: Grower) -> None:
    """The bad commit came by a merge that brought nothing else."""
    fault = grower.take()
    start(grower)
    _, agent = _side(grower, fault, wanted=False)
    merge = grower.merge("side", summary="merge side", agent=agent)
    grower.truth.aliases[grower.truth.culprits[0]] = merge
    end(grower)


def merge_mixed(grower: Grower) -> None:
    """The bad commit came by a merge that also brought good work."""
    fault = grower.take()
    start(grower)
    _, agent = _side(grower, fault, wanted=True)
    grower.merge("side", summary="merge side", agent=agent)
    end(grower)


def foxtrot(grower: Grower) -> None:
    """The agent merged main into its branch, and main was moved forward to that: the second parent is main's own.

    Rollcage saw main pass just before.
    """
    fault = grower.take()
    start(grower)
    _, agent = _side(grower, fault, wanted=grower.rng.random() < 0.5)
    grower.truth.good = grower.branches["main"].tip
    grower.foxtrot("side", agent)
    end(grower)


def octopus(grower: Grower) -> None:
    """The bad commit came by a merge of three branches."""
    fault = grower.take()
    start(grower)
    mine, theirs, agent = _sides(grower, fault)
    for name in ("side", "two", "three"):
        grower.fork(name)
    seed(grower, fault, branch="side", agent=agent)
    other = theirs or mine
    grower.noise(1, "two", other[:1], grower.agents[1:2])
    if other[1:]:
        grower.noise(2, "three", other[1:], (grower.agents[2:] or grower.agents[1:])[:1])
    else:
        grower.good("notes", append("docs/three.md", "- three\n"), branch="three")
    grower.merge("side", "two", "three", summary="merge three branches")
    end(grower)


def combination(grower: Grower) -> None:
    """Two branches that are sound by themselves and not together: one renamed what the other calls."""
    fault = grower.take()  # only for its module
    path, package, rng = fault.path, grower.package, grower.rng
    grower.noise(2)
    number = grower.number()
    summary, edit = new_function(package, rng, path, number, "start")
    grower.good(summary, edit)
    old = summary.split()[1]
    grower.truth.good = grower.noise(2)[-1]
    grower.noise(rng.randint(1, 5))
    grower.reserved.add((path, old))
    mine, theirs, agent = _sides(grower, fault)
    grower.fork("side")
    name = f"twice_{number}"
    call = f"\n\ndef {name}(value):\n    from {package.importable(path)} import {old}\n\n    return {old}, value\n"
    other = mine[-1] if mine[-1] != path else path
    test = f"from {package.importable(other)} import {name}\n\n\ndef test_{name}():\n    assert {name}(1)[1] == 1\n"
    edit = both(append(other, call), write(f"{package.more_tests}/test_twice.py", test))
    side = grower.good(f"add {name} with tests", edit, agent, "side")
    grower.must.append((side, True))

    def rename(files: Files) -> Files:
        pattern = re.compile(rf"\b{old}\b")
        return {path: pattern.sub(f"{old}_only", text) for path, text in files.items()}

    main = grower.good(f"rename {old}", rename, grower.agents[1])
    grower.must.append((main, True))
    if theirs:
        grower.noise(rng.randint(0, 3), modules=theirs, agents=grower.agents[1:])
    merge = grower.merge("side", summary="merge side", agent=agent, brings=False)
    grower.must.append((merge, False))
    grower.truth.culprits.append(merge)
    grower.truth.expect = "ask"
    end(grower)
