"""Requests to GitHub through PyGithub: one client per thread, one limiter for all processes, reads asked again.

Only PyGithub's transport and authentication are used, never its objects: those are not safe between threads, fetch
themselves again when they like, and an ``edit`` sends more than what was named.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit
from weakref import WeakSet

import requests
from github import Auth, Github, GithubException

from ...clock import Clock
from ...errors import StoreError
from ..errors import OutcomeUnknownError, TrackerError, TrackerLimitError, TrackerOfflineError
from .app_token import API_VERSION, TIMEOUT_S
from .credentials import Credential
from .limiter import NOTHING, PATIENCE_S, READ, Cost, Limiter, Slot, Told
from .retry import (
    RETRY_AFTER_S,
    Answer,
    NeverRetry,
    StrayAnswerError,
    in_words,
    never_sent,
    read_answer,
    refusal,
)

T = TypeVar("T")
PER_PAGE = 100
"""The most that GitHub gives."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request; ``what`` it is about is said in errors: ``Issue #7``."""

    verb: str
    path: str
    what: str
    cost: Cost = READ
    parameters: Mapping[str, str] | None = None
    body: Mapping[str, object] | None = None
    etag: str = ""
    fine: frozenset[int] = frozenset()
    """Statuses besides 2xx and 304 that the caller reads by itself."""
    reads: bool = False
    """Whether a POST only reads, as GraphQL's queries do."""
    patience: float | None = None
    """Seconds to wait for its turn at most; ``None``: as the client does."""

    @property
    def is_read(self) -> bool:
        """Return whether it may be sent again: it changes nothing."""
        return self.verb == "GET" or self.reads


class _LostAnswerError(TrackerOfflineError):
    """The answer of a read was lost, which may come right at once; where there is no connection at all it does not."""


class _Own(threading.local):
    """What a thread has: its connection, the token that it used last, and what is booked for its next requests."""

    client: Github | None = None
    token: str = ""
    booked: Slot | None = None
    left: Cost = NOTHING


class _Sign(Auth.Auth):
    """Puts the token that is good now into each request."""

    def __init__(self, own: _Own) -> None:
        self._own = own

    @property
    def token_type(self) -> str:
        return "Bearer"

    @property
    def token(self) -> str:
        return self._own.token


class GitHubClient:
    """Sends requests about one repository. Safe between threads: each has a connection of its own."""

    def __init__(
        self,
        server: str,
        repository: str,
        credential: Credential,
        limiter: Limiter,
        clock: Clock,
        *,
        timeout: int = TIMEOUT_S,
        patience: float = PATIENCE_S,
        leave: threading.Event | None = None,
    ) -> None:
        """Take the server's address, ``owner/name``, who asks, and the limits; seconds for one try and for a turn.

        Once ``leave`` is set nobody waits any more and nothing is sent.
        """
        self.server, self.repository, self.credential, self.limiter = server, repository, credential, limiter
        self._clock, self._timeout, self._patience = clock, timeout, patience
        self._own = _Own()
        self._clients: WeakSet[Github] = WeakSet()
        self._guard = threading.Lock()
        self._leave, self._is_shared, self._closed = leave or threading.Event(), leave is not None, False

    @property
    def root(self) -> str:
        """Return the path of the repository."""
        return f"/repos/{self.repository}"

    @property
    def graphql(self) -> str:
        """Return the whole address of GraphQL: on an Enterprise server it lies beside REST's path."""
        return self._github().requester.graphql_url

    def send(self, request: Request) -> Answer:
        """Send ``request``; a read that fails by the way is sent again a few times, a write never.

        Raises the errors of `rollcage.core.issues.tracker.Tracker`.
        """
        waits = iter(RETRY_AFTER_S)
        asked_to_wait = False
        while True:
            try:
                return self._once(request)
            except _LostAnswerError:
                wait = next(waits, None)
                if wait is None or self._clock.wait(self._leave, wait):
                    raise
            except TrackerLimitError as limit:
                if not request.is_read or asked_to_wait or limit.seconds > self._patience:
                    raise
                asked_to_wait = True  # the limiter waits as long as was asked, with all others

    def pages(self, request: Request) -> Iterator[Answer]:
        """Yield the answers of a list, page after page, as the server links them."""
        answer = self.send(request)
        asked = set[str]()
        while True:
            yield answer
            follow = _next_page(answer.headers.get("link", ""))
            if not follow or follow in asked:
                return
            asked.add(follow)
            # Only its path and query are used (see Requester): the token goes to no other server.
            prefix = urlsplit(self.server).path.rstrip("/")
            answer = self.send(Request("GET", follow.removeprefix(prefix), request.what))

    @contextmanager
    def booked(self, cost: Cost) -> Iterator[None]:
        """Wait for the turn of several requests at once: of those that this thread sends within, none has to wait.

        So what was begun is not broken off in its middle by our own limits. What is not used is given back. Raises
        TrackerLimitError where the turn is too far away, and TrackerOfflineError: then nothing was sent.
        """
        own = self._own
        if own.booked is not None:
            yield
            return
        slot = self.limiter.enter(cost, self._leave, self._patience)
        own.booked, own.left = slot, cost
        try:
            yield
        finally:
            own.booked = None
            self._settle(replace(slot, cost=own.left), sent=False)

    def close(self) -> None:
        """Close the connections of all threads, and let those that wait go, unless ``leave`` is somebody else's."""
        self._closed = True
        if not self._is_shared:
            self._leave.set()
        with self._guard:
            clients, self._clients = list(self._clients), WeakSet()
        for client in clients:
            client.close()

    # -- one request

    def _once(self, request: Request) -> Answer:
        if self._closed or self._leave.is_set():
            raise TrackerOfflineError("the tracker was closed; open it again")
        slot = self._turn(request.cost, self._patience if request.patience is None else request.patience)
        try:
            answer = self._transfer(request, slot)
        except TrackerError:
            raise
        except BaseException:  # a defect, or an interrupt: whether it was sent is not known
            self._settle(slot)
            raise
        if answer.status == 401 and self.credential.renew(self._own.token):
            # A 401 was not carried out, so that even a write may be sent again with a token that is good.
            answer = self._transfer(request, self.limiter.enter(request.cost, self._leave, self._patience))
        return self._judged(request, answer)

    def _turn(self, cost: Cost, patience: float) -> Slot:
        """Wait until a request may be sent; where it was booked, only for what the server asked all to wait since."""
        own = self._own
        if own.booked is None or not own.left.covers(cost):
            return self.limiter.enter(cost, self._leave, patience)
        turn = self.limiter.enter(NOTHING, self._leave, patience)
        own.left -= cost
        return replace(turn, at=own.booked.at, cost=cost)

    def _transfer(self, request: Request, slot: Slot) -> Answer:
        """Send it once; settle the slot by what came back."""
        headers = {"Accept": "application/vnd.github+json"}
        if request.etag:
            headers["If-None-Match"] = request.etag
        client = self._github()
        try:
            self._own.token = self.credential.token()
        except TrackerError:
            self._settle(slot, sent=False)
            raise
        try:
            status, answered, text = client.requester.requestJson(
                request.verb,
                request.path,
                parameters=dict(request.parameters or {}),
                headers=headers,
                input=dict(request.body) if request.body is not None else None,
            )
        except StrayAnswerError as stray:
            self._settle(slot, reached=True)
            return Answer(stray.status, {}, None)
        except requests.RequestException as error:
            unsent = never_sent(error)
            self._settle(slot, sent=not unsent, reached=False)
            self._failed(request, in_words(error), unsent=unsent)
        except (GithubException, ValueError, RuntimeError, AssertionError, UnicodeError) as error:
            # PyGithub chokes on what no GitHub answers: headers that are no numbers, half a JSON.
            self._settle(slot, reached=False)
            self._failed(request, f"its answer cannot be read ({type(error).__name__})", unsent=False)
        answer = read_answer(status, answered, text)
        self._settle(slot, answer.told, free=status == 304, reached=status < 500)
        return answer

    def _settle(
        self,
        slot: Slot,
        told: Told | None = None,
        *,
        sent: bool = True,
        free: bool = False,
        reached: bool | None = None,
    ) -> None:
        """Tell the limiter; where that cannot be written now (a full disk), the answer that is in hand counts more."""
        with suppress(StoreError):
            self.limiter.settle(slot, told, sent=sent, free=free, reached=reached)

    def _judged(self, request: Request, answer: Answer) -> Answer:
        status = answer.status
        if answer.is_limit:
            seconds = self.limiter.pause(answer.pause)
            raise TrackerLimitError(
                f"GitHub asks to wait ({answer.message or f'HTTP {status}'}); next try in {seconds:.0f} s", seconds
            )
        if status in request.fine:
            return answer
        if status >= 500 or (status == 202 and request.verb == "GET"):
            self._failed(request, f"it answered {status}", unsent=False)
        if status >= 400 or (300 <= status != 304):
            raise refusal(answer, request.what, self.repository, self.credential.name)
        if not answer.is_json:  # of a proxy or a login page in between
            self._failed(request, "something else answers there", unsent=False)
        return answer

    def _failed(self, request: Request, why: str, *, unsent: bool) -> NoReturn:
        server = urlsplit(self.server).hostname or self.server
        if request.is_read or unsent:
            error = TrackerOfflineError if unsent else _LostAnswerError
            raise error(f"{server} cannot be reached: {why}; look at the connection, then try again")
        raise OutcomeUnknownError(
            f"whether {request.what} was written is not known: {server} did not say ({why}); look before you try again"
        )

    def _github(self) -> Github:
        client = self._own.client
        if client is None:
            client = Github(
                auth=_Sign(self._own),
                base_url=self.server,
                timeout=self._timeout,
                retry=NeverRetry(),
                pool_size=1,
                per_page=PER_PAGE,
                seconds_between_requests=None,
                seconds_between_writes=None,
                user_agent="rollcage",
                api_version=API_VERSION,
            )
            self._own.client = client
            with self._guard:
                self._clients.add(client)
        return client


def read_with(what: str, read: Callable[[Any], T], data: object, *, written: bool = False) -> T:
    """Return what ``read`` makes of the answer's ``data``; one of another shape is none: as if none had come.

    Raises OutcomeUnknownError where something was ``written``, else TrackerOfflineError.
    """
    try:
        return read(data)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        text = f"the answer about {what} is not GitHub's ({type(error).__name__})"
        if written:
            raise OutcomeUnknownError(
                f"{text}; whether it was written is not known: look before you try again"
            ) from None
        raise TrackerOfflineError(f"{text}; look what stands between, then try again") from None


def _next_page(link: str) -> str:
    """Return the path and query of the next page in a ``Link`` header (RFC 8288), empty where this is the last."""
    for each in requests.utils.parse_header_links(link) if link else ():
        if each.get("rel") == "next":
            parts = urlsplit(each["url"])
            return f"{parts.path}?{parts.query}" if parts.query else parts.path
    return ""
