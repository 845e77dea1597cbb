"""What goes wrong with Issues. Of a tracker: whether it was done, was not, or cannot be known.

RollcageError
 ├─ TrackerError               it was not done
 │   ├─ TrackerOfflineError    the tracker cannot be reached; nothing was sent, or only a read
 │   ├─ OutcomeUnknownError    a write was sent and its answer was lost: look before you write again
 │   ├─ TrackerLimitError      the tracker asks to wait
 │   └─ TrackerRefusedError    the tracker says no: token, permission, no such Issue, bad value; trying again is no use
 ├─ IssueUpdateError           an update failed; nothing of it is left
 │   └─ ConcurrencyConflictError  others changed the same fields; both versions are in hand (exit 4)
 ├─ BatchOperationError        a batch failed; says what was undone (exit 5) and what could not be (exit 6)
 └─ ScopeViolationError        an operation of the wrong agent or competition; nothing was written
     └─ IsolationViolationError
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import ExitCode, RollcageError
from .issue import Issue


class TrackerError(RollcageError):
    """The tracker did not do it."""


class TrackerOfflineError(TrackerError):
    """The tracker cannot be reached. No write was sent."""


class OutcomeUnknownError(TrackerError):
    """A write was sent, and whether it was done is not known (a lost answer, a 5xx)."""


class TrackerLimitError(TrackerError):
    """The tracker asks to wait; nothing was done."""

    def __init__(self, message: str, seconds: float) -> None:
        """Take the message, and how many seconds to wait at least."""
        super().__init__(message)
        self.seconds = seconds


class TrackerRefusedError(TrackerError):
    """The tracker says no. ``status`` is its HTTP status, or what that would be: 401, 403, 404, 410, 422."""

    def __init__(self, message: str, status: int) -> None:
        """Take the message for people and the status."""
        super().__init__(message)
        self.status = status


class IssueUpdateError(RollcageError):
    """An update failed, for another reason than a conflict."""


class ConcurrencyConflictError(IssueUpdateError):
    """The same fields were changed by others; a human has to choose. ``ours`` and ``theirs`` have just those fields."""

    exit_code = ExitCode.ESCALATED

    def __init__(
        self, message: str, ours: Mapping[str, object], theirs: Mapping[str, object], current: Issue | None = None
    ) -> None:
        """Take the message, what was to be written, what is there, and the whole Issue as it is there."""
        super().__init__(message)
        self.ours, self.theirs, self.current = dict(ours), dict(theirs), current


class BatchOperationError(RollcageError):
    """A batch failed. ``undone`` and ``left`` name operations, in the order in which they were undone."""

    def __init__(self, message: str, undone: Sequence[str], left: Sequence[str], total: int) -> None:
        """Take the message, what was undone, what could not be undone and stands, and how many operations there are."""
        super().__init__(message)
        self.undone, self.left, self.total = tuple(undone), tuple(left), total
        self.exit_code = ExitCode.NOT_UNDONE if left else ExitCode.UNDONE


class ScopeViolationError(RollcageError):
    """An operation belongs to another competition or agent than it may. Nothing was written."""


class IsolationViolationError(ScopeViolationError):
    """An operation would reach across competitions. Nothing was written."""
