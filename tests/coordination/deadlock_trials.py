"""Random sessions that take random locks in random order, one step after the other, judged after every step.

The judge keeps a table of its own of who holds and who waits. By it a grant must fit and be in turn (or be a pass that
nothing else than queue order was in the way of), a refusal must be of one who is stuck for good, and whoever is stuck
for good must be refused, and whoever is next be served, within `BOUND`.

Stuck is found by brute force: finish whoever can go on, again and again; who is left over is stuck (R. C. Holt, "Some
Deadlock Properties of Computer Systems", 1972).
"""

from __future__ import annotations

import math
import queue
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field

from rollcage.core.coordination.leases import DeadlockError, HeldLease, Leases, LostLeaseError
from rollcage.core.errors import LeaseError, StoreError
from tests.coordination.history import now

STALE = 0.5
"""Seconds for which who was stuck by queue order may still be let pass: another may have been, at the same moment."""
BOUND = 15.0
"""Seconds within which what must happen has to happen; a machine under load is slow, but not that slow."""
STORY = 40
"""So many of the last steps of a trial that failed are told."""
LONG = 120.0
"""Seconds of waiting and of a lease: no trial comes near."""


class Fault(Exception):
    """Something that the locks must not do; ``kind`` is endless (a wait without end), victim (a wrong one) or grant."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(f"{kind}: {what}")
        self.kind = kind


@dataclass
class Table:
    """Who holds and who waits, as the judge knows it."""

    permits: dict[str, int]
    held: dict[str, dict[str, int]] = field(default_factory=dict)
    """Lock to session to slots."""
    queues: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    """Lock to (session, slots), in turn."""

    def free(self, name: str) -> int:
        return self.permits[name] - sum(self.held.get(name, {}).values())

    def waits_for(self, session: str) -> tuple[str, int] | None:
        return next(
            ((name, slots) for name, waiting in self.queues.items() for who, slots in waiting if who == session), None
        )

    def holds(self, session: str) -> list[str]:
        return [name for name, holders in self.held.items() if session in holders]

    def wait(self, session: str, name: str, slots: int) -> None:
        self.queues.setdefault(name, []).append((session, slots))

    def leave(self, session: str) -> None:
        for waiting in self.queues.values():
            waiting[:] = [one for one in waiting if one[0] != session]

    def take(self, session: str, name: str, slots: int) -> None:
        self.leave(session)
        self.held.setdefault(name, {})[session] = slots

    def give(self, session: str, name: str) -> None:
        del self.held[name][session]

    def next(self, *, but: frozenset[str] = frozenset()) -> set[str]:
        """Return who is to be served now: at the head of a queue or behind such, and it fits; without ``but``."""
        found = set()
        for name, waiting in self.queues.items():
            free = self.free(name)
            for session, slots in waiting:
                if session in but:
                    continue
                if slots > free:
                    break
                free -= slots
                found.add(session)
        return found

    def stuck(self, *, in_turn: bool) -> set[str]:
        """Return who can never go on if everyone else does all they can; ``in_turn``: no one may pass another."""
        free = {name: self.free(name) for name in self.permits}
        queues = {name: list(waiting) for name, waiting in self.queues.items()}
        moved = True
        while moved:
            moved = False
            for name, waiting in queues.items():
                for place, (session, slots) in enumerate(waiting):
                    if slots <= free[name] and (place == 0 or not in_turn):
                        for other in self.holds(session):
                            free[other] += self.held[other][session]
                        del waiting[place]
                        moved = True
                        break
        return {session for waiting in queues.values() for session, _ in waiting}

    def copy_with_runners_done(self) -> Table:
        """Return the table as it is once all who wait for nothing have given back what they hold."""
        held = {
            name: {session: slots for session, slots in holders.items() if self.waits_for(session)}
            for name, holders in self.held.items()
        }
        return Table(self.permits, held, self.queues)


def stuck_for_good(table: Table) -> set[str]:
    """Return who is stuck whatever is granted to whom."""
    return table.copy_with_runners_done().stuck(in_turn=False)


def is_circle(table: Table, circle: list[str]) -> bool:
    """Return whether each session of ``circle`` waits for the lock behind it, which the next one holds."""
    for who, name, holder in zip(circle[::2], circle[1::2], [*circle[2::2], circle[0]], strict=True):
        waits = table.waits_for(who)
        if waits is None or waits[0] != name or holder not in table.held.get(name, {}):
            return False
    return True


def stuck_in_turn(table: Table) -> set[str]:
    """Return who is stuck as long as no one passes another."""
    return table.copy_with_runners_done().stuck(in_turn=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a session's last call came to."""

    session: str
    held: HeldLease | None = None
    error: BaseException | None = None


class Sessions:
    """Threads that each do one call after the other; they live for many trials, since each opens the keeper anew."""

    def __init__(self, leases: Leases, most: int = 6) -> None:
        """Start ``most`` of them."""
        self.leases = leases
        self.answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._calls: dict[str, queue.SimpleQueue[Callable[[], HeldLease | None] | None]] = {}
        self._threads = []
        for number in range(most):
            calls: queue.SimpleQueue[Callable[[], HeldLease | None] | None] = queue.SimpleQueue()
            self._calls[f"s{number}"] = calls
            thread = threading.Thread(target=self._work, args=(f"s{number}", calls), daemon=True)
            thread.start()
            self._threads.append(thread)

    @property
    def names(self) -> list[str]:
        return list(self._calls)

    def call(self, session: str, work: Callable[[], HeldLease | None]) -> None:
        self._calls[session].put(work)

    def close(self) -> None:
        for calls in self._calls.values():
            calls.put(None)
        for thread in self._threads:
            thread.join(BOUND)

    def _work(self, session: str, calls: queue.SimpleQueue[Callable[[], HeldLease | None] | None]) -> None:
        while (work := calls.get()) is not None:
            try:
                self.answers.put(Answer(session, held=work()))
            except BaseException as error:
                self.answers.put(Answer(session, error=error))


@dataclass
class Counts:
    """What many trials came to."""

    trials: int = 0
    steps: int = 0
    circles: int = 0
    """Ended by a refusal."""
    passes: int = 0
    """Ended by letting someone pass."""
    slowest: float = 0.0
    """Seconds from a circle's closing to its end, at most; where no lease lapsed meanwhile."""
    endless: list[str] = field(default_factory=list)
    victims: list[str] = field(default_factory=list)
    grants: list[str] = field(default_factory=list)
    unanswered: int = 0
    """Given up, since the keeper of the leases did not answer: it was starved, and nobody knows more than before."""

    def add(self, other: Counts) -> None:
        """Count ``other`` too."""
        self.trials, self.steps = self.trials + other.trials, self.steps + other.steps
        self.circles, self.passes = self.circles + other.circles, self.passes + other.passes
        self.unanswered += other.unanswered
        self.slowest = max(self.slowest, other.slowest)
        self.endless += other.endless
        self.victims += other.victims
        self.grants += other.grants

    @property
    def bad(self) -> list[str]:
        """Return all faults."""
        return [*self.endless, *self.victims, *self.grants]


class Trial:
    """One table of sessions and locks, from its first step to the last one's end."""

    def __init__(self, sessions: Sessions, seed: int, counts: Counts) -> None:
        """Think out who will take what in which order. Locks are named anew for each seed."""
        self._sessions, self._leases, self._counts = sessions, sessions.leases, counts
        self._chance = chance = random.Random(seed)
        permits = {
            f"lock-{seed}-{letter}": chance.choice([1, 1, 1, 2, 3]) for letter in "abcde"[: chance.randint(2, 5)]
        }
        self.table = Table(permits)
        self._held: dict[tuple[str, str], HeldLease] = {}
        self._wanted: dict[str, list[tuple[str, int]]] = {}
        self._impatient: set[str] = set()
        """Those who wait for so short a time only that they may give up at any moment."""
        self._lapsing: dict[tuple[str, str], float] = {}
        """(session, lock) to when it ends: nobody renews it."""
        for session in sessions.names[: chance.randint(2, len(sessions.names))]:
            names = chance.sample(list(permits), chance.randint(1, min(4, len(permits))))
            self._wanted[session] = [(name, chance.randint(1, permits[name])) for name in names]
        self._scripts = {session: list(wanted) for session, wanted in self._wanted.items()}
        self._restarts = dict.fromkeys(self._wanted, 2)
        self._faults = chance.random() < 0.3
        self._tangled: dict[str, float] = {}
        """When a session that still waits was stuck by queue order last."""
        self._pictures: dict[str, list[Table]] = {}
        """The tables by which a session that still waits was stuck for good."""
        self.story: list[str] = []
        """What happened, step by step."""

    def run(self) -> None:
        """Step until all are done. Raises Fault."""
        while True:
            running = [session for session in self._wanted if self.table.waits_for(session) is None]
            ready = [session for session in running if self._wanted[session] or self.table.holds(session)]
            if not ready:
                if all(not waiting for waiting in self.table.queues.values()):
                    return
                self._settle(must=True)
                continue
            self._counts.steps += 1
            session = self._chance.choice(ready)
            holds = self.table.holds(session)
            if self._faults and holds and self._chance.random() < 0.08:
                self._break(session, self._chance.choice(holds))
            elif self._wanted[session] and not (holds and self._chance.random() < 0.1):
                self._ask(session)
            else:
                self._give(session, self._chance.choice(holds))
            self._settle()

    def _ask(self, session: str) -> None:
        name, slots = self._wanted[session].pop(0)
        if name in self.table.holds(session):
            return
        self.table.wait(session, name, slots)
        self._note_tangled()
        permits = self.table.permits[name]
        wait = ttl = LONG
        if self._faults and self._chance.random() < 0.1:
            wait = self._chance.uniform(0.001, 0.02)
            self._impatient.add(session)
        if self._faults and self._chance.random() < 0.05:
            ttl = self._chance.uniform(0.005, 0.03)
        self.story.append(f"{session} asks for {slots} of {name}, for {ttl:.3f} s, waits {wait:.3f} s")
        leases = self._leases

        def work() -> HeldLease:
            return leases.acquire(name, session, ttl, wait, permits=permits, slots=slots, session=session)

        self._sessions.call(session, work)
        if session in self.table.next() or session in self._stuck():
            return
        begun = now()
        while not any(one.session == session for one in leases.wait_log().waitings):  # in the queue before the next
            if self._answer(timeout=0.0005) and self.table.waits_for(session) is None:
                return
            if now() > begun + BOUND:
                raise Fault("endless", f"{session} neither waits for {name} nor is answered")

    def _give(self, session: str, name: str) -> None:
        self.story.append(f"{session} gives {name} back")
        held = self._held.pop((session, name))
        with self._may_be_lost(session, name):
            self._leases.release(held)
        self.table.give(session, name)

    def _break(self, session: str, name: str) -> None:
        self.story.append(f"{name} is taken from {session}")
        held = self._held.pop((session, name))
        with self._may_be_lost(session, name):
            self._leases.break_(name, "operator", "a trial", lambda who, what, subject, why="": None, held.token)
        self.table.give(session, name)

    @contextmanager
    def _may_be_lost(self, session: str, name: str) -> Iterator[None]:
        ends = self._lapsing.pop((session, name), None)
        try:
            yield
        except LostLeaseError as error:
            if ends is None or now() < ends:
                raise Fault("grant", f"{session} lost {name} for nothing: {error}") from error
        else:
            if ends is not None and now() > ends + BOUND:
                raise Fault("grant", f"{session} gave {name} back {now() - ends:.3f} s after its end")

    def _settle(self, *, must: bool = False) -> None:
        """Wait until all has happened that must happen by now; ``must``: something has to, since nobody else runs."""
        begun = now()
        while True:
            due, stuck = self.table.next(), self._stuck()
            if not due and not stuck and not must:
                while self._answer(timeout=0):
                    pass
                return
            # What has lapsed meanwhile is in the table still: then it may be no circle that ends.
            certain = stuck and not self._lapsing
            if self._answer(timeout=0.25):
                must = False
                if certain:
                    self._counts.slowest = max(self._counts.slowest, now() - begun)
                begun = now()
            elif now() > begun + BOUND:
                raise Fault("endless", f"due {sorted(due)}, stuck {sorted(stuck)}; {self._picture()}")

    def _answer(self, timeout: float) -> bool:
        try:
            answer = self._sessions.answers.get(timeout=timeout) if timeout else self._sessions.answers.get_nowait()
        except queue.Empty:
            return False
        session = answer.session
        wanted = self.table.waits_for(session)
        assert wanted is not None, answer
        name, slots = wanted
        self.story.append(f"{session} is answered about {name}: {answer.held or answer.error!r}")
        impatient = session in self._impatient
        self._impatient.discard(session)
        pictures = self._pictures.pop(session, [])
        self._note_tangled()
        tangled = self._tangled.pop(session, -math.inf)
        if answer.held is not None:
            self._check_grant(session, name, slots, tangled)
            self.table.take(session, name, slots)
            self._held[session, name] = answer.held
            if answer.held.ttl < LONG:
                self._lapsing[session, name] = answer.held.expires
        elif isinstance(answer.error, DeadlockError):
            self._check_victim(session, answer.error, pictures)
            self._start_again(session)
        elif impatient and isinstance(answer.error, LeaseError):
            self._start_again(session)
        elif isinstance(answer.error, StoreError):
            raise answer.error
        else:
            raise Fault("grant", f"{session} was answered {answer.error!r}")
        return True

    def _check_grant(self, session: str, name: str, slots: int, tangled: float) -> None:
        for (holder, lock), ends in list(self._lapsing.items()):
            if lock == name and ends <= now():
                del self._lapsing[holder, lock], self._held[holder, lock]
                self.table.give(holder, lock)
        if slots > self.table.free(name):
            raise Fault("grant", f"{session} got {slots} of {name}, too many; {self._picture()}")
        if session not in self.table.next(but=frozenset(self._impatient - {session})):
            if tangled < now() - STALE:
                raise Fault("grant", f"{session} got {name} out of turn; {self._picture()}")
            self._counts.passes += 1

    def _note_tangled(self) -> None:
        for session in stuck_in_turn(self.table) - stuck_for_good(self.table):
            self._tangled[session] = now()

    def _stuck(self) -> set[str]:
        """Return who is stuck for good, and remember how it was: the refusal may come when someone has given up.

        A lease whose time is up keeps nobody stuck, though it is in the table until another has its lock.
        """
        stuck = stuck_for_good(self.table)
        for session in stuck:
            pictures = self._pictures.setdefault(session, [])
            if not pictures or pictures[-1] != self.table:
                pictures.append(deepcopy(self.table))
        lapsed = [one for one, ends in self._lapsing.items() if ends <= now()]
        if stuck and lapsed:  # whoever waits for those may go on; to be refused is right only for who asked before
            living = deepcopy(self.table)
            for session, name in lapsed:
                living.give(session, name)
            return stuck & stuck_for_good(living)
        return stuck

    def _check_victim(self, session: str, error: DeadlockError, pictures: list[Table]) -> None:
        if not pictures:
            raise Fault("victim", f"{session} was refused without a circle ({error}); {self._picture()}")
        circle = list(error.cycle)
        if session not in circle[::2]:
            raise Fault("victim", f"{session} is not in the circle that it was told: {circle}")
        if not any(is_circle(table, circle) for table in pictures):
            raise Fault("victim", f"{session} was told of a circle that is none: {circle}; {self._picture()}")
        self._counts.circles += 1

    def _start_again(self, session: str) -> None:
        self.table.leave(session)
        for name in self.table.holds(session):
            self._give(session, name)
        self._restarts[session] -= 1
        self._wanted[session] = list(self._scripts[session]) if self._restarts[session] > 0 else []

    def _picture(self) -> str:
        return f"held {self.table.held}, queues { {name: each for name, each in self.table.queues.items() if each} }"


def trials(
    open_leases: Callable[[], Leases], seeds: range, tell: Callable[[Counts], object] = lambda _: None
) -> Counts:
    """Run one trial for each of ``seeds``; ``tell`` is called after each. After a fault the leases are opened anew."""
    counts = Counts()
    left = iter(seeds)
    going = True
    while going:
        leases = open_leases()
        sessions = Sessions(leases)
        try:
            for seed in left:
                counts.trials += 1
                trial = Trial(sessions, seed, counts)
                try:
                    trial.run()
                except StoreError:
                    counts.unanswered += 1
                    break
                except Fault as fault:
                    lists = {"endless": counts.endless, "victim": counts.victims, "grant": counts.grants}
                    lists[fault.kind].append("\n  ".join([f"seed {seed}: {fault}", *trial.story[-STORY:]]))
                    break
                finally:
                    tell(counts)
            else:
                going = False
        finally:
            leases.close()  # first: whoever still waits ends with it
            sessions.close()
    return counts
