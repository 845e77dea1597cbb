"""What a title, a body, a label or a person may be: checked before anything is written, for every tracker alike.

The limits are GitHub's (answers of its API: "title is too long (maximum is 256 characters)", "body is too long
(maximum is 65536 characters)", "name is too long (maximum is 50 characters)"), so that an Issue can move there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..errors import UsageError
from ..text import clean
from .issue import Draft, sorted_names

TITLE, BODY, LABEL = 256, 65_536, 50
"""Characters at most."""
ASSIGNEES = 10
"""At most for one Issue."""
STATES = ("open", "closed")
_HALF = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Unicode's category Cc, and what ends a line without being of it."""


def name_key(name: str) -> str:
    """Return ``name`` as labels and people are compared: without case."""
    return name.casefold()


def check_draft(draft: Draft) -> Draft:
    """Return ``draft``, its names each once. Raises UsageError for what no tracker would take."""
    check_title(draft.title)
    check_body(draft.body)
    return Draft(draft.title, draft.body, check_labels(draft.labels), check_people(draft.assignees))


def check_title(title: str) -> None:
    """Raise UsageError for a title that is empty, too long, or more than a line of text."""
    _plain("title", title, TITLE)
    if not title.strip():
        raise UsageError("the title is empty; allowed: 1 to 256 characters")
    if not _is_line(title):
        raise UsageError("the title has line ends or control characters; allowed: one line of text")


def check_body(body: str) -> None:
    """Raise UsageError for a body that is too long or no text."""
    _plain("body", body, BODY)
    if "\0" in body:
        raise UsageError("the body has a NUL character; allowed: text")


def check_state(state: str) -> None:
    """Raise UsageError for a state that is none."""
    if state not in STATES:
        raise UsageError(f"the state is '{clean(str(state))}'; allowed: open, closed")


def check_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the labels each once, sorted. Raises UsageError for a name that no label can have."""
    return tuple(sorted(_once(check_label(label) for label in labels)))


def check_label(label: str) -> str:
    """Return ``label``. Commas, colons and quotes are as good as letters. Raises UsageError."""
    return _name("label", label, LABEL)


def check_people(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names each once, sorted. Raises UsageError for one that is none, and for more than ten."""
    found = tuple(sorted(_once(_name("assignee", name, 100) for name in names)))
    if len(found) > ASSIGNEES:
        raise UsageError(f"{len(found)} assignees are named; allowed: at most {ASSIGNEES}")
    return found


def check_number(number: object) -> int:
    """Return the number of an Issue. Raises UsageError where it is none."""
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number < 2**53:
        raise UsageError(f"'{clean(str(number), limit=50)}' is no number of an Issue; allowed: 1, 2, 3 and so on")
    return number


def _name(what: str, name: str, limit: int) -> str:
    _plain(what, name, limit)
    if not name.strip() or name != name.strip() or not _is_line(name):
        raise UsageError(
            f"'{clean(name, limit=60)}' is no {what}; allowed: one line of 1 to {limit} characters,"
            " no spaces at its ends"
        )
    return name


def _is_line(text: str) -> bool:
    return not _CONTROL.search(text)


def _plain(what: str, text: object, limit: int) -> None:
    if not isinstance(text, str):
        raise UsageError(f"the {what} is no text; allowed: text of at most {limit:,} characters")
    if len(text) > limit:
        raise UsageError(f"the {what} has {len(text):,} characters; allowed: at most {limit:,}")
    if _HALF.search(text):
        raise UsageError(f"the {what} has half a character (a lone surrogate); allowed: text that UTF-8 can hold")


def _once(names: Iterable[str]) -> tuple[str, ...]:
    found: dict[str, str] = {}
    for name in sorted_names(names):
        found.setdefault(name_key(name), name)
    return tuple(found.values())
