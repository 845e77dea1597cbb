"""The journal of one rollback: each step is written down before it is done and again after."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ..codec import to_json
from ..errors import StoreError
from ..model import Rollback, RollbackState, Step, StepState
from ..services import Services


class JournalError(StoreError):
    """A step cannot be written down, so it must not be done, nor undone: all stays as it is until it is carried on."""


class Journal:
    """Writes the steps of a rollback durably and tells the event stream about them.

    Every method raises JournalError where the store cannot be read or written (a full disk), and where somebody else
    has taken the rollback over since.
    """

    def __init__(self, services: Services, rollback: Rollback) -> None:
        """Take the record of a rollback that the store knows, or is about to know."""
        self._services = services
        self._carrier = uuid.uuid4().hex
        self.rollback = rollback

    def take_over(self) -> None:
        """Be the one that carries the rollback on; whoever did so before can write no more."""
        with _explained():
            self._services.store.set_note(self._key, self._carrier)

    def steps(self) -> list[Step]:
        """Return all steps in order."""
        with _explained():
            return self._services.store.steps(self.rollback.id)

    def step(self, number: int) -> Step:
        """Return the step with that number as it is now."""
        return next(step for step in self.steps() if step.number == number)

    def begin(self, step: Step, data: Mapping[str, object]) -> Step:
        """Write that ``step`` is about to act, with what is needed to recognise and undo it."""
        started = step.started or self._services.clock.now()
        return self.write(replace(step, state=StepState.DOING, data=dict(data), started=started, note=""))

    def add(self, step: Step, **data: object) -> Step:
        """Write more data of a step that is being done or undone, durable when this returns; no event."""
        step = replace(step, data={**step.data, **data})
        with self._writing():
            self._services.store.save_step(step)
        return step

    def finish(
        self,
        step: Step,
        state: StepState,
        *,
        note: str = "",
        added: Mapping[str, object] | None = None,
        record: Mapping[str, Any] | None = None,
    ) -> Step:
        """Write how ``step`` ended, what it ``added`` to its data, and at once what it changes in the ``record``."""
        ended = self._services.clock.now()
        step = replace(step, state=state, ended=ended, note=note, data={**step.data, **(added or {})})
        with self._writing():
            if record:
                self.save(**record)
            return self.write(step)

    def write(self, *steps: Step) -> Step:
        """Write ``steps``, all or none of them, with an event for each; return the last."""
        with self._writing():
            for step in steps:
                self._services.store.save_step(step)
                body = to_json(step)
                body.pop("data")
                self._services.store.append_event("step", body | {"incident": self.rollback.incident})
        return steps[-1]

    def save(self, state: RollbackState | None = None, **changes: Any) -> Rollback:
        """Write the rollback's own record."""
        if state is not None:
            changes["state"] = state
        if state is not None and state is not RollbackState.RUNNING:
            changes.setdefault("ended", self._services.clock.now())
        changed = replace(self.rollback, **changes)
        with self._writing():
            self._services.store.save_rollback(changed)
        self.rollback = changed
        return changed

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Write all within or nothing, and only while nobody else has taken over: looked at in the same transaction."""
        with _explained(), self._services.store.transaction():
            if self._services.store.get_note(self._key) not in {None, self._carrier}:
                raise JournalError(f"another engine carries {self.rollback.id} on")
            yield

    @property
    def _key(self) -> str:
        return f"carrier:{self.rollback.id}"


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except JournalError:
        raise
    except StoreError as error:
        raise JournalError(str(error)) from error
