"""The engine's part in telling agents: it starts them, hears who confirms, and tells those again who do not."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

from ..clock import Clock, iso
from ..config import Settings
from ..errors import RefusedError, RollcageError
from ..fleet.runs import current_runs
from ..fleet.start import start_agent
from ..model import Hold
from ..store.connections import Connections
from ..store.paths import RepositoryPaths
from ..store.signals import Signals
from ..store.store import Store
from ..text import clean
from .context import VIOLATION
from .local import open_connections
from .notify import (
    ASSIGNED,
    CHANGED,
    CLOSED,
    ESCALATED,
    KEPT,
    SEEN,
    Notification,
    agents_of,
    confirmed,
    pending,
    post_new,
    put,
    queue,
)
from .records import Records

AGAIN_S = 300.0
"""Seconds until an agent that has not confirmed is told again: it may be in the middle of a long step."""
TRIES = 3
"""So often it is told; then, after the same time, a human is."""
_TOLD, _READ = "issues:told", "issues:read"
_REASONS = {"created": ASSIGNED, "changed": CHANGED, "reopened": CHANGED, "closed": CLOSED}
"""Why an agent is told of a change that `watch` saw."""
_FOR_PEOPLE = (VIOLATION, "persistent_conflict")
_MOST_TOLD = 50
"""At once: of a flood people need not see all."""


class Courier:
    """Brings notifications to agents, in rounds; for one thread."""

    def __init__(
        self, settings: Settings, paths: RepositoryPaths, store: Store, clock: Clock, top: Path | None
    ) -> None:
        """Take where agents are known, where all lies, and in which folder they are started; ``None``: they are not."""
        self._settings, self._paths, self._store, self._clock = settings, paths, store, clock
        self._top = top
        self._connections: Connections | None = None
        self._signals: Signals | None = None
        self._heard: dict[str, int] = {}
        """Up to where the messages of each agent were read."""
        self._begun: set[tuple[int, int]] = set()
        """For which notification, at which try, the agent's start was tried."""
        self._read: int | None = None
        """Up to where the events were read."""

    def look(self) -> None:
        """Do what is due, and tell people of operations on Issues that a human has to look at. Raises StoreError."""
        if self._connections is None:
            if not self._paths.issues_db.exists():
                return  # nobody has an Issue yet
            self._connections = open_connections(self._paths)
            self._signals = Signals(self._store)
        records = Records(self._connections, self._clock)
        self._tell_people(records)
        self._hear_of_others(records)
        post_new(self._paths, records)
        waiting = pending(records)
        if not waiting:
            return
        self._hear(records, waiting)
        self._begun &= {(told.seq, told.tries) for told in waiting}
        for told in pending(records):
            sent = told.last_sent or told.created
            if self._clock.now() - sent < timedelta(seconds=AGAIN_S):
                self._start(records, told)
            elif told.tries < TRIES:
                self._tell_again(records, told)
            else:
                self._give_up(records, told)

    def close(self) -> None:
        """Close what was opened. May be called twice."""
        if self._connections is not None and self._signals is not None:
            with closing(self._connections), closing(self._signals):
                self._connections = self._signals = None

    def _tell_people(self, records: Records) -> None:
        """Make alerts of what the audit of Issues has of conflicts and violations; agents cannot write alerts."""
        after = int(self._store.get_note(_TOLD) or 0)
        with records.reading() as connection:
            last = int(connection.execute("SELECT COALESCE(MAX(seq), 0) FROM audit").fetchone()[0])
            if last == after:
                return
            rows = connection.execute(
                "SELECT json_extract(body, '$.who'), json_extract(body, '$.what'), json_extract(body, '$.subject'),"
                " json_extract(body, '$.why'), json_extract(body, '$.outcome') FROM audit"
                " WHERE seq > ? AND seq <= ?"
                " AND CASE WHEN json_valid(body) THEN json_extract(body, '$.outcome') END IN (?, ?) ORDER BY seq",
                (after, last, *_FOR_PEOPLE),
            ).fetchall()
        with self._store.transaction():
            for who, what, subject, why, outcome in rows[-_MOST_TOLD:]:
                body = {"what": clean(str(what)), "subject": clean(str(subject)), "by": clean(str(who))}
                self._store.append_event("issue", {**body, "reason": str(outcome), "text": clean(str(why))})
                self._store.audit("engine", "escalate", str(subject), f"{who}: {why}", outcome=str(outcome))
                self._alert("warning", f"{who}, {what}, {subject}: {why}")
            self._store.set_note(_TOLD, str(last))

    def _hear_of_others(self, records: Records) -> None:
        """Tell agents what others made of their Issues: the events of `watch`, without what rollcage wrote itself."""
        if self._read is None:
            kept, newest = self._store.get_note(_READ), self._store.recent_events(1)
            self._read = int(kept) if kept else newest[0].seq if newest else 0
        found = False
        while events := self._store.events_since(self._read):
            for event in events:
                if event.event == "issue" and event.body.get("change") in _REASONS:
                    found = True
                    self._queue_of(records, event.body)
            self._read = events[-1].seq
        if found:
            self._store.set_note(_READ, str(self._read))

    def _queue_of(self, records: Records, body: Mapping[str, Any]) -> None:
        number, change = int(body["number"]), str(body["change"])
        if records.seen(number, str(body["version"])) is not None:
            return
        text = f"Issue {number} was {change} by others: {body['title']}"
        for agent in sorted(agents_of(body["labels"])):
            queue(records, agent, text, sender="tracker", issue=number, reason=_REASONS[change])

    def _hear(self, records: Records, waiting: list[Notification]) -> None:
        """Take what agents confirmed: each only what it was told itself."""
        assert self._signals is not None
        by_agent: dict[str, dict[int, Notification]] = {}
        for told in waiting:
            by_agent.setdefault(told.agent, {})[told.seq] = told
        for agent, its in by_agent.items():
            while rows := self._signals.said(agent, "seen", self._heard.get(agent, 0)):
                self._heard[agent] = rows[-1][0]
                for _, text in rows:
                    for seq in confirmed(text) & its.keys():
                        self._end(records, its[seq], SEEN, "the agent confirmed it")

    def _start(self, records: Records, told: Notification) -> None:
        """Start the agent that is told, if it is the engine that starts it, and it does not run."""
        settings = self._settings.agents.get(told.agent)
        key = (told.seq, told.tries)
        if self._top is None or settings is None or settings.start != "engine" or settings.run is None:
            return
        held = self._store.holds().get(told.agent)
        if key in self._begun or (held is not None and held.hold is not Hold.NONE):
            return
        if any(run.agent == told.agent for run in current_runs(self._paths.inbox_db)):
            return
        self._begun.add(key)
        try:
            start_agent(self._paths, told.agent, settings, self._top)
            body = {"agent": told.agent, "action": "start", "by": "engine", "why": told.text}
            self._store.append_event("agent", body)
            self._store.audit("engine", "start_agent", told.agent, f"{told.id}: {told.text}")
        except RefusedError:  # somebody else was quicker
            return
        except RollcageError as problem:
            self._alert(
                "critical", f"agent {told.agent} is to work on what {told.id} says, and does not start: {problem}"
            )
            records.audit("engine", "start agent", told.agent, str(problem), outcome="failed")

    def _tell_again(self, records: Records, told: Notification) -> None:
        with records.connected() as connection:
            done = connection.execute(
                "UPDATE notification SET tries = tries + 1, last_sent = ?"
                " WHERE seq = ? AND state = 'sent' AND tries = ?",
                (iso(self._clock.now()), told.seq, told.tries),
            ).rowcount
        if done:  # else another engine did
            put(self._paths, records, told)

    def _give_up(self, records: Records, told: Notification) -> None:
        if self._end(records, told, ESCALATED, f"not confirmed after {told.tries} times"):
            known = told.agent in self._settings.agents
            self._alert(
                "warning",
                f"agent {told.agent} has not confirmed {told.id} after {told.tries} times: {told.text}"
                + ("" if known else "; no agent of that name is in rollcage.yml"),
            )

    def _end(self, records: Records, told: Notification, state: str, why: str) -> bool:
        with records.connected() as connection:
            done = connection.execute(
                "UPDATE notification SET state = ?, ended = ? WHERE seq = ? AND state IN ('new', 'sent')",
                (state, iso(self._clock.now()), told.seq),
            ).rowcount
            if done:
                records.audit("engine", "notification", f"{told.id} to {told.agent}", why, outcome=state)
                connection.execute(
                    "DELETE FROM notification WHERE state IN ('seen', 'escalated') AND seq <= ?", (told.seq - KEPT,)
                )
        return bool(done)

    def _alert(self, severity: str, text: str) -> None:
        self._store.append_event("alert", {"severity": severity, "text": clean(text, limit=1_000)})
