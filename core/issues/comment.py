"""Comments that are written once: with a hidden mark, by which one whose answer was lost is found again."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator

from ..errors import UsageError
from .create import LOOKS
from .desk import Desk, Holds
from .errors import OutcomeUnknownError, TrackerRefusedError
from .identity import mark_of, marked, room_for_mark
from .issue import Comment
from .scope import check_write
from .values import check_body, check_number


def comment_on_issue(desk: Desk, number: int, body: str) -> Comment:
    """Append a comment, once. Raises UsageError, LeaseError, ScopeViolationError, and as the tracker does."""
    check_number(number)
    with desk.hold([f"issue/{number}"]) as holds:
        if desk.scope is not None:
            check_write(desk.scope, "comment", desk.tracker.get(number), {})
        return add_comment(desk, number, body, uuid.uuid4().hex, holds)


def add_comment(desk: Desk, number: int, body: str, mark: str, holds: Holds) -> Comment:
    """Append a comment with an id of its own, under the lease of its Issue. Raises as the tracker does."""
    check_body(body)
    name = f"issue/{number}"
    if desk.is_local:
        with desk.guarded(holds, [name]):
            made = desk.tracker.comment(number, body)
            _record(desk, "comment", made, holds)
            return made
    if len(body) > room_for_mark():
        raise UsageError(f"the comment has {len(body):,} characters; allowed: at most {room_for_mark():,}")
    for last in (False, True):
        holds.renew()
        try:
            made = desk.tracker.comment(number, marked(body, mark))
        except OutcomeUnknownError:
            found = next(_looked_for(desk, number, mark, holds), None)
            if found is None:
                if last:
                    raise
                continue
            made = found
        _record(desk, "comment", made, holds)
        return made
    raise AssertionError("never: the last turn returns or raises")


def delete_marked(desk: Desk, number: int, mark: str, holds: Holds) -> None:
    """Delete the comment with this mark, whether it came through or not. Raises TrackerError, LostLeaseError."""
    try:
        for comment in _looked_for(desk, number, mark, holds):
            holds.renew()
            desk.tracker.delete_comment(comment)
            _record(desk, "delete comment", comment, holds)
    except TrackerRefusedError as error:
        if error.status not in (404, 410):  # the whole Issue is gone, and the comment with it
            raise


def _looked_for(desk: Desk, number: int, mark: str, holds: Holds) -> Iterator[Comment]:
    """Yield the comments with the mark; looks again for a while where there is none: lists lag."""
    for delay in LOOKS:
        if delay:
            desk.clock.wait(threading.Event(), delay)
        holds.renew()
        found = [comment for comment in desk.tracker.comments(number) if mark_of(comment.body) == mark]
        if found:
            yield from found
            return


def _record(desk: Desk, what: str, comment: Comment, holds: Holds) -> None:
    with desk.records.transaction():
        desk.records.wrote(
            desk.holder,
            what,
            f"issue {comment.issue}",
            before={"comment": comment.body} if what == "delete comment" else {},
            after={"comment": comment.body, "id": comment.id} if what == "comment" else {},
            token=holds.token(f"issue/{comment.issue}"),
        )
