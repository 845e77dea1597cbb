"""``rollcage lock``: agents and scripts take, renew and give back locks; operators break them.

Called as often as ``signal``, so it stands on the standard library. `rollcage.console.light` calls it with the leases
of this machine; where that does not do (settings that name Redis or were named by hand, a repository never seen, a
break, which goes to the audit log) `rollcage.console.verbs.lock` calls it with what the settings say.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..core.errors import RollcageError, UsageError

if TYPE_CHECKING:
    from ..core.coordination.leases import Leases, Recorder
    from .lock_keeper import Order

DONE = 0
TTL = 30.0
"""Seconds, where none are given; a lock that is kept for a process is renewed three times as often."""
LONGEST = 366 * 86_400.0
MOST_PERMITS = 1_000_000
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}

HELP = """\
usage: rollcage lock acquire NAME [--wait S] [--ttl S] [--permits N] [--pid N] [--json]
       rollcage lock renew|release NAME --token T [--json]
       rollcage lock break NAME --reason R [--token T] [--json]
       rollcage lock run NAME [--wait S] [--ttl S] [--permits N] -- CMD...

  acquire   prints the token; the lock is held for the parent process, or for --pid, or with --ttl
            alone until that has lapsed. Within more than a plain $(...) say --pid $$
  renew     gives a lock its whole time again
  release   gives it back
  break     takes it from its holder (operators)
  run       holds it for CMD, which is stopped when the lock is lost; CMD finds it in
            ROLLCAGE_LOCK_NAME, ROLLCAGE_LOCK_TOKEN and ROLLCAGE_LOCK_SESSION

  --wait S      wait for it up to S seconds, served in turn; default: not at all
  --ttl S       it lapses S seconds after the last renewal; default: 30
  --permits N   a semaphore, which N may hold at once; all who use NAME must mean the same N
  -C DIR        the repository; default: the current folder

exit codes: 0 done; 1 late, wrong token or another error; 2 wrong usage; 75 not had in time;
            run: that of CMD (128 + N for signal N), 125 CMD could not be started
"""

_TAKES = {
    "acquire": {"wait", "ttl", "permits", "pid"},
    "renew": {"token"},
    "release": {"token"},
    "break": {"reason", "token"},
    "run": {"wait", "ttl", "permits"},
}


class Wanted:
    """What the words of a command line ask for."""

    __slots__ = ("argv", "directory", "json", "name", "options", "verb")

    def __init__(self, verb: str, name: str, options: Mapping[str, str], argv: Sequence[str]) -> None:
        """Take the verb, the lock, the options by name, and the command of ``run``."""
        self.verb, self.name, self.argv = verb, name, argv
        self.json = "json" in options
        self.directory = options.get("C", "")
        self.options = options

    def seconds(self, option: str, default: float, least: float) -> float:
        """Return a duration in seconds. Raises UsageError."""
        text = self.options.get(option)
        if text is None:
            return default
        found = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)?", text)
        value = float(found[1]) * _UNITS[found[2] or "s"] if found else -1
        if not least <= value <= LONGEST:
            raise UsageError(f"--{option} {ascii(text)[:80]}: allowed: {least:g} s to 366 days, such as 90s, 40m or 2h")
        return value

    def number(self, option: str, most: int) -> int | None:
        """Return a whole number from 1; ``None``: it was not given. Raises UsageError."""
        text = self.options.get(option)
        if text is None:
            return None
        if not re.fullmatch(r"[0-9]{1,18}", text) or not 1 <= int(text) <= most:
            raise UsageError(f"--{option} {ascii(text)[:80]}: allowed: a whole number from 1 to {most}")
        return int(text)


def read(arguments: Sequence[str]) -> Wanted | None:
    """Return what ``lock ARGUMENTS`` asks for; ``None``: help. Raises UsageError."""
    words, options, argv = list[str](), dict[str, str](), list[str]()
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if argument == "--":
            argv = list(rest)
        elif argument in {"-h", "--help"}:
            return None
        elif argument == "--json":
            options["json"] = ""
        elif argument == "-C" or name in {"--wait", "--ttl", "--permits", "--pid", "--token", "--reason"}:
            if not equals and (following := next(rest, None)) is not None:
                value = following
            elif not equals:
                raise UsageError(f"{name} needs a value")
            options[name.lstrip("-")] = value
        elif argument.startswith("-") and len(argument) > 1:
            raise UsageError(f"unknown option {ascii(argument)[:80]}; see rollcage lock --help")
        else:
            words.append(argument)
    if len(words) == 1 and words[0] != "run":  # a NAME that begins with -
        words, argv = words + argv[:1], argv[1:]
    return _checked(words, options, argv)


def _checked(words: Sequence[str], options: Mapping[str, str], argv: Sequence[str]) -> Wanted:
    verb = words[0] if words else ""
    if verb not in _TAKES:
        given = f"there is no 'lock {ascii(verb)[1:-1][:80]}'" if verb else "what about a lock?"
        raise UsageError(f"{given} allowed: {', '.join(_TAKES)}; see rollcage lock --help")
    if len(words) != 2:
        behind = "; put -- before the command" if verb == "run" and len(words) > 2 else ""
        raise UsageError(f"lock {verb} takes one NAME, {len(words) - 1} were given{behind}; see rollcage lock --help")
    for option in sorted(set(options) - _TAKES[verb] - {"json", "C"}):
        raise UsageError(f"--{option} does not go with lock {verb}; see rollcage lock --help")
    needed = {"renew": "token", "release": "token", "break": "reason"}.get(verb, "")
    if needed and not options.get(needed, "").strip():
        raise UsageError(f"lock {verb} needs --{needed}; see rollcage lock --help")
    if verb == "run" and not argv:
        raise UsageError("lock run needs a command: lock run NAME -- CMD...")
    if verb != "run" and argv:
        raise UsageError(f"lock {verb} runs no command; see rollcage lock --help")
    return Wanted(verb, words[1], options, argv)


def carry_out(wanted: Wanted, open_leases: Callable[[], Leases], record: Callable[[], tuple[str, Recorder]]) -> int:
    """Do it on the leases that ``open_leases`` opens; return the exit code.

    ``record`` is asked only for a break: who breaks it, and what writes that down. Raises RollcageError.
    """
    if wanted.verb in {"acquire", "run"}:
        return _take(wanted, open_leases)
    token = wanted.number("token", (1 << 63) - 1)
    leases = open_leases()
    try:
        if wanted.verb == "break":
            by, recorder = record()
            lease = leases.break_(wanted.name, by, wanted.options["reason"], recorder, token)
            _tell(wanted, {"broken": True, "name": lease.name, "token": lease.token, "holder": lease.holder})
            return DONE
        assert token is not None
        held = leases.find(wanted.name, token)
        if wanted.verb == "renew":
            held = leases.renew(held)
            _tell(wanted, {"renewed": True, "name": held.name, "token": held.token, "ttl": held.ttl})
        else:
            leases.release(held)
            _tell(wanted, {"released": True, "name": held.name, "token": held.token})
    finally:
        leases.close()
    return DONE


def _take(wanted: Wanted, open_leases: Callable[[], Leases]) -> int:
    from .lock_keeper import start_keeper

    order = _order(wanted)
    line = start_keeper(order, open_leases)
    answer = line.hear()
    if "error" in answer:
        return _fail(str(answer["error"]), int(str(answer["code"])))
    token, expires = answer.get("token"), answer.get("expires")
    if not isinstance(token, int) or not isinstance(expires, float):
        return _fail(f"lock {wanted.name!r}: the process that was to keep it ended, or the one it was for", 1)
    if wanted.verb == "acquire":
        body = {"event": "lock", "name": wanted.name, "token": token, "holder": order.holder, "ttl": order.ttl}
        text = json.dumps(body) if wanted.json else str(token)
        try:
            os.write(sys.stdout.fileno(), f"{text}\n".encode())  # not buffered: at the end it would fail once more
        except OSError as error:
            return _fail(f"the token could not be written ({error.strerror}), so the lock was given back", 1)
        line.tell("kept")  # only now: a token that nobody read stands for nothing
        return DONE
    from .lock_run import run_command

    environment = {
        **os.environ,
        "ROLLCAGE_LOCK_NAME": wanted.name,
        "ROLLCAGE_LOCK_TOKEN": str(token),
        "ROLLCAGE_LOCK_SESSION": order.session,
    }
    return run_command(wanted.argv, environment, wanted.name, order.ttl, expires, line, _say)


def _order(wanted: Wanted) -> Order:
    """Return what a keeper has to do. Raises UsageError."""
    from ..core.clock import SystemClock
    from ..core.coordination.leases import lock_name
    from ..core.text import clean
    from .lock_keeper import Order
    from .lock_processes import watch

    lock_name(wanted.name)
    if wanted.verb == "acquire" and sys.stdout is None:
        raise UsageError("standard output is closed: nobody would know the token")
    runs = wanted.verb == "run"
    pid = wanted.number("pid", (1 << 31) - 1)
    wait, ttl = wanted.seconds("wait", 0.0, 0.0), wanted.seconds("ttl", TTL, 0.1)
    permits = wanted.number("permits", MOST_PERMITS) or 1
    by_time = not runs and pid is None and "ttl" in wanted.options
    try:
        watched = watch(os.getpid() if runs else pid or os.getppid())
    except ProcessLookupError:
        raise UsageError(f"there is no process {pid or os.getppid()} to hold the lock for") from None
    session = clean(os.environ.get("ROLLCAGE_LOCK_SESSION", ""), limit=200) or (
        f"process:{watched.pid}:{watched.started}:{SystemClock().boot_id()}"
    )
    # An agent's name says enough; a person's process is found by its number.
    holder = os.environ.get("ROLLCAGE_AGENT") or f"{_user()} (pid {watched.pid}) on {os.uname().nodename}"
    return Order(wanted.name, holder, session, ttl, wait, permits, None if by_time else watched, runs)


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a user id without a name, as in some containers
        return f"user {os.getuid()}"


def asks_for_redis(settings: bytes) -> bool:
    """Tell whether these settings may ask for Redis: cheaply, and never falsely no.

    Comments do not count, since the settings that ``rollcage init`` writes explain each key. Where YAML could say it
    in another way (UTF-16, escapes) the answer is yes, and they are to be read properly.
    """
    if settings[:2] in {b"\xff\xfe", b"\xfe\xff"} or b"\\" in settings:
        return True
    # A # within quotes begins no comment: from the first quote on a line stays as it is.
    return any(b"redis" in re.sub(rb"^([^'\"]*?)(?:^|(?<=\s))#.*$", rb"\1", line) for line in settings.splitlines())


def _tell(wanted: Wanted, body: Mapping[str, object]) -> None:
    if wanted.json:
        print(json.dumps({"event": "lock", **body}), flush=True)


def _say(text: str) -> None:
    from ..core.text import clean, mask_secrets

    print(f"rollcage: {mask_secrets(clean(text, limit=2_000))}", file=sys.stderr, flush=True)


def _fail(text: str, code: int) -> int:
    _say(text)
    return code


def fail(error: RollcageError) -> int:
    """Say what went wrong, in one line; return the exit code."""
    return _fail(str(error), error.exit_code)
