"""Example boards: what the console shows in the situations that matter, made of nothing but the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from rollcage.core.board import Board, EngineView, IncidentView, OptionView, RollbackView, Series
from rollcage.core.model import (
    AgentState,
    AgentStatus,
    CheckOutcome,
    Event,
    Health,
    Hold,
    IncidentState,
    Lease,
    OptionType,
    Reach,
    RiskFactor,
    RiskLevel,
    RollbackState,
    Suspect,
    Verdict,
    Waiter,
)
from rollcage.core.plan.recovery import step
from tests.board_parts import (
    BAD,
    DIFF,
    GOOD,
    HEAD,
    NEW,
    NOW,
    STAGES,
    WIDE_DIFF,
    agents,
    ago,
    decided,
    diagnosis,
    early_events,
    incident,
    later_events,
    leases,
    old_incident,
    option,
    options,
    rollback,
    series,
    snapshot,
    wave,
)

__all__ = [
    "BAD",
    "DIFF",
    "GOOD",
    "HEAD",
    "NEW",
    "NOW",
    "STAGES",
    "WIDE_DIFF",
    "ago",
    "incident",
    "option",
    "options",
    "rollback",
]


def healthy() -> Board:
    """Return a fleet in which all is well."""
    return Board(
        seq=4,
        name="shop",
        path="/home/you/shop",
        branch="main",
        head=HEAD,
        health=Health.HEALTHY,
        engine=EngineView("here", "pid 4711 on host", "propose"),
        agents=agents(),
        series=series(),
        incidents=(IncidentView(old_incident()),),
        leases=leases(),
        snapshots=(snapshot(3_600),),
        events=early_events(),
        stage_order=STAGES,
        transitions={
            "executor": (
                (ago(1_512), "idle", "starting"),
                (ago(1_500), "starting", "running"),
            )
        },
    )


def _hit(agents: tuple[AgentStatus, ...], hold: Hold) -> tuple[AgentStatus, ...]:
    """Return the agents while the executor is in trouble: it is held, the others stand by."""
    changed = []
    for status in agents:
        if status.name == "executor":
            changed.append(replace(status, hold=hold, health=Health.CRITICAL, memory=6.9e9, error_rate=0.002))
        elif status.state is AgentState.RUNNING:
            changed.append(replace(status, hold=Hold.STANDBY))
        else:
            changed.append(status)
    return tuple(changed)


def waiting() -> Board:
    """Return the fleet with an incident that is diagnosed and waits for an operator."""
    board = healthy()
    events = later_events()
    return replace(
        board,
        seq=events[-1].seq,
        health=Health.CRITICAL,
        agents=_hit(board.agents, Hold.PAUSED),
        series=series(bad=True),
        incidents=(
            IncidentView(incident(), diagnosis(), options()),
            IncidentView(old_incident()),
        ),
        events=events,
        needs_you=1,
        snapshots=(snapshot(135), *board.snapshots),
        leases=(*board.leases, Lease("issue/7", "planner", 120, 200.0, ago(20), (Waiter("executor", ago(9)),))),
        cycles=(("planner", "issue/42", "executor", "issue/7", "planner"),),
        transitions={
            "executor": (
                (ago(1_512), "idle", "starting"),
                (ago(1_500), "starting", "running"),
                (ago(135), "running", "running"),
            )
        },
    )


def several() -> Board:
    """Return the fleet with two culprits, and an option of each type, one of which is refused."""
    board = waiting()
    view = board.incidents[0]
    found, (part, _, reset, branch) = diagnosis(), options()
    second = replace(found.culprits[0], sha=GOOD, agent="planner", probability=0.94, summary="new tax rate")
    reasons = ("tests names no tests (junit:), so it cannot be told whether the second is a fault of its own",)
    reach = Reach(("calc.py",), ("executor", "planner"), ("orders",), ("executor to monitor: data",), ("issue/42",))
    culprits = (*found.culprits, second)
    found = replace(found, verdict=Verdict.ASK, culprits=culprits, suspects=culprits, reasons=reasons, reach=reach)
    effects = ("executor is started again", "src/helper.py: later work imports it", "a new commit on main")
    push = step("push", "origin")
    parts = tuple(f"{BAD[:12]}:src/part{number}.py#1" for number in range(1, 7))
    resets = tuple(step("reset_agent", name) for name in ("executor", "planner"))
    beware = "it goes though it is wanted: src/helper.py: later work imports it"
    refused = option(
        5, OptionType.SINGLE_COMMIT, RiskLevel.LOW, 1, 4.0, conflicts=("calc.py: line 41 was changed since",)
    )
    made = (
        OptionView(
            replace(part.option, side_effects=effects),
            replace(part.plan, parts=parts, steps=(*part.plan.steps, push), database="restored to chk-1"),
        ),
        OptionView(
            replace(reset.option, side_effects=(beware, *effects)),
            replace(reset.plan, steps=(*reset.plan.steps, *resets)),
        ),
        OptionView(branch.option, replace(branch.plan, rewrite=True, loses="rewrite history and lose 2 commits")),
        option(1, OptionType.RESTART_ONLY, RiskLevel.LOW, 1, 2.0, diff="", passed=False),
        refused,
    )
    chosen = tuple(
        OptionView(replace(each.option, id=f"opt-12.{rank}", rank=rank), replace(each.plan, option=f"opt-12.{rank}"))
        for rank, each in enumerate(made, 1)
    )
    return replace(board, incidents=(replace(view, diagnosis=found, options=chosen), *board.incidents[1:]))


def diagnosing() -> Board:
    """Return the fleet while the culprit is being looked for."""
    board = waiting()
    view = IncidentView(incident(IncidentState.OPEN), activity="searching: 3 of about 5 check runs")
    return replace(board, incidents=(view, *board.incidents[1:]), needs_you=0)


def rolling_back() -> Board:
    """Return the fleet while the approved option is being carried out."""
    board = waiting()
    running = rollback(RollbackState.RUNNING, 5)
    view = replace(
        board.incidents[0],
        incident=incident(IncidentState.ROLLING_BACK),
        decisions=(decided(),),
        rollbacks=(running,),
        activity="checks on the new commit",
    )
    return replace(
        board,
        head=NEW,
        agents=_hit(healthy().agents, Hold.STOPPED),
        incidents=(view, *board.incidents[1:]),
        rollbacks=(running,),
        needs_you=0,
    )


def recovered() -> Board:
    """Return the fleet after the rollback is verified."""
    board = rolling_back()
    done = rollback(RollbackState.DONE, 10)
    closed = replace(incident(IncidentState.RECOVERED), closed=NOW, note="rb-1 took it back; verified")
    view = replace(board.incidents[0], incident=closed, rollbacks=(done,), activity="")
    event = Event(
        board.seq + 1, NOW, "verification", {"rollback": "rb-1", "verified": True, "note": "", "incident": "inc-12"}
    )
    return replace(
        board,
        seq=event.seq,
        health=Health.HEALTHY,
        agents=healthy().agents,
        series=series(),
        incidents=(view, *board.incidents[1:]),
        rollbacks=(done,),
        events=(*board.events, event),
    )


def empty() -> Board:
    """Return the board of a repository where nothing is set up and no engine runs."""
    return Board(seq=0, name="shop", path="/home/you/shop", branch="main", head="", health=Health.HEALTHY)


def thousand() -> Board:
    """Return a fleet of 1,000 agents, three of them in trouble."""
    board = waiting()
    states = (AgentState.RUNNING, AgentState.IDLE, AgentState.COMPLETED)
    agents = tuple(
        AgentStatus(
            name=f"agent-{number:04}",
            state=states[number % 3],
            hold=Hold.NONE,
            health=Health.CRITICAL if number in {7, 500, 999} else Health.HEALTHY,
            stage=STAGES[number % 5],
            since=ago(60 * (number % 50)),
            seen=ago(number % 9),
            cpu=(number % 100) / 100,
            memory=1e7 * (number + 1),
            error_rate=number / 100_000,
        )
        for number in range(1_000)
    )
    series = tuple(Series(agent.name, "cpu", "share", wave(0.0, 1.0, place)) for place, agent in enumerate(agents))
    return replace(board, agents=agents, series=series)


def hostile(text: str) -> Board:
    """Return the waiting board with ``text`` in every field that came from outside."""
    board = waiting()
    first = board.incidents[0]
    assert first.diagnosis is not None

    def suspect(one: Suspect) -> Suspect:
        return replace(one, agent=text, evidence=(text,), summary=text)

    found = replace(
        first.diagnosis,
        culprits=tuple(suspect(one) for one in first.diagnosis.culprits),
        suspects=tuple(suspect(one) for one in first.diagnosis.suspects),
        root_cause=text,
        reach=Reach((text,), (text,), (text,)),
        reasons=(text,),
    )
    hit = replace(
        first.incident,
        agent=text,
        title=text,
        note=text,
        findings=tuple(replace(finding, summary=text, agent=text) for finding in first.incident.findings),
    )
    choices = tuple(
        OptionView(
            replace(
                item.option,
                side_effects=(text,),
                affected_files=(text,),
                rehearsal=replace(
                    item.option.rehearsal, conflicts=(text,), checks=(CheckOutcome(text, None, 1, 0.1, (text,), text),)
                ),
                risk_factors=(RiskFactor(text, text, 1, text),),
            ),
            replace(item.plan, diff=f"{DIFF}\n{text}", loses=text, agent=text, message=text, database=text),
        )
        for item in first.options
    )
    ran = rollback(RollbackState.RUNNING, 3)
    ran = RollbackView(
        replace(ran.rollback, note=text, approved_by=text),
        tuple(replace(step, subject=text, note=text) for step in ran.steps),
    )
    decision = replace(decided(), by=text, reason=text)
    return replace(
        board,
        name=text,
        branch=text,
        engine=EngineView("elsewhere", text, text, text),
        agents=tuple(
            replace(agent, name=f"{place}{text}", stage=text, kind=text, depends_on=(text, f"0{text}") if place else ())
            for place, agent in enumerate(board.agents)
        ),
        series=tuple(
            replace(series, agent=text, metric=f"{place}{text}", unit=text) for place, series in enumerate(board.series)
        ),
        incidents=(
            IncidentView(hit, found, choices, (decision,), (ran,), text),
            IncidentView(replace(hit, id="inc-13"), None, (), (), (), text),
        ),
        rollbacks=(ran,),
        leases=(
            Lease(text, text, 1, 5.0, NOW, (Waiter(text, NOW), Waiter("planner", NOW))),
            Lease(f"b{text}", "planner", 2, 9.0, NOW, (Waiter(text, NOW),)),
        ),
        cycles=((text, f"b{text}", "planner", text, text),),
        snapshots=tuple(replace(snapshot, why=text, warnings=(text,)) for snapshot in board.snapshots),
        events=tuple(
            replace(
                event,
                event=text if event.seq % 2 else event.event,
                body=dict.fromkeys([*event.body, "text", text], text),
            )
            for event in board.events
        ),
        warnings=(text, text),
        stage_order=(text, *STAGES),
    )


SITUATIONS: Mapping[str, Callable[[], Board]] = {
    "healthy": healthy,
    "diagnosing": diagnosing,
    "several": several,
    "waiting": waiting,
    "rolling_back": rolling_back,
    "recovered": recovered,
    "empty": empty,
    "thousand": thousand,
}
