"""The one door to the git program: bytes in, bytes out, the same behaviour whatever the caller's environment says.

GitPython starts the processes, and is imported with the first, since lists need none. Each has a session of its own, no
terminal, and configuration that keeps it from running hooks, pagers, monitors, signing or garbage collection.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ..errors import GitError, GitVersionError, UsageError
from ..text import clean, mask_secrets

if TYPE_CHECKING:
    from git.cmd import Git as GitPython

MINIMUM_VERSION = (2, 39)
"""``git merge-tree --write-tree`` came with 2.38; its ``--stdin``, which takes a batch, with 2.39."""

IDENTITY = ("rollcage", "rollcage@localhost")
"""Name and address on the commits that rollcage makes."""

Process: TypeAlias = "GitPython.AutoInterrupt"
"""A git process that runs; behaves like subprocess.Popen."""

_KILL_GRACE_S = 2.0
_ENV_NOT_FOUND = 127

_SAFE_CONFIGURATION = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.quotePath=false",
    "core.askPass=",
    "gc.auto=0",
    "maintenance.auto=false",
    "commit.gpgSign=false",
    "tag.gpgSign=false",
    "push.gpgSign=false",
    "log.showSignature=false",
    "color.ui=false",
    "submodule.recurse=false",
    "protocol.ext.allow=never",
    # Renames are on with a fixed limit and directories are never guessed, so that a rehearsal is the same everywhere.
    "merge.renames=true",
    "merge.renameLimit=1000",
    "merge.directoryRenames=false",
    "merge.conflictStyle=merge",
    "diff.renames=true",
    "diff.renameLimit=1000",
)
_CONFIGURATION = tuple(word for setting in _SAFE_CONFIGURATION for word in ("-c", setting))
# The user's own hooks, credential helpers and proxies have their say where we talk to a remote; a prompt has not.
_USERS_OWN = ("core.hooksPath=", "push.gpgSign=", "merge.", "diff.")
_USERS_CONFIGURATION = tuple(
    word for setting in _SAFE_CONFIGURATION if not setting.startswith(_USERS_OWN) for word in ("-c", setting)
)
_ISOLATED_CONFIGURATION = ("-c", "core.attributesFile=/dev/null", "-c", "core.excludesFile=/dev/null")

_ENVIRONMENT = {
    "GIT_AUTHOR_NAME": IDENTITY[0],
    "GIT_AUTHOR_EMAIL": IDENTITY[1],
    "GIT_COMMITTER_NAME": IDENTITY[0],
    "GIT_COMMITTER_EMAIL": IDENTITY[1],
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "",
    "GIT_EDITOR": ":",
    "GIT_PAGER": "cat",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "SSH_ASKPASS_REQUIRE": "never",
}
_ISOLATED_ENVIRONMENT = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_ATTR_NOSYSTEM": "1"}

_SAFE_REVISION = re.compile(r"[^-\s\x00][^\s\x00]*")


@dataclass(frozen=True, slots=True)
class Result:
    """What a git command answered: its exit status and the raw bytes of both streams."""

    status: int
    out: bytes
    err: bytes


class Git:
    """Runs git in one directory. Safe between threads; holds no process between two calls."""

    def __init__(
        self, directory: Path, *, bare: bool = False, isolated: bool = False, with_hooks: bool = False
    ) -> None:
        """Take a directory in a working tree, or with ``bare`` the git directory itself, which is then never searched.

        ``isolated`` leaves out the user's and the machine's configuration: for repositories of our own. ``with_hooks``
        leaves the user's hooks in force: for talking to a remote of the user's, and nothing else.
        """
        self.directory = directory.absolute()
        self._place = (f"--git-dir={self.directory}",) if bare else ("-C", str(self.directory))
        ours = _USERS_CONFIGURATION if with_hooks else _CONFIGURATION
        self._configuration = ours + (_ISOLATED_CONFIGURATION if isolated else ())
        self._environment = {**_ENVIRONMENT, **(_ISOLATED_ENVIRONMENT if isolated else {})}

    def run(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        ok: Sequence[int] = (0,),
        timeout: float | None = None,
        inherit: Sequence[int] = (),
    ) -> Result:
        """Run ``git ARGUMENTS`` to its end and return what it answered.

        ``stdin`` is fed to it (``None``: empty); ``env`` comes on top of the scrubbed environment; ``timeout`` is in
        seconds. Options such as ``-c KEY=VALUE`` may come first. Raises GitError if the exit status is not in ``ok``
        or the time is over (the whole process group is killed then), GitVersionError if there is no git.
        A flock on one of the descriptors ``inherit`` lasts until git and its children have ended, though we may die.
        """
        command, environment = self._prepared(arguments, env)
        status, out, err = _communicate(command, self.directory, environment, stdin, timeout, inherit)
        if status not in ok:
            raise GitError(
                f"git {_verb(arguments)} failed in {clean(str(self.directory))}: {_complaint(err, status)}",
                status=status,
                stderr=clean(mask_secrets(err.decode(errors="replace")), limit=2_000),
            )
        return Result(status, out, err)

    def start(self, *arguments: str, env: Mapping[str, str] | None = None, inherit: Sequence[int] = ()) -> Process:
        """Start ``git ARGUMENTS`` and return it running, with pipes to its three streams; see `run` for the rest.

        For a dialogue or a long stream. Who starts it ends it; forgotten, it gets SIGTERM.
        """
        command, environment = self._prepared(arguments, env)
        return _started(command, self.directory, environment, subprocess.PIPE, inherit)

    def _prepared(self, arguments: Sequence[str], env: Mapping[str, str] | None) -> tuple[list[str], Mapping[str, str]]:
        command = ["git", "--no-pager", *self._place, *self._configuration, *arguments]
        return command, {**self._environment, **(env or {})}

    def text(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        ok: Sequence[int] = (0,),
        timeout: float | None = None,
    ) -> str:
        """Like `run`; return standard output without its last newline, bytes that are no UTF-8 as surrogates."""
        out = self.run(*arguments, stdin=stdin, env=env, ok=ok, timeout=timeout).out
        return out.removesuffix(b"\n").decode("utf-8", "surrogateescape")


def revision(name: str) -> str:
    """Return ``name`` if git cannot mistake it for an option or for two words; raises UsageError otherwise."""
    if not _SAFE_REVISION.fullmatch(name):
        raise UsageError(f"not a name of a commit or branch: '{clean(name, limit=80)}' (begins with '-' or has spaces)")
    return name


def require_git() -> tuple[int, int, int]:
    """Return git's version. Raises GitVersionError, which names what to do, if it is missing or too old."""
    _, out, _ = _communicate(["git", "version"], Path("/"), _ENVIRONMENT, None, 30.0)
    found = re.match(rb"git version (\d+)\.(\d+)(?:\.(\d+))?", out)
    if found is None:
        raise GitVersionError(f"'git version' answered {clean(repr(out), limit=80)}; {_ADVICE}")
    version = (int(found[1]), int(found[2]), int(found[3] or 0))
    if version < MINIMUM_VERSION:
        number = ".".join(str(part) for part in version)
        raise GitVersionError(f"git {number} is too old (2.38's merge-tree still takes no batch); {_ADVICE}")
    return version


_ADVICE = (
    f"rollcage needs git {MINIMUM_VERSION[0]}.{MINIMUM_VERSION[1]} or newer: 'apt install git' on Debian 12 or newer, "
    "ppa:git-core/ppa on older Ubuntu, 'brew install git' on macOS, else https://git-scm.com/downloads"
)


def _started(
    command: list[str], directory: Path, environment: Mapping[str, str], istream: int | None, inherit: Sequence[int]
) -> Process:
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # else a missing git is an ImportError, not our clear line
    from git.cmd import Git as GitPython
    from git.exc import GitCommandNotFound

    try:
        return GitPython(str(directory)).execute(
            [*_scrub(environment), *command],
            istream=istream,
            as_process=True,
            env=dict(environment),
            start_new_session=True,
            pass_fds=tuple(inherit),
        )
    except GitCommandNotFound as error:
        raise GitVersionError(f"git was not found on PATH; {_ADVICE}") from error


def _scrub(environment: Mapping[str, str]) -> list[str]:
    # GitPython starts from os.environ and can only add to it, so env(1) takes the caller's GIT_* away.
    foreign = [name for name in os.environ if name.startswith("GIT_") and not name.startswith("GIT_PYTHON_")]
    return ["env", *(word for name in foreign if name not in environment for word in ("-u", name))] if foreign else []


def _communicate(
    command: list[str],
    directory: Path,
    environment: Mapping[str, str],
    stdin: bytes | None,
    timeout: float | None,
    inherit: Sequence[int] = (),
) -> tuple[int, bytes, bytes]:
    process = _started(command, directory, environment, None if stdin is None else subprocess.PIPE, inherit)
    try:
        out, err = process.communicate(stdin, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        _kill(process)
        place = clean(str(directory))
        raise GitError(f"git {_verb(command[1:])} in {place} took longer than {timeout:g} s and was stopped") from error
    except BaseException:  # Ctrl-C does not reach a session of its own
        _kill(process)
        raise
    if process.returncode == _ENV_NOT_FOUND and _scrub(environment):
        raise GitVersionError(f"git was not found on PATH; {_ADVICE}")
    return process.returncode, out, err


def _kill(process: Process) -> None:
    """End the whole process group: SIGTERM, at which git removes its lock files, then SIGKILL for who is left."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=_KILL_GRACE_S)


def _verb(arguments: Sequence[str]) -> str:
    """Return the git command's name within its arguments, for messages."""
    words = iter(arguments)
    for word in words:
        if word in {"-c", "-C"}:
            next(words, None)
        elif not word.startswith("-"):
            return clean(word)
    return "?"


def _complaint(err: bytes, status: int) -> str:
    """Return the line of git's stderr that says most: the first fatal or error, else the first."""
    lines = [line for line in mask_secrets(err.decode(errors="replace")).splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:"))] or lines[:1]
    return clean(telling[0], limit=300) if telling else f"exit status {status}"
