"""How far the damage reaches: files, agents, tables, hand-overs that wait, locks that are held."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..config import dependencies
from ..coordination.opening import open_leases
from ..fleet.handovers import LOOK_BACK, unfinished
from ..gitrepo.history import commits
from ..model import Commit, Incident, Reach, SignalKind
from ..services import Services, attributed
from .tables import tables_of

LATER = 500
"""Commits behind the oldest culprit that are looked at for who built on its files."""
DATA_RULES = ("data_consistency", "data_corruption_spread")


def find_reach(
    services: Services, incident: Incident, culprits: Sequence[Commit], agents: Sequence[str], *, head: str = ""
) -> Reach:
    """Return how far the trouble reaches. Reads the state, the branch's history and the settings; changes nothing.

    ``agents`` are those in trouble. To them come, in this order, the authors of later commits up to ``head`` (empty:
    the branch's tip) that touch the culprits' files, those who took something over from them since the trouble began,
    and those that depend on any of them. Raises GitError, StoreError.
    """
    files = _once(path for commit in culprits for path in commit.files)
    troubled = _once([*(commit.agent for commit in culprits if commit.agent), *agents])
    reached = _once([*troubled, *_built_on(services, culprits, files, head), *_took_over(services, incident, troubled)])
    return Reach(
        files=files,
        agents=_once([*reached, *_dependents(services, reached)]),
        tables=find_tables(services, incident),
        handovers=tuple(str(each) for each in unfinished(services.signals, troubled)),
        locks=_held(services, troubled),
    )


def find_tables(services: Services, incident: Incident) -> tuple[str, ...]:
    """Return the tables that the failing checks of the database look at; of one that is not understood its name.

    A table under row capture counts wherever such a check's query names it, in whatever place.
    """
    settings = services.settings.database
    queries = {check.name: check.sql for check in settings.checks} if settings else {}
    captured = settings.row_capture if settings else ()
    found: dict[str, None] = {}
    for name in _failing_data_checks(incident):
        sql = queries.get(name, "")
        read = tables_of(sql)
        words = {part for each in (*read, *sql.split()) for part in _parts(each)}
        behind = [table for table in captured if _parts(table)[-1] in words]
        known = {_parts(table)[-1] for table in behind}
        found |= dict.fromkeys([*behind, *(each for each in read if _parts(each)[-1] not in known)] or [name])
    return tuple(found)


def _failing_data_checks(incident: Incident) -> tuple[str, ...]:
    """Return the checks of the database that found errors when that was last reported."""
    lasting = {(each.agent, each.fingerprint): each for each in incident.findings if each.rule in DATA_RULES}
    signals = [signal for each in lasting.values() for signal in each.signals[-1:] if not each.ended]
    return _once(name for signal in signals for name, count in signal.attrs.items() if _is_bad(count))


def _is_bad(count: object) -> bool:
    return isinstance(count, (int, float)) and not isinstance(count, bool) and count > 0


def _parts(name: str) -> list[str]:
    """Return the names within ``"shop".Orders``, in lower case."""
    return [part.strip('"`[]();,') for part in name.lower().split(".")]


def _built_on(services: Services, culprits: Sequence[Commit], files: Sequence[str], head: str) -> Iterator[str]:
    tip = head or services.repository.tip(services.settings.branch)
    if not culprits or not tip:
        return
    oldest = min(culprits, key=lambda commit: commit.at)
    guilty, touched = {commit.sha for commit in culprits}, set(files)
    later = commits(services.mirror, tip, since=oldest.sha, limit=LATER, first_parent=False)
    for commit in attributed(services, [each for each in later if touched.intersection(each.files)]):
        if commit.agent and commit.sha not in guilty:
            yield commit.agent


def _took_over(services: Services, incident: Incident, troubled: Iterable[str]) -> Iterator[str]:
    for agent in troubled:
        for signal in services.signals.of_kind(agent, SignalKind.HANDOVER, LOOK_BACK):
            taker = signal.attrs.get("to")
            if signal.at >= incident.since and isinstance(taker, str) and taker:
                yield taker


def _dependents(services: Services, agents: Sequence[str]) -> list[str]:
    """Return who waits for one of ``agents``, or for one that does."""
    waits = dependencies(services.settings)
    found = list(agents)
    for agent in found:  # it grows meanwhile
        found += [other for other, on in waits.items() if agent in on and other not in found]
    return found[len(agents) :]


def _held(services: Services, troubled: Sequence[str]) -> tuple[str, ...]:
    leases = open_leases(services.settings.coordination, services.paths, services.clock)
    try:
        return tuple(f"{each.name}, held by {each.holder}" for each in leases.list() if each.holder in troubled)
    finally:
        leases.close()


def _once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
