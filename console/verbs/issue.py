"""``issue`` and ``issues``: safe operations on Issues, queued where their tracker cannot be reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from ...core.errors import ExitCode, RollcageError, UsageError
from ..context import Context
from ..diagnostics import say
from ..options import json_option
from ..output import Column, moment, write_block, write_json, write_line, write_list

if TYPE_CHECKING:
    from ...core.issues.desk import Desk
    from ...core.issues.issue import Issue
    from ...core.issues.outbox import Waiting
    from ...core.issues.sync import Queued
    from ...core.model import Lease


@click.group()
def issue() -> None:
    """Create, show and change Issues: no duplicate, no lost update, no half batch."""


@issue.command()
@click.option("--title", required=True, metavar="T", help="Its title.")
@click.option("--body", default="", metavar="TEXT|-", help="Its text; - reads it from standard input.")
@click.option("--label", "labels", multiple=True, metavar="L", help="A label; may be given several times.")
@click.option("--assignee", "assignees", multiple=True, metavar="A", help="Who is to do it; several times for several.")
@json_option()
@click.pass_obj
def create(
    context: Context, title: str, body: str, labels: tuple[str, ...], assignees: tuple[str, ...], as_json: bool
) -> int:
    """Create an Issue, unless an open one of the same title, competition and agent is there."""
    from ...core.issues import sync
    from ...core.issues.context import in_place
    from ..issue_input import read_draft, read_text

    draft = read_draft(title, read_text(body), labels, assignees)
    desk = _desk(context)
    result = in_place(desk, desk.scope, "create issue", lambda there: sync.create(there, draft))
    if isinstance(result, sync.Queued):
        return _queued(result, as_json)
    reason = {} if result.created else {"reason": result.reason}
    if as_json:
        write_json({"event": "issue", "created": result.created, **reason, "issue": _body(desk, result.issue)})
    elif result.created:
        write_line(f"Issue {result.issue.number} was created")
    else:
        write_line(f"Issue {result.issue.number} is there already, open; nothing was created")
    return ExitCode.DONE


@issue.command()
@click.argument("number", metavar="N")
@json_option()
@click.pass_obj
def show(context: Context, number: str, as_json: bool) -> int:
    """Show an Issue, with the version that update --expect takes."""
    from ...core.issues import sync
    from ..issue_input import read_number

    target = read_number(number)
    desk = _desk(context)
    seen = sync.see(desk, target)
    body = _body(desk, seen.issue)
    if as_json:
        offline = {"offline": True, "seen": moment(seen.at)} if seen.at is not None else {}
        waiting = {"waiting": list(seen.waiting)} if seen.waiting else {}
        write_json({"event": "issue", **body, **offline, **waiting})
    else:
        _show(body)
    if seen.at is not None:
        say(f"the tracker cannot be reached: this is Issue {seen.issue.number} as it was seen at {moment(seen.at)}")
    if seen.waiting:
        say(f"changes wait to be sent: {', '.join(seen.waiting)}; rollcage issue sync lists them")
    return ExitCode.DONE


@issue.command()
@click.argument("number", metavar="N")
@click.option("--set", "words", multiple=True, metavar="FIELD=VALUE", help="title, body, state, labels or assignees.")
@click.option("--add-label", "add", multiple=True, metavar="L", help="A label that it is to have.")
@click.option("--remove-label", "remove", multiple=True, metavar="L", help="A label that it is not to have.")
@click.option("--expect", metavar="VERSION", help="What you saw: what others changed since stays, or is a conflict.")
@json_option()
@click.pass_obj
def update(
    context: Context,
    number: str,
    words: tuple[str, ...],
    add: tuple[str, ...],
    remove: tuple[str, ...],
    expect: str | None,
    as_json: bool,
) -> int:
    """Change just the named fields of an Issue; a list is JSON, or words with commas between."""
    from ...core.issues import sync
    from ...core.issues.context import in_place
    from ...core.issues.errors import ConcurrencyConflictError
    from ..issue_input import read_number, read_updates, read_version

    target, updates, expected = read_number(number), read_updates(words, add, remove), read_version(expect)
    desk = _desk(context)
    try:
        what = f"update issue {target}"
        result = in_place(desk, desk.scope, what, lambda there: sync.update(there, target, updates, expected))
    except ConcurrencyConflictError as error:
        if as_json:
            conflict = {"ours": error.ours, "theirs": error.theirs}
            write_json({"event": "issue", "updated": False, "reason": "persistent_conflict", **conflict})
        else:
            _show_conflict(error.ours, error.theirs)
        raise
    if isinstance(result, sync.Queued):
        return _queued(result, as_json)
    if as_json:
        body = _body(desk, result.issue)
        write_json({"event": "issue", "updated": result.updated, "attempt": result.attempt, "issue": body})
    else:
        what = "was updated" if result.updated else "is so already"
        write_line(f"Issue {result.issue.number} {what}; version {result.issue.version}")
    return ExitCode.DONE


@issue.command()
@click.argument("file", metavar="FILE|-", type=click.Path(allow_dash=True))
@json_option()
@click.pass_obj
def batch(context: Context, file: str, as_json: bool) -> int:
    """Do several operations, all or none: a JSON object a line, with id, op, args and after."""
    from ...core.issues import sync
    from ...core.issues.context import in_place
    from ...core.issues.errors import BatchOperationError
    from ..issue_input import read_batch

    operations = read_batch(file)
    desk = _desk(context)
    try:
        result = in_place(desk, desk.scope, "batch", lambda there: sync.batch(there, operations))
    except BatchOperationError as error:
        if as_json:
            write_json(_batch_body(False, error.left, error.undone, error.total))
        raise
    if isinstance(result, sync.Queued):
        return _queued(result, as_json)
    if as_json:
        write_json(_batch_body(True, result.executed_operations, (), result.total_operations))
    else:
        write_line(f"{result.total_operations} operations were done: {', '.join(result.executed_operations)}")
    return ExitCode.DONE


@issue.command("sync")
@click.option("--keep", type=click.Choice(["ours", "theirs"]), help="Settle the conflict of OPERATION so.")
@click.argument("operation", required=False)
@json_option()
@click.pass_obj
def synchronise(context: Context, keep: str | None, operation: str | None, as_json: bool) -> int:
    """Send what waits for the tracker, and keep labels in step; show what went, what waits, and what is in conflict."""
    from ...core.issues import sync
    from ...core.issues.errors import TrackerError
    from ...core.issues.label_keeper import told
    from ...core.issues.label_sync import Synced, sync_labels
    from ..who import operator_name, refuse_agents

    if (keep is None) != (operation is None):
        raise UsageError("--keep ours|theirs and OPERATION go together; see rollcage issue sync --help")
    if keep is not None:
        refuse_agents(context.store, f"settle {operation}")
    desk = _desk(context)
    dropped: Sequence[Waiting] = ()
    if operation is not None:
        settled = sync.settle(desk, operation, ours=keep == "ours", by=operator_name())
        dropped = () if keep == "ours" else (settled,)
    came = sync.replay(desk)
    synced: Synced | None = None
    if desk.scope is None and not came.problem:  # an agent may not write to all Issues
        try:
            synced = sync_labels(desk)
        except TrackerError as problem:
            say(f"labels were not looked at: {problem}")
    rows = sorted([*came.sent, *came.left, *dropped], key=lambda each: each.seq)
    write_list(
        rows,
        (
            Column("operation", lambda each: each.id),
            Column("state", lambda each: each.state),
            Column("issue", lambda each: each.number or ", ".join(map(str, each.targets))),
            Column("what", lambda each: each.kind),
            Column("by", lambda each: each.holder),
            Column("at", lambda each: each.at),
            Column("ours", lambda each: _in_short(each.ours)),
            Column("theirs", lambda each: _in_short(each.theirs)),
            Column("note", lambda each: each.note),
        ),
        as_json=as_json,
        body=_waiting_body,
        empty="nothing waits to be sent",
    )
    if came.problem:
        say(f"not all could be sent: {came.problem}")
    for body in () if synced is None else told(synced):
        say(f"Issue {body['number']}: {body['change']}")
    conflicts = [each.id for each in came.left if each.state == "conflict"]
    if conflicts:
        say(f"in conflict: {', '.join(conflicts)}; rollcage issue sync --keep ours|theirs OPERATION settles one")
        return ExitCode.ESCALATED
    return ExitCode.ERROR if came.problem else ExitCode.DONE


@click.command()
@click.option("--state", type=click.Choice(["open", "closed", "all"]), default="open", help="Default: open.")
@click.option("--label", "labels", multiple=True, metavar="L", help="Only those with it; may be given several times.")
@json_option()
@click.pass_obj
def issues(context: Context, state: str, labels: tuple[str, ...], as_json: bool) -> int:
    """List the Issues, newest first, with who holds them."""
    from ...core.issues.errors import TrackerOfflineError
    from ...core.issues.outbox import all_seen, remember

    desk = _desk(context)
    try:
        found = list(desk.tracker.issues(state=state, labels=labels))
    except TrackerOfflineError as error:
        copies = [copy.issue for copy in all_seen(desk.records)]
        found = [each for each in copies if state in ("all", each.state) and set(labels) <= set(each.labels)]
        say(f"{error}; these are the Issues as they were seen last")
    else:
        if not desk.is_local:
            remember(desk.records, found)
    held = _locks(desk)
    write_list(
        found,
        (
            Column("issue", lambda each: each.number, right=True),
            Column("state", lambda each: each.state),
            Column("title", lambda each: each.title),
            Column("labels", lambda each: ", ".join(each.labels)),
            Column("assignees", lambda each: ", ".join(each.assignees)),
            Column("held by", lambda each: held[each.number].holder if each.number in held else ""),
        ),
        as_json=as_json,
        body=lambda each: {"event": "issue", **_body(desk, each, held)},
        empty=f"no {'' if state == 'all' else f'{state} '}Issues",
    )
    return ExitCode.DONE


# Who works where


def _desk(context: Context) -> Desk:
    context.work_on()
    return context.desk


def _locks(desk: Desk) -> Mapping[int, Lease]:
    """Return who holds which Issue; where that cannot be known, nobody is told to."""
    try:
        leases = desk.leases.list()
    except RollcageError as error:
        say(f"who holds the Issues is not known: {error}")
        return {}
    names = [(lease.name.removeprefix("issue/"), lease) for lease in leases if lease.name.startswith("issue/")]
    return {int(number): lease for number, lease in names if number.isdecimal()}


# What is shown


def _body(desk: Desk, shown: Issue, held: Mapping[int, Lease] | None = None) -> dict[str, Any]:
    lease = (_locks(desk) if held is None else held).get(shown.number)
    lock = None
    if lease is not None:
        expires = desk.clock.now() + timedelta(seconds=lease.expires_in_s)
        lock = {"holder": lease.holder, "token": lease.token, "expires": moment(expires)}
    return {
        "number": shown.number,
        "title": shown.title,
        "body": shown.body,
        "state": shown.state,
        "labels": list(shown.labels),
        "assignees": list(shown.assignees),
        "version": shown.version,
        "lock": lock,
    }


def _show(body: Mapping[str, Any]) -> None:
    from ...core.issues.identity import without_mark
    from ...core.text import clean_lines

    write_line(f"Issue {body['number']} ({body['state']}): {body['title']}")
    for field in ("labels", "assignees"):
        if body[field]:
            write_line(f"{field}: {', '.join(body[field])}")
    if lock := body["lock"]:
        write_line(f"held by {lock['holder']} with token {lock['token']} until {lock['expires']}")
    write_line(f"version: {body['version']}")
    text = without_mark(body["body"]).strip("\n")
    if text.strip():
        write_line()
        write_block(clean_lines(text))


def _show_conflict(ours: Mapping[str, object], theirs: Mapping[str, object]) -> None:
    for field in ours:
        write_line(f"ours    {_in_short({field: ours[field]})}")
        write_line(f"theirs  {_in_short({field: theirs.get(field)})}")


def _in_short(fields: Mapping[str, Any] | None) -> str:
    from ...core.text import clean

    shown = []
    for field, value in (fields or {}).items():
        text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        shown.append(f"{field}: {clean(text, limit=80)}")
    return "; ".join(shown)


def _queued(queued: Queued, as_json: bool) -> int:
    if as_json:
        write_json({"event": "issue", "queued": True, "operation": queued.operation})
    else:
        write_line(f"queued as {queued.operation}: it is sent when the tracker can be reached")
    return ExitCode.DONE


def _batch_body(success: bool, executed: Sequence[str], undone: Sequence[str], total: int) -> dict[str, Any]:
    return {
        "event": "issue",
        "success": success,
        "executed_operations": list(executed),
        "undone_operations": list(undone),
        "total_operations": total,
    }


def _waiting_body(waiting: Waiting) -> dict[str, Any]:
    optional = {"created": waiting.created, "ours": waiting.ours, "theirs": waiting.theirs}
    return {
        "event": "issue",
        "operation": waiting.id,
        "state": waiting.state,
        "kind": waiting.kind,
        "number": waiting.number,
        "targets": list(waiting.targets),
        "by": waiting.holder,
        "at": moment(waiting.at),
        "note": waiting.note,
        **{key: value for key, value in optional.items() if value is not None},
    }
