"""A proxy before the emulated GitHub: gives it GitHub's manners, records what it is asked, and fails on demand.

Without rules it is GitHub on a good day (`tests.issues.manners`). A rule names the requests that it is for, what goes
wrong with them and how often; chance is seeded. Writes reach emulate one at a time: it reads an Issue, waits for the
request's body and then stores, and would lose one of two labels that are added together, which GitHub does not.
"""

from __future__ import annotations

import http.client
import json
import math
import queue
import random
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from .emulate import OWNER, Emulate, token_of
from .manners import Answer, Manners, Request, refusal

NOT_SENT = {"host", "connection", "content-length", "accept-encoding"}
DROPPED = {"connection", "transfer-encoding", "content-length", "date", "keep-alive"}


class Fault(Enum):
    """What can go wrong with a request. Those with AFTER are done by GitHub; their answer is lost."""

    BAD_GATEWAY_BEFORE = "502, nothing done"
    BAD_GATEWAY_AFTER = "502, done"
    RESET_BEFORE = "connection reset, nothing done"
    RESET_AFTER = "connection reset, done"
    TRUNCATED = "the answer ends within its JSON, done"
    HTML = "an error page in HTML, nothing done"
    SLOW = "answered after `seconds`, done"
    PRIMARY_LIMIT = "403, the hour's requests are used up; resets in `seconds`"
    SECONDARY_LIMIT = "403 or 429 (`status`); Retry-After: `seconds`, where given"
    EXPIRED = "401, the token is not valid any more"
    ISSUES_DISABLED = "410, the repository has no Issues"
    FORBIDDEN = "403, the token may not"
    STALE = "a list as it was up to `seconds` ago"


@dataclass
class Rule:
    """Which requests go wrong, and how. Only the first rule that fits and has a turn left works."""

    fault: Fault
    method: str = ""
    """A regular expression for the whole method; empty: any."""
    path: str = ""
    """A regular expression searched in the path; empty: any."""
    times: int | None = 1
    """``None``: always."""
    after: int = 0
    """So many that fit go well first."""
    chance: float = 1.0
    seconds: float | None = None
    status: int = 403
    hits: int = 0
    """How often it has struck."""

    def fits(self, request: Request) -> bool:
        """Tell whether it is for this request."""
        method = not self.method or re.fullmatch(self.method, request.method) is not None
        return method and re.search(self.path, request.path) is not None


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and what became of it."""

    request: Request
    """Without its token."""
    answer: Answer | None
    """``None``: the client got none, or not all of it."""
    fault: Fault | None
    at: float
    """`time.monotonic` when it came."""
    done: bool
    """Whether emulate was asked and did it."""


@dataclass
class FaultProxy:
    """A running proxy. Its `manners` have more to be set: limits, the server's clock, renamed repositories."""

    url: str
    upstream: Emulate
    manners: Manners
    rules: list[Rule] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    random: random.Random = field(default_factory=lambda: random.Random(0))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _writing: threading.Lock = field(default_factory=threading.Lock)
    _connections: queue.SimpleQueue[http.client.HTTPConnection] = field(default_factory=queue.SimpleQueue)
    _released: threading.Event = field(default_factory=threading.Event)

    @classmethod
    @contextmanager
    def serving(cls, start: Any) -> Iterator[FaultProxy]:
        """Serve on a free port of loopback, before the server that ``start(base_url)`` runs as a context."""
        server = _Server(("127.0.0.1", 0), _Handler)
        url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="fault-proxy", daemon=True)
        with start(url) as upstream:
            proxy = cls(url, upstream, Manners(url))
            server.proxy = proxy
            thread.start()
            try:
                yield proxy
            finally:
                proxy._released.set()
                server.shutdown()
                server.server_close()
                thread.join()
                while not proxy._connections.empty():
                    proxy._connections.get().close()

    def fail(self, fault: Fault, **how: Any) -> Rule:
        """Add a rule; see `Rule` for what it takes. Returns it, so that one can ask how often it struck."""
        rule = Rule(fault, **how)
        with self._lock:
            self.rules.append(rule)
        return rule

    def heal(self) -> None:
        """Let nothing go wrong any more; what waits in a slow answer is answered."""
        with self._lock:
            self.rules.clear()
        self._released.set()
        self._released = threading.Event()

    def reset(self, seed: int = 0) -> None:
        """Forget rules, records and settings; Issues stay."""
        self.heal()
        self.exchanges.clear()
        self.random.seed(seed)
        self.manners.reset()

    def asked(self, method: str = "", path: str = "") -> list[Exchange]:
        """Return what was asked so far, by whole method and by a regular expression searched in the path."""
        wanted = Rule(Fault.SLOW, method=method, path=path)
        return [each for each in tuple(self.exchanges) if wanted.fits(each.request)]

    def freeze_lists(self, repository: str) -> Rule:
        """Answer lists of a repository's Issues as they are now, until the rule is healed."""
        path = f"/repos/{repository}/issues"
        request = Request("GET", path, path, {}, {"authorization": f"token {token_of(OWNER)}"}, b"", OWNER)
        self.manners.copied(request, repository, self._forward)
        return self.fail(Fault.STALE, method="GET", path="/issues$", times=None, seconds=math.inf)

    def direct(self, method: str, path: str, body: object = None, person: str = "mallory") -> tuple[int, Any]:
        """Do what somebody does who uses no rollcage: no fault, no limit, no record. Return the status and the JSON."""
        parts = urlsplit(path)
        content = b"" if body is None else json.dumps(body).encode()
        headers = {"authorization": f"token {token_of(person)}", "content-type": "application/json"}
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        request = Request(method, unquote(parts.path), parts.path, query, headers, content, person)
        answer = self._well(request)
        return answer.status, json.loads(answer.body) if answer.body else None

    def handle(self, request: Request) -> tuple[Answer | None, bool]:
        """Answer a request; return the answer (``None``: reset the connection) and whether to cut it short."""
        begun = time.monotonic()
        rule = self._struck(request)
        fault = rule.fault if rule else None
        answer, done = self._answer(request, rule)
        got_all = answer is not None and fault is not Fault.TRUNCATED
        bare = {name: value for name, value in request.headers.items() if name != "authorization"}
        told = replace(request, headers=bare)
        self.exchanges.append(Exchange(told, answer if got_all else None, fault, begun, done))
        return answer, fault is Fault.TRUNCATED

    def _struck(self, request: Request) -> Rule | None:
        with self._lock:
            for rule in self.rules:
                if not rule.fits(request) or (rule.times is not None and rule.hits >= rule.times):
                    continue
                if rule.after > 0:
                    rule.after -= 1
                    continue
                if rule.chance >= 1 or self.random.random() < rule.chance:
                    rule.hits += 1
                    return rule
        return None

    def _answer(self, request: Request, rule: Rule | None) -> tuple[Answer | None, bool]:
        fault, seconds = (rule.fault, rule.seconds) if rule else (None, None)
        manners, page = self.manners, b"<!DOCTYPE html><html><title>Unicorn!</title><p>No server is available.</html>"
        match fault:
            case Fault.RESET_BEFORE:
                return None, False
            case Fault.BAD_GATEWAY_BEFORE:
                return manners.polite(refusal(502, "Server Error"), request), False
            case Fault.HTML:
                return manners.polite(Answer(503, {"content-type": "text/html"}, page), request), False
            case Fault.PRIMARY_LIMIT:
                return manners.used_up(request, 60.0 if seconds is None else seconds), False
            case Fault.SECONDARY_LIMIT:
                return manners.slow_down(request, seconds, rule.status if rule else 403), False
            case Fault.EXPIRED:
                return manners.polite(refusal(401, "Bad credentials"), request), False
            case Fault.ISSUES_DISABLED:
                return manners.polite(refusal(410, "Issues are disabled for this repo"), request), False
            case Fault.FORBIDDEN:
                return manners.polite(refusal(403, "Resource not accessible by integration"), request), False
            case Fault.SLOW:
                self._released.wait(1.0 if seconds is None else seconds)
        if fault is Fault.STALE and (stale := manners.stale(request, seconds or 0.0, self._forward)):
            return stale, True
        early = manners.limited(request) or manners.refused(request)
        if early is not None:
            return manners.polite(early, request), False
        answer = self._well(request)
        if fault is Fault.RESET_AFTER:
            return None, True
        if fault is Fault.BAD_GATEWAY_AFTER:
            return manners.polite(refusal(502, "Server Error"), request), True
        return manners.polite(answer, request), True

    def _well(self, request: Request) -> Answer:
        request = self.manners.rewritten(request)
        if request.method in {"GET", "HEAD"}:
            return self.manners.own(request, self._forward) or self._forward(request)
        with self._writing:
            own = self.manners.own(request, self._forward)
            if own is not None:
                return own
            before = self.manners.before(request, self._forward)
            answer = self._forward(request)
            self.manners.after(request, before, answer)
            return answer

    def _forward(self, request: Request) -> Answer:
        try:
            connection = self._connections.get_nowait()
        except queue.Empty:
            connection = self.upstream.connection()
        headers = {name: value for name, value in request.headers.items() if name not in NOT_SENT}
        headers["host"] = urlsplit(self.url).netloc
        headers["authorization"] = self.manners.token(headers.get("authorization", ""))
        query = f"?{self.manners.query(request)}" if request.query else ""
        connection.request(request.method, request.target + query, request.body or None, headers)
        got = connection.getresponse()
        body = got.read()
        self._connections.put(connection)
        kept = {name.lower(): value for name, value in got.getheaders() if name.lower() not in DROPPED}
        return self.manners.own_times(Answer(got.status, kept, body))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    proxy: FaultProxy

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet about clients that were killed: tests kill them."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        person = self.server.proxy.manners.person(headers.get("authorization", ""))
        request = Request(self.command, unquote(parts.path), parts.path, query, headers, body, person)
        answer, cut = self.server.proxy.handle(request)
        if answer is None:
            # Closed with a RST instead of a FIN: linger on, for no time.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return
        lines = [f"HTTP/1.1 {answer.status} {http.client.responses.get(answer.status, '')}"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        if answer.status not in {204, 304}:
            lines.append(f"content-length: {len(answer.body)}")
        content = answer.body[: len(answer.body) // 2] if cut else answer.body
        self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1") + content)
        self.close_connection = self.close_connection or cut

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = _serve  # noqa: N815

    def log_message(self, format: str, *words: object) -> None:  # noqa: A002
        """Say nothing: what was asked is recorded."""
