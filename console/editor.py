"""The operator's own editor, on a file that only the operator can read."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ..core.errors import UsageError

DEFAULT_EDITOR = "vi"


def editor_command(environment: Mapping[str, str]) -> list[str]:
    """Return the words of ``$VISUAL``, else ``$EDITOR``, else vi. No shell reads them.

    Raises UsageError where it cannot be split into words, or its program is not installed.
    """
    name = next((name for name in ("VISUAL", "EDITOR") if environment.get(name, "").strip()), "")
    try:
        words = shlex.split(environment[name]) if name else [DEFAULT_EDITOR]
    except ValueError as error:
        raise UsageError(f"${name} cannot be split into words: {error}") from None
    if not words or shutil.which(words[0], path=environment.get("PATH")) is None:
        if name:
            raise UsageError(f"the editor '{words[0] if words else ''}' of ${name} is not installed")
        raise UsageError(f"no editor: set EDITOR ({DEFAULT_EDITOR} is not installed)")
    return words


def edit_text(text: str, environment: Mapping[str, str], *, suffix: str = ".yml") -> str:
    """Let the operator edit ``text`` on the terminal; return what the file holds afterwards.

    Raises UsageError where there is no editor, it ends with an error, or the file cannot be read back as UTF-8.
    """
    command = editor_command(environment)
    descriptor, name = tempfile.mkstemp(prefix="rollcage-", suffix=suffix)  # mode 0600
    path = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        status = subprocess.run([*command, name], env=dict(environment), check=False).returncode
        if status != 0:
            raise UsageError(f"the editor {command[0]} ended with status {status}: nothing is changed")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the plan could not be edited: {error}") from error
    finally:
        path.unlink(missing_ok=True)
