"""``init`` and ``trust``: the settings file and whose word it is."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ...core.errors import ExitCode, UsageError
from ..asking import show_difference
from ..context import Context
from ..diagnostics import say
from ..who import operator_name, refuse_agents


@click.command()
@click.pass_obj
def init(context: Context) -> int:
    """Write rollcage.yml, documented, and trust it."""
    from ...core.settings_file import NAME, parse
    from ...core.settings_template import guess_check, template
    from ...core.trust import trust

    top = context.repository.top
    refuse_agents(context.store, f"write and trust {NAME}")
    check = guess_check(top)
    content = template(_branch(context), check).encode()
    parse(content)  # what is written is right
    _write_new(top / NAME, content)
    trust(context.paths, context.store, content, operator_name())
    say(f"wrote {top / NAME}, and trusted it")
    if check is None:
        say("found no tests to run: name a check command under checks:, then rollcage trust")
    else:
        say(f"its check is '{' '.join(check.run)}': see that this is right, and that it passes; then start rollcage")
    return ExitCode.DONE


def _branch(context: Context) -> str:
    """Return the branch checked out in the main working tree, else the one that a bare repository names."""
    found = context.repository.git.run("symbolic-ref", "--quiet", "--short", "HEAD", ok=(0, 1))
    return next((tree.branch for tree in context.repository.worktrees()[:1] if tree.branch), "") or (
        os.fsdecode(found.out).strip() or "main"
    )


def _write_new(path: Path, content: bytes) -> None:
    """Write ``path``, whole or not at all, and never over a file that is there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        try:
            os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except FileExistsError:
        raise UsageError(f"{path} is there already, and is left as it is; rollcage trust trusts it") from None
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; make its folder writable") from error


@click.command()
@click.pass_obj
def trust(context: Context) -> int:
    """Show what changed in rollcage.yml, and trust it."""
    from ...core import trust as trusting
    from ...core.settings_file import NAME, parse
    from ..review import review

    written, pinned = trusting.written_content(context.repository.top), trusting.pinned_content(context.paths)
    if written is not None:
        parse(written, NAME, review)
    if written == pinned:
        say(f"{NAME} is trusted as it is" if written is not None else trusting.NO_FILE)
        return ExitCode.DONE
    refuse_agents(context.store, f"trust {NAME}")
    show_difference(trusting.difference(pinned, written))
    trusting.trust(context.paths, context.store, written, operator_name())
    say(f"trusted {NAME}" if written is not None else f"trusted that there is no {NAME}: running on defaults")
    return ExitCode.DONE
