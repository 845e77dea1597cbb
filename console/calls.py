"""Calls the operator's wishes in threads of their own: no wish waits behind another, none holds up the screen."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from ..core.errors import RollcageError
from ..core.text import clean


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended."""

    name: str
    result: object = None
    problem: str = ""
    """One line for people; empty: it went well."""


class Calls:
    """Runs calls. One that is still under way is not started a second time."""

    def __init__(self, done: Callable[[Outcome, Callable[[Outcome], None] | None], object]) -> None:
        """Take what to call, in the call's thread, with its outcome and what was asked to follow."""
        self._done = done
        self._lock = threading.Lock()
        self._under_way: set[str] = set()

    @property
    def under_way(self) -> frozenset[str]:
        """The names of the calls that have not ended."""
        with self._lock:
            return frozenset(self._under_way)

    def start(self, name: str, call: Callable[[], object], then: Callable[[Outcome], None] | None = None) -> bool:
        """Start ``call`` as ``name``; return False where a call of that name is still under way."""
        with self._lock:
            if name in self._under_way:
                return False
            self._under_way.add(name)
        # Daemon: a call that hangs must not keep the process from leaving.
        threading.Thread(target=self._run, args=(name, call, then), name=f"operator-{name}", daemon=True).start()
        return True

    def _run(self, name: str, call: Callable[[], object], then: Callable[[Outcome], None] | None) -> None:
        try:
            outcome = Outcome(name, call())
        except RollcageError as error:
            outcome = Outcome(name, problem=clean(str(error)) or type(error).__name__)
        except Exception as error:  # noqa: BLE001 - told on the screen; a thread's own traceback would tear the screen
            outcome = Outcome(name, problem=clean(f"an error in rollcage itself: {type(error).__name__}: {error}"))
        finally:
            with self._lock:
                self._under_way.discard(name)
        self._done(outcome, then)
