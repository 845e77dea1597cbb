"""The journal of one rollback: each step is written down before it is done and again after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..codec import to_json
from ..model import Rollback, RollbackState, Step, StepState
from ..services import Services


class Journal:
    """Writes the steps of a rollback durably and tells the event stream about them."""

    def __init__(self, services: Services, rollback: Rollback) -> None:
        """Take the record of a rollback that the store knows, or is about to know."""
        self._services = services
        self.rollback = rollback

    def steps(self) -> list[Step]:
        """Return all steps in order."""
        return self._services.store.steps(self.rollback.id)

    def begin(self, step: Step, data: Mapping[str, object]) -> Step:
        """Write that ``step`` is about to act, with what is needed to recognise and undo it."""
        started = step.started or self._services.clock.now()
        return self._write(replace(step, state=StepState.DOING, data=dict(data), started=started, note=""))

    def add(self, step: Step, **data: object) -> Step:
        """Write more data of a step that is being done, durable when this returns; no event."""
        step = replace(step, data={**step.data, **data})
        self._services.store.save_step(step)
        return step

    def finish(
        self, step: Step, state: StepState, *, note: str = "", added: Mapping[str, object] | None = None
    ) -> Step:
        """Write how ``step`` ended, and what it ``added`` to its data."""
        ended = self._services.clock.now()
        return self._write(replace(step, state=state, ended=ended, note=note, data={**step.data, **(added or {})}))

    def save(self, state: RollbackState | None = None, **changes: Any) -> Rollback:
        """Write the rollback's own record."""
        if state is not None:
            changes["state"] = state
        if state is not None and state is not RollbackState.RUNNING:
            changes.setdefault("ended", self._services.clock.now())
        self.rollback = replace(self.rollback, **changes)
        self._services.store.save_rollback(self.rollback)
        return self.rollback

    def _write(self, step: Step) -> Step:
        with self._services.store.transaction():
            self._services.store.save_step(step)
            body = to_json(step)
            body.pop("data")
            self._services.store.append_event("step", body | {"incident": self.rollback.incident})
        return step
