"""An engine in this process's own threads, from the moment when nobody else leads the repository."""

from __future__ import annotations

import threading

from ..core.coordination.leader import TRY_EVERY, Leader
from ..core.engine import Engine
from ..core.rounds import Rounds
from ..core.services import Services

AFTER_DEFECT_S = 30.0
"""An engine that ended by itself is started again after so long: nobody should be left without one for a defect."""


class EngineHost:
    """Tries to lead, and runs an engine while it does. `stop` lets a rollback in progress come to its end."""

    def __init__(self, services: Services, leader: Leader) -> None:
        """Take the services and the leader of this process. Nothing runs yet."""
        self._services, self._leader = services, leader
        self._leave = threading.Event()
        self._stopping = threading.Lock()
        self._tried = threading.Event()
        self._not_before = 0.0
        self._engine: Engine | None = None
        rounds = Rounds(services.store, services.clock, self._leave)
        self._thread = rounds.thread("no engine", self._look, TRY_EVERY)

    def start(self) -> None:
        """Begin to try; where nobody leads, the engine runs when this returns. What keeps it from that is an alert."""
        self._thread.start()
        self._tried.wait()

    def stop(self) -> None:
        """End the engine, after a rollback in progress, and lead no longer. Whoever calls it waits for that."""
        self._leave.set()
        with self._stopping:  # the one who closes the screen and the one who handles signals may both come here
            if self._thread.is_alive():
                self._thread.join()
            engine, self._engine = self._engine, None
            if engine is not None:
                engine.stop()
                engine.join()
            self._leader.resign()

    def _look(self) -> None:
        try:
            self._try()
        finally:
            self._tried.set()

    def _try(self) -> None:
        """Lead and start an engine where none runs. What it raises somebody may mend: it is tried again."""
        engine, clock = self._engine, self._services.clock
        if engine is not None:
            if not engine.leaving.is_set():
                return
            engine.join()  # it ended by itself: it lost the leadership, or has a defect that was written down
            self._engine = None
            self._leader.resign()
            self._not_before = clock.boot() + AFTER_DEFECT_S
        if clock.boot() < self._not_before or not self._leader.try_lead():
            return
        try:
            engine = Engine(self._services, self._leader)
            engine.start()
        except BaseException:
            self._leader.resign()
            raise
        self._engine = engine
