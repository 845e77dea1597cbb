"""``restore``: the way back to a snapshot, by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ...core.errors import ExitCode, UsageError
from ...widgets.figures import count
from ..asking import confirm
from ..context import Context
from ..diagnostics import say
from ..options import json_option, known_ids
from ..output import write_json, write_line
from ..who import operator_name, refuse_agents

if TYPE_CHECKING:
    from ...core.execute.restoring import Lost

_PARTS = ("files", "index", "database", "trees")


@click.command()
@click.argument("snapshot", shell_complete=known_ids("snapshot"))
@click.option("--only", multiple=True, type=click.Choice(_PARTS), help="Bring back this alone; may be given again.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option()
@click.pass_obj
def restore(context: Context, snapshot: str, only: tuple[str, ...], yes: bool, as_json: bool) -> int:
    """Bring back what SNAPSHOT holds: a deleted .git, uncommitted files, the index, the database, file trees.

    SNAPSHOT is an id, or: newest. A fresh snapshot is taken first. Branches stay where they are, and what somebody
    worked on since is left as it is, and named. Not while an engine runs. Exit code: 1 where a part failed.
    """
    lost = _lost(context)
    if lost is not None:
        _rebuild(context, lost, snapshot, yes=yes, as_json=as_json)
        yes = True
    return _restore(context, snapshot, only or _PARTS, yes=yes, as_json=as_json)


def _lost(context: Context) -> Lost | None:
    """Return the repository if its git directory is gone; raises UsageError where there never was one."""
    try:
        _ = context.repository
    except UsageError:
        from ...core.execute.restoring import find_lost

        lost = find_lost(context.directory)
        if lost is None:
            raise
        return lost
    return None


def _rebuild(context: Context, lost: Lost, snapshot: str, *, yes: bool, as_json: bool) -> None:
    from ...core.coordination.embedded import EmbeddedLeases
    from ...core.coordination.leader import LEASE
    from ...core.errors import LeaseError
    from ...core.execute.restoring import find_snapshot, rebuild_lost
    from ...core.store.store import Store

    store = Store.open(lost.paths, context.clock)
    leases = EmbeddedLeases(lost.paths, context.clock)
    try:
        refuse_agents(store, f"restore {snapshot}")
        engines = [lease.holder for lease in leases.list() if lease.name == LEASE]
        taken = find_snapshot(store, snapshot)
    finally:
        leases.close()
        store.close()
    if engines:
        raise LeaseError(f"an engine still runs ({engines[0]}): end it first, then restore")
    question = f"{lost.git_dir} is gone. Make it anew, and bring back all that {taken.id} holds?"
    confirm(context, question, yes=yes, what=f"restore {taken.id}")
    done = rebuild_lost(lost, taken.id, operator_name(), context.clock)
    words = (
        f"{lost.git_dir} was made anew: {count(len(done.branches), 'branch', 'branches')}, "
        f"{count(len(done.worktrees), 'working tree')}"
    )
    if as_json:
        write_json({"event": "restored", "part": "git", "branches": dict(done.branches), "left": list(done.left)})
    else:
        write_line(words)
    for line in done.left:
        say(f"not brought back: {line}")


def _restore(context: Context, snapshot: str, parts: tuple[str, ...], *, yes: bool, as_json: bool) -> int:
    from ...core.execute.restoring import find_snapshot
    from ...core.execute.restoring import restore as bring_back
    from ..auto import leading

    refuse_agents(context.store, f"restore {snapshot}")
    taken = find_snapshot(context.store, snapshot)
    moment = f"{taken.at:%Y-%m-%d %H:%M:%S} UTC"
    question = f"Bring back {', '.join(parts)} as they were at {moment} ({taken.id}: {taken.why})?"
    confirm(context, question, yes=yes, what=f"restore {taken.id}")
    services = context.services()
    with leading(context):
        done = bring_back(services, taken.id, operator_name(), parts=parts)
    if as_json:
        from .lists import body

        write_json(body("restored", done))
    else:
        for line in done.done or ("nothing had to be brought back",):
            write_line(line)
    for line in done.left:
        say(f"left as it is: {line}")
    for line in done.failed:
        say(f"failed: {line}")
    say(f"what was there before is in {done.before}")
    return ExitCode.ERROR if done.failed else ExitCode.DONE
