"""The errors that rollcage raises, and the exit codes of the command line.

RollcageError
 ├─ UsageError            wrong usage (exit 2)
 │   ├─ SettingsError     rollcage.yml is wrong: file, line, key, what is allowed
 │   └─ UntrustedError    rollcage.yml was not trusted, or changed since
 ├─ StoreError            the state directory cannot be read or written
 ├─ GitError              a git command failed
 │   └─ GitVersionError   git is missing or older than 2.39
 ├─ RefusedError          rollcage will not do it; carries a reason code
 └─ LeaseError            a lease was not had in time, or is held by somebody else

Every message is one line that says what is wrong, where, and what to do (of SettingsError: one line a mistake).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """What a rollcage process tells its caller; scripts rely on these numbers."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    WAITING = 3
    ESCALATED = 4
    UNDONE = 5
    NOT_UNDONE = 6
    NO_LOCK = 75
    NOT_STARTED = 125
    INTERRUPTED = 130


class RollcageError(Exception):
    """The base of all errors that are meant for a person; its text is one clear line."""

    exit_code: ExitCode = ExitCode.ERROR


class UsageError(RollcageError):
    """The command was called wrongly."""

    exit_code = ExitCode.USAGE


class SettingsError(UsageError):
    """A setting is wrong. ``str()`` gives ``FILE:LINE: KEY: what is wrong; what is allowed``."""

    def __init__(self, file: str, line: int | None, key: str, problem: str) -> None:
        """Take the file, its line from 1 (``None``: unknown), the dotted key (may be empty) and the problem."""
        self.file, self.line, self.key, self.problem = file, line, key, problem
        self.others: tuple[SettingsError, ...] = ()
        place = file if line is None else f"{file}:{line}"
        super().__init__(": ".join(part for part in (place, key, problem) if part))

    def with_others(self, others: Iterable[SettingsError]) -> SettingsError:
        """Take along what else is wrong in the file: ``str()`` then has a line for each mistake, this one first."""
        self.others = tuple(others)
        return self

    def __str__(self) -> str:
        return "\n".join(Exception.__str__(error) for error in (self, *self.others))


class UntrustedError(UsageError):
    """The settings were not trusted by an operator, or changed since; nothing in them was run."""


class StoreError(RollcageError):
    """The state cannot be read or written (full disk, locked database, no permission, damage); nothing was lost."""


class GitError(RollcageError):
    """A git command failed; ``status`` is its exit status and ``stderr`` its cleaned message."""

    def __init__(self, message: str, *, status: int | None = None, stderr: str = "") -> None:
        """Take the message for people, git's exit status, and what git said."""
        super().__init__(message)
        self.status, self.stderr = status, stderr


class GitVersionError(GitError):
    """Git is missing, or older than 2.39, whose ``merge-tree --stdin`` rollcage needs."""

    exit_code = ExitCode.ERROR


class RefusedError(RollcageError):
    """Rollcage refuses; nothing was changed. ``code`` is a stable word for logs, such as ``operation_in_progress``."""

    def __init__(self, code: str, message: str) -> None:
        """Take the reason code and the message for people."""
        super().__init__(message)
        self.code = code


class LeaseError(RollcageError):
    """A lease was not had in time, is held by somebody else, or the token is stale."""

    exit_code = ExitCode.NO_LOCK
