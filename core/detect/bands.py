"""Where one value of a metric lies, by the rules that judge it; for screens and for a fresh measurement."""

from __future__ import annotations

from ..model import Signal
from .rules import Band, Rules, in_unit_of

_ORDER = tuple(Band)


def band_of(rules: Rules, signal: Signal) -> Band:
    """Return the worst band that any rule gives the value of ``signal``; NORMAL where no rule judges it."""
    if signal.value is None:
        return Band.NORMAL
    bands = [
        rule.band(in_unit_of(rule, signal.value, signal.unit)) for rule in rules.metrics if rule.metric == signal.name
    ]
    return max(bands, key=_ORDER.index, default=Band.NORMAL)
