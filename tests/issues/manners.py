"""What GitHub does and emulate 0.11.2 does not, added by the proxy.

ETags and 304, 400 on ``If-Match``, whole seconds, 401 for unknown tokens, limits with their headers, lengths, lists
that lag, renamed repositories, dependencies between Issues, and the history of bodies in GraphQL. Dependencies and that
history are kept here, by the proxy, and emulate knows nothing of them.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlencode

from . import graphql
from .emulate import PEOPLE, TOKEN_COPIES, token_of

WRITES = {"POST", "PATCH", "PUT", "DELETE"}
REQUESTS_PER_TOKEN = 4_000
"""Of emulate's 5,000 an hour, before the proxy takes another copy of a token."""
LENGTHS = {"title": 256, "body": 65_536}
TIMES = re.compile(rb'("[a-z_]+_at":")(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?Z"')
ISSUE = re.compile(r"/repos/([^/]+/[^/]+)/issues/(\d+)$")
ISSUES = re.compile(r"/repos/([^/]+/[^/]+)/issues$")
CREATION = re.compile(r"/issues$|/comments$")
BLOCKERS = re.compile(r"/repos/([^/]+/[^/]+)/issues/(\d+)/dependencies/(blocked_by|blocking)(?:/(\d+))?$")


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks."""

    method: str
    path: str
    """Decoded, without the query."""
    target: str
    """The path as it was sent."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    person: str
    """Whose token it has; empty: no known one."""

    def json(self) -> Any:
        """Return the body as JSON; ``None``: it has none, or it is not JSON."""
        try:
            return json.loads(self.body) if self.body else None
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered. Names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Forward = Callable[[Request], Answer]


def answer(status: int, content: object) -> Answer:
    """Return an answer in JSON."""
    return Answer(status, {"content-type": "application/json; charset=utf-8"}, json.dumps(content).encode())


def refusal(status: int, message: str, **more: object) -> Answer:
    """Return an error as GitHub words it."""
    return answer(status, {"message": message, "documentation_url": "https://docs.github.com/rest", **more})


@dataclass
class Limits:
    """GitHub's limits of one token. They are counted always, and enforced where `enforced`."""

    requests_per_hour: int = 5_000
    points_per_minute: int = 900
    creations_per_minute: int = 80
    creations_per_hour: int = 500
    enforced: bool = False
    retry_after: float | None = 60.0
    """What a secondary limit says; ``None``: nothing, as GitHub does at times."""
    clock: Callable[[], float] = time.time
    """Unix time in seconds; an accelerated one lets an hour pass in a test."""


@dataclass
class _Used:
    """What a person's token has used: when, how many points."""

    requests: deque[float] = field(default_factory=deque)
    points: deque[tuple[float, int]] = field(default_factory=deque)
    creations: deque[float] = field(default_factory=deque)


class Manners:
    """The state that GitHub has and emulate has not. Safe between threads."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.limits = Limits()
        self.clock_ahead = timedelta()
        """How far GitHub's clock is ahead of ours, in all that it says."""
        self.tags_of_writes = b""
        """Anything else: the ETag of a write's answer is another than that of a read of the same."""
        self._lock = threading.RLock()
        self._sent = itertools.count()
        self._used: defaultdict[str, _Used] = defaultdict(_Used)
        self._renamed: dict[str, int] = {}
        self._names: dict[str, int] = {}
        self._edits: defaultdict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
        self._blockers: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
        self._copies: dict[str, tuple[float, list[dict[str, Any]]]] = {}

    def reset(self) -> None:
        """Forget the settings and what was used; what belongs to Issues stays."""
        with self._lock:
            self.limits, self.clock_ahead, self.tags_of_writes = Limits(), timedelta(), b""
            self._used.clear()
            self._renamed.clear()
            self._copies.clear()

    # Who asks

    def person(self, authorization: str) -> str:
        """Return whose token this is; an App's and its installations' are its own; empty: nobody's."""
        word = authorization.partition(" ")[2].strip()
        if word.startswith(("ghs_", "eyJ")):
            return "app"
        return next((who for who in PEOPLE if word == token_of(who)), "")

    def token(self, authorization: str) -> str:
        """Return what to send instead: a copy of the token that has requests left at emulate."""
        who = self.person(authorization)
        if who in {"", "app"}:
            return authorization
        return f"token {token_of(who)}-{next(self._sent) // REQUESTS_PER_TOKEN % TOKEN_COPIES}"

    # What is refused before it is done

    def refused(self, request: Request) -> Answer | None:
        """Return GitHub's refusal of a request that emulate would take, if it is one."""
        if request.headers.get("authorization") and not request.person:
            return refusal(401, "Bad credentials")
        repository = "/".join(request.path.split("/")[2:4])
        if request.path.startswith("/repos/") and repository in self._renamed:
            rest = "/".join(request.target.split("/")[4:])
            query = f"?{urlencode(request.query)}" if request.query else ""
            place = f"{self.url}/repositories/{self._renamed[repository]}{'/' if rest else ''}{rest}{query}"
            moved = refusal(301 if request.method in {"GET", "HEAD"} else 307, "Moved Permanently", url=place)
            return replace(moved, headers={**moved.headers, "location": place})
        if request.method in WRITES and any(name in request.headers for name in ("if-match", "if-unmodified-since")):
            return refusal(
                400, "Conditional request headers are not allowed in unsafe requests unless supported by the endpoint"
            )
        content = request.json()
        if request.method in {"POST", "PATCH"} and isinstance(content, dict) and "/issues" in request.path:
            for name, longest in LENGTHS.items():
                if isinstance(content.get(name), str) and len(content[name]) > longest:
                    message = f"{name} is too long (maximum is {longest} characters)"
                    return refusal(422, "Validation Failed", errors=[{"code": "custom", "message": message}])
        return None

    def limited(self, request: Request) -> Answer | None:
        """Count the request; return the refusal where a limit is enforced and reached."""
        with self._lock:
            used, limits, now = self._used[request.person], self.limits, self.limits.clock()
            self._forget(used, now)
            points = 5 if request.method in WRITES and request.path != "/graphql" else 1
            takes = request.path != "/graphql"  # it has a primary limit of its own
            creates = request.method == "POST" and CREATION.search(request.path) is not None
            if limits.enforced:
                if takes and len(used.requests) >= limits.requests_per_hour:
                    return self.used_up(request, used.requests[0] + 3_600 - now)
                recent = sum(1 for at in used.creations if at > now - 60)
                full = creates and (
                    recent >= limits.creations_per_minute or len(used.creations) >= limits.creations_per_hour
                )
                if full or sum(count for _, count in used.points) + points > limits.points_per_minute:
                    return self.slow_down(request, limits.retry_after)
            if takes:
                used.requests.append(now)
            used.points.append((now, points))
            if creates:
                used.creations.append(now)
        return None

    def _forget(self, used: _Used, now: float) -> None:
        for times in (used.requests, used.creations):
            while times and times[0] <= now - 3_600:
                times.popleft()
        while used.points and used.points[0][0] <= now - 60:
            used.points.popleft()

    def usage(self, person: str) -> tuple[int, int, int]:
        """Return requests and creations of the last hour and points of the last minute of a person's token."""
        with self._lock:
            used = self._used[person]
            self._forget(used, self.limits.clock())
            return len(used.requests), len(used.creations), sum(count for _, count in used.points)

    def used_up(self, request: Request, seconds: float) -> Answer:
        """Return the refusal of the primary limit, that resets in ``seconds``."""
        no = self.polite(refusal(403, f"API rate limit exceeded for user {request.person}."), request)
        reset = int(self.limits.clock() + self.clock_ahead.total_seconds() + seconds) + 1
        return replace(no, headers={**no.headers, "x-ratelimit-remaining": "0", "x-ratelimit-reset": str(reset)})

    def slow_down(self, request: Request, seconds: float | None, status: int = 403) -> Answer:
        """Return the refusal of a secondary limit, with ``Retry-After`` where seconds are given."""
        words = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
        no = self.polite(refusal(status, words), request)
        return no if seconds is None else replace(no, headers={**no.headers, "retry-after": str(round(seconds))})

    # How it is worded

    def rewritten(self, request: Request) -> Request:
        """Return the request as emulate understands it: by the repository's name, and times as precise as its own."""
        if request.path.startswith("/repositories/"):
            number, _, rest = request.target.removeprefix("/repositories/").partition("/")
            now = next((new for new, each in self._names.items() if each == int(number)), None)
            if now is not None:
                target = f"/repos/{now}{'/' if rest else ''}{rest}"
                request = replace(request, path=target, target=target)
        return request

    def query(self, request: Request) -> str:
        """Return the query to send: ``since`` by our clock, and with a fraction, since emulate compares as text."""
        query = dict(request.query)
        if since := query.get("since"):
            moment = datetime.fromisoformat(since.replace("Z", "+00:00")) - self.clock_ahead
            query["since"] = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        return urlencode(query)

    def own_times(self, given: Answer) -> Answer:
        """Return the answer with times in whole seconds, by GitHub's clock."""

        def whole(found: re.Match[bytes]) -> bytes:
            if not self.clock_ahead:
                return found[1] + found[2] + b'Z"'
            moved = datetime.fromisoformat(found[2].decode()) + self.clock_ahead
            return found[1] + moved.isoformat(timespec="seconds").encode() + b'Z"'

        return replace(given, body=TIMES.sub(whole, given.body))

    def polite(self, given: Answer, request: Request) -> Answer:
        """Return the answer with the headers that each of GitHub's has, or 304 where nothing has changed."""
        headers = dict(given.headers)
        date = datetime.fromtimestamp(self.limits.clock(), UTC) + self.clock_ahead
        headers["date"] = format_datetime(date, usegmt=True)
        if given.status in {200, 201} and request.path != "/graphql":
            seed = b"" if request.method == "GET" else self.tags_of_writes
            etag = f'W/"{hashlib.sha256(seed + given.body).hexdigest()}"'
            headers["etag"] = etag
            if request.method == "GET" and etag.removeprefix("W/") in request.headers.get("if-none-match", ""):
                with self._lock:  # free: GitHub does not count it
                    used = self._used[request.person]
                    if used.requests:
                        used.requests.pop()
                        used.points.pop()
                given = Answer(304, headers, b"")
        with self._lock:
            used, now = self._used[request.person], self.limits.clock()
            most, taken = self.limits.requests_per_hour, len(used.requests)
            resets = (used.requests[0] if used.requests else now) + 3_600 + self.clock_ahead.total_seconds()
        headers |= {
            "x-ratelimit-limit": str(most),
            "x-ratelimit-remaining": str(max(0, most - taken)),
            "x-ratelimit-used": str(taken),
            "x-ratelimit-reset": str(int(resets)),
            "x-ratelimit-resource": "graphql" if request.path == "/graphql" else "core",
        }
        return replace(given, headers=headers)

    # What emulate has not

    def own(self, request: Request, forward: Forward) -> Answer | None:
        """Return the answer to a request that emulate knows nothing of; ``None``: it does."""
        if request.path == "/graphql" and request.method == "POST":
            content = request.json() or {}
            return answer(200, graphql.answer(content, lambda name, number: self._told(request, name, number, forward)))
        if found := BLOCKERS.search(request.path):
            return self._dependencies(request, forward, found[1], int(found[2]), found[3], found[4])
        return None

    def _issue(self, request: Request, repository: str, number: int, forward: Forward) -> dict[str, Any] | None:
        path = f"/repos/{repository}/issues/{number}"
        got = forward(replace(request, method="GET", path=path, target=path, query={}, body=b""))
        found: dict[str, Any] | None = json.loads(got.body) if got.status == 200 else None
        return found

    def _told(self, request: Request, repository: str, number: int, forward: Forward) -> dict[str, Any] | None:
        issue = self._issue(request, repository, number, forward)
        if issue is None:
            return None
        with self._lock:
            edits = list(reversed(self._edits[repository, number]))
        return graphql.issue(issue, edits)

    def _dependencies(
        self, request: Request, forward: Forward, repository: str, number: int, side: str, one: str | None
    ) -> Answer:
        if self._issue(request, repository, number, forward) is None:
            return refusal(404, "Not Found")
        with self._lock:
            there = self._blockers[repository, number]
            if request.method == "GET":
                if side == "blocking":
                    here = [key[1] for key, each in self._blockers.items() if key[0] == repository and number in each]
                    there = sorted(here)
                return answer(200, [self._issue(request, repository, each, forward) for each in there])
            wanted = int(one) if one else (request.json() or {}).get("issue_id")
            blocker = self._by_id(request, repository, wanted, forward)
            if blocker is None or side == "blocking":
                return refusal(404, "Not Found")
            if request.method == "POST":
                if blocker["number"] in there or blocker["number"] == number:
                    return refusal(422, "Validation Failed")
                there.append(blocker["number"])
                return answer(201, self._issue(request, repository, number, forward))
            if blocker["number"] not in there:
                return refusal(404, "Not Found")
            there.remove(blocker["number"])
            return answer(200, self._issue(request, repository, number, forward))

    def _by_id(self, request: Request, repository: str, wanted: object, forward: Forward) -> dict[str, Any] | None:
        return next((each for each in self._all(request, repository, forward) if each["id"] == wanted), None)

    def _all(self, request: Request, repository: str, forward: Forward) -> list[dict[str, Any]]:
        """Return all Issues, newest first."""
        path, found = f"/repos/{repository}/issues", []
        for page in itertools.count(1):
            query = {"state": "all", "per_page": "100", "page": str(page)}
            got = forward(replace(request, method="GET", path=path, target=path, query=query, body=b""))
            part = json.loads(got.body)
            if got.status != 200 or not part:
                break
            found += part
        return sorted(found, key=lambda each: -each["number"])

    # Histories

    def before(self, request: Request, forward: Forward) -> dict[str, Any] | None:
        """Return the Issue whose body is about to be written, as it is."""
        found = ISSUE.search(request.path)
        if request.method != "PATCH" or found is None or "body" not in (request.json() or {}):
            return None
        return self._issue(request, found[1], int(found[2]), forward)

    def after(self, request: Request, before: Mapping[str, Any] | None, given: Answer) -> None:
        """Note an edit of a body. GitHub's history begins with the first edit, and then has the original too."""
        found = ISSUE.search(request.path)
        if before is None or found is None or given.status != 200:
            return
        now = json.loads(given.body)
        if (now["body"] or "") == (before["body"] or ""):
            return
        with self._lock:
            edits = self._edits[found[1], int(found[2])]
            if not edits:
                edits.append(graphql.edit(before["created_at"], before["user"]["login"], before["body"] or ""))
            edits.append(graphql.edit(now["updated_at"], request.person, now["body"] or ""))

    def bodies(self, repository: str, number: int) -> list[tuple[str, str]]:
        """Return who wrote which bodies of an Issue, oldest first, the original included; nothing: never edited."""
        with self._lock:
            return [(each["editor"]["login"], each["diff"]) for each in self._edits[repository, number]]

    def rename(self, old: str, new: str, number: int) -> None:
        """Send whoever asks for ``old`` to the repository ``number``, which emulate calls ``new`` by now."""
        with self._lock:
            self._renamed[old] = number
            self._names[new] = number
            for key in [key for key in self._edits if key[0] == old]:
                self._edits[new, key[1]] = self._edits.pop(key)
            for key in [key for key in self._blockers if key[0] == old]:
                self._blockers[new, key[1]] = self._blockers.pop(key)

    def copied(self, request: Request, repository: str, forward: Forward) -> list[dict[str, Any]]:
        """Take a copy of all Issues, for stale lists; newest first."""
        issues = self._all(request, repository, forward)
        with self._lock:
            self._copies[repository] = (time.monotonic(), issues)
        return issues

    def stale(self, request: Request, seconds: float, forward: Forward) -> Answer | None:
        """Return a list of Issues as it was up to ``seconds`` ago; ``None``: it is another request."""
        found = ISSUES.search(request.path)
        if request.method != "GET" or found is None:
            return None
        with self._lock:
            taken, issues = self._copies.get(found[1], (-math.inf, []))
            if time.monotonic() - taken > seconds:
                issues = self.copied(request, found[1], forward)
        query = request.query
        state, labels = query.get("state", "open"), [word for word in query.get("labels", "").split(",") if word]
        chosen = [
            each
            for each in issues
            if (state == "all" or each["state"] == state)
            and set(labels) <= {label["name"] for label in each["labels"]}
            and each["updated_at"] >= query.get("since", "")
        ]
        size, page = int(query.get("per_page", 30)), int(query.get("page", 1))
        part = answer(200, chosen[(page - 1) * size : page * size])
        if page * size < len(chosen):
            link = f'<{self.url}{request.target}?{urlencode({**query, "page": page + 1})}>; rel="next"'
            part = replace(part, headers={**part.headers, "link": link})
        return self.polite(part, request)
