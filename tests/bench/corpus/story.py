"""What the kinds of trouble have in common: how a history begins and ends, and how a fault is committed."""

from __future__ import annotations

from .edits import Edit
from .faults import Fault
from .grow import Grower

PLAIN = ("tidy {}", "simplify {}", "small clean-up of {}", "make {} faster", "refactor {}")
"""What a bad commit says of itself."""


def start(grower: Grower, before: tuple[int, int] = (2, 5)) -> None:
    """Some good work that rollcage has seen pass, and some more that it has not."""
    rng = grower.rng
    grower.truth.good = grower.noise(rng.randint(*before))[-1]
    grower.noise(rng.randint(1, 8))


def end(grower: Grower, after: tuple[int, int] = (3, 14)) -> None:
    """Some more good work."""
    grower.noise(grower.rng.randint(*after))


def seed(
    grower: Grower, fault: Fault, *, branch: str = "main", agent: str = "", also: Edit | None = None, trailer: str = ""
) -> int:
    """Commit the fault as a culprit."""
    summary = grower.rng.choice(PLAIN).format(fault.function.rpartition(".")[2])
    before = grower.branches[branch].tip
    made = grower.bad(summary, fault.edit, agent, branch, also=also or (lambda files: files), trailer=trailer)
    if not grower.truth.culprits:
        grower.must.append((before, True))
    grower.must.append((made, False))
    grower.truth.culprits.append(made)
    return made


def one_fault(grower: Grower) -> Fault:
    """Begin, and commit one fault."""
    fault = grower.take()
    start(grower)
    seed(grower, fault)
    return fault


def one_line(fault: Fault) -> bool:
    """Say whether the fault is in one line, to which something may be added."""
    return len(fault.old) == len(fault.new) == 1 and "#" not in fault.old[0] and "#" not in fault.new[0]
