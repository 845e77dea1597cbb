"""What ``rollcage doctor`` looks at. Each look is a function that yields what it found and how a fault is mended."""

from __future__ import annotations

import difflib
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import GitVersionError, RollcageError, SettingsError, UntrustedError
from ..core.text import clean
from .context import Context

if TYPE_CHECKING:
    from ..core.config import CheckSettings
    from ..core.coordination.redis_leases import RedisLeases
    from ..core.gitrepo.repository import Repository
    from ..core.trust import Trusted

_NETWORK = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "afs",
    "afpfs",
    "ceph",
    "glusterfs",
    "lustre",
    "gpfs",
    "webdav",
}
_NETWORK_FUSE = {
    "fuse.sshfs",
    "fuse.glusterfs",
    "fuse.s3fs",
    "fuse.rclone",
    "fuse.davfs",
    "fuse.cephfs",
    "fuse.juicefs",
}
_SPARE_BYTES = 1_000_000_000
_CLOCKS_APART = 5.0
"""Seconds."""


class Status(StrEnum):
    """How a look came out; only a fault keeps rollcage from working."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Found:
    """What a look found: ``mend`` says what to do, and is empty where all is well."""

    name: str
    status: Status
    detail: str
    mend: str = ""


def examine(context: Context) -> Iterator[Found]:
    """Look at everything, in the order in which things depend on each other; what cannot be looked at is left out."""
    yield from _system()
    yield from _terminal()
    for needed in (_git, _repository, _state):
        found = list(_tried(needed, context))
        yield from found
        if any(each.status is Status.FAULT for each in found):
            return
    trusted, found = _settings(context)
    yield from found
    yield from _tried(_coordination, context)
    if trusted is None:
        return
    for look in (_branch, _pushes, _rules, _checks, _agents, _database, _tracker):
        yield from _tried(look, context)


def _tried(look: Callable[[Context], Iterator[Found]], context: Context) -> Iterator[Found]:
    """Look; an error is a fault whose message says what to do."""
    name = look.__name__.lstrip("_")
    try:
        yield from look(context)
    except RollcageError as error:
        yield Found(name, Status.FAULT, clean(str(error)))


def _system() -> Iterator[Found]:
    here = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    if os.name != "posix" or platform.system() == "Windows":
        yield Found(
            "system", Status.FAULT, here, "use Linux or macOS; on Windows: Linux under WSL, within its own disk"
        )
    else:
        yield Found("system", Status.OK, here)


def _terminal() -> Iterator[Found]:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        yield Found("terminal", Status.OK, "none here: lists and --auto work without one, the console needs one")
        return
    term, (columns, lines) = os.environ.get("TERM", ""), shutil.get_terminal_size()
    colours = _colours()
    over = " over SSH" if "SSH_CONNECTION" in os.environ else ""
    yield Found("terminal", Status.OK, f"{term or 'TERM not set'}{over}, {colours} colours, {columns}x{lines}")
    if term in {"", "dumb", "unknown"}:
        yield Found("terminal", Status.WARNING, "shows plain lines only", "set TERM, such as TERM=xterm-256color")
    elif colours < 8:
        yield Found(
            "terminal", Status.WARNING, "shows no colours", "set TERM to what your terminal is; glyphs tell all"
        )
    if columns < 80 or lines < 24:
        yield Found("terminal", Status.WARNING, "is smaller than 80x24", "make it larger: panels are cut off")
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    if encoding != "utf8":
        yield Found("terminal", Status.WARNING, f"its encoding is {sys.stdout.encoding}", "set LANG=C.UTF-8")


def _colours() -> int:
    if os.environ.get("COLORTERM") in {"truecolor", "24bit"}:
        return 1 << 24
    import curses

    try:
        curses.setupterm(fd=sys.stdout.fileno())
    except curses.error:
        return 0
    return max(0, curses.tigetnum("colors"))


def _git(context: Context) -> Iterator[Found]:
    from ..core.gitrepo.git import require_git

    try:
        version = require_git()
    except GitVersionError as error:
        problem, _, advice = str(error).partition("; ")
        yield Found("git", Status.FAULT, problem, advice)
    else:
        yield Found("git", Status.OK, ".".join(str(part) for part in version))


def _repository(context: Context) -> Iterator[Found]:
    repository = context.repository
    yield Found("repository", Status.OK, clean(str(repository.top)) + (" (bare)" if repository.is_bare else ""))
    yield from _local_disk("repository", repository.common_dir)
    from ..core.gitrepo.partial import promisors

    remotes = promisors(repository)
    if remotes:
        detail = f"is a partial clone: what is missing is fetched from {clean(', '.join(remotes))} when it is needed"
        mend = "make it whole, to work offline too: git fetch --refetch --no-filter"
        yield Found("repository", Status.WARNING, detail, mend)
    yield from _filters(repository)


def _filters(repository: Repository) -> Iterator[Found]:
    """A required filter without its program lets no file be written: git would refuse in the middle."""
    keys = repository.git.run("config", "--get-regexp", r"^filter\..*\.required$", ok=(0, 1)).out.decode(
        errors="replace"
    )
    for line in keys.splitlines():
        name = line.partition(" ")[0].removeprefix("filter.").removesuffix(".required")
        for kind in ("process", "smudge"):
            command = repository.git.text("config", "--default", "", "--get", f"filter.{name}.{kind}").split()
            if command and shutil.which(command[0]) is None:
                detail = f"filter {clean(name)} is required, and its program {clean(command[0])} is not there"
                yield Found(
                    "repository", Status.FAULT, detail, f"install it, or git config --unset filter.{name}.required"
                )
                return


def _local_disk(name: str, path: Path) -> Iterator[Found]:
    """Locks and write-ahead logs need a file system of this machine: https://www.sqlite.org/wal.html, point 2."""
    kind = _file_system(path)
    if kind in _NETWORK | _NETWORK_FUSE:
        mend = "set ROLLCAGE_STATE_DIR to a folder" if name == "state" else "clone it to a folder"
        yield Found(name, Status.FAULT, f"lies on a network file system ({kind})", f"{mend} on a disk of this machine")


def _file_system(path: Path) -> str:
    import psutil

    real = path.resolve()
    mounts = [part for part in psutil.disk_partitions(all=True) if real.is_relative_to(part.mountpoint)]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else ""


def _state(context: Context) -> Iterator[Found]:
    root = context.paths.root
    context.store.last_seq()
    yield Found("state", Status.OK, clean(str(root)))
    yield from _local_disk("state", root)
    for folder in (root, root.parent):
        status = folder.stat()
        if status.st_mode & 0o077:
            mode = f"{status.st_mode & 0o777:o}"
            yield Found("state", Status.FAULT, f"{folder} is open to others (mode {mode})", f"chmod 700 {folder}")
        if status.st_uid != os.getuid():
            yield Found(
                "state", Status.FAULT, f"{folder} belongs to another user", "set ROLLCAGE_STATE_DIR to your own"
            )
    free = shutil.disk_usage(root).free
    if free < _SPARE_BYTES:
        detail = f"only {free / 1e6:,.0f} MB are free where it lies"
        yield Found("state", Status.WARNING, detail, "make room: a rollback needs a snapshot first")
    from .who import operator_name

    user = operator_name().partition("@")[0]
    yield Found(
        "writers",
        Status.OK,
        f"every process of user {user} can write the state, agents of that user too: rollcage guards against their "
        "accidents, not against a hostile one",
    )


def _settings(context: Context) -> tuple[Trusted | None, list[Found]]:
    """Look at the settings without asking anything."""
    from ..core.trust import load_trusted
    from .review import review

    try:
        trusted = load_trusted(context.repository.top, context.paths, context.config, review=review)
    except SettingsError as error:
        return None, [
            Found("settings", Status.FAULT, clean(Exception.__str__(each)), "mend the line, then rollcage trust")
            for each in (error, *error.others)
        ]
    except UntrustedError as error:
        return None, [Found("settings", Status.FAULT, str(error).partition(";")[0], "rollcage trust")]
    if trusted.message:
        return trusted, [Found("settings", Status.WARNING, "no rollcage.yml: running on defaults", "rollcage init")]
    return trusted, [Found("settings", Status.OK, f"trusted, pin {trusted.pin[:12]}")]


def _coordination(context: Context) -> Iterator[Found]:
    leases = context.leases
    held = leases.list()
    engine = context.engine()
    kind = "embedded" if leases is context.own_leases else "redis"
    yield Found("coordination", Status.OK, f"{kind}, {len(held)} locks held; engine: {engine or 'none runs'}")
    if kind == "redis":
        from ..core.coordination.redis_leases import RedisLeases

        assert isinstance(leases, RedisLeases)
        yield from _redis(leases, context)


def _redis(leases: RedisLeases, context: Context) -> Iterator[Found]:
    from ..core.coordination.redis_connection import OLDEST
    from ..core.coordination.redis_health import examine as ask

    health, name = ask(leases.server, context.clock), "redis"
    ahead = f"{abs(health.clock_ahead):.1f} s {'ahead of' if health.clock_ahead > 0 else 'behind'} this machine's"
    detail = f"{leases.server.shown}, version {health.version}, namespace {leases.namespace}; its clock is {ahead}"
    yield Found(name, Status.OK, detail)
    if not health.is_new_enough:
        oldest = ".".join(map(str, OLDEST))
        yield Found(
            name, Status.FAULT, f"version {health.version} is older than {oldest}", f"install {oldest} or newer"
        )
    if health.is_replica:
        yield Found(name, Status.FAULT, "is a replica, which only reads", "name its primary as url: of coordination:")
    if health.eviction != "noeviction":
        status = Status.FAULT if health.is_limited else Status.WARNING
        detail = f"may drop locks when its memory runs out (maxmemory-policy {health.eviction})"
        yield Found(name, status, detail, "set maxmemory-policy noeviction, or use a server of its own for locks")
    if health.keeps is False:
        detail = "keeps nothing through its restart: locks held then are lost, and their holders told"
        yield Found(name, Status.WARNING, detail, "set appendonly yes there")
    if abs(health.clock_ahead) > _CLOCKS_APART:
        detail = "its clock and this machine's disagree; locks go by its clock alone, but times are shown wrong"
        yield Found(name, Status.WARNING, detail, "let both keep time, by NTP")


def _branch(context: Context) -> Iterator[Found]:
    branch = context.settings.branch
    if context.repository.branch_exists(branch):
        yield Found("branch", Status.OK, branch)
    else:
        mend = "make a first commit on it, or name another as branch: in rollcage.yml"
        yield Found("branch", Status.FAULT, f"there is no branch {branch}, or it has no commit", mend)


def _pushes(context: Context) -> Iterator[Found]:
    from ..core.status import waiting_pushes

    for line in waiting_pushes(context.store):
        yield Found("push", Status.WARNING, line, "bring the connection back; an engine sends it then, by itself")


def _rules(context: Context) -> Iterator[Found]:
    from ..core.detect.rules import BEHAVIOUR, METRICS

    known = [rule.name for rule in (*METRICS, *BEHAVIOUR)]
    for name, given in context.settings.rules.items():
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
        if name not in known and near and given.metric is None:
            detail = f"'{clean(name)}' is a new rule beside the built-in '{near[0]}'"
            yield Found("rules", Status.WARNING, detail, f"write {near[0]}, or add metric: {clean(name)} to it")


def _checks(context: Context) -> Iterator[Found]:
    checks = context.settings.checks
    if not checks:
        mend = "name a command under checks: in rollcage.yml, then rollcage trust"
        yield Found("checks", Status.WARNING, "none: nothing tells whether the code works", mend)
        return
    services = context.services()
    top = context.repository.top
    for check in checks:
        name = f"check {clean(check.name, limit=40)}"
        problem = _not_found(check.run, top, check) or (_not_found(check.setup, top, check) if check.setup else "")
        missing = [path for path in check.link if not (top / path).exists()]
        if problem:
            yield Found(name, Status.FAULT, problem, "install it, or correct run: and setup: in rollcage.yml")
        elif missing:
            yield Found(name, Status.WARNING, f"link: {', '.join(missing)} is not there", "make it, or correct link:")
        else:
            yield _believed(name, services.store.get_note(f"canary:{services.checks.definition(check)}"))


def _not_found(command: Sequence[str], top: Path, check: CheckSettings | None = None) -> str:
    """Say why ``command`` cannot be started; empty where it can."""
    program = command[0]
    if "/" in program:
        folder = top / (check.cwd if check else ".")
        found = os.access(folder / program, os.X_OK)
    else:
        found = shutil.which(program, path=check.env.get("PATH") if check else None) is not None
    return "" if found else f"there is no command '{clean(program, limit=80)}'"


def _believed(name: str, note: str | None) -> Found:
    """Report what the canary found, if it was tried: see `rollcage.core.checks.canary`."""
    import json

    if note is None:
        return Found(name, Status.OK, "its command is there; the first engine tries whether it can be believed")
    belief = json.loads(note)["belief"]
    if belief["believed"]:
        return Found(name, Status.OK, clean(belief["why"]))
    return Found(name, Status.FAULT, clean(belief["why"]), "until then no commit is blamed by it")


def _agents(context: Context) -> Iterator[Found]:
    for name, agent in context.settings.agents.items():
        if agent.run and (problem := _not_found(agent.run, context.repository.top)):
            yield Found(f"agent {name}", Status.FAULT, problem, "install it, or correct run: in rollcage.yml")


def _database(context: Context) -> Iterator[Found]:
    from ..core.data.database import open_database

    settings = context.settings.database
    if settings is None:
        yield Found("database", Status.OK, "none named")
        return
    database = open_database(settings, context.repository.top)
    damage = database.integrity()
    for line in damage:
        yield Found("database", Status.FAULT, line, "restore it: rollcage snapshots lists what was kept")
    if damage:
        return
    known = database.examine()
    yield Found("database", Status.OK, f"{known}, whole, {len(settings.checks)} checks")
    if database.capture is not None and not database.capture.is_installed():
        text = "rows are not recorded yet: row_capture works from the start of an engine at level propose or auto"
        yield Found("database", Status.WARNING, text, "start rollcage, or rollcage --auto")
    for answer in database.check_errors():
        if answer.count is None:
            yield Found("database", Status.WARNING, f"check {answer.name}: {answer.detail}", "correct its sql:")


def _tracker(context: Context) -> Iterator[Found]:
    settings = context.settings.tracker
    if settings.kind == "local":
        yield Found("tracker", Status.OK, "local: Issues live on this machine")
        return
    from ..core.issues.errors import TrackerRefusedError
    from ..core.issues.github.inspection import inspect
    from ..core.issues.github.tracker import open_github

    try:
        tracker = open_github(settings, context.paths, context.clock)
    except TrackerRefusedError as missing:
        problem, _, mend = str(missing).partition("; ")
        yield Found("tracker", Status.FAULT, problem, mend)
        return
    try:
        for found in inspect(tracker, context.clock):
            status = Status.FAULT if found.is_fault else Status.WARNING if found.mend else Status.OK
            yield Found("tracker", status, found.detail, found.mend)
    finally:
        tracker.close()
