"""The reach names who and what the damage may have got to."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from rollcage.core.config import DatabaseCheck, DatabaseSettings
from rollcage.core.diagnose.reach import find_reach, find_tables
from rollcage.core.gitrepo.history import commits
from rollcage.core.model import Commit, Incident, Signal, SignalKind
from rollcage.core.services import Services, attributed
from tests.loop import BAD, Shop

AGENTS: dict[str, Any] = {
    "executor": {},
    "planner": {},
    "tester": {"depends_on": ["executor"]},
    "reporter": {"depends_on": ["tester"]},
    "monitor": {},
}


def one(services: Services, sha: str) -> list[Commit]:
    return attributed(services, commits(services.mirror, sha, limit=1))


def test_files_who_built_on_them_who_took_over_and_who_depends(shop: Shop) -> None:
    shop.configure(agents=AGENTS)
    incident = shop.incident()
    bad = shop.commit("executor", "tidy add", {"calc.py": BAD})
    shop.commit("planner", "on top", {"calc.py": BAD + "# more\n"})
    shop.commit("monitor", "elsewhere", {"notes.md": "x\n"})
    shop.signal("handover", "h-1", attrs={"to": "auditor"})
    shop.signal("handover", "h-2", attrs={"to": "archive", "state": "done"})
    with_lock = shop.context.leases.acquire("import", "executor")
    shop.context.leases.acquire("export", "monitor")
    reach = find_reach(shop.services, incident, one(shop.services, bad), ["executor"])
    assert reach.files == ("calc.py",)
    assert reach.agents == ("executor", "planner", "auditor", "archive", "tester", "reporter")
    assert reach.handovers == ("h-1: executor to auditor, begun",)
    assert reach.locks == ("import, held by executor",)
    shop.context.leases.release(with_lock)


def test_without_a_culprit_it_is_the_agents_alone(shop: Shop) -> None:
    incident = shop.incident(shop.finding("infinite_loop", agent="planner"))
    early = Signal(incident.since - timedelta(hours=1), "planner", SignalKind.HANDOVER, "h", attrs={"to": "auditor"})
    shop.services.signals.put([early])
    reach = find_reach(shop.services, incident, [], ["planner"])
    assert (reach.files, reach.agents, reach.locks) == ((), ("planner",), ())
    assert reach.handovers == ("h: planner to auditor, begun",), "it still waits, though what it took was whole"


def damaged(shop: Shop, **counts: object) -> Incident:
    signal = Signal(shop.services.clock.now(), "", SignalKind.DATA, "data_consistency", value=2.0, attrs=counts)
    return shop.incident(shop.finding("data_consistency", signals=(signal,)))


def test_the_tables_that_failing_checks_read(shop: Shop) -> None:
    checks = (
        DatabaseCheck(name="orphans", sql="select count(*) from shop.Orders o join users u on u.id = o.user"),
        DatabaseCheck(name="nulls", sql="select 1 from other"),
        DatabaseCheck(name="odd", sql="pragma foreign_key_check"),
    )
    database = DatabaseSettings(url="sqlite:///app.db", checks=checks, row_capture=("orders", "prices"))
    services = replace(shop.services, settings=shop.services.settings.model_copy(update={"database": database}))
    assert find_tables(services, damaged(shop, orphans=2, nulls=0)) == ("orders", "users")
    assert find_tables(services, damaged(shop, odd=1, gone=3, text="x")) == ("odd", "gone")
