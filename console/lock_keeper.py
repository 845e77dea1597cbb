"""The keeper: a small process that has a lock for others, for as long as the one it has it for lives.

``rollcage lock acquire`` ends at once, and a lock is held by a living process (its flock on a file of holders). So it
starts this one, which asks for the lock itself, renews it, watches the process that it has it for, and ends with that
or when the lock is released or lost. A keeper that is killed has lost the lock: it fails closed.

It talks with the one who started it by two pipes, JSON lines up and words down:

====================  ===================================================================================
up                    ``{"token", "expires"}`` had; ``{"error", "code"}`` not had; ``{"until"}`` renewed;
                      ``{"ready"}`` the group is known; ``{"lost"}`` and why; ``{"released"}``
down                  ``kept`` the token was handed out; ``group N`` stop these too; ``done`` give it back
====================  ===================================================================================

Whoever starts it and dies before it said ``kept`` never had the lock: nobody knows its token.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from ..core.clock import SystemClock
from ..core.errors import RollcageError, StoreError
from .lock_processes import Watched, grace, stop_group

if TYPE_CHECKING:
    from ..core.coordination.leases import HeldLease, Leases

LOOK = 0.5
"""Seconds between two looks whether it is still held: a release or a break is noticed within that."""
_boot = SystemClock().boot
_POLL = 0.03
"""Seconds between two looks at a process, where the system cannot wake us at its end."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a keeper is to do."""

    name: str
    holder: str
    session: str
    ttl: float
    wait: float
    permits: int
    watched: Watched | None
    """It has the lock for that one; ``None``: until its time is up, without renewing."""
    runs: bool = False
    """Whether the one watched is the one that started it, and stays with it (``lock run``)."""


class Line:
    """What the one who started a keeper has of it."""

    def __init__(self, hearing: int, telling: int) -> None:
        """Take the pipe from the keeper and the one to it."""
        self.descriptor, self._telling = hearing, telling
        self._rest = b""
        self._heard: list[dict[str, object]] = []
        self.ended = False
        """The keeper is gone, and all that it said was heard."""

    def tell(self, words: str) -> None:
        """Say something; a keeper that is gone hears nothing."""
        with suppress(BrokenPipeError):
            os.write(self._telling, f"{words}\n".encode())

    def hear(self) -> dict[str, object]:
        """Return the next message, waiting for it; empty: the keeper is gone."""
        while not self._heard and not self.ended:
            self.listen()
        return self._heard.pop(0) if self._heard else {}

    def listen(self) -> None:
        """Take in what was said; waits where nothing was."""
        chunk = os.read(self.descriptor, 4096)
        self.ended = not chunk
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        self._heard += [json.loads(line) for line in lines]

    def heard(self) -> Iterator[dict[str, object]]:
        """Yield what was taken in and not yet told, without waiting."""
        while self._heard:
            yield self._heard.pop(0)

    def close(self) -> None:
        """Leave the keeper to itself."""
        os.close(self.descriptor)
        os.close(self._telling)


def start_keeper(order: Order, open_leases: Callable[[], Leases]) -> Line:
    """Start a keeper that does ``order`` on the leases that ``open_leases`` opens, in the keeper; return the line.

    It is no child of this process and in a session of its own, and has none of its descriptors. To be called while
    there is one thread.
    """
    hearing, telling_back = os.pipe()
    hearing_back, telling = os.pipe()
    flush()
    child = os.fork()
    if child == 0:
        _become_keeper(order, open_leases, telling_back, hearing_back)
    os.close(telling_back)
    os.close(hearing_back)
    os.waitpid(child, 0)
    return Line(hearing, telling)


def flush() -> None:
    """Let nothing be buffered that a fork would write twice."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, AttributeError):  # closed: then it is None
            stream.flush()


def _become_keeper(order: Order, open_leases: Callable[[], Leases], up: int, down: int) -> NoReturn:
    code = 1
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        watched = order.watched.descriptor if order.watched else -1
        _keep_only({up, down, watched})
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        _Keeper(order, up, down).work(open_leases)
        code = 0
    finally:
        os._exit(code)  # whatever happened: never back into the program that it was forked from


def _keep_only(kept: set[int]) -> None:
    """Close all descriptors but ``kept``, and put nothing in the place of the standard ones."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    try:
        opened = [int(number) for number in os.listdir("/proc/self/fd")]  # noqa: PTH208 - pathlib costs more
    except OSError:  # not Linux; the limit may be a thousand million, each of which would be tried
        opened = list(range(min(os.sysconf("SC_OPEN_MAX"), 65_536)))
    for number in opened:
        if number > 2 and number not in kept:
            with suppress(OSError):
                os.close(number)


class _Keeper:
    """The keeper in its own process."""

    def __init__(self, order: Order, up: int, down: int) -> None:
        self._order, self._up, self._down = order, up, down
        os.set_blocking(up, False)  # one who does not listen must not hold up a renewal
        self._grace = grace(order.ttl)
        self._group = 0
        self._handed_out = False
        self._ended = False
        self._rest = b""
        self._look_at = self._renew_at = 0.0

    def work(self, open_leases: Callable[[], Leases]) -> None:
        """Do the order, to its end."""
        try:
            with _until_abandoned(self._down, self._order.watched):
                self._leases = open_leases()
                os.chdir("/")  # now that what it needs is imported: it must hold no folder
                self._held: HeldLease = self._leases.acquire(
                    self._order.name,
                    self._order.holder,
                    self._order.ttl,
                    self._order.wait,
                    permits=self._order.permits,
                    session=self._order.session,
                )
        except RollcageError as error:
            self._tell({"error": str(error), "code": int(error.exit_code)})
            return
        except Exception as error:  # noqa: BLE001 - its own traceback would reach nobody
            self._tell({"error": f"a defect of rollcage: {type(error).__name__}: {error}", "code": 1})
            return
        now = _boot()
        self._look_at, self._renew_at = now + LOOK, now + self._order.ttl / 3
        self._tell({"token": self._held.token, "expires": self._held.expires})
        try:
            self._serve()
        finally:
            self._leases.close()

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._down, select.POLLIN)
        watched = self._order.watched
        if watched is not None and watched.descriptor >= 0:
            poll.register(watched.descriptor, select.POLLIN)
        by_looking = watched is not None and watched.descriptor < 0
        while not self._ended:
            pause = _POLL if by_looking else max(0.0, min(self._look_at, self._next_renewal()) - _boot())
            for descriptor, _ in poll.poll(pause * 1000):
                if descriptor == self._down and not self._hear():
                    poll.unregister(self._down)
                    if self._order.runs or not self._handed_out:
                        self._end()
            if watched is not None and watched.is_over():
                self._end()
            self._tend()

    def _next_renewal(self) -> float:
        return self._renew_at if self._order.watched is not None else self._held.expires

    def _hear(self) -> bool:
        """Take in what the other says; return False where it is gone."""
        chunk = os.read(self._down, 4096)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            word, _, argument = line.decode("ascii").partition(" ")
            if word == "kept":
                self._handed_out = True
            elif word == "group":
                self._group = int(argument)
                self._tell({"ready": True})
            elif word == "done":
                self._group = 0
                self._end()
        return bool(chunk)

    def _tend(self) -> None:
        """Renew, or look whether it is still held, when it is time for that."""
        if self._ended:
            return
        now = _boot()
        renews = self._order.watched is not None and now >= self._renew_at
        if not renews and now < self._look_at and now < self._held.expires:
            return
        self._look_at = now + LOOK
        try:
            if renews:
                self._held = self._leases.renew(self._held)
                self._renew_at = now + self._order.ttl / 3
                self._tell({"until": self._held.expires})
            else:
                self._held = self._leases.find(self._order.name, self._held.token)
        except StoreError as error:
            # Not known whether it is held: until its time is nearly up it is, since nobody else can have it.
            if _boot() >= self._held.expires - self._grace:  # it may have taken seconds to say so
                self._lost(f"it could not be renewed in time: {error}")
            self._renew_at = _boot() + min(1.0, self._order.ttl / 10)
        except RollcageError as error:
            self._lost(str(error))

    def _lost(self, why: str) -> None:
        self._ended = True
        self._tell({"lost": why})
        if self._group:
            stop_group(self._group, min(self._grace, max(0.0, self._held.expires - _boot())))

    def _end(self) -> None:
        """Stop the group first where there is one: it must not work on without the lock. Then give the lock back."""
        if self._ended:
            return
        self._ended = True
        try:
            if self._group:
                with suppress(StoreError):
                    self._held = self._leases.renew(self._held)
                stop_group(self._group, self._grace)
            self._leases.release(self._held)
        except RollcageError as error:
            self._tell({"lost": str(error)})
        else:
            self._tell({"released": True})

    def _tell(self, message: Mapping[str, object]) -> None:
        with suppress(BrokenPipeError, BlockingIOError):
            os.write(self._up, json.dumps(message).encode() + b"\n")


class _until_abandoned:  # noqa: N801 - used as a with statement only
    """Within, the process ends at once where nobody waits for it any more: what it waited for is then free."""

    def __init__(self, down: int, watched: Watched | None) -> None:
        self._down, self._watched = down, watched
        self._over, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *raised: object) -> None:
        os.close(self._wake)
        self._thread.join()
        os.close(self._over)

    def _look(self) -> None:
        watched = self._watched
        wanted = [self._down, self._over, *([watched.descriptor] if watched and watched.descriptor >= 0 else ())]
        by_looking = watched is not None and watched.descriptor < 0
        while True:
            ready, _, _ = select.select(wanted, [], [], _POLL if by_looking else None)
            if self._over in ready:
                return
            if ready or (watched is not None and watched.is_over()):  # nothing is said on it yet: it can only be closed
                os._exit(1)
