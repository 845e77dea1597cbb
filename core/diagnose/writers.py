"""Who damaged data, where rows are recorded: the one whose rows, taken back, would mend them; tried and rolled back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ..data.capture import Scope
from ..errors import RollcageError
from ..model import EVERYBODY, Incident, SignalKind
from ..services import Services
from .reach import find_tables

_TRIED = 8
"""So many writers are tried, whoever wrote most first."""
_LOOKS = 200
"""So many of the newest answers of the database checks are looked at for the last one that was well."""


@dataclass(frozen=True, slots=True)
class Writer:
    """An agent whose recorded rows did the damage."""

    agent: str
    rows: int
    since: datetime
    """When all was well for the last time."""


def find_writer(services: Services, incident: Incident) -> Writer | None:
    """Return the one agent whose rows, written since the data were last well, are seen to be what is wrong with them.

    The rows of each writer are taken back in a transaction that is rolled back, and the database checks are asked
    there. None where rows are not recorded, nobody's rows alone explain it, or those of more than one would.
    """
    capture = services.database.capture if services.database is not None else None
    if capture is None or not find_tables(services, incident):
        return None
    since = _last_well(services, incident)
    found: list[Writer] = []
    try:
        first = capture.first_since(since)
        counts = {who: count for who, count in capture.writers(first).items() if who}
        for agent in sorted(counts, key=lambda who: -counts[who])[:_TRIED]:
            trial = capture.take_back(Scope(agents=(agent,), since=first), "trial", trial=True)
            mended = trial.checks and not any(answer.count for answer in trial.checks)
            if trial.rows and mended and not trial.conflicts:
                found.append(Writer(agent, trial.rows, since))
    except RollcageError:  # the database is busy, or the record damaged: nothing is known then
        return None
    return found[0] if len(found) == 1 else None


def _last_well(services: Services, incident: Incident) -> datetime:
    """Return when the checks of the database last found nothing; else one interval of theirs before the trouble."""
    settings = services.settings.database
    every = settings.every if settings is not None else 0.0
    answers = services.signals.of_kind(EVERYBODY, SignalKind.DATA, _LOOKS)
    well = [answer.at for answer in answers if answer.value == 0 and answer.at < incident.since]
    return well[-1] if well else incident.since - timedelta(seconds=every)
