"""Agents: ``run`` one under supervision; ``stop``, ``pause``, ``resume``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ...core.errors import ExitCode, UsageError
from ..asking import confirm
from ..context import Context
from ..diagnostics import say

if TYPE_CHECKING:
    from ...core.model import Decision


class _Named(click.Command):
    """Wants a name before ``--``: without one click would take the command's first word for it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click."""
        if args[:1] == ["--"]:
            raise click.UsageError("the agent's NAME is missing before --", ctx)
        return super().parse_args(ctx, args)


@click.command(cls=_Named)
@click.argument("name")
@click.option("--stage", metavar="S", default="", help="Its stage; default: that of the settings.")
@click.option("--competition", metavar="C", default="", help="Its workspace; default: that of the settings.")
@click.argument("command", metavar="-- CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def run(context: Context, name: str, stage: str, competition: str, command: tuple[str, ...]) -> int:
    """Run CMD as agent NAME under supervision.

    Exits with the exit code of CMD; 125 where it could not be started.
    """
    from ...core.config import AgentSettings
    from ...core.fleet.attach import run_attached

    settings = context.settings
    if stage and stage not in settings.stages:
        raise UsageError(f"there is no stage '{stage}'; allowed: {', '.join(settings.stages)}")
    agent = settings.agents.get(name, AgentSettings())
    directory = context.directory.resolve()
    return run_attached(context.paths, name, agent, command, directory, stage=stage, competition=competition)


@click.command()
@click.argument("agent", required=False)
@click.option("--all", "everybody", is_flag=True, help="Every agent that runs.")
@click.option("--yes", is_flag=True, help="With --all: do not ask.")
@click.pass_obj
def stop(context: Context, agent: str | None, everybody: bool, yes: bool) -> int:
    """Stop AGENT with all its processes, until it is resumed."""
    if (agent is None) != everybody:
        raise UsageError("name one agent, or --all")
    if agent is not None:
        return _carry_out(context, [context.operator().stop_agent(_known(context, agent))])
    names = _running(context)
    if not names:
        say("no agent runs")
        return ExitCode.DONE
    confirm(context, f"Stop {', '.join(names)}?", yes=yes, what="stop --all")
    return _carry_out(context, context.operator().stop_all(names))


@click.command()
@click.argument("agent")
@click.pass_obj
def pause(context: Context, agent: str) -> int:
    """Freeze AGENT with all its processes, until it is resumed."""
    return _carry_out(context, [context.operator().pause_agent(_known(context, agent))])


@click.command()
@click.argument("agent")
@click.pass_obj
def resume(context: Context, agent: str) -> int:
    """Let AGENT work on, or start it again if it was stopped."""
    return _carry_out(context, [context.operator().resume_agent(_known(context, agent))])


def _running(context: Context) -> list[str]:
    from ...core.fleet.runs import current_runs

    return sorted({run.agent for run in current_runs(context.paths.inbox_db)})


def _known(context: Context, agent: str) -> str:
    """Return ``agent``. Raises UsageError where neither settings nor supervisors know it."""
    known = dict.fromkeys([*context.settings.agents, *_running(context), *context.store.holds()])
    if agent not in known:
        raise UsageError(f"there is no agent '{agent}'; known: {', '.join(known) or 'none'}")
    return agent


def _carry_out(context: Context, decisions: list[Decision]) -> int:
    """Wait until the decisions have been carried out; become the engine for them where none runs."""
    from ..auto import carry_out

    return max(carry_out(context, decision) for decision in decisions)
