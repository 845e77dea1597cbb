"""Talking to a Redis server: bounded in time, each trouble one line without the password.

The package redis-py (extra ``redis``) is imported only here, and only once a server is named. Its client class is
left out: a lease takes one round trip, and half of the client's time goes into what none of them needs.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from ..errors import StoreError, UsageError
from ..text import clean, mask_secrets
from .redis_lua import Script

CONNECT_TIMEOUT = 2.0
"""Seconds within which a server must accept a connection."""
COMMAND_TIMEOUT = 2.0
"""Seconds within which it must answer."""
OLDEST = (6, 0)
"""Of a server: it waits for fractions of a second, and copies what a script did rather than the script."""

PASSWORD = "REDISCLI_AUTH"  # noqa: S105 - the name of a variable
"""Holds the password where the address names none, as for redis-cli."""

_ALLOWED = "redis://[[USER]:PASSWORD@]HOST[:PORT][/DB], rediss://... (TLS), unix://[[USER]:PASSWORD@]/PATH[?db=N]"
_OPTIONS = ("db", "namespace", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs")


class UnreachableError(StoreError):
    """The server could not be reached, or did not answer in time: nobody knows whether it did what was asked."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is, and what to say there."""

    shown: str
    """For people: without user and password."""
    kind: str
    options: dict[str, object]
    namespace: str
    """In the place of the repository's own; empty: none is named."""


def parse_address(url: str) -> Address:
    """Read the ``url`` of the settings. Raises UsageError, which shows nothing of it that may be secret."""
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        port = parts.port or 6379
        db = int(query.get("db") or (parts.path.strip("/") if parts.scheme != "unix" else "") or 0)
    except ValueError as error:
        raise _wrong("cannot be read") from error
    if parts.scheme not in {"redis", "rediss", "unix"}:
        raise _wrong(f"begins with '{clean(parts.scheme, limit=20)}'")
    for name in query:
        if name not in _OPTIONS:
            raise _wrong(f"has the option '{clean(name, limit=40)}'", f"{_ALLOWED}; options: {', '.join(_OPTIONS)}")
    namespace = query.get("namespace", "")
    if not re.fullmatch(r"[\w.-]{0,60}", namespace):
        raise _wrong("has no good namespace", "namespace=NAME of letters, digits, '.', '_' and '-', at most 60")
    options: dict[str, object] = {"db": db}
    if parts.username:
        options["username"] = unquote(parts.username)
    if parts.password:
        options["password"] = unquote(parts.password)
    elif PASSWORD in os.environ:
        options["password"] = os.environ[PASSWORD]
    if parts.scheme == "unix":
        if not parts.path.strip("/"):
            raise _wrong("names no path")
        options["path"] = unquote(parts.path)
        shown = f"unix://{options['path']}?db={db}"
    else:
        host = unquote(parts.hostname or "localhost")
        options |= {"host": host, "port": port, "socket_keepalive": True}
        shown = f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}/{db}"
    options |= {name: value for name, value in query.items() if name.startswith("ssl_")}
    return Address(clean(shown), parts.scheme, options, namespace)


def _wrong(problem: str, allowed: str = _ALLOWED) -> UsageError:
    return UsageError(f"url under coordination: in rollcage.yml {problem}; allowed: {allowed}")


class _Line(Protocol):
    """A connection of redis-py."""

    def send_packed_command(self, command: list[bytes], check_health: bool) -> None: ...
    def read_response(self) -> Any: ...
    def can_read(self, timeout: float) -> bool: ...
    def disconnect(self) -> None: ...


class RedisServer:
    """A server, with the connections to it that are open; safe between threads, and after a fork."""

    def __init__(self, address: Address) -> None:
        """Take its address; connect to nothing yet. Raises StoreError where redis-py is missing, or too old."""
        try:
            from redis import connection, exceptions
        except ImportError as error:
            raise StoreError(
                f"locks on {address.shown} need the package redis; install it: pip install 'rollcage[redis]'"
            ) from error
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        self.shown = address.shown
        self._class: Callable[..., object] = {
            "redis": connection.Connection,
            "rediss": connection.SSLConnection,
            "unix": connection.UnixDomainSocketConnection,
        }[address.kind]
        self._options = {
            **address.options,
            "socket_connect_timeout": CONNECT_TIMEOUT,
            "socket_timeout": COMMAND_TIMEOUT,
            "decode_responses": True,
            "encoding_errors": "replace",
            "retry": Retry(NoBackoff(), 0),  # what may be sent twice is decided here
        }
        self._errors = exceptions
        self._idle: deque[_Line] = deque()
        self._pid = os.getpid()
        self._closed = False

    def run(
        self,
        script: Script,
        key: str,
        *arguments: object,
        again: tuple[object, ...] | None = None,
        repeat: bool = True,
    ) -> Any:
        """Run ``script`` on ``key``; return what it returns, texts as str.

        Where the answer was lost it is sent once more (with the arguments ``again``, if given): the scripts find what
        they did. ``repeat`` False: only where the server cannot have got it in time, since it had hung up long before.
        Raises UnreachableError and StoreError.
        """
        line, used = self._take()
        try:
            return self._run(line, script, key, arguments)
        except UnreachableError as error:
            while self._idle:  # what was open is no longer, or leads to who does not answer
                self._idle.pop().disconnect()
            hung_up = not isinstance(error.__cause__, self._errors.TimeoutError)
            if used + hung_up + repeat < 2:  # a new one that got no answer in time would get none again
                raise
        return self._run(self._take()[0], script, key, arguments if again is None else again)

    def command(self, *words: object) -> Any:
        """Send a command; return the answer. Raises StoreError."""
        line, _ = self._take()
        return self._asked(line, lambda: self._exchange(line, words))

    def pop(self, key: str, seconds: float, glance: Callable[[], None], interval: float | None) -> str | None:
        """Return the first message of the list ``key``, waited for at most ``seconds`` seconds; ``None``: none came.

        Meanwhile ``glance`` is called every ``interval`` seconds (``None``: never). Raises StoreError.
        """
        line, _ = self._take()
        end = time.monotonic() + seconds + COMMAND_TIMEOUT

        def popped() -> str | None:
            line.send_packed_command(_packed(("BLPOP", key, f"{max(seconds, 0.001):.3f}")), check_health=False)
            while not line.can_read(max(0.001, end - time.monotonic() if interval is None else interval)):
                if time.monotonic() >= end:
                    raise self._errors.TimeoutError("no answer in time")
                if interval is not None:
                    glance()
            answer = line.read_response()
            return answer[1] if answer else None

        return cast("str | None", self._asked(line, popped))

    def close(self) -> None:
        """Close what is open. A later use is a StoreError."""
        self._closed = True
        while self._idle:
            self._idle.pop().disconnect()

    def check_open(self) -> None:
        """Raise StoreError where it was closed."""
        if self._closed:
            raise StoreError(f"the connection to {self.shown} was closed")

    def _take(self) -> tuple[_Line, bool]:
        """Return a connection, and whether it was used before: the server may have hung up on it since."""
        self.check_open()
        if self._pid != os.getpid():  # a fork: the connections are the parent's
            self._idle, self._pid = deque(), os.getpid()
        try:
            return self._idle.pop(), True
        except IndexError:
            return cast(_Line, self._class(**self._options)), False

    def _run(self, line: _Line, script: Script, key: str, arguments: tuple[object, ...]) -> Any:
        def exchanged() -> Any:
            try:
                return self._exchange(line, ("EVALSHA", script.sha, 1, key, *arguments))
            except self._errors.NoScriptError:  # it is new there, or was flushed
                return self._exchange(line, ("EVAL", script.text, 1, key, *arguments))

        return self._asked(line, exchanged)

    @staticmethod
    def _exchange(line: _Line, words: tuple[object, ...]) -> Any:
        line.send_packed_command(_packed(words), check_health=False)
        return line.read_response()

    def _asked(self, line: _Line, ask: Callable[[], Any]) -> Any:
        """Return what ``ask`` returns, keep the connection where it is sound; each error becomes one line."""
        sound = False
        try:
            answer = ask()
            sound = True
        except self._errors.AuthenticationError as error:
            raise StoreError(self._say("refuses the password", error, "correct the user and password")) from error
        except (self._errors.ConnectionError, self._errors.TimeoutError, OSError) as error:
            raise UnreachableError(self._say("cannot be reached", error, "start it, or correct the address")) from error
        except self._errors.ResponseError as error:
            raise StoreError(self._say("will not", error, "mend it there; rollcage doctor looks at it")) from error
        except (self._errors.RedisError, TypeError, ValueError) as error:  # such as a certificate that is not there
            raise StoreError(self._say("cannot be used", error, "correct the address")) from error
        finally:
            if sound and not self._closed:
                self._idle.append(line)
            else:
                line.disconnect()
        return answer

    def _say(self, what: str, error: Exception, advice: str) -> str:
        told = clean(mask_secrets(str(error)), limit=150).rstrip(".") or type(error).__name__
        secret = self._options.get("password")
        if secret:
            told = told.replace(str(secret), "***")
        return (
            f"Redis server {self.shown} {what} ({told}): no lock was taken or kept there; "
            f"{advice} (url under coordination: in rollcage.yml)"
        )


def _packed(words: tuple[object, ...]) -> list[bytes]:
    """Return a command as it is sent: https://redis.io/docs/latest/develop/reference/protocol-spec/#arrays.

    As redis-py does it, this would be the dearest part of taking a lease.
    """
    texts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return [b"".join((b"*%d\r\n" % len(texts), *(b"$%d\r\n%b\r\n" % (len(text), text) for text in texts)))]
