"""The rules: the spec's defaults, changed and added to by ``rules:`` of the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise
from math import isfinite

from ..config import RuleSettings, Settings
from ..errors import SettingsError
from ..model import Severity
from ..units import Dimension, parse


class Band(StrEnum):
    """Where a value lies, best first. ``raised`` is shown; only the last two are findings."""

    NORMAL = "normal"
    RAISED = "raised"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. A metric's edges are in its base unit; ``None``: there is no such band."""

    name: str
    metric: str = ""
    """The name of the signals that it judges; its own name unless the settings say otherwise."""
    below: bool = False
    """True: small values are the bad ones."""
    normal: float | None = None
    """The bad end of the normal range; what lies on its good side is never a finding."""
    warning: float | None = None
    critical: float | None = None
    for_s: float = 0.0
    """Seconds that a metric must stay in a band before it is a finding, or over. For the others: see `BEHAVIOUR`."""
    unit: str = ""
    severity: Severity | None = None
    """Given: of all its findings. ``None``: that of the band, or of the rule's kind."""
    alert: str = ""
    """What it means, for people: ``resource exhaustion``."""
    at_edge: bool = False
    """True: the warning edge itself is a warning already (*1 or more*); else only what lies beyond (*over 90 min*)."""

    def band(self, value: float) -> Band:
        """Return the band of a finite ``value``."""
        bad = -1.0 if self.below else 1.0

        def beyond(edge: float | None) -> bool:
            return edge is not None and value * bad > edge * bad

        if beyond(self.critical):
            return Band.CRITICAL
        if beyond(self.warning) or (self.at_edge and value == self.warning):
            return Band.WARNING
        return Band.RAISED if beyond(self.normal) else Band.NORMAL

    def back(self, value: float) -> bool:
        """Return whether ``value`` ends an episode: half way back from the first edge to normal, so that none flaps."""
        edge = self.warning if self.warning is not None else self.critical
        if edge is None or self.normal is None:
            return self.band(value) is Band.NORMAL
        middle = (edge + self.normal) / 2
        return value >= middle if self.below else value <= middle


_MIN = 60.0
_GB = 1e9

METRICS: tuple[Rule, ...] = (
    Rule(
        "batch_processing_time",
        metric="batch_processing_time",
        normal=75 * _MIN,
        warning=90 * _MIN,
        critical=120 * _MIN,
        unit="s",
        alert="performance degradation",
    ),
    # A fork counts its shared pages twice for a moment: some seconds tell it from real growth.
    Rule(
        "memory_usage",
        metric="memory_usage",
        normal=4 * _GB,
        warning=5 * _GB,
        critical=7 * _GB,
        for_s=5.0,
        unit="B",
        alert="resource exhaustion",
    ),
    Rule(
        "error_rate", "error_rate", normal=0.001, warning=0.01, critical=0.05, unit="share", alert="quality degradation"
    ),
    Rule(
        "matching_accuracy",
        metric="matching_accuracy",
        below=True,
        normal=0.97,
        warning=0.95,
        critical=0.90,
        unit="share",
        alert="data quality emergency",
    ),
    Rule(
        "data_consistency",
        "data_consistency",
        normal=0,
        warning=1,
        critical=100,
        unit="errors",
        alert="data corruption",
        at_edge=True,
    ),
)
"""The five of the spec's table. Those that agents report are each a result already, so they have no ``for:``."""

BEHAVIOUR: tuple[Rule, ...] = (
    Rule("check_failed", severity=Severity.CRITICAL),
    Rule("commit_attribution", for_s=3_600.0, severity=Severity.WARNING),
    Rule("trend", for_s=900.0, severity=Severity.WARNING),
    Rule("resource_leak", metric="memory_usage", for_s=900.0, severity=Severity.CRITICAL),
    Rule("error_storm", warning=10, for_s=300.0, severity=Severity.WARNING),
    Rule("infinite_loop", for_s=3_600.0, severity=Severity.CRITICAL),
    Rule("communication_failure", for_s=300.0, severity=Severity.WARNING),
)
"""The rules without bands. ``for:`` is: of trend and resource_leak the window looked at; of error_storm the window in
which ``warning`` errors count; of infinite_loop and communication_failure the longest that is no trouble; of
commit_attribution how long it stays on the board."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The enabled rules: those of metrics, in a fixed order, and the others by name."""

    metrics: tuple[Rule, ...]
    behaviour: Mapping[str, Rule]


def rules(settings: Settings) -> Rules:
    """Return the defaults, changed by name, with the new ones beside them.

    Raises SettingsError where an edge is no number, the edges are out of order, a new rule has none, or a rule without
    bands is given some.
    """
    metrics = {rule.name: rule for rule in METRICS}
    behaviour = {rule.name: rule for rule in BEHAVIOUR}
    for name, given in settings.rules.items():
        known = behaviour if name in behaviour else metrics
        if not given.enabled:
            known.pop(name, None)
            continue
        rule = _merge(known.get(name) or _new(name, given), given)
        _check(rule, given, banded=known is metrics)
        known[name] = rule
    return Rules(tuple(metrics.values()), behaviour)


def _new(name: str, given: RuleSettings) -> Rule:
    """Return an empty rule; edges that fall say that small values are bad."""
    edges = [edge for edge in (given.normal, given.warning, given.critical) if edge is not None]
    return Rule(name, metric=name, below=edges != sorted(edges))


def _merge(rule: Rule, given: RuleSettings) -> Rule:
    below = rule.below if given.direction is None else given.direction == "below"
    inherited = (rule.normal, rule.warning, rule.critical)
    normal, warning, critical = _edges(inherited, (given.normal, given.warning, given.critical), below=below)
    return replace(
        rule,
        metric=given.metric or rule.metric,
        below=below,
        normal=normal,
        warning=warning,
        critical=critical,
        for_s=rule.for_s if given.for_ is None else given.for_,
        unit=given.unit or rule.unit,
        severity=rule.severity if given.severity is None else Severity(given.severity),
        alert=given.alert or rule.alert,
    )


def _edges(
    inherited: Sequence[float | None], given: Sequence[float | None], *, below: bool
) -> tuple[float | None, ...]:
    """Return normal, warning and critical: what is given counts, and what is inherited makes way for it.

    So ``memory_usage: {warning: 300 MB}`` needs no new ``normal`` of its own.
    """
    edges = list(inherited)
    least, most = (max, min) if below else (min, max)
    for index, edge in enumerate(given):
        if edge is None:
            continue
        for other, kept in enumerate(edges):
            if kept is not None and other != index and given[other] is None:
                edges[other] = (least if other < index else most)(kept, edge)
        edges[index] = edge
    return tuple(edges)


def _check(rule: Rule, given: RuleSettings, *, banded: bool) -> None:
    def wrong(key: str, problem: str) -> SettingsError:
        return SettingsError("rollcage.yml", None, f"rules.{rule.name}.{key}".rstrip("."), problem)

    edges = {"normal": rule.normal, "warning": rule.warning, "critical": rule.critical}
    for key, value in (*edges.items(), ("for", rule.for_s)):
        if value is not None and not isfinite(value):
            raise wrong(key, "is no finite number")
    if rule.for_s < 0:
        raise wrong("for", "is negative; allowed: 0 or more seconds")
    if not banded:
        allowed = {"warning"} if rule.name == "error_storm" else set()
        for key in {"normal", "warning", "critical"} - allowed:
            if getattr(given, key) is not None:
                raise wrong(key, "this rule has no bands; allowed: enabled, for, severity, alert")
        if rule.name == "error_storm" and (rule.warning or 0) < 2:
            raise wrong("warning", "is the number of equal errors that make a storm; allowed: 2 or more")
        return
    if rule.warning is None and rule.critical is None:
        raise wrong("", "has neither a warning nor a critical edge; give at least one")
    present = [(key, value) for key, value in edges.items() if value is not None]
    for (first, low), (second, high) in pairwise(present):
        if (low < high) if rule.below else (low > high):
            side, other = ("at most", "above") if rule.below else ("at least", "below")
            raise wrong(second, f"is {high:g}, must be {side} {first} ({low:g}); or set direction: {other}")


@lru_cache(maxsize=256)
def _factor(unit: str, rule_unit: str) -> float:
    """Return by what a value in ``unit`` is multiplied to be in ``rule_unit``; 1 where they cannot be compared."""
    (own, kind), (wanted, wanted_kind) = _scale(unit), _scale(rule_unit)
    return own / wanted if kind is not None and (not rule_unit or wanted_kind is kind) else 1.0


def _scale(unit: str) -> tuple[float, Dimension | None]:
    try:
        return 1.0, Dimension(unit)
    except ValueError:
        pass
    try:
        return parse(f"1{unit}")
    except ValueError:
        return 1.0, None


def in_unit_of(rule: Rule, value: float, unit: str | None) -> float:
    """Return ``value`` as reported in ``unit`` in the unit of ``rule``: 6.9 in GB is 6.9e9 for a rule in bytes."""
    return value if not unit else value * _factor(unit, rule.unit)


def show(value: float, unit: str) -> str:
    """Return ``value`` for people, short: ``7.2 GB``, ``95 min``, ``0.2 %``, ``3 errors``."""
    size = abs(value)
    match unit:
        case "s":
            return f"{value / 60:.3g} min" if size >= 120 else f"{value:.3g} s"
        case "B":
            name, factor = next(((n, f) for n, f in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)) if size >= f), ("B", 1.0))
            return f"{value / factor:.3g} {name}"
        case "share":
            return f"{value * 100:.3g} %"
        case _:
            return f"{value:.6g} {unit}".rstrip()
