"""What must hold of waits in a history: none is endless, and who is refused for a circle was in one.

A history only tells between which moments something was so. A circle counts as one if there was a moment, while the
refused call was under way, at which each of it may have waited and the next may have held what it waited for.
"""

from __future__ import annotations

import math
from collections import defaultdict

from tests.coordination.history import History, Operation

LONGEST = 6.0
"""Seconds that a wait may last, where those ahead need milliseconds each; the machine may be busy with other things."""

Span = tuple[float, float]


def faults(history: History, longest: float = LONGEST) -> list[str]:
    """Return the waits that were too long, and the refusals for circles that cannot have been, in words."""
    return [*_too_long(history, longest), *_no_circles(history)]


def refusals(history: History) -> list[Operation]:
    """Return the calls that were refused for a circle."""
    return [operation for operation in history.operations if operation.circle]


def _too_long(history: History, longest: float) -> list[str]:
    wrong = []
    for one in history.operations:
        end = min(one.returned, history.deaths.get(one.process, math.inf))
        if one.call == "acquire" and end - one.invoked > longest:
            wrong.append(f"{one.name}: {one.holder} waited {end - one.invoked:.1f} s from {one.invoked:.3f} on")
    return wrong


def _no_circles(history: History) -> list[str]:
    refused = refusals(history)
    if not refused:
        return []
    waits: dict[tuple[str, str], list[Span]] = defaultdict(list)
    holds: dict[tuple[str, str], list[Span]] = defaultdict(list)
    ends: dict[tuple[str, int], float] = {}
    for one in history.operations:
        if one.call in {"release", "break"} and one.answer == "ok":
            ends[one.name, one.token] = one.returned
    for one in history.operations:
        if one.call == "acquire":
            waits[one.holder, one.name].append((one.invoked, one.returned))
            if one.answer in {"ok", "unknown"}:  # until its end, or its time is up
                lapse = one.expires if one.answer == "ok" else one.returned + one.ttl
                end = min(ends.get((one.name, one.token), math.inf), lapse + 1.0)
                holds[one.holder, one.name].append((one.invoked, end))
    wrong = []
    for one in refused:
        holders, names = one.circle[::2], one.circle[1::2]
        spans = []
        for who, name, holder in zip(holders, names, [*holders[1:], holders[0]], strict=True):
            spans += [waits[who, name], holds[holder, name]]
        if one.holder not in holders:
            wrong.append(f"{one.name}: {one.holder} was refused for a circle without it: {one.circle}")
        elif not _meet(spans, (one.invoked, one.returned)):
            wrong.append(f"{one.name}: {one.holder} was refused for a circle that never was: {one.circle}")
    return wrong


def _meet(spans: list[list[Span]], window: Span) -> bool:
    """Return whether at one moment of ``window`` there is a span in each list that it lies in."""
    moments = [window[0], *(begun for some in spans for begun, _ in some if window[0] <= begun <= window[1])]
    return any(all(any(begun <= moment <= end for begun, end in some) for some in spans) for moment in moments)
