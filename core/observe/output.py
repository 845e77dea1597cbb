"""What agents print, as signals: their last lines, and the lines that look like errors. All of it is cleaned here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ..clock import Clock, SystemClock
from ..fleet.output import OutputReader
from ..fleet.runs import Run
from ..model import Signal, SignalKind
from ..text import clean, mask_secrets
from .templates import looks_like_error, template

CHUNK = 65_536
"""Bytes of an agent's output that are read at a time."""
BEHIND = 2**20
"""Bytes that may wait to be read; beyond that the middle is passed over."""
LINES = 5
"""Lines without an error that are reported at a time: the last ones."""
ERRORS = 20
"""Errors that are reported at a time: the first ones."""
NAME = "output"


@dataclass(slots=True)
class _Followed:
    reader: OutputReader
    rest: bytes = b""
    """The last line so far, without its end."""


class OutputWatcher:
    """Follows the output of every agent, through rotations and from run to run."""

    def __init__(self, clock: Clock | None = None) -> None:
        """Begin now: what earlier runs have printed before is no news."""
        self._begun = (clock or SystemClock()).boot()
        self._followed: dict[tuple[str, str], _Followed] = {}

    def read(self, runs: Sequence[Run], now: datetime) -> list[Signal]:
        """Return what is new, also of runs seen before that ended meanwhile.

        Kind ``log``: a line; kind ``error``: a line that looks like one, with ``attrs["template"]``. A flood is
        bounded: what is left out is said in a line, or in ``attrs["more"]`` of the last error.
        """
        for run in runs:
            key = (run.agent, run.output)
            if key not in self._followed and _is_its_own(run):
                # The start time of a process is given in hundredths of a second.
                old = run.supervisor_started + 0.01 < self._begun
                self._followed[key] = _Followed(OutputReader(Path(run.output), at_end=old))
        signals: list[Signal] = []
        for (agent, _), followed in self._followed.items():
            signals += _read(agent, followed, now)
        return signals

    def close(self) -> None:
        """Close all files."""
        for followed in self._followed.values():
            followed.reader.close()
        self._followed.clear()


def _is_its_own(run: Run) -> bool:
    """Return whether the path can be what a supervisor registered: it comes from the inbox, where agents write."""
    path = Path(run.output)
    return path.is_absolute() and path.parts[-2:] == (run.agent, "output.log")


def _read(agent: str, followed: _Followed, now: datetime) -> list[Signal]:
    lines: list[str] = []
    try:
        waiting = followed.reader.unread()
        if waiting > BEHIND:
            followed.reader.skip(waiting - CHUNK)
            followed.rest = b""
            lines.append(f"… {waiting - CHUNK} bytes of output passed over")
        data = followed.rest + followed.reader.read(CHUNK)
    except OSError as error:
        return [_signal(now, agent, SignalKind.LOG, f"its output cannot be read: {error.strerror}")]
    *complete, followed.rest = data.split(b"\n")
    if len(followed.rest) > CHUNK:
        complete.append(followed.rest)
        followed.rest = b""
    # Of a line that overwrites itself (a progress bar) the last state counts.
    lines += [line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace") for line in complete]
    lines = [mask_secrets(cleaned) for line in lines if (cleaned := clean(line))]
    errors = [line for line in lines if looks_like_error(line)]
    logs = [line for line in lines if not looks_like_error(line)]
    signals = [_signal(now, agent, SignalKind.LOG, line) for line in logs[-LINES:]]
    for number, line in enumerate(errors[:ERRORS], 1):
        attrs: dict[str, object] = {"template": template(line)}
        if number == ERRORS < len(errors):
            attrs["more"] = len(errors) - ERRORS
        signals.append(_signal(now, agent, SignalKind.ERROR, line, attrs))
    return signals


def _signal(at: datetime, agent: str, kind: SignalKind, text: str, attrs: dict[str, object] | None = None) -> Signal:
    return Signal(at=at, agent=agent, kind=kind, name=NAME, text=text, attrs=attrs or {})
