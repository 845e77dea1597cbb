"""A way to take bad commits back, whole or in part, and what was seen of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ..gitrepo.rehearse import Reversal
from ..model import CheckOutcome

_NUMBER = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^"#])*#(\d+)(\.\d+)?(@.*)?', re.DOTALL)
"""The numbers in a part's name, outside of quotes."""


class Granularity(StrEnum):
    """How fine a candidate is."""

    COMMIT = "commit"
    FILE = "file"
    HUNK = "hunk"
    TOKEN = "token"  # noqa: S105 - no password


@dataclass(frozen=True, slots=True)
class Candidate:
    """A tree that takes back the targets or parts of them, and what was seen of it."""

    tree: str | None
    """None: it cannot be done, and ``reversal`` says why."""
    parts: tuple[str, ...]
    """The parts that go, as `rollcage.core.gitrepo.parts` names them; empty: the commits as a whole."""
    outcomes: tuple[CheckOutcome, ...]
    """Of every check, on this very tree; empty: none was run."""
    granularity: Granularity
    lost_lines: int
    """Lines that go although what is taken back did not bring them."""
    why: tuple[str, ...]
    """What speaks for it and against it, a line each, for people."""
    reversal: Reversal
    wanted: tuple[str, ...] = ()
    """What goes with it though later work needs it, a line each."""

    @property
    def passes(self) -> bool:
        """Return whether every check passed; without checks nothing speaks against it."""
        return self.tree is not None and all(check.passed is True for check in self.outcomes)


def granularity(parts: Sequence[str]) -> Granularity:
    """Return the finest of ``parts`` by their names; of none, the commits as a whole."""
    found = [match for part in parts if (match := _NUMBER.fullmatch(part))]
    if any(match[2] for match in found):
        return Granularity.TOKEN
    if found:
        return Granularity.HUNK
    return Granularity.FILE if parts else Granularity.COMMIT
