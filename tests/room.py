"""Where an incident is followed and an operator obeyed, without threads; for tests of both."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from rollcage.console.operator import StoreOperator
from rollcage.core.config import Level
from rollcage.core.decisions import Answer, answer_to
from rollcage.core.execute.journal import Journal
from rollcage.core.model import (
    Decision,
    Incident,
    IncidentState,
    RecoveryPlan,
    RollbackOption,
    Step,
    StepState,
)
from rollcage.core.obey import Obeyer
from rollcage.core.respond import Responder
from tests.loop import BAD, Shop, Stages


class Room:
    """A responder and who obeys, on the shop, without threads."""

    def __init__(self, shop: Shop, level: Level = Level.AUTO) -> None:
        self.shop = shop
        self.leave = threading.Event()
        self.settled: list[Incident] = []
        self.services = shop.services
        self.store = shop.services.store
        self.responder = Responder(shop.services, level, lambda run: [], self.settled.append, self.leave)
        self.obeyer = Obeyer(shop.services, self.responder)
        self.operator = StoreOperator(self.store, shop.services.clock, lambda: shop.context.leases, name="ann@desk")

    def best(self, incident: str = "inc-1") -> tuple[RollbackOption, RecoveryPlan]:
        return self.store.options(incident)[0]

    def state(self, incident: str = "inc-1") -> IncidentState:
        found = self.store.incident(incident)
        assert found is not None
        return found.state

    def answered(self, decision: Decision) -> Answer:
        self.obeyer.obey()
        answer = answer_to(self.store, decision.id)
        assert answer is not None
        return answer

    def events(self, kind: str) -> list[Any]:
        return [event.body for event in self.store.recent_events(1000) if event.event == kind]


def waits(shop: Shop) -> None:
    """Let the incident wait for a human."""
    shop.trouble()
    assert Room(shop, Level.PROPOSE).responder.handle("inc-1").state is IncidentState.WAITING


@pytest.fixture
def room(stages: Stages) -> Iterator[Room]:
    """A shop with a fault, its incident waiting for a human."""
    with stages.at(waits) as shop:
        yield Room(shop, Level.PROPOSE)


def calc(shop: Shop) -> str:
    return (shop.path / "calc.py").read_text()


def agent_in_between(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let somebody commit in the culprit's own file when the rollback's commit is made and not yet published."""
    written = Journal.write

    def write(journal: Journal, *steps: Step) -> Step:
        last = written(journal, *steps)
        if (last.name, last.state, journal.rollback.id) == ("commit", StepState.DONE, "rb-1"):
            shop.commit("planner", "twice", {"calc.py": f"TWO = 2\n\n\n{BAD}"})
        return last

    monkeypatch.setattr(Journal, "write", write)
