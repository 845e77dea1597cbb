"""Which Issues are the same one: by title, competition and agent. And the hidden marks that rollcage leaves."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from ..text import clean
from .values import BODY, name_key

SCOPES = ("comp:", "agent:")
"""Labels that begin so belong to an Issue's identity."""
_MARK = re.compile(r"(?:\n\n|\r\n\r\n)<!-- rollcage:([0-9a-f]{32}) -->\s*\Z")
_ANYWHERE = re.compile(r"^<!-- rollcage:([0-9a-f]{32}) -->[ \t]*\r?$", re.MULTILINE)


@lru_cache(maxsize=1_024)
def title_key(title: str) -> str:
    """Return ``title`` as titles are compared: NFKC, without case, invisible characters and needless spaces.

    Unicode's toNFKC_Casefold (Unicode Standard, 3.13), and runs of white space as one space.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", title).casefold())
    return clean(folded, limit=10_000)


def identity(title: str, labels: Iterable[str]) -> str:
    """Return the identity of an Issue: SHA-256 over its title and its ``comp:`` and ``agent:``; hexadecimal."""
    scopes = sorted({name_key(label) for label in labels if name_key(label).startswith(SCOPES)})
    return hashlib.sha256(json.dumps([title_key(title), scopes]).encode()).hexdigest()


def marked(body: str, intent: str) -> str:
    """Return ``body`` with the hidden mark of the creation ``intent`` at its end."""
    return f"{body}\n\n<!-- rollcage:{intent} -->"


def room_for_mark() -> int:
    """Return how long a body may be that still gets a mark, in characters."""
    return BODY - len(marked("", "0" * 32))


def mark_of(body: str) -> str | None:
    """Return the intent whose mark is at the very end of ``body``; what stands further up is somebody's text."""
    found = _MARK.search(body)
    return found[1] if found else None


def marks_of(body: str) -> frozenset[str]:
    """Return the intents whose marks are anywhere in ``body``, each on a line of its own: some may be quoted."""
    return frozenset(_ANYWHERE.findall(body))


def without_mark(body: str) -> str:
    """Return ``body`` without the mark at its end."""
    return _MARK.sub("", body)
