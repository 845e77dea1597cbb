"""``show``: one incident, option, rollback, snapshot, checkpoint, agent or lock in full."""

from __future__ import annotations

from collections.abc import Iterator

import click

from ...core.errors import ExitCode, UsageError
from ...core.text import clean
from .. import describe
from ..context import Context
from ..options import json_option, known_ids
from ..output import write_block, write_json, write_line


@click.command()
@click.argument("id_", metavar="ID", shell_complete=known_ids("incident", "option", "rollback", "snapshot"))
@click.option("--diff", is_flag=True, help="Of an option or a rollback: only what it changes.")
@json_option()
@click.pass_obj
def show(context: Context, id_: str, diff: bool, as_json: bool) -> int:
    """Show one of them in full.

    ID is such as inc-12, opt-12.1, rb-7, snap-20261120T140210Z, or the name of an agent or lock.
    """
    if diff:
        text = _diff(context, id_)
        if as_json:
            write_json({"event": "diff", "id": id_, "diff": text})
        else:
            write_block(text)
        return ExitCode.DONE
    body, lines = _find(context, id_)
    if as_json:
        write_json(body)
    else:
        for line in lines:
            write_line(line)
    return ExitCode.DONE


def _find(context: Context, id_: str) -> tuple[dict[str, object], Iterator[str]]:
    """Return what has that id or name, as JSON and as lines for people. Raises UsageError where nothing has."""
    from ...core.codec import to_json
    from .lists import body

    store = context.store
    if (incident := store.incident(id_)) is not None:
        diagnosis = store.diagnosis(id_)
        more = {
            "diagnosis": to_json(diagnosis) if diagnosis else None,
            "options": [option.id for option, _ in store.options(id_)],
        }
        return body("incident", incident) | more, describe.incident_lines(store, incident)
    option, plan = store.option(id_), store.plan(id_)
    if option is not None and plan is not None:
        return body("option", option) | {"plan": to_json(plan)}, describe.option_lines(
            option, plan, store.options(option.incident)
        )
    if (rollback := store.rollback(id_)) is not None:
        steps = [to_json(step) for step in store.steps(id_)]
        return body("rollback", rollback) | {"steps": steps}, describe.rollback_lines(store, rollback)
    if (snapshot := store.snapshot(id_)) is not None:
        return body("snapshot", snapshot), describe.fields(to_json(snapshot))
    if (checkpoint := store.checkpoint(id_)) is not None:
        return body("checkpoint", checkpoint), describe.fields(to_json(checkpoint))
    for lease in context.leases.list():
        if lease.name == id_:
            return body("lock", lease), describe.fields(to_json(lease))
    from ...core.status import agent_statuses

    for agent in agent_statuses(context.view):
        if agent.name == id_:
            return body("agent", agent), describe.fields(to_json(agent))
    raise UsageError(
        f"there is no '{clean(id_, limit=80)}'; rollcage incidents, options, rollbacks, snapshots, agents and locks "
        "list what there is"
    )


def _diff(context: Context, id_: str) -> str:
    """Return what an option would change, or a rollback changed."""
    store = context.store
    if (plan := store.plan(id_)) is not None:
        return plan.diff
    rollback = store.rollback(id_)
    if rollback is None:
        raise UsageError(f"'{clean(id_, limit=80)}' is neither an option nor a rollback: only these have a diff")
    if not rollback.head_after:
        return ""
    from ...core.gitrepo.history import diff
    from ...core.gitrepo.mirror import Mirror

    mirror = Mirror(context.repository, context.paths.mirror)
    mirror.ensure()
    tree = context.repository.tree
    return diff(mirror, tree(rollback.head_before), tree(rollback.head_after))
