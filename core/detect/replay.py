"""Recorded signals through the detectors: what they would have found, without waiting."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime

from ..clock import parse_iso
from ..config import Settings
from ..errors import UsageError
from ..model import Finding, Signal, SignalKind
from ..text import clean
from .detectors import build

_KEYS = frozenset({"at", "agent", "kind", "name", "value", "text", "unit", "attrs", "seq", "v", "event"})
_NAMED = frozenset({SignalKind.METRIC, SignalKind.DATA, SignalKind.STEP, SignalKind.STATE, SignalKind.TEST})


def replay(lines: Iterable[str], settings: Settings) -> Iterator[Finding]:
    """Yield the findings of the signals in ``lines`` (JSON lines, empty ones passed over), in order of time.

    Time passes as the signals say, and ends with the newest. Raises UsageError naming the line that is damaged, and
    SettingsError where a rule makes no sense.
    """
    detectors = build(settings)
    now: datetime | None = None
    for signal in _in_order(_signals(lines)):
        if now is None or signal.at > now:
            now = signal.at
            yield from detectors.tick(now)
        yield from detectors.feed(signal)
    if now is not None:
        yield from detectors.tick(now)


def _signals(lines: Iterable[str]) -> Iterator[Signal]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield parse_signal(line, number)


def _in_order(signals: Iterable[Signal]) -> Iterator[Signal]:
    """Yield ``signals``, those of one moment that follow each other in a fixed order, however they were written."""
    moment: list[Signal] = []
    damage: UsageError | None = None
    try:
        for signal in signals:
            if moment and signal.at != moment[0].at:
                yield from sorted(moment, key=_place)
                moment.clear()
            moment.append(signal)
    except UsageError as error:  # what was read before still counts
        damage = error
    yield from sorted(moment, key=_place)
    if damage is not None:
        raise damage


def _place(signal: Signal) -> tuple[str, ...]:
    attrs = sorted((str(key), repr(value)) for key, value in signal.attrs.items())
    return (signal.agent, signal.kind, signal.name, repr(signal.value), str(signal.text), str(signal.unit), repr(attrs))


def parse_signal(line: str, number: int) -> Signal:
    """Return the signal that one JSON line holds, its texts cleaned. Raises UsageError naming line ``number``."""
    try:
        read = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _damaged(number, f"is no JSON ({clean(str(error), limit=80)})") from None
    if not isinstance(read, dict):
        raise _damaged(number, "is no JSON object")
    unknown = sorted(clean(key, limit=40) for key in read.keys() - _KEYS)
    if unknown:
        raise _damaged(number, f"has the unknown key {unknown[0]}; allowed: {', '.join(sorted(_KEYS))}")
    try:
        kind = SignalKind(str(read.get("kind")))
    except ValueError:
        raise _damaged(number, f"has no known kind; allowed: {', '.join(SignalKind)}") from None
    attrs = read.get("attrs") or {}
    if not isinstance(attrs, dict):
        raise _damaged(number, "has attrs that are no JSON object")
    name, value = _text(read, "name", number) or "", _number(read.get("value"), number)
    if kind in _NAMED and not name:
        raise _damaged(number, f"is a {kind} without a name")
    if kind is SignalKind.METRIC and value is None:
        raise _damaged(number, "is a metric without a value")
    seq = read.get("seq", 0)
    return Signal(
        at=_time(read.get("at"), number),
        agent=_text(read, "agent", number) or "",
        kind=kind,
        name=name,
        value=value,
        text=_text(read, "text", number),
        unit=_text(read, "unit", number),
        attrs={clean(key, limit=100): _cleaned(value) for key, value in attrs.items()},
        seq=seq if isinstance(seq, int) else 0,
    )


def _damaged(number: int, problem: str) -> UsageError:
    return UsageError(f"line {number} of the recording {problem}; nothing after it was read")


def _time(value: object, number: int) -> datetime:
    try:
        return parse_iso(str(value))
    except (ValueError, OverflowError):
        raise _damaged(number, "has no time in 'at'; wanted: ISO 8601, such as 2026-11-20T14:02:31Z") from None


def _text(read: dict[str, object], key: str, number: int) -> str | None:
    value = read.get(key)
    if value is not None and not isinstance(value, str):
        raise _damaged(number, f"has a '{key}' that is no text")
    return None if value is None else clean(value, limit=2_000)


def _number(value: object, number: int) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _damaged(number, "has a 'value' that is no number")
    try:
        return float(value)
    except OverflowError:
        raise _damaged(number, "has a 'value' that is too large") from None


def _cleaned(value: object) -> object:
    if isinstance(value, str):
        return clean(value, limit=2_000)
    if isinstance(value, list):
        return [_cleaned(each) for each in value]
    if isinstance(value, dict):
        return {clean(str(key), limit=100): _cleaned(each) for key, each in value.items()}
    return value
