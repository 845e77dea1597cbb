"""What steps raise, as one clear line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import RollcageError, StoreError
from ..model import Step
from ..text import clean


@contextmanager
def explained(step: Step) -> Iterator[None]:
    """Turn an error of the file system within into a StoreError of one line."""
    try:
        yield
    except OSError as error:
        place = f": {clean(str(error.filename))}" if error.filename else ""
        failure = StoreError(f"{step.name}: {error.strerror or error}{place}")
        for note in getattr(error, "__notes__", ()):
            failure.add_note(note)
        raise failure from error


def words_of(failure: RollcageError) -> str:
    """Return what an error says, with what was noted on it on its way."""
    return "; ".join([str(failure), *getattr(failure, "__notes__", ())])
