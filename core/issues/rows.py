"""What is read from ``issues.db``, which agents may write, too: a row that rollcage cannot have written is an error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import StoreError
from ..text import clean


@contextmanager
def row_of(what: str) -> Iterator[None]:
    """Read a row within; raises StoreError, naming ``what``, where it cannot be read."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError) as error:
        told = clean(str(error), limit=120)
        raise StoreError(
            f"{clean(what, limit=80)} in issues.db is damaged ({told}), maybe written by something else than rollcage;"
            " mend it or take it out there"
        ) from error


def text(value: object) -> str:
    """Return ``value``. Raises ValueError where it is no text: SQLite takes anything anywhere."""
    if not isinstance(value, str):
        raise ValueError(f"{type(value).__name__} in place of text")  # noqa: TRY004 - of a row, not of a caller
    return value


def texts(value: object) -> tuple[str, ...]:
    """Return a list of texts as a tuple. Raises ValueError where it is none."""
    if not isinstance(value, list):
        raise ValueError("no list of texts")  # noqa: TRY004
    return tuple(map(text, value))
