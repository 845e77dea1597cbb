"""What must hold of every history: no two inside at once, tokens in the order of time and never twice, no early loss.

An interval is as long as the holder had a right to it: from the answer that gave it to the asking of its release, or
to the end of the lease as its holder knew it, to its break, its holder's death or the loss of the keeper's data.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from tests.coordination.history import History, Operation


@dataclass(frozen=True, slots=True)
class Interval:
    """A time through which someone had a right to rely on a lease."""

    name: str
    token: int
    process: str
    slots: int
    permits: int
    start: float
    end: float


def faults(history: History) -> list[str]:
    """Return everything that is wrong with ``history``, in words; empty: it keeps all promises of this module."""
    return [*overlaps(intervals(history)), *token_faults(history), *early_losses(history)]


def intervals(history: History) -> list[Interval]:
    """Return every holding of which its holder knew, by its start."""
    endings: dict[tuple[str, int], float] = defaultdict(lambda: math.inf)
    expiries: dict[tuple[str, int], float] = defaultdict(float)
    for operation in history.operations:
        key = (operation.name, operation.token)
        if operation.call in {"release", "break"} and operation.answer in {"ok", "unknown"}:
            endings[key] = min(endings[key], operation.invoked)
        elif operation.call in {"acquire", "renew"} and operation.answer == "ok":
            expiries[key] = max(expiries[key], operation.expires)
    found = []
    for operation in history.operations:
        if operation.call != "acquire" or operation.answer != "ok":
            continue
        key, start = (operation.name, operation.token), operation.returned
        lost = min((begun for begun, ended in history.losses if ended >= operation.invoked), default=math.inf)
        end = min(endings[key], expiries[key], history.deaths.get(operation.process, math.inf), lost)
        if end > start:
            found.append(
                Interval(
                    operation.name, operation.token, operation.process, operation.slots, operation.permits, start, end
                )
            )
    return sorted(found, key=lambda interval: interval.start)


def overlaps(found: Iterable[Interval]) -> list[str]:
    """Return where more permits of a name were out than there are."""
    by_name: dict[str, list[Interval]] = defaultdict(list)
    for interval in found:
        by_name[interval.name].append(interval)
    wrong = []
    for name, mine in by_name.items():
        inside: list[Interval] = []
        for interval in sorted(mine, key=lambda one: one.start):
            inside = [one for one in inside if one.end > interval.start]
            inside.append(interval)
            if sum(one.slots for one in inside) > min(one.permits for one in inside):
                who = ", ".join(
                    f"{one.process} with {one.token} from {one.start:.6f} to {one.end:.6f}" for one in inside
                )
                wrong.append(f"{name}: too many inside at {interval.start:.6f}: {who}")
    return wrong


def token_faults(history: History) -> list[str]:
    """Return the tokens of a name that were given twice, or not above one whose call had ended before theirs began."""
    by_name: dict[str, list[Operation]] = defaultdict(list)
    for operation in history.operations:
        if operation.call == "acquire" and operation.answer == "ok":
            by_name[operation.name].append(operation)
    wrong = []
    for name, grants in by_name.items():
        seen: set[int] = set()
        by_end = sorted(grants, key=lambda grant: grant.returned)
        highest, ended = 0, 0
        for grant in sorted(grants, key=lambda grant: grant.invoked):
            while ended < len(by_end) and by_end[ended].returned < grant.invoked:
                highest = max(highest, by_end[ended].token)
                ended += 1
            if grant.token in seen:
                wrong.append(f"{name}: token {grant.token} was given twice")
            elif grant.token <= highest:
                wrong.append(f"{name}: token {grant.token} was given after {highest}")
            seen.add(grant.token)
    return wrong


def early_losses(history: History) -> list[str]:
    """Return the leases that were called lost though their time was not up, and nobody had ended or broken them."""
    ended: dict[tuple[str, int], float] = defaultdict(lambda: math.inf)
    expiries: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    for operation in history.operations:
        key = (operation.name, operation.token)
        if operation.call in {"release", "break"} and operation.answer in {"ok", "unknown"}:
            ended[key] = min(ended[key], operation.invoked)
        elif operation.call in {"acquire", "renew"} and operation.answer == "ok":
            expiries[key].append((operation.returned, operation.expires))
    wrong = []
    for operation in history.operations:
        key = (operation.name, operation.token)
        if operation.answer != "lost" or operation.call == "break" or ended[key] < operation.returned:
            continue
        until = max((end for told, end in expiries[key] if told <= operation.invoked), default=-math.inf)
        if operation.returned < until and not any(begun <= operation.returned for begun, _ in history.losses):
            wrong.append(
                f"{operation.name}: {operation.call} of {operation.token} by {operation.process} was told at"
                f" {operation.returned:.6f} that it is lost, though its time was {until:.6f}"
            )
    return wrong
