"""Hand-overs between agents, as their signals tell them: which are unfinished, and how one is withdrawn.

A hand-over is told by signals of kind ``handover``: the agent is the one that hands over, the name its id, and the
attributes say ``to`` (who takes it) and ``state``. The newest one counts. What has no state has only been begun.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from ..model import Signal, SignalKind
from ..store.signals import Signals

WITHDRAWN = "withdrawn"
ENDED = frozenset({"done", "completed", "failed", "cancelled", "rolled_back", WITHDRAWN})
"""States in which nobody waits for a hand-over any more."""
LOOK_BACK = 200
"""So many of the newest signals of each agent are looked at."""


@dataclass(frozen=True, slots=True)
class HandOver:
    """An unfinished hand-over."""

    id: str
    source: str
    target: str
    state: str
    """As its source said last; empty: it said none."""
    at: datetime

    def __str__(self) -> str:
        """Return it as a line for people."""
        return f"{self.id}: {self.source} to {self.target or 'nobody yet'}, {self.state or 'begun'}"


def unfinished(signals: Signals, agents: Iterable[str]) -> list[HandOver]:
    """Return the unfinished hand-overs that any of ``agents`` began, the oldest first. Raises StoreError."""
    newest: dict[tuple[str, str], Signal] = {}
    for agent in sorted(set(agents)):
        newest |= {(agent, each.name): each for each in signals.of_kind(agent, SignalKind.HANDOVER, LOOK_BACK)}
    found = [
        HandOver(each.name, agent, str(each.attrs.get("to", "")), str(each.attrs.get("state", "")), each.at)
        for (agent, _), each in newest.items()
        if str(each.attrs.get("state", "")) not in ENDED
    ]
    return sorted(found, key=lambda each: (each.at, each.id))


def tell_state(signals: Signals, handover: HandOver, state: str, why: str, at: datetime) -> None:
    """Write that ``handover`` is in ``state`` now. Raises StoreError."""
    attrs = {"to": handover.target, "state": state, "was": handover.state}
    signals.put([Signal(at, handover.source, SignalKind.HANDOVER, handover.id, text=why, attrs=attrs)])
