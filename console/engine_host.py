"""An engine in this process's own threads, from the moment when nobody else leads the repository."""

from __future__ import annotations

import threading

from ..core.coordination.leader import Leader
from ..core.engine import Engine
from ..core.errors import RollcageError
from ..core.services import Services

LOOK_EVERY_S = 1.0
"""How often it is tried to lead: an engine elsewhere that dies is replaced within its lease."""


class EngineHost:
    """Tries to lead, and runs an engine while it does. `stop` lets a rollback in progress come to its end."""

    def __init__(self, services: Services, leader: Leader) -> None:
        """Take the services and the leader of this process. Nothing runs yet."""
        self._services, self._leader = services, leader
        self._leave = threading.Event()
        self._engine: Engine | None = None
        self._told = ""
        self._thread = threading.Thread(target=self._watch, name="rollcage-host", daemon=True)

    def start(self) -> None:
        """Begin to try; where nobody leads, the engine runs when this returns."""
        self._try()
        self._thread.start()

    def stop(self) -> None:
        """End the engine, after a rollback in progress, and lead no longer. May be called twice."""
        self._leave.set()
        if self._thread.is_alive():
            self._thread.join()
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.stop()
            engine.join()
        self._leader.resign()

    def _watch(self) -> None:
        while not self._services.clock.wait(self._leave, LOOK_EVERY_S):
            self._try()

    def _try(self) -> None:
        engine = self._engine
        if engine is not None and not engine.leaving.is_set():
            return
        if engine is not None:  # it ended by itself: it lost the leadership, or has a defect that was written down
            engine.join()
            self._engine = None
            self._leader.resign()
        try:
            if self._leader.try_lead():
                self._engine = Engine(self._services, self._leader)
                self._engine.start()
        except RollcageError as problem:  # tried again: somebody may mend it; told once
            self._leader.resign()
            self._engine = None
            if self._told != str(problem):
                self._told = str(problem)
                self._services.store.append_event("alert", {"severity": "warning", "text": f"no engine: {problem}"})
        else:
            self._told = ""
