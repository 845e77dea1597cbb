"""Calls the operator: bell, desktop notice and window title, and only for *needs you* and *ended*."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, time

from ..core.board import Board
from ..core.errors import SettingsError
from ..core.model import RollbackState
from ..core.text import clean
from ..widgets.marks import ROLLBACK

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
SAVE_TITLE, RESTORE_TITLE = "\x1b[22;2t", "\x1b[23;2t"


def quiet_hours(text: str | None) -> tuple[time, time] | None:
    """Read ``22:00-07:00``. Raises SettingsError."""
    if not text:
        return None
    match = _HOURS.fullmatch(text.replace(" ", ""))
    if match is None:
        raise SettingsError("rollcage.yml", None, "console.quiet_hours", f"{text!r} is not like 22:00-07:00")
    hour1, minute1, hour2, minute2 = (int(part) for part in match.groups())
    return time(hour1, minute1), time(hour2, minute2)


def is_quiet(hours: tuple[time, time] | None, moment: datetime) -> bool:
    """Return whether ``moment``, on the clock of the operator's own zone, lies in the quiet hours."""
    if hours is None:
        return False
    start, end = hours
    now = moment.astimezone().time()
    return start <= now < end if start <= end else now >= start or now < end


def calls(before: Board | None, after: Board) -> list[str]:
    """Return what happened between two boards that an operator who looks elsewhere should know."""
    said = []
    waiting = before.needs_you if before is not None else 0
    if after.needs_you > waiting:
        said.append("1 incident needs you" if after.needs_you == 1 else f"{after.needs_you} incidents need you")
    if before is not None:
        ran = {v.rollback.id for v in before.rollbacks if v.rollback.state is RollbackState.RUNNING}
        for view in after.rollbacks:
            rollback = view.rollback
            if rollback.id in ran and rollback.state is not RollbackState.RUNNING:
                said.append(f"{rollback.id} has ended: {ROLLBACK[rollback.state].word}")
    return said


def call_sequence(text: str, name: str) -> str:
    """Return what makes a terminal ring, show a notice (OSC 9) and change its window's title (OSC 2)."""
    words = clean(f"rollcage {name}: {text}", limit=120)
    return f"\x07\x1b]9;{words}\x07\x1b]2;{words}\x07"


def title_sequence(board: Board) -> str:
    """Return what sets the title to how many incidents wait; empty text for the title where none does."""
    words = clean(f"rollcage {board.name}: {board.needs_you} need you", limit=120) if board.needs_you else "rollcage"
    return f"\x1b]2;{words}\x07"


def clipboard_sequence(text: str, environment: Mapping[str, str]) -> str:
    """Return OSC 52 with ``text``, wrapped so that tmux and screen pass it on to the terminal outside."""
    import base64

    octets = base64.b64encode(text.encode("utf-8", errors="replace")).decode("ascii")
    sequence = f"\x1b]52;c;{octets}\x07"
    if environment.get("TMUX"):
        return f"\x1bPtmux;{sequence.replace(chr(27), chr(27) * 2)}\x1b\\"
    if environment.get("TERM", "").startswith("screen") or environment.get("STY"):
        return f"\x1bP{sequence}\x1b\\"
    return sequence
