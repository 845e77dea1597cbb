"""The lists: agents, locks, incidents, rollbacks, snapshots, the audit log, signals."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import click

from ...core.errors import ExitCode
from ..context import Context
from ..diagnostics import say
from ..options import json_option
from ..output import Column, write_json, write_line, write_list

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from ...core.model import Checkpoint, Lease, Signal
    from ...core.store.audit import Audit

EVERYTHING = 1_000_000_000
"""As a limit: all there are. Programs get all; people the newest `SCREENFUL`."""
SCREENFUL = 200


def body(event: str, noun: object) -> dict[str, Any]:
    """Return ``noun`` as the JSON object of a list."""
    from ...core.codec import to_json

    return {"event": event, **to_json(noun)}


@click.command()
@json_option()
@click.pass_obj
def agents(context: Context, as_json: bool) -> int:
    """List the agents of the settings and all that run."""
    from ...core.status import agent_statuses
    from .health import AGENT_COLUMNS

    write_list(
        agent_statuses(context.view),
        AGENT_COLUMNS,
        as_json=as_json,
        body=lambda agent: body("agent", agent),
        empty="no agents: name them under agents: in rollcage.yml, or start one with rollcage run NAME -- CMD",
    )
    return ExitCode.DONE


@click.command()
@json_option()
@click.pass_obj
def locks(context: Context, as_json: bool) -> int:
    """List the locks that are held, with who waits for them, and who waits in a circle."""
    from ...core.coordination.waits import cycles

    leases, now = context.leases.list(), context.clock.now()
    waited_for = any(lease.waiters for lease in leases)
    found = cycles(context.leases.wait_log()) if waited_for else []

    def circles(lease: Lease) -> list[tuple[str, ...]]:
        return [circle for circle in found if lease.name in circle[1::2]]

    def permits(lease: Lease) -> str:
        return f"{lease.slots} of {lease.permits}" if lease.permits > 1 else ""

    def waiting(lease: Lease) -> str:
        return ", ".join(f"{each.holder} {(now - each.since).total_seconds():.0f} s" for each in lease.waiters)

    write_list(
        leases,
        (
            Column("lock", lambda lease: lease.name),
            Column("holder", lambda lease: lease.holder),
            Column("token", lambda lease: lease.token, right=True),
            Column("permits", permits, right=True),
            Column("expires in s", lambda lease: f"{lease.expires_in_s:.0f}", right=True),
            Column("since", lambda lease: lease.since),
            Column("waiting", waiting),
            Column("deadlock", lambda lease: "; ".join(" > ".join(circle) for circle in circles(lease))),
        ),
        as_json=as_json,
        body=lambda lease: body("lock", lease) | {"cycles": [list(circle) for circle in circles(lease)]},
        empty="no locks are held",
    )
    if found and not as_json:
        say(f"{len(found)} in deadlock; rollcage lock break NAME --reason R ends one")
    return ExitCode.DONE


@click.command()
@json_option()
@click.pass_obj
def incidents(context: Context, as_json: bool) -> int:
    """List the incidents, newest first."""
    write_list(
        context.store.incidents(limit=EVERYTHING),
        (
            Column("id", lambda incident: incident.id),
            Column("severity", lambda incident: incident.severity),
            Column("state", lambda incident: incident.state),
            Column("agent", lambda incident: incident.agent),
            Column("opened", lambda incident: incident.opened),
            Column("title", lambda incident: incident.title),
            Column("note", lambda incident: incident.note),
        ),
        as_json=as_json,
        body=lambda incident: body("incident", incident),
        empty="no incidents",
    )
    return ExitCode.DONE


@click.command()
@json_option()
@click.pass_obj
def rollbacks(context: Context, as_json: bool) -> int:
    """List the rollbacks, undos and redos, newest first."""
    write_list(
        context.store.rollbacks(EVERYTHING),
        (
            Column("id", lambda rollback: rollback.id),
            Column("kind", lambda rollback: f"{rollback.kind} {rollback.of}".rstrip()),
            Column("state", lambda rollback: rollback.state),
            Column("incident", lambda rollback: rollback.incident),
            Column("option", lambda rollback: rollback.option),
            Column("by", lambda rollback: rollback.approved_by),
            Column("started", lambda rollback: rollback.started),
            Column("before", lambda rollback: rollback.head_before[:12]),
            Column("after", lambda rollback: rollback.head_after[:12]),
            Column("note", lambda rollback: rollback.note),
        ),
        as_json=as_json,
        body=lambda rollback: body("rollback", rollback),
        empty="no rollbacks",
    )
    return ExitCode.DONE


@click.command()
@click.option("--checkpoints", is_flag=True, help="The checkpoints instead: data as it was at good commits.")
@json_option()
@click.pass_obj
def snapshots(context: Context, checkpoints: bool, as_json: bool) -> int:
    """List the snapshots, newest first; rollcage restore goes back to one."""
    from ...widgets import figures

    kept = context.store.checkpoints()
    if checkpoints:
        return _checkpoints(kept, as_json=as_json)
    write_list(
        context.store.snapshots(),
        (
            Column("id", lambda snapshot: snapshot.id),
            Column("kind", lambda _: "snapshot"),
            Column("at", lambda snapshot: snapshot.at),
            Column("head", lambda snapshot: snapshot.head[:12]),
            Column("size", lambda snapshot: figures.size(snapshot.size), right=True),
            Column("databases", lambda snapshot: ", ".join(snapshot.databases)),
            Column("why", lambda snapshot: snapshot.why),
        ),
        as_json=as_json,
        body=lambda snapshot: body("snapshot", snapshot) | {"kind": "snapshot"},
        empty="no snapshots",
    )
    if kept and not as_json:
        say(
            f"{figures.count(len(kept), 'checkpoint')} of data at good commits beside: rollcage snapshots --checkpoints"
        )
    return ExitCode.DONE


def _checkpoints(kept: Sequence[Checkpoint], *, as_json: bool) -> int:
    from ...widgets import figures

    write_list(
        kept,
        (
            Column("id", lambda checkpoint: checkpoint.id),
            Column("kind", lambda _: "checkpoint"),
            Column("at", lambda checkpoint: checkpoint.at),
            Column("good commit", lambda checkpoint: checkpoint.sha[:12]),
            Column("size", lambda checkpoint: figures.size(checkpoint.size), right=True),
            Column("databases", lambda checkpoint: ", ".join(checkpoint.databases)),
            Column("files", lambda checkpoint: ", ".join(checkpoint.files)),
        ),
        as_json=as_json,
        body=lambda checkpoint: body("checkpoint", checkpoint) | {"kind": "checkpoint"},
        empty="no checkpoints: they are taken where database: or files: is set, and the checks pass",
    )
    return ExitCode.DONE


@click.command()
@click.option("--verify", is_flag=True, help="Check the chain instead: exit 1 if a record is missing or altered.")
@json_option()
@click.pass_obj
def audit(context: Context, verify: bool, as_json: bool) -> int:
    """List who did what, when, why, with what outcome; writes to Issues have a chain of their own."""
    with ExitStack() as opened:
        chains = _chains(context, opened)
        if verify:
            return max([_verify(chain, name, place, as_json=as_json) for name, place, chain in chains])
        limit = EVERYTHING if as_json else SCREENFUL
        found = [(name, record) for name, _, chain in chains for record in chain.audit_records(limit)]
    total = len(found)
    found = sorted(found, key=lambda entry: entry[1].at)[-limit:]
    write_list(
        found,
        (
            Column("chain", lambda entry: entry[0]),
            Column("seq", lambda entry: entry[1].seq, right=True),
            Column("at", lambda entry: entry[1].at),
            Column("who", lambda entry: entry[1].who),
            Column("what", lambda entry: entry[1].what),
            Column("subject", lambda entry: entry[1].subject),
            Column("outcome", lambda entry: entry[1].outcome),
            Column("why", lambda entry: entry[1].why),
        ),
        as_json=as_json,
        body=lambda entry: body("audit", entry[1]) | {"chain": entry[0]},
        empty="the audit log is empty",
    )
    if not as_json and (total > len(found) or any(record.seq > 1 for _, record in found[:1])):
        say(f"these are the newest {len(found)}; --json lists all")
    return ExitCode.DONE


def _chains(context: Context, opened: ExitStack) -> list[tuple[str, Path, Audit]]:
    """Return the operator's chain, and that of Issues where there is one: name, file, audit."""
    from ...core.issues.records import Records

    chains: list[tuple[str, Path, Audit]] = [("state", context.paths.state_db, context.store)]
    if context.paths.issues_db.exists():
        records = opened.enter_context(closing(Records.open(context.paths, context.clock)))
        chains.append(("issues", context.paths.issues_db, records))
    return chains


def _verify(chain: Audit, name: str, place: Path, *, as_json: bool) -> int:
    report = chain.verify_audit()
    if as_json:
        write_json(body("audit_report", report) | {"chain": name})
    elif report.ok:
        whose = "" if name == "state" else f" of {name}"
        write_line(f"the chain{whose} of {report.records} records is whole; its head is {report.head}")
    else:
        say(f"the audit log was damaged or altered: {report.problem}; {place} is its file")
    return ExitCode.DONE if report.ok else ExitCode.ERROR


@click.command()
@click.option("--export", is_flag=True, help="All of them, as JSON lines that rollcage replay reads.")
@json_option()
@click.pass_obj
def signals(context: Context, export: bool, as_json: bool) -> int:
    """List what agents and observers reported."""
    if export or as_json:
        for signal in _all_signals(context):
            write_json(signal_body(signal))
        return ExitCode.DONE
    newest = context.signals.since(max(0, context.signals.last_seq() - SCREENFUL))
    write_list(
        newest,
        (
            Column("at", lambda signal: signal.at),
            Column("agent", lambda signal: signal.agent),
            Column("kind", lambda signal: signal.kind),
            Column("name", lambda signal: signal.name),
            Column("value", lambda signal: "" if signal.value is None else f"{signal.value:g}", right=True),
            Column("unit", lambda signal: signal.unit),
            Column("text", lambda signal: signal.text),
        ),
        as_json=False,
        body=signal_body,
        empty="no signals yet",
    )
    if newest and newest[0].seq > 1:
        say(f"these are the newest {len(newest)}; --json lists all that are kept")
    return ExitCode.DONE


def _all_signals(context: Context) -> Iterator[Signal]:
    seq, last = 0, context.signals.last_seq()  # up to where it stood at the start: reporting goes on meanwhile
    while seq < last and (page := context.signals.since(seq)):
        yield from page
        seq = page[-1].seq


def signal_body(signal: Signal) -> Mapping[str, object]:
    """Return ``signal`` in the form of recordings: only the keys that it has, without its place in this inbox."""
    from ...core.codec import to_json

    return {key: value for key, value in to_json(signal).items() if key != "seq" and value not in (None, {})}
