"""Creating an Issue so that there is never a second one: a lease, a look, one request with a mark in it, and a look.

GitHub has no idempotency key, and its lists lag behind: that one is missing there proves nothing. So an intent with an
id of its own is written down before the request, and the id goes along as a hidden mark at the end of the body: where
the answer is lost, the lists are searched for the mark over a while before a second request, and if both came through
in the end, the lowest number stays and the other is closed. A mark counts wherever it stands in the body, since others
write below it, but only if its id is in our records, and on an Issue of that intent's identity that is no older than
it: nobody can have an Issue closed by copying its mark, unless it is made the same task by title and labels, too.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from ..errors import LeaseError, UsageError
from ..text import clean
from .desk import Desk, Holds
from .errors import ConcurrencyConflictError, IssueUpdateError, OutcomeUnknownError, TrackerError, TrackerRefusedError
from .identity import SCOPES, identity, mark_of, marked, marks_of, room_for_mark, without_mark
from .issue import Draft, Issue
from .labels import group_of
from .local import LocalTracker
from .merge import Change, Wanted, plan
from .notify import queue_about
from .records import DONE, FAILED, SENT, Intent, fields_of
from .scope import check_write, completed
from .steps import replace_at_once, steps
from .values import BODY, check_draft, name_key

DUPLICATE = "duplicate_exists"
LOOKS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each look at the lists for a creation whose answer was lost: half a minute in all."""
SKEW = timedelta(hours=2)
"""So much the tracker's clock and ours may differ."""
WITHDRAWN = "_Closed by rollcage:"
"""How the line begins that says why."""
_OWN = 20
"""So many creations of one identity are looked at by their numbers."""


@dataclass(frozen=True, slots=True)
class CreateResult:
    """What became of a creation."""

    issue: Issue
    """The new one, or the one that is there already."""
    created: bool
    reason: str
    """``duplicate_exists``, or when it was created (ISO 8601)."""


def create_issue_atomically(
    desk: Desk, title: str, body: str = "", labels: Iterable[str] = (), assignees: Iterable[str] = ()
) -> CreateResult:
    """Create an Issue, unless an open one of the same identity is there: title, ``comp:`` and ``agent:``.

    Raises UsageError, ScopeViolationError, LeaseError, and TrackerOfflineError, TrackerLimitError or
    TrackerRefusedError where none was created; IssueUpdateError where one was, but not as asked: it is closed then;
    OutcomeUnknownError where nobody can tell: `recover` and the next creation of it look again.
    """
    draft = completed(desk.scope, check_draft(Draft(title.strip(), body, tuple(labels), tuple(assignees))))
    return create_draft(desk, draft, uuid.uuid4().hex)


def create_draft(desk: Desk, draft: Draft, intent_id: str) -> CreateResult:
    """Create an Issue of a draft that was checked, under an id that nobody else uses. Raises as above."""
    check_write(desk.scope, "create", None, draft)
    its_identity = identity(draft.title, draft.labels)
    if not desk.is_local and len(draft.body) > room_for_mark():
        raise UsageError(f"the body has {len(draft.body):,} characters; allowed: at most {room_for_mark():,}")
    with desk.hold([f"issue-create/{its_identity}"]) as holds:
        intent = Intent(intent_id, its_identity, draft, desk.holder, SENT, desk.clock.now())
        if desk.local is not None:
            return _at_once(desk, desk.local, intent, holds)
        return _Creation(desk, intent, holds).done()


def same_issue(issue: Issue, its_identity: str) -> bool:
    """Tell whether ``issue`` is open and of this identity."""
    return issue.state == "open" and identity(issue.title, issue.labels) == its_identity


def _at_once(desk: Desk, tracker: LocalTracker, intent: Intent, holds: Holds) -> CreateResult:
    name = f"issue-create/{intent.identity}"
    with desk.guarded(holds, [name]):
        for other in tracker.like(intent.draft.title):
            if same_issue(other, intent.identity):
                return CreateResult(desk.records.saw(other), created=False, reason=DUPLICATE)
        issue = tracker.create(intent.draft)
        _record(desk, issue, holds.token(name))
    return CreateResult(issue, created=True, reason=desk.records.now())


class _Creation:
    """A creation elsewhere, under its lease."""

    def __init__(self, desk: Desk, intent: Intent, holds: Holds) -> None:
        self._desk, self._intent, self._holds = desk, intent, holds
        self._name = f"issue-create/{intent.identity}"

    def done(self) -> CreateResult:
        """Create it, unless it is there."""
        there = self._duplicate()
        if there is not None:
            return CreateResult(self._desk.records.saw(there), created=False, reason=DUPLICATE)
        self._desk.records.intend(self._intent)
        if (issue := self._send(again=False)) is not None:
            return CreateResult(self.finish(issue, told=True), created=True, reason=self._desk.records.now())
        issue = self.look_for(LOOKS) or self._send(again=True) or self.look_for(LOOKS)
        if issue is None:
            raise OutcomeUnknownError(
                f"whether the Issue '{clean(self._intent.draft.title, limit=80)}' was created is not known: the answers"
                " were lost, and the lists do not show it yet; ask for it again, there will be one only"
            )
        return CreateResult(self.finish(issue), created=True, reason=self._desk.records.now())

    def _duplicate(self) -> Issue | None:
        """Return an open Issue of the same identity: by our own records, which do not lag, and by the lists."""
        desk, its_identity = self._desk, self._intent.identity
        for intent in desk.records.intents(its_identity)[:_OWN]:
            if intent.state == SENT:  # its process was killed: under the lease nobody else is at it
                _Creation(desk, intent, self._holds).recover(LOOKS)
        for intent in desk.records.intents(its_identity)[:_OWN]:
            if intent.state == DONE and intent.number is not None:
                issue = _fresh(desk, intent.number)
                if issue is not None and same_issue(issue, its_identity):
                    return issue
        scopes = tuple(label for label in self._intent.draft.labels if name_key(label).startswith(SCOPES))
        listed = [issue.number for issue in desk.tracker.issues(labels=scopes) if same_issue(issue, its_identity)]
        for number in sorted(listed):
            issue = _fresh(desk, number)  # the list may be old
            if issue is not None and same_issue(issue, its_identity):
                return issue
        return None

    def _send(self, *, again: bool) -> Issue | None:
        """Send the request; return what came of it, ``None``: nobody knows."""
        draft = self._intent.draft
        self._holds.renew()
        try:
            return self._desk.tracker.create(replace(draft, body=marked(draft.body, self._intent.id)))
        except OutcomeUnknownError:
            return None
        except TrackerError:
            if again and (late := self.look_for(LOOKS[:1])) is not None:
                return late
            if not again:
                self._desk.records.intend(replace(self._intent, state=FAILED))
                raise
            return None

    def look_for(self, looks: Sequence[float]) -> Issue | None:
        """Return the Issue with the mark, the lowest open one if there are several; the others are closed."""
        for delay in looks:
            if delay:
                self._desk.clock.wait(threading.Event(), delay)
            self._holds.renew()
            try:
                found = self._with_mark()
            except TrackerError:
                continue  # so near to a lost answer another is no wonder
            if found:
                close_twins(self._desk, found)
                return found[0]
        return None

    def _with_mark(self) -> list[Issue]:
        """Return the Issues with the mark, those that are open first, by number."""
        earliest = self._intent.since - SKEW
        found: dict[int, Issue] = {}
        for issue in self._desk.tracker.issues(state="all"):
            if issue.created < earliest:
                break  # the newest come first
            if self._intent.id in marks_of(issue.body) and identity(issue.title, issue.labels) == self._intent.identity:
                found[issue.number] = issue
        return sorted(found.values(), key=lambda issue: (issue.state != "open", issue.number))

    def finish(self, issue: Issue, *, told: bool = False) -> Issue:
        """Read the new Issue again, add what the tracker left out, and write down that it is done.

        ``told``: ``issue`` is the answer to its creation, so that it need not be read again where nothing is missing.
        """
        desk, draft = self._desk, self._intent.draft
        wanted = Wanted(add_labels=draft.labels, add_assignees=draft.assignees)
        current: Issue | None = None
        problem: TrackerError | None = None
        for delay in LOOKS[:-1]:
            if delay:
                desk.clock.wait(threading.Event(), delay)
            self._holds.renew()
            try:
                current = issue if told and not delay else desk.tracker.get(issue.number)
                missing = plan(fields_of(current), current, wanted)
                if not missing:
                    self._record(current)
                    return current
                problem = None
                for step in steps(issue.number, missing):
                    step.do(desk.tracker)
            except TrackerError as error:
                problem = error
        if current is None:
            raise OutcomeUnknownError(
                f"Issue {issue.number} was created, but cannot be read again: {problem}; `rollcage issue sync` looks"
            )
        names = plan(fields_of(current), current, wanted)
        lacks = clean(", ".join((*names.add_labels, *names.add_assignees)))
        withdraw(desk, current, f"it could not be created as asked, without {lacks}")
        desk.records.intend(replace(self._intent, state=FAILED, number=issue.number))
        raise IssueUpdateError(
            f"Issue {issue.number} was created, but the tracker does not take {lacks}: it is closed again"
        ) from problem

    def recover(self, looks: Sequence[float]) -> None:
        """Bring the intent of a process that was killed to its end: done where it came through, else failed."""
        found = self.look_for(looks)
        if found is None:
            self._desk.records.intend(replace(self._intent, state=FAILED))
            return
        with suppress(IssueUpdateError):  # closed again, and said so in the records
            self.finish(found)

    def _record(self, issue: Issue) -> None:
        with self._desk.records.transaction():
            self._desk.records.intend(replace(self._intent, state=DONE, number=issue.number))
            _record(self._desk, issue, self._holds.token(self._name))


def recover_creations(desk: Desk) -> int:
    """Bring to an end what killed processes left unfinished; return how many were found that somebody is still at, or
    that are too young to tell. Raises TrackerError."""
    left = 0
    for intent in desk.records.intents():
        old = _is_old(desk, intent)
        try:
            with desk.hold([f"issue-create/{intent.identity}"], wait=0) as holds:
                now = {known.id: known for known in desk.records.intents(intent.identity)}[intent.id]
                if now.state != SENT:
                    continue
                creation = _Creation(desk, now, holds)
                if old:
                    creation.recover(LOOKS[:1])
                elif (found := creation.look_for(LOOKS[:1])) is not None:
                    with suppress(IssueUpdateError):
                        creation.finish(found)
                else:
                    left += 1
        except LeaseError:
            left += 1  # its process lives
    return left


def undo_creation(desk: Desk, intent_id: str, its_identity: str) -> None:
    """Close what came of the intent, if anything did. Raises TrackerError, LeaseError."""
    with desk.hold([f"issue-create/{its_identity}"]) as holds:
        intent = desk.records.intent(intent_id)
        if intent is not None and intent.state == SENT:
            _Creation(desk, intent, holds).recover(LOOKS[:1] if _is_old(desk, intent) else LOOKS)
            intent = desk.records.intent(intent_id)
    if intent is None or intent.state != DONE or intent.number is None:
        return
    issue = _fresh(desk, intent.number)
    if issue is not None and issue.state == "open":
        withdraw(desk, issue, "the batch that created it failed")


def _is_old(desk: Desk, intent: Intent) -> bool:
    """Tell whether a request of it must be in the lists by now, if it came through."""
    return desk.clock.now() - intent.since > timedelta(seconds=2 * sum(LOOKS))


def heal_twins(desk: Desk) -> list[int]:
    """Close the higher of open Issues that have one mark of ours; return their numbers. Raises TrackerError.

    Two requests of one creation can both have come through, the second long after its answer was given up.
    """
    marks: dict[str, list[Issue]] = {}
    for issue in desk.tracker.issues():
        for mark in marks_of(issue.body):
            marks.setdefault(mark, []).append(issue)
    closed: list[int] = []
    for mark, twins in marks.items():
        if len(twins) > 1 and (intent := desk.records.intent(mark)) is not None:
            earliest = intent.since - SKEW
            closed += close_twins(
                desk, [twin for twin in twins if same_issue(twin, intent.identity) and twin.created >= earliest]
            )
    return closed


def close_twins(desk: Desk, twins: Sequence[Issue]) -> list[int]:
    """Close all but the lowest of the open ones among ``twins``; return the numbers of those closed."""
    still = sorted((twin for twin in twins if twin.state == "open"), key=lambda twin: twin.number)
    for twin in still[1:]:
        withdraw(desk, twin, f"a duplicate of #{still[0].number}")
    return [twin.number for twin in still[1:]]


def withdraw(desk: Desk, issue: Issue, why: str) -> None:
    """Close an Issue that should not be there, and say why at the end of its body. Raises TrackerError, LeaseError."""
    name = f"issue/{issue.number}"
    with desk.hold([name]) as holds, desk.guarded(holds, [name]):
        current = desk.tracker.get(issue.number)
        if current.state == "closed" and WITHDRAWN in current.body:
            return
        mark = mark_of(current.body)
        text = without_mark(current.body) + f"\n\n{WITHDRAWN} {why}._"
        body = marked(text, mark) if mark else text
        fits = len(body) <= BODY
        change = Change(state="closed", body=body if fits else None)
        if desk.is_local:
            done = desk.tracker.write(issue.number, state=change.state, body=change.body)
        else:
            try:
                done = replace_at_once(desk, current, change, holds)
            except ConcurrencyConflictError:  # others wrote the same lines meanwhile: theirs stays, and it is closed
                done = desk.tracker.get(issue.number)
        desk.records.wrote(
            desk.holder,
            "close issue",
            f"issue {issue.number}",
            before={"state": current.state},
            after={"state": done.state},
            token=holds.token(name),
            why=why,
        )


def _fresh(desk: Desk, number: int) -> Issue | None:
    try:
        return desk.tracker.get(number)
    except TrackerRefusedError as error:
        if error.status in (404, 410):
            return None
        raise


def _record(desk: Desk, issue: Issue, token: int) -> None:
    desk.records.saw(issue)
    for label in issue.labels:
        if group_of(label):
            desk.records.label_added(issue.number, label)
    desk.records.wrote(desk.holder, "create issue", f"issue {issue.number}", after=fields_of(issue), token=token)
    queue_about(desk, None, issue)
