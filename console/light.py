"""The verbs that agents call thousands of times, ``signal`` and ``lock``, and ``--version``: before the heavy imports.

A whole process costs at most 4 times a bare Python, so this imports the standard library's cheap modules and the two
light ones of the store, nothing else. `tests/console/test_light.py` holds it to that.
"""

from __future__ import annotations

import json
import math
import os
import re
import select
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from .. import __version__
from ..core.errors import RollcageError, StoreError

TYPE_CHECKING = False  # not from typing, which costs more than all of this file
if TYPE_CHECKING:
    from typing import NoReturn

    from ..core.coordination.leases import Leases

DONE, ERROR, USAGE, INTERRUPTED = 0, 1, 2, 130

TEXT_LIMIT = 10_000
"""Characters of a text that are kept; the rest is cut."""
NAME_LIMIT = 200
ATTRS_LIMIT = 8_192
"""Characters of a signal's attrs as JSON."""
LINE_LIMIT = 65_536
"""Bytes of a JSON line."""
BATCH = 1_000
"""JSON lines that are written together or not at all."""
GATHER = 0.1
"""Seconds to wait for more lines before a batch that is not full is written."""

KINDS = ("metric", "log", "step", "state", "error", "test", "data", "message", "commit", "handover")

HELP = """\
usage: rollcage signal KIND [NAME] [VALUE] --agent A

  metric NAME VALUE [--unit U]   a number, such as batch_processing_time 2710
  step NAME [--expect 40m]       what the agent does now, and how long that may take
  error TEXT                     an error
  test NAME passed|failed        a test's result
  data NAME VALUE                a number that tells of data, such as orphans 3
  message TEXT                   anything else
  -                              signals as JSON lines on standard input

  --agent A   who reports; default: $ROLLCAGE_AGENT
  -C DIR      the repository; default: the current folder
"""

Row = tuple[str, str, str, str, float | None, str | None, str | None, str]


class Problem(Exception):
    """The usage is wrong; its text is one line."""


def dispatch(arguments: Sequence[str]) -> int | None:
    """Do ``rollcage ARGUMENTS`` if that is a light verb, and return its exit code; ``None``: it is another verb."""
    rest, directory, config = list(arguments), ".", False
    while rest and rest[0] in {"-C", "--config"} and len(rest) > 1:
        directory, config = (rest[1], config) if rest[0] == "-C" else (directory, True)
        del rest[:2]
    if rest[:1] == ["--version"]:
        print(f"rollcage {__version__}")
        return DONE
    if rest[:1] not in (["signal"], ["lock"]):
        return None
    try:
        if rest[0] == "lock":
            return None if config else lock(rest[1:], directory)
        return signal(rest[1:], directory)
    except Problem as problem:
        return _fail(problem, USAGE)
    except RollcageError as error:
        return _fail(error, error.exit_code)
    except KeyboardInterrupt:
        return INTERRUPTED


def signal(arguments: Sequence[str], directory: str) -> int:
    """Write one signal, or the JSON lines of standard input, into the inbox of the repository at ``directory``.

    Raises Problem, StoreError.
    """
    words, options = _split(arguments)
    if "help" in options:
        print(HELP, end="")
        return DONE
    directory = options.get("C", directory)
    agent = options.get("agent", os.environ.get("ROLLCAGE_AGENT", ""))
    if words == ["-"]:
        _only(options, "agent")
        return _stream(agent, directory)
    row = _row_of_words(words, options, agent)
    _writer(directory)([row])
    return DONE


def lock(arguments: Sequence[str], directory: str) -> int | None:
    """Do ``lock ARGUMENTS`` with the leases of this machine; ``None``: it needs more than those.

    Raises RollcageError.
    """
    from ..core.store.locate import find_root
    from . import lock as locks

    wanted = locks.read(arguments)
    if wanted is None:
        print(locks.HELP, end="")
        return DONE
    if wanted.verb == "break":
        return None
    try:
        root = find_root(wanted.directory or directory)
        with open(f"{root}/trusted", "rb") as file:  # noqa: PTH123 - pathlib is dear
            if locks.asks_for_redis(file.read()):
                return None
    except FileNotFoundError:  # no settings were trusted: the defaults count
        pass
    except (LookupError, OSError):
        return None

    def open_leases() -> Leases:
        from pathlib import Path

        from ..core.clock import SystemClock
        from ..core.coordination.embedded import EmbeddedLeases
        from ..core.store.paths import RepositoryPaths

        return EmbeddedLeases(RepositoryPaths(Path(root)), SystemClock())

    return locks.carry_out(wanted, open_leases, _nobody)


def _nobody() -> NoReturn:
    raise AssertionError("a break is not done here")


# One signal from words


def _split(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the words and the options; a negative number is a word, and so is all that follows ``--``."""
    words: list[str] = []
    options: dict[str, str] = {}
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            words.extend(rest)
        elif argument in {"-h", "--help"}:
            options["help"] = ""
        elif argument in {"--agent", "--unit", "--expect", "-C"}:
            value = next(rest, None)
            if value is None:
                raise Problem(f"{argument} needs a value")
            options[argument.lstrip("-")] = value
        elif argument.startswith(("--agent=", "--unit=", "--expect=")):
            name, _, value = argument[2:].partition("=")
            options[name] = value
        elif argument.startswith("-") and argument != "-" and not _number(argument):
            raise Problem(f"unknown option {_shown(argument)}; see rollcage signal --help, or put -- before a text")
        else:
            words.append(argument)
    return words, options


def _only(options: Mapping[str, str], *allowed: str) -> None:
    for name in options:
        if name not in {*allowed, "C"}:
            raise Problem(f"--{name} does not belong here; see rollcage signal --help")


def _row_of_words(words: Sequence[str], options: Mapping[str, str], agent: str) -> Row:
    if not words:
        raise Problem("which kind of signal? metric, step, error, test, data, message or -; see rollcage signal --help")
    kind, *rest = words
    body: dict[str, object] = {"kind": kind}
    match kind, rest:
        case (("metric" | "data"), [name, value]):
            _only(options, "agent", "unit")
            if not _number(value):
                raise Problem(f"{kind} {_shown(name)}: {_shown(value)} is not a number")
            body |= {"name": name, "value": float(value)}
            if "unit" in options:
                body["unit"] = options["unit"]
        case "step", [name]:
            _only(options, "agent", "expect")
            body["name"] = name
            if "expect" in options:
                body["attrs"] = {"expect": _seconds(options["expect"])}
        case "test", [name, "passed" | "failed" as text]:
            _only(options, "agent")
            body |= {"name": name, "text": text}
        case (("error" | "message"), [text]):
            _only(options, "agent")
            body |= {"name": kind, "text": text}
        case (("metric" | "step" | "error" | "test" | "data" | "message"), _):
            takes = {"metric": "NAME VALUE", "data": "NAME VALUE", "step": "NAME", "test": "NAME passed|failed"}
            raise Problem(f"{kind} takes {takes.get(kind, 'one TEXT, in quotes')}; see rollcage signal --help")
        case _:
            raise Problem(f"unknown kind {_shown(kind)}; allowed: metric, step, error, test, data, message, -")
    return _row(body, agent, _now())


def _number(text: str) -> bool:
    return re.fullmatch(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", text) is not None


def _seconds(text: str) -> float:
    """Read a duration such as ``40m``; a number alone is seconds."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)?", text)
    if not found:
        raise Problem(f"--expect {_shown(text)} is no duration; write 90s, 40m, 2h or 1d")
    return float(found[1]) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}[found[2] or "s"]


# What makes a signal valid, from words or from JSON


def _row(body: Mapping[str, object], default_agent: str, default_at: str) -> Row:
    """Return the inbox row of one signal in the JSON form of CLI.md. Raises Problem."""
    from ..core.fleet.names import name_problem

    unknown = sorted(set(body) - {"at", "agent", "kind", "name", "value", "text", "unit", "attrs", "seq"})
    if unknown:
        raise Problem(f"unknown key {_shown(unknown[0])}; allowed: at, agent, kind, name, value, text, unit, attrs")
    kind = body.get("kind")
    if kind not in KINDS or not isinstance(kind, str):
        raise Problem(f"kind {_shown(kind)} is unknown; allowed: {', '.join(KINDS)}")
    agent = body.get("agent", default_agent)
    if not isinstance(agent, str) or not agent:
        raise Problem("which agent? give --agent NAME, or set ROLLCAGE_AGENT")
    if problem := name_problem(agent):
        raise Problem(problem)
    name = body.get("name", kind if kind in {"error", "message", "log"} else None)
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > NAME_LIMIT:
        raise Problem(f"{kind}: name {_shown(name)} must be 1 to {NAME_LIMIT} printable characters")
    value, text, unit = _value(body.get("value"), name), _text(body, "text", TEXT_LIMIT), _text(body, "unit", 20)
    if kind in {"metric", "data"} and value is None:
        raise Problem(f"{kind} {_shown(name)} needs a number as value")
    if kind in {"error", "message"} and not (text or "").strip():
        raise Problem(f"{kind} needs a text that is not empty")
    if kind == "test" and text not in {"passed", "failed"}:
        raise Problem(f"test {_shown(name)} must be passed or failed, not {_shown(text)}")
    attrs = body.get("attrs", {})
    if not isinstance(attrs, dict):
        raise Problem("attrs must be an object")
    encoded = json.dumps(attrs, separators=(",", ":"))
    if len(encoded) > ATTRS_LIMIT:
        raise Problem(f"attrs are longer than {ATTRS_LIMIT} characters")
    return (_moment(body.get("at"), default_at), agent, kind, name, value, text, unit, encoded)


def _value(value: object, name: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Problem(f"{_shown(name)}: value {_shown(value)} is not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Problem(f"{_shown(name)}: the value must be a finite number")
    return number


def _text(body: Mapping[str, object], key: str, limit: int) -> str | None:
    text = body.get(key)
    if text is None:
        return None
    if not isinstance(text, str):
        raise Problem(f"{key} {_shown(text)} is not a text")
    text = text.encode("utf-8", "replace").decode()  # SQLite takes no lone surrogates
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _moment(at: object, default: str) -> str:
    if at is None:
        return default
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(at if isinstance(at, str) else "")
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Problem(f"at {_shown(at)} is no time in ISO 8601") from None
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _now() -> str:
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest // 1000:06d}Z"


# JSON lines


def _stream(agent: str, directory: str) -> int:
    """Write the JSON lines of standard input, each batch wholly or not at all."""
    write, written = _writer(directory), 0
    try:
        for first, lines in _batches(0):
            rows = [_row_of_line(line, number, agent) for number, line in enumerate(lines, first) if line.strip()]
            write(rows)
            written = first + len(lines) - 1
    except (Problem, StoreError) as error:
        raise type(error)(f"{error}; {_kept(written)}") from None
    except OSError as error:
        raise StoreError(f"standard input cannot be read: {error.strerror}; {_kept(written)}") from None
    return DONE


def _kept(written: int) -> str:
    return f"lines 1 to {written} were written, nothing after them" if written else "nothing was written"


def _row_of_line(line: bytes, number: int, agent: str) -> Row:
    try:
        if len(line) > LINE_LIMIT:
            raise Problem(f"longer than {LINE_LIMIT} bytes")
        body = json.loads(line.decode("utf-8"), parse_constant=_no_constant)
        if not isinstance(body, dict):
            raise Problem("must be a JSON object")
        return _row(body, agent, _now())
    except Problem as problem:
        raise Problem(f"line {number}: {problem}") from None
    except (ValueError, RecursionError) as error:
        raise Problem(f"line {number}: no JSON: {str(error).splitlines()[0]}") from None


def _no_constant(name: str) -> object:
    raise Problem(f"{name} is not a finite number")


def _batches(descriptor: int) -> Iterator[tuple[int, list[bytes]]]:
    """Yield lines as they arrive, with the number of the first: at most `BATCH`, and all that came within `GATHER`."""
    first, lines, rest, ended = 1, list[bytes](), b"", False
    while not ended or lines:
        while not ended and len(lines) < BATCH:
            if lines and not select.select([descriptor], [], [], GATHER)[0]:
                break
            chunk = os.read(descriptor, LINE_LIMIT)
            ended = not chunk
            if ended and rest:
                chunk = b"\n"
            *complete, rest = (rest + chunk).split(b"\n")
            lines += complete
            if len(rest) > LINE_LIMIT:  # it is refused by its length: no need to read it to its end
                lines.append(rest)
                rest, ended = b"", True
        if lines:
            yield first, lines[:BATCH]
        first, lines = first + len(lines[:BATCH]), lines[BATCH:]


# The way out


def _writer(directory: str) -> Callable[[Sequence[Row]], int]:
    """Return what writes rows in one transaction; both raise StoreError. Raises Problem where there is no inbox."""
    from ..core.store import inbox
    from ..core.store.locate import find_inbox

    try:
        connection = inbox.connect(find_inbox(directory))
    except LookupError as error:
        raise Problem(str(error)) from None
    return lambda rows: inbox.put(connection, rows)


def _shown(value: object) -> str:
    """Return foreign text quoted, in ASCII and short, for an error message."""
    text = ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _fail(error: Exception, code: int) -> int:
    print(f"rollcage: {error}", file=sys.stderr)
    return code
