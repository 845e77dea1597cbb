"""Threads that do one kind of work again and again. What a person can mend is told once and tried again."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Sequence

from .clock import Clock
from .errors import RollcageError
from .progress import alert
from .store.store import Store

AFTER_PROBLEM_S = 1.0
"""What could not be done is tried again after so long."""
STUCK_S = 60.0
"""Work that should be quick and takes longer is told: it hangs."""


class Rounds:
    """Makes threads that run until ``leave`` is set. A defect in one of them sets it, and is written down."""

    def __init__(self, store: Store, clock: Clock, leave: threading.Event) -> None:
        """Take where problems are told, and what ends all threads."""
        self._store, self._clock, self._leave = store, clock, leave
        self._told: dict[str, str] = {}
        self._busy_since: dict[str, float] = {}
        self.failure = ""
        """Why the threads ended by themselves, one line; empty: they did not."""

    def thread(self, name: str, work: Callable[[], object], every: float) -> threading.Thread:
        """Return a thread, not started, that does ``work`` every so many seconds."""

        def loop() -> None:
            try:
                while not self._leave.is_set():
                    done = self._round(name, work)
                    self._clock.wait(self._leave, every if done else max(every, AFTER_PROBLEM_S))
            except Exception as defect:  # noqa: BLE001 - a defect in one thread must end them all, loudly
                self.end(f"a defect of rollcage in {name}: {defect!r}", traceback.format_exc())

        return threading.Thread(target=loop, name=f"rollcage-{name}", daemon=True)

    def _round(self, name: str, work: Callable[[], object]) -> bool:
        self._busy_since[name] = self._clock.boot()
        try:
            work()
        except RollcageError as problem:
            self.tell(name, str(problem))
            return False
        finally:
            self._busy_since.pop(name, None)
        self._told.pop(name, None)
        return True

    def tell(self, name: str, problem: str) -> None:
        """Tell people of a problem once; where even that cannot be written, it is tried the next time."""
        if self._told.get(name) == problem:
            return
        try:
            alert(self._store, "warning", f"{name}: {problem}")
        except RollcageError:  # a full disk: there is nowhere to write it
            return
        self._told[name] = problem

    def tell_who_hangs(self, names: Sequence[str]) -> None:
        """Tell which of the threads ``names``, whose work is quick, has been at one round for too long."""
        for name in names:
            since = self._busy_since.get(name)
            if since is not None and self._clock.boot() - since > STUCK_S:
                self.tell(f"{name} hangs", f"it has not come back for over {STUCK_S:.0f} s")
            else:
                self._told.pop(f"{name} hangs", None)

    def end(self, why: str, report: str = "") -> None:
        """End all threads and keep the ``report``; they leave first, for it may be that nothing can be kept."""
        self.failure = self.failure or why
        self._leave.set()
        if not report:
            return
        try:
            self._store.set_note("crash", report)
            alert(self._store, "critical", f"the engine has ended: {why}")
        except RollcageError:  # who started the engine tells the failure
            return
