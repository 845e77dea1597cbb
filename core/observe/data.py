"""What the checks of the database find, as one number."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from ..config import DatabaseSettings
from ..data.database import CheckError
from ..model import EVERYBODY, Signal, SignalKind


class Checked(Protocol):
    """As much of `rollcage.core.data.database.Database` as is needed here."""

    def check_errors(self) -> list[CheckError]:
        """Run all checks; one answer for each."""
        ...


def database_signals(database: Checked, settings: DatabaseSettings, now: datetime) -> list[Signal]:
    """Run the database checks; return ``data_consistency``, their errors summed, with each check's in ``attrs``.

    A check without an answer (busy, too slow, no database) is neither good nor bad: it is told in a ``log`` signal, and
    unless others found errors, there is no number at all.
    """
    if not settings.checks:
        return []
    answers = database.check_errors()
    counts = {answer.name: answer.count for answer in answers if answer.count is not None}
    silent = [answer for answer in answers if answer.count is None]
    signals = [
        Signal(
            at=now,
            agent=EVERYBODY,
            kind=SignalKind.LOG,
            name="database",
            text=f"check {answer.name} gave no answer: {answer.detail}",
        )
        for answer in silent
    ]
    total = float(sum(counts.values()))
    if total or not silent:
        signals.append(
            Signal(
                at=now, agent=EVERYBODY, kind=SignalKind.DATA, name="data_consistency", value=total, attrs=dict(counts)
            )
        )
    return signals
