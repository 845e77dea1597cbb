"""Telling agents about their Issues, so that it is known to have arrived.

What an agent is to be told is written down in the transaction that records the write to the Issue: it is not lost
where the process dies. It then goes into the agent's mailbox with an id, again and again until the agent says
``rollcage signal message "seen ID"`` or a human is told (`courier`). So it may come twice: the id tells.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ..clock import iso, parse_iso
from ..errors import UsageError
from ..fleet.mailbox import post
from ..fleet.names import name_problem
from ..text import clean
from .errors import TrackerError
from .rows import row_of
from .values import name_key

if TYPE_CHECKING:
    from ..store.paths import RepositoryPaths
    from .desk import Desk
    from .issue import Issue
    from .records import Records

NEW, SENT, SEEN, ESCALATED = "new", "sent", "seen", "escalated"
ASSIGNED, UNBLOCKED, CHANGED, CLOSED = "assigned", "unblocked", "changed", "closed"
KEPT = 10_000
"""So many that came to an end are kept."""

_AGENT, _BLOCKED = "agent:", "status:blocked"
_SEEN = re.compile(r"seen((?:[\s,]+n-\d{1,15})+)\s*")
_SELECT = "SELECT seq, agent, issue, reason, text, sender, created, state, tries, last_sent, ended FROM notification"


@dataclass(frozen=True, slots=True)
class Notification:
    """Something that an agent is told."""

    seq: int
    agent: str
    issue: int | None
    reason: str
    """assigned, unblocked, changed, closed, or a word of the caller's."""
    text: str
    sender: str
    created: datetime
    state: str = NEW
    """new: not in the mailbox yet; sent; seen: the agent said so; escalated: a human was told that it did not."""
    tries: int = 0
    """So often it was put into the mailbox."""
    last_sent: datetime | None = None
    ended: datetime | None = None

    @property
    def id(self) -> str:
        """What the agent confirms it by."""
        return f"n-{self.seq}"


def notify_agent(
    paths: RepositoryPaths,
    records: Records,
    agent: str,
    text: str,
    *,
    sender: str,
    issue: int | None = None,
    reason: str = CHANGED,
) -> Notification | None:
    """Write down that ``agent`` is to be told ``text``, and put it into its mailbox; return it.

    ``None``: it has not confirmed yet that it saw another with this Issue and reason, and will look. Raises UsageError
    for a name that no agent has, StoreError: what was written down before is sent later.
    """
    told = queue(records, agent, text, sender=sender, issue=issue, reason=reason)
    post_new(paths, records)
    return told


def queue(
    records: Records, agent: str, text: str, *, sender: str, issue: int | None = None, reason: str = CHANGED
) -> Notification | None:
    """Write down that ``agent`` is to be told ``text``; joins a transaction. As `notify_agent`, without the mailbox."""
    if problem := name_problem(agent):
        raise UsageError(problem)
    now = records.clock.now()
    with records.connected() as connection:
        if (
            issue is not None
            and connection.execute(
                "SELECT 1 FROM notification WHERE agent = ? AND issue = ? AND reason = ? AND state IN ('new', 'sent')",
                (agent, issue, reason),
            ).fetchone()
        ):
            return None
        text = clean(text, limit=2_000)
        seq = connection.execute(
            "INSERT INTO notification (agent, issue, reason, text, sender, created, state)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (agent, issue, reason, text, clean(sender, limit=200), iso(now), NEW),
        ).lastrowid
    return Notification(seq or 0, agent, issue, reason, text, sender, now)


def queue_about(desk: Desk, before: Issue | None, after: Issue) -> None:
    """Write down what the agents of an Issue are to be told of a write to it; ``before`` ``None``: it is new.

    Joins the transaction in which the write is recorded. Nobody is told of what it did itself.
    """
    had = _agents(before) if before is not None else set()
    for agent in sorted(_agents(after) | had):
        reason = _reason(agent, before, after)
        if reason and agent != desk.holder:
            _queue_issue(desk, agent, after, reason)


def queue_released(desk: Desk, before: Issue, after: Issue) -> None:
    """Write down, where a write closed an Issue, that the agents of those which it alone blocked are to be told.

    Asks the tracker. Where that cannot be read, they find out when they look: the write itself is done.
    """
    if before.state != "open" or after.state != "closed":
        return
    with suppress(TrackerError):
        for issue in _released_by(desk, after.number):
            for agent in sorted(_agents(issue) - {desk.holder}):
                _queue_issue(desk, agent, issue, UNBLOCKED)


def post_new(paths: RepositoryPaths, records: Records) -> list[Notification]:
    """Put what is new into the mailboxes; return it. Raises StoreError: what is not there then is sent again later."""
    with records.reading() as connection:  # without a transaction where there is nothing to do
        if connection.execute("SELECT 1 FROM notification WHERE state = 'new'").fetchone() is None:
            return []
    # Taken before it is sent, so that two who do this at once do not both send it; who dies between leaves it unseen.
    with records.connected() as connection:
        rows = connection.execute(f"{_SELECT} WHERE state = 'new' ORDER BY seq").fetchall()
        connection.execute(
            "UPDATE notification SET state = 'sent', tries = 1, last_sent = ? WHERE state = 'new'",
            (records.now(),),
        )
    found = [_notification(row) for row in rows]
    for told in found:
        put(paths, records, told)
    return found


def put(paths: RepositoryPaths, records: Records, told: Notification) -> None:
    """Put ``told`` into its agent's mailbox, once more. Raises StoreError."""
    text = f'{told.text} (confirm: rollcage signal message "seen {told.id}")'
    post(paths, told.agent, text, told.sender, records.clock.now(), told.id)


def pending(records: Records, agent: str = "") -> list[Notification]:
    """Return what has not been confirmed yet, oldest first, of one agent or of all. Raises StoreError."""
    with records.reading() as connection:
        rows = connection.execute(
            f"{_SELECT} WHERE state IN ('new', 'sent') AND ? IN ('', agent) ORDER BY seq",
            (agent,),
        ).fetchall()
    return [_notification(row) for row in rows]


def find(records: Records, seq: int) -> Notification | None:
    """Return the notification; ``None``: there is none (any more). Raises StoreError."""
    with records.reading() as connection:
        row = connection.execute(f"{_SELECT} WHERE seq = ?", (seq,)).fetchone()
    return _notification(row) if row is not None else None


def confirmed(text: str) -> set[int]:
    """Return which notifications the message of an agent confirms: ``seen n-3``, ``seen n-3 n-4``."""
    match = _SEEN.fullmatch(text.strip())
    return {int(key) for key in re.findall(r"n-(\d+)", match[1])} if match else set()


def _queue_issue(desk: Desk, agent: str, issue: Issue, reason: str) -> None:
    words = {
        ASSIGNED: "is yours now",
        UNBLOCKED: "is not blocked any more",
        CHANGED: "was changed",
        CLOSED: "is closed",
    }
    text = f"Issue {issue.number} {words[reason]} (by {desk.holder}): {clean(issue.title, limit=300)}"
    queue(desk.records, agent, text, sender=desk.holder, issue=issue.number, reason=reason)


def _reason(agent: str, before: Issue | None, after: Issue) -> str:
    """Return why ``agent`` is told; empty: it is not, for the Issue is not its own any more."""
    if agent not in _agents(after):
        return ""
    if before is None or agent not in _agents(before):
        return ASSIGNED if after.state == "open" else ""
    if before.state != after.state:
        return CLOSED if after.state == "closed" else CHANGED
    was, is_ = ({name_key(label) for label in issue.labels} for issue in (before, after))
    return UNBLOCKED if _BLOCKED in was - is_ else CHANGED


def agents_of(labels: Iterable[str]) -> set[str]:
    """Return the agents that labels name: of names that no agent can have, none."""
    named = {label[len(_AGENT) :] for label in labels if name_key(label).startswith(_AGENT)}
    return {name for name in named if not name_problem(name)}


def _agents(issue: Issue) -> set[str]:
    return agents_of(issue.labels)


def _released_by(desk: Desk, number: int) -> list[Issue]:
    """Return the open Issues that were blocked by ``number`` and by nothing else that is still open."""
    found = []
    for issue in desk.tracker.issues(labels=(_BLOCKED,)):
        blockers = desk.tracker.blocked_by(issue.number)
        if number in blockers and all(
            desk.tracker.get(other).state == "closed" for other in blockers if other != number
        ):
            found.append(issue)
    return found


def _notification(row: sqlite3.Row | tuple[object, ...]) -> Notification:
    seq, agent, issue, reason, text, sender, created, state, tries, last_sent, ended = row
    with row_of(f"notification {seq}"):
        if problem := name_problem(str(agent)):  # its mailbox is a folder of that name
            raise ValueError(problem)
        return Notification(
            int(str(seq)),
            str(agent),
            int(str(issue)) if issue is not None else None,
            str(reason),
            clean(str(text), limit=2_000),
            clean(str(sender), limit=200),
            parse_iso(str(created)),
            str(state),
            int(str(tries)),
            parse_iso(str(last_sent)) if last_sent is not None else None,
            parse_iso(str(ended)) if ended is not None else None,
        )
