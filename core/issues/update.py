"""Changing an Issue so that no update is lost: lease, fresh read, merge, single writes, and their answers.

GitHub has no compare-and-swap on Issues, so nobody can be kept from writing there between our read and our write. But
what rollcage writes is so small that little can be hit, and what was hit is seen: labels and people go one by one,
title, body and state in one request with just the changed ones, and a body that came between is found in the history
of edits, merged, and where that cannot be, put back.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial

from ..errors import LeaseError, RollcageError, UsageError
from ..text import clean
from .desk import WAIT, Desk, Holds
from .errors import (
    ConcurrencyConflictError,
    IssueUpdateError,
    OutcomeUnknownError,
    ScopeViolationError,
    TrackerError,
    TrackerLimitError,
    TrackerOfflineError,
)
from .inflight import Flight, settle
from .issue import FIELDS, Issue
from .journal import Alone
from .labels import group_of, in_step
from .local import LocalTracker
from .merge import Change, Conflicting, Wanted, merge_lines, plan, same_text, wanted_of
from .notify import queue_about, queue_released
from .records import fields_of
from .scope import check_write
from .steps import Inverse, answered, change_back, edits_about, in_turn, instead, inverse_of, patiently, steps
from .values import check_number

ATTEMPTS = 5
BASE_DELAY, MAX_DELAY = 1.0, 16.0
"""Seconds before the second attempt, doubled before each further one, at most so many; with full jitter (M. Brooker,
"Exponential Backoff And Jitter", AWS Architecture Blog, 2015): anything between none and all of it."""
LAGS = (0.0, 1.0, 2.0)
"""Seconds before each look at a history that does not show yet what was written."""


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """What became of an update."""

    issue: Issue
    """As it is now; its version is remembered for the next ``expected``."""
    updated: bool
    """Whether something was written; if not, it was as wanted already."""
    attempt: int
    """Which attempt it was that did it, from 1."""


def update_issue_with_optimistic_lock(
    desk: Desk, number: int, updates: Mapping[str, object], expected: str | Issue | None = None
) -> UpdateResult:
    """Write just the fields that ``updates`` names (see `rollcage.core.issues.merge.NAMES`); return what is there then.

    ``expected`` is what the caller saw: an Issue, or the version of one that rollcage returned. What others changed
    since stays: other fields, other labels, other lines of the body. Without it the fields are set, whatever they are.
    ``labels`` and ``assignees`` mean all that it shall have; ``add_labels``, ``remove_labels`` and so on just those.

    Raises ConcurrencyConflictError where others changed the same (both values are in it, and in the audit as
    persistent_conflict); UsageError, ScopeViolationError, LeaseError, and TrackerOfflineError or TrackerLimitError
    where nothing was sent; IssueUpdateError for everything else: then nothing of it is left, or it says what.
    """
    wanted = wanted_of(updates)
    goal = Merging(desk, check_number(number), wanted, expected)
    return change_issue(desk, number, goal)


def read_issue(desk: Desk, number: int) -> Issue:
    """Return the Issue as it is now; its version can be given as ``expected``. Raises as the tracker does."""
    return desk.records.saw(desk.tracker.get(check_number(number)))


class Goal:
    """What an Issue is to become; asked again at each look at it."""

    what = "update issue"
    lost_sight = False
    """What its caller saw is not known any more: where the Issue differs at all, nobody can tell who changed it."""

    def plan(self, current: Issue, *, written: bool) -> Change:
        """Return what is to be written; nothing: it is as wanted. Raises Conflicting."""
        raise NotImplementedError

    def merge_body(self, ours: str, merged: str) -> None:
        """Take notice that ``ours`` was written over somebody's body, and that ``merged`` has both."""
        raise Conflicting(("body",))

    def wrote_body(self, before: str, ours: str) -> None:
        """Take notice that ``ours`` was sent to replace ``before``: from then on it is what is wanted."""

    def ours(self, names: tuple[str, ...]) -> dict[str, object]:
        """Return what was to be written, for people."""
        return {}


class Merging(Goal):
    """An update as its caller wants it, merged with what others made of the Issue since."""

    def __init__(self, desk: Desk, number: int, wanted: Wanted, expected: str | Issue | None) -> None:
        """Take what is wanted, and what the caller saw."""
        self._desk, self._number, self._wanted, self._expected = desk, number, wanted, expected
        self._base: Mapping[str, object] | None = None
        self._begun = False

    def plan(self, current: Issue, *, written: bool) -> Change:
        if not self._begun:
            self._begun, self._base = True, self._seen(current)
        return in_step(current, plan(self._base, current, self._wanted, written=written))

    def _seen(self, current: Issue) -> Mapping[str, object] | None:
        if isinstance(self._expected, Issue):
            return fields_of(self._expected)
        if self._expected is None or self._expected == current.version:
            return fields_of(current)
        seen = self._desk.records.seen(self._number, self._expected)
        self.lost_sight = seen is None
        return seen

    def merge_body(self, ours: str, merged: str) -> None:
        self._wanted = replace(self._wanted, body=merged)
        self._base = {**(self._base or {}), "body": ours} if self._base is not None else None

    def wrote_body(self, before: str, ours: str) -> None:
        # A merge of lines is no fixed point: merged once more with what the caller saw, a line could come twice.
        self.merge_body(before, ours)

    def ours(self, names: tuple[str, ...]) -> dict[str, object]:
        return {name: getattr(self._wanted, name) for name in names}


def change_issue(desk: Desk, number: int, goal: Goal, wait: float = WAIT) -> UpdateResult:
    """Bring the Issue to ``goal`` under its lease. Raises as `update_issue_with_optimistic_lock` does."""
    with desk.hold([f"issue/{number}"], wait) as holds:
        try:
            return bring(desk, number, goal, holds)
        except ConcurrencyConflictError as conflict:
            escalate(desk, number, goal.what, conflict, holds)
            raise


def bring(
    desk: Desk, number: int, goal: Goal, holds: Holds, journal: Journal | None = None, *, under_way: bool = False
) -> UpdateResult:
    """Bring the Issue to ``goal`` under leases that are held; ``journal`` is told of each change before it is sent.

    ``under_way``: it is part of what others saw begin already, so that it waits for limits rather than fails.
    """
    if (local := desk.local) is not None:
        return _at_once(desk, local, number, goal, holds)
    if journal is not None:
        return _remotely(desk, number, goal, holds, journal, lambda stands: None, under_way)
    alone = Alone(desk.records, number, desk.holder, lambda: desk.recording(holds, [f"issue/{number}"]))
    return _remotely(desk, number, goal, holds, alone.note, alone.end, under_way)


def escalate(desk: Desk, number: int, what: str, conflict: ConcurrencyConflictError, holds: Holds) -> None:
    """Write down that a human has to choose, with both values."""
    desk.records.wrote(
        desk.holder,
        what,
        f"issue {number}",
        before=conflict.theirs,
        after=conflict.ours,
        token=holds.token(f"issue/{number}"),
        why=str(conflict),
        outcome="persistent_conflict",
    )


Journal = Callable[[Inverse], None]
"""Writes down, durably, how to undo what is about to be sent."""


def _at_once(desk: Desk, tracker: LocalTracker, number: int, goal: Goal, holds: Holds) -> UpdateResult:
    """Do it in one transaction of the file in which Issues, tokens and records lie."""
    name = f"issue/{number}"
    token = holds.token(name)
    with desk.guarded(holds, [name]):
        current = tracker.get(number)
        try:
            change = goal.plan(current, written=False)
        except Conflicting as conflict:
            raise _conflict(number, goal, conflict.names, current) from None
        if not change:
            return UpdateResult(desk.records.saw(current), updated=False, attempt=1)
        check_scope(desk, goal.what, current, change)
        after = tracker.change(current, change)
        _record(desk, goal, current, after, token)
    return UpdateResult(after, updated=True, attempt=1)


def _remotely(
    desk: Desk,
    number: int,
    goal: Goal,
    holds: Holds,
    journal: Journal,
    end: Callable[[bool], None],
    under_way: bool,
) -> UpdateResult:
    """Do it by single requests, each under a lease that was just renewed, and check by their answers that it is there.

    ``end`` is told whether something stands that could not be undone.
    """
    work = _Work(desk, number, holds, journal, under_way)
    try:
        first, current = work.bring_to(goal)
    except Conflicting as conflict:
        left = work.undo()
        work.flight.end()
        _closed(end, bool(left))
        raise _conflict(number, goal, conflict.names, desk.tracker.get(number), left, conflict.theirs) from None
    except RollcageError as error:
        left = work.undo()
        work.flight.end()
        _closed(end, bool(left))
        if not work.sent and isinstance(error, _PLAIN):
            raise
        if left:
            token = holds.token(f"issue/{number}")
            desk.records.wrote(
                desk.holder,
                goal.what,
                f"issue {number}",
                after={"left": left},
                token=token,
                why=str(error),
                outcome="left",
            )
        elif isinstance(error, ConcurrencyConflictError):
            raise
        raise _failed(number, error, left) from error
    if not work.attempt:
        return UpdateResult(desk.records.saw(current), updated=False, attempt=1)
    with desk.records.transaction():
        _record(desk, goal, first, current, holds.token(f"issue/{number}"))
        end(False)
        work.flight.end()
    return UpdateResult(current, updated=True, attempt=work.attempt)


def _closed(end: Callable[[bool], None], stands: bool) -> None:
    with suppress(LeaseError):  # lost: whoever takes it brings the journal to its end
        end(stands)


_PLAIN = (TrackerOfflineError, TrackerLimitError, UsageError, ScopeViolationError, LeaseError, IssueUpdateError)
"""Errors that are clear as they are, where nothing was written."""


class _Work:
    """An update of an Issue elsewhere, under way."""

    def __init__(self, desk: Desk, number: int, holds: Holds, journal: Journal, under_way: bool) -> None:
        self._desk, self._number, self._holds, self._journal = desk, number, holds, journal
        self._under_way = under_way
        self.attempt = 0
        self.sent = False
        self.done: list[str] = []
        """What was sent, for people."""
        self.flight = Flight(desk, number, holds)
        self._inverses: list[Inverse] = []

    def bring_to(self, goal: Goal) -> tuple[Issue, Issue]:
        """Write until it is as ``goal`` wants it, by the writes' own answers or a fresh read where one does not tell.

        Return the first and the last that was seen.
        """
        doubt: TrackerError | None = None
        first = current = self._get()
        while change := goal.plan(current, written=self.attempt > 0):
            if self.attempt:  # what was written is not there: others write too, or the answer was lost or late
                if self.attempt == ATTEMPTS:
                    raise _given_up(self._number, goal, change, current, doubt)
                self._pause()
                current = self._get()
                if not (change := goal.plan(current, written=True)):
                    break
            check_scope(self._desk, goal.what, current, change)
            with ExitStack() as turn:
                self._book(change, turn)
                inverse = inverse_of(current, change)
                with self.flight.sending(inverse, partial(self._note, inverse)):
                    self.attempt += 1
                    doubt, after = self._write(current, change)
                    if change.body is not None:
                        goal.wrote_body(current.body, change.body)
                    if change.body is not None and not self._look_who_else_wrote(
                        current.body, change.body, goal, is_there=after is not None
                    ):
                        after = None
            current = self._get() if after is None else after
            if doubt is not None:
                current = self._settled(goal, current)
        return first, current

    def _get(self) -> Issue:
        def get() -> Issue:
            return self._desk.tracker.get(self._number)

        return in_turn(self._desk, self._holds, get) if self.sent or self._under_way else get()

    def _settled(self, goal: Goal, current: Issue) -> Issue:
        """Wait until what was sent without an answer is there, or can come no more: else it came over later writes."""
        if not goal.plan(current, written=True):
            self.flight.left_open(landed=True)
        settle(self._desk, [f"issue/{self._number}"], self._holds)
        return self._get()

    def _book(self, change: Change, turn: ExitStack) -> None:
        """Book all that the change takes, so that our own limits do not break it off in its middle."""
        writes, looks = sum(1 for _ in steps(self._number, change)), change.body is not None

        def book() -> None:
            turn.enter_context(self._desk.tracker.booked(writes, looks=looks))

        if self.sent or self._under_way:
            in_turn(self._desk, self._holds, book)
        else:
            book()

    def _note(self, inverse: Inverse) -> None:
        self._journal(inverse)
        self._inverses.append(inverse)

    def _pause(self) -> None:
        delay = min(MAX_DELAY, BASE_DELAY * 2 ** (self.attempt - 1))
        self._desk.clock.wait(threading.Event(), random.uniform(0, delay))  # noqa: S311 - no secret

    def _write(self, current: Issue, change: Change) -> tuple[TrackerError | None, Issue | None]:
        """Do the steps; return the Issue as their answers tell it, ``None``: they do not.

        With it comes the error of a step of which nobody knows whether it was done.
        """
        after: Issue | None = current
        for step in steps(self._number, change):
            self._holds.renew()
            try:
                after = answered(after, step.do(self._desk.tracker))
            except OutcomeUnknownError as error:
                self.flight.sent(lost=True)
                self.sent = True
                self.done.append(step.says)
                return error, None
            self.flight.sent()
            self.sent = True
            self.done.append(step.says)
        self._holds.renew()  # who lost it while the request was under way was late, and must not say that it is done
        return None, after

    def _look_who_else_wrote(self, before: str, ours: str, goal: Goal, *, is_there: bool) -> bool:
        """Find a body that somebody wrote between our read and our write, and merge it. Raises Conflicting.

        Return whether the history shows our write. ``is_there``: the answer said so; one that lags is asked again.
        """
        for delay in LAGS:
            if delay:
                self._desk.clock.wait(threading.Event(), delay)
            found = edits_about(self._desk.tracker, self._number, ours)
            if found is None:
                return True  # nobody can tell
            edits, mine = found
            if mine is not None or not is_there:
                break
        if mine is None:
            return False
        theirs = edits[mine + 1].body if mine + 1 < len(edits) else None
        if theirs is None or _is(theirs, before):
            return True
        self._note(instead(self._number, ours, theirs))
        merged = merge_lines(before, ours, theirs)
        if merged is None:
            raise Conflicting(("body",), {"body": theirs})
        goal.merge_body(ours, merged)
        return True

    def undo(self) -> tuple[str, ...]:
        """Undo what was done; return what was sent and could not be undone."""
        if not self.done:
            return ()
        try:
            patiently(self._desk, self._holds, lambda: change_back(self._desk, self._inverses, self._holds))
        except RollcageError:
            return tuple(self.done)
        return ()


def check_scope(desk: Desk, kind: str, current: Issue, change: Change) -> None:
    """Raise ScopeViolationError where whoever works here may not do it."""
    if desk.scope is None:
        return
    check_write(
        desk.scope, kind, current, {"title": change.title, "add": change.add_labels, "remove": change.remove_labels}
    )


def _is(body: str | None, other: str) -> bool:
    return body is not None and same_text("body", body, other)


def _record(desk: Desk, goal: Goal, first: Issue, current: Issue, token: int) -> None:
    before, after = fields_of(first), fields_of(current)
    changed = [name for name in FIELDS if before[name] != after[name]]
    with desk.records.transaction():
        desk.records.saw(current)
        for label in current.labels if "labels" in changed else ():
            if group_of(label) and label not in first.labels:
                desk.records.label_added(current.number, label)
        desk.records.wrote(
            desk.holder,
            goal.what,
            f"issue {current.number}",
            before={name: before[name] for name in changed},
            after={name: after[name] for name in changed},
            token=token,
        )
        queue_about(desk, first, current)
    queue_released(desk, first, current)


def _conflict(
    number: int,
    goal: Goal,
    names: tuple[str, ...],
    current: Issue,
    left: tuple[str, ...] = (),
    theirs: Mapping[str, object] | None = None,
) -> ConcurrencyConflictError:
    fields = fields_of(current) | dict(theirs or {})
    message = (
        f"Issue {number}: the expected version is not known here, and its {' and '.join(names)} may have changed since"
        if goal.lost_sight
        else f"Issue {number}: {' and '.join(names)} {'was' if len(names) == 1 else 'were'} changed by others, too, and"
        " not alike"
    )
    message += "; theirs stays; read it again and choose"
    return ConcurrencyConflictError(
        message + _standing(left), goal.ours(names), {name: fields[name] for name in names}, current
    )


def _given_up(number: int, goal: Goal, change: Change, current: Issue, doubt: TrackerError | None) -> IssueUpdateError:
    if doubt is not None:
        return IssueUpdateError(f"Issue {number}: after {ATTEMPTS} attempts it is not known to be written: {doubt}")
    names = tuple(name for name in FIELDS if name in change.fields)
    fields = fields_of(current)
    return ConcurrencyConflictError(
        f"Issue {number}: others changed {' and '.join(names)} back in each of {ATTEMPTS} attempts; theirs stays",
        goal.ours(names),
        {name: fields[name] for name in names},
        current,
    )


def _failed(number: int, error: RollcageError, left: tuple[str, ...]) -> IssueUpdateError:
    return IssueUpdateError(f"Issue {number} was not updated: {clean(str(error), limit=1_000)}{_standing(left)}")


def _standing(left: tuple[str, ...]) -> str:
    return f"; of this update could not be undone and stands: {clean(', '.join(left))}" if left else ""
