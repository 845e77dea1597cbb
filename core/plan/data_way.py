"""How the database goes back in step with the code, where it has to and can."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..model import Diagnosis
from ..services import Services
from .risk import Effect


@dataclass(frozen=True, slots=True)
class DataWay:
    """What happens to the database."""

    effect: Effect
    subject: str = ""
    """Of the plan's step ``database``: how; empty: there is no such step."""
    words: str = "nothing"
    """For people, as in the plan; ``no way back: …`` where data is damaged and nothing can mend it."""


def find_data_way(services: Services, diagnosis: Diagnosis, targets: Sequence[str], agents: Sequence[str]) -> DataWay:
    """Return how the database goes back when ``targets`` are taken back and ``agents`` are those in trouble."""
    if services.database is None:
        return DataWay("none")
    if diagnosis.reach.tables:
        return DataWay("no_way_back", words="no way back: there is no checkpoint of the last good state")
    return DataWay("same")
