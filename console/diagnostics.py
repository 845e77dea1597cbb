"""What a process tells its caller beside its data: lines on standard error, and the exit code.

Standard output is data only. Every error is one line (of settings: one a mistake) that begins with ``rollcage:``.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import click

from ..core.errors import ExitCode, RollcageError
from ..core.text import clean, clean_lines, mask_secrets

_LONGEST = 2_000


def say(message: str) -> None:
    """Tell the operator something, a line of standard error for each line of ``message``; never fails."""
    for line in message.splitlines():
        with suppress(OSError, ValueError):  # standard error may be closed or full: there is nobody left to tell
            print(f"rollcage: {mask_secrets(clean(line, limit=_LONGEST))}", file=sys.stderr, flush=True)


def guarded(work: Callable[[], int]) -> int:
    """Do ``work`` and return its exit code; what it raises becomes one line on standard error and an exit code."""
    try:
        code = work()
        sys.stdout.flush()
    except RollcageError as error:
        say(str(error))
        return error.exit_code
    except click.Abort:
        return ExitCode.INTERRUPTED
    except click.UsageError as error:
        where = f"; see {error.ctx.command_path} --help" if error.ctx else ""
        say(f"{error.format_message().rstrip('.')}{where}")
        return ExitCode.USAGE
    except click.ClickException as error:
        say(error.format_message())
        return ExitCode.ERROR
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        discard_output()
        return ExitCode.ERROR
    except Exception as error:  # noqa: BLE001 - the one place that turns a defect into a line and a report
        say(f"a defect of rollcage: {type(error).__name__}: {error}; {_report(error)}")
        return ExitCode.ERROR
    return code


def discard_output() -> None:
    """Let what is still buffered go nowhere: whoever read standard output has left."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(error: Exception) -> str:
    """Write the traceback into the state directory; say where, or that it could not be written."""
    from ..core.store.files import make_private, write_atomically
    from ..core.store.locate import state_home

    text = mask_secrets(clean_lines("".join(traceback.format_exception(error))))
    name = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    path = Path(state_home()) / "crashes" / f"{name}-{os.getpid()}.txt"
    try:
        make_private(path.parent)
        write_atomically(path, text.encode("utf-8", "backslashreplace"))
    except RollcageError as failure:
        return f"its traceback could not be kept: {failure}"
    return f"its traceback is in {path}; please report it"
