"""The command line. A verb's module is imported when the verb is called, and imports what it needs when it runs."""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from .. import __version__
from ..core.errors import UsageError
from .context import Context
from .diagnostics import guarded
from .options import Duration, json_option

_MODULES = {
    "settings": ("init", "trust"),
    "doctor": ("doctor",),
    "health": ("health",),
    "fleet": ("run", "stop", "pause", "resume"),
    "lists": ("agents", "locks", "incidents", "rollbacks", "snapshots", "audit", "signals"),
    "show": ("show",),
    "diagnose": ("diagnose", "options"),
    "decide": ("approve", "reject", "edit", "rollback", "undo", "redo"),
    "replay": ("replay",),
    "signal": ("signal",),
    "lock": ("lock",),
    "issue": ("issue", "issues"),
    "snapshot": ("snapshot",),
    "restore": ("restore",),
    "demo": ("demo",),
    "completion": ("completion",),
}
VERBS = {verb: module for module, verbs in _MODULES.items() for verb in verbs}
"""Every verb, in the order of the help, with its module in `rollcage.console.verbs`."""


class LazyGroup(click.Group):
    """Knows its verbs by name, and loads one when it is called or its help is shown."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all verbs."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a verb; ``None``: there is none of that name."""
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f".verbs.{VERBS[cmd_name]}", __package__)
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb that ``args`` begin with; name a near one where there is none."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], VERBS, n=1)
            meant = f"; did you mean '{near[0]}'?" if near else ""
            raise click.UsageError(f"there is no command '{args[0]}'{meant}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("-C", "directory", metavar="DIR", type=click.Path(path_type=Path), help="Work on the repository of DIR.")
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Settings other than rollcage.yml; trusted as named.",
)
@click.option("--auto", is_flag=True, help="The engine without a screen.")
@click.option("--once", is_flag=True, help="With --auto: look once, follow what is found to its outcome, and exit.")
@click.option(
    "--settle", metavar="S", type=Duration(), help="With --once: wait up to S for rules that need a value to last."
)
@click.option("--level", type=click.Choice(["watch", "propose", "auto"]), help="With --auto: overrules the settings.")
@json_option("With --auto: one JSON object a line.")
@click.option("--read-only", is_flag=True, help="The console, without any way to decide.")
@click.option("--plain", is_flag=True, help="The console, without colours and boxes.")
@click.version_option(__version__, message="rollcage %(version)s")
@click.pass_context
def cli(
    ctx: click.Context,
    directory: Path | None,
    config: Path | None,
    auto: bool,
    once: bool,
    settle: float | None,
    level: str | None,
    as_json: bool,
    read_only: bool,
    plain: bool,
) -> int:
    """Watch a fleet of coding agents on one git repository, find out what went wrong, and take it back safely.

    Without a command it opens the console on the repository of the current folder.
    """
    context = ctx.obj = Context(directory, config)
    ctx.call_on_close(context.close)
    if ctx.invoked_subcommand is not None:
        given = _given(auto=auto, once=once, settle=settle, level=level, read_only=read_only, plain=plain)
        if as_json or given:
            word = given or "--json"
            raise UsageError(f"{word} does not go before a command; see rollcage {ctx.invoked_subcommand} --help")
        return 0
    if auto:
        return _auto(context, once=once, settle=settle, level=level, as_json=as_json, screen=read_only or plain)
    if word := _given(once=once, settle=settle, level=level, json=as_json):
        raise click.UsageError(f"{word} needs --auto", ctx)
    from .run_console import run_console

    return run_console(context, read_only=read_only, plain=plain)


def _auto(context: Context, *, once: bool, settle: float | None, level: str | None, as_json: bool, screen: bool) -> int:
    if screen:
        raise UsageError("--read-only and --plain are about the console; leave --auto out")
    if settle is not None and not once:
        raise UsageError("--settle needs --once")
    from ..core.config import Level
    from .auto import run_auto

    return run_auto(context, once, settle or 0.0, as_json, Level(level) if level else None)


def _given(**options: object) -> str:
    """Return the first of ``options`` that was given, as it is written; empty: none."""
    return next((f"--{name.replace('_', '-')}" for name, value in options.items() if value not in (None, False)), "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line with ``arguments`` (default: those of the process) and return the exit code."""

    def work() -> int:
        # Completions are asked for through the environment; click answers and leaves by SystemExit.
        result: Any = cli.main(
            None if arguments is None else list(arguments),
            prog_name="rollcage",
            complete_var="_ROLLCAGE_COMPLETE",
            standalone_mode=False,
        )
        return result if isinstance(result, int) else 0

    try:
        return guarded(work)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else os.EX_SOFTWARE
