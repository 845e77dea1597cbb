"""What rollcage asks of a database, whichever it is; and opening the one that the settings name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..config import DatabaseSettings
from ..errors import SettingsError, StoreError
from ..text import clean, mask_secrets

if TYPE_CHECKING:
    from .capture import RowCapture

_SQLITE = "sqlite:///"


@dataclass(frozen=True, slots=True)
class CheckError:
    """What one of `database.checks` answered; 0 means that all is well."""

    name: str
    count: float | None
    """How many errors it found; ``None``: no answer (busy, too slow, no database), which is neither good nor bad."""
    detail: str = ""
    """Why there is no answer, or what is odd about it; one clean line."""


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    """A database as it was kept in a folder."""

    name: str
    size: int
    sha256: str
    warning: str = ""
    """Why it cannot be restored as it is; empty: it can."""


class MissingDatabaseError(StoreError):
    """The database is not there: not made yet, or deleted."""


class Database(Protocol):
    """A database that goes back in step with the code. Safe between threads: nothing is held between two calls."""

    kind: str
    url: str
    """What the user's own commands connect to; it may hold a password."""

    @property
    def capture(self) -> RowCapture | None:
        """The recording of its rows; ``None``: `database.row_capture` names no table."""
        ...

    def examine(self) -> str:
        """Return what it is and what it is kept with, in a few words, for ``rollcage doctor``. Raises StoreError."""
        ...

    def check_errors(self) -> list[CheckError]:
        """Run every check of the settings, read-only and limited in time; one answer for each, in their order."""
        ...

    def snapshot(self, folder: Path) -> SnapshotFile:
        """Keep the database in ``folder``, durably, while others go on using it; what an earlier try left is replaced.

        Raises MissingDatabaseError, or another StoreError where it is busy or ``folder`` cannot be written.
        """
        ...

    def restore(self, file: Path, *, sha256: str | None = None) -> None:
        """Bring back what ``file`` keeps, into the live database, in one transaction: others see all of it or nothing.

        Take a fresh snapshot first. ``sha256`` is what the file's digest was when it was taken. Raises StoreError;
        nothing was changed then, unless it says so.
        """
        ...

    def fingerprint(self) -> str:
        """Return what is another after every write, cheaply; empty: it cannot tell. Other writes may change it too."""
        ...

    def tables(self) -> list[str]:
        """Return the names of its own tables, ours left out. Raises StoreError."""
        ...

    def integrity(self) -> list[str]:
        """Return what is damaged in its structure, in clean lines; empty: it is whole. Raises StoreError if busy."""
        ...


def open_database(settings: DatabaseSettings, top: Path) -> Database:
    """Return the database that ``settings.url`` names, a relative one below ``top``; it need not exist yet.

    Raises SettingsError for a URL that is none of ours.
    """
    url = settings.url
    path = url.removeprefix(_SQLITE)
    if url.startswith(("postgresql://", "postgres://")):
        from .postgres import PostgresDatabase

        return PostgresDatabase(url, settings.checks, captured=settings.row_capture)
    if not url.startswith("sqlite:"):
        raise _wrong(
            url, "is no database; allowed: sqlite:///FILE below the top, sqlite:////FILE, postgresql://HOST/NAME"
        )
    if not url.startswith(_SQLITE) or path in {"", ":memory:"} or "?" in path or "\0" in path:
        raise _wrong(url, "names no file; allowed: sqlite:///FILE below the top, sqlite:////FILE, without options")
    from .sqlite import SqliteDatabase  # it needs the nouns above

    return SqliteDatabase(top / path, settings.checks, captured=settings.row_capture)


def _wrong(url: str, problem: str) -> SettingsError:
    return SettingsError("rollcage.yml", None, "database.url", f"{clean(mask_secrets(url), limit=100)} {problem}")
