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
LATE = 1.0
"""Seconds by which the keeper may see later that the time of a lease is up."""
SILENT = 2.0
"""Seconds for which the keeper may think that someone waits whose call has failed: 1 s of silence, and some delay."""

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
    for one in history.operations:
        if one.call == "acquire":
            end = one.returned + (SILENT if one.answer == "unknown" else 0.0)
            waits[one.holder, one.name].append((one.invoked, end))
    holds = _holdings(history)
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


def _holdings(history: History) -> dict[tuple[str, str], list[Span]]:
    """Return when who may have held which name, as the keeper saw it: by (holder, name).

    A lease ends with its release or break; else when its time is up, which counts from the last time that it was
    given or may have been renewed. Who asks for several at once and is refused may have had all but the last of them:
    they are taken in the order of their names.
    """
    ends: dict[tuple[str, int], float] = {}
    lapses: dict[tuple[str, int], float] = defaultdict(float)
    last: dict[tuple[str, float], bytes] = defaultdict(bytes)
    for one in history.operations:
        if one.call in {"release", "break"} and one.answer == "ok":
            ends[one.name, one.token] = one.returned
        elif one.call in {"acquire", "renew"} and one.answer in {"ok", "unknown"} and one.token:
            lapses[one.name, one.token] = max(lapses[one.name, one.token], one.returned + one.ttl)
        if one.together:
            last[one.holder, one.invoked] = max(last[one.holder, one.invoked], one.name.encode())
    holds: dict[tuple[str, str], list[Span]] = defaultdict(list)
    for one in history.operations:
        had = one.answer in {"ok", "unknown"} or (one.together and one.name.encode() < last[one.holder, one.invoked])
        if one.call == "acquire" and had:
            lapse = lapses[one.name, one.token] if one.token else one.returned + one.ttl
            end = min(ends.get((one.name, one.token), math.inf), lapse + LATE)
            holds[one.holder, one.name].append((one.invoked, end))
    return holds


def _meet(spans: list[list[Span]], window: Span) -> bool:
    """Return whether at one moment of ``window`` there is a span in each list that it lies in."""
    moments = [window[0], *(begun for some in spans for begun, _ in some if window[0] <= begun <= window[1])]
    return any(all(any(begun <= moment <= end for begun, end in some) for some in spans) for moment in moments)
