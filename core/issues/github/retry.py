"""What an answer of GitHub, or the lack of one, means: done, not done, or not to be known. Only reads are asked again.

PyGithub's default retry re-sends a POST after a 5xx, and follows a 301 without its query. So urllib3 gets a retry that
never retries and stops at what PyGithub would go on with, and `rollcage.core.issues.github.client` asks again itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self

import requests
from urllib3 import BaseHTTPResponse, Retry
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import MaxRetryError, NewConnectionError, SSLError

from ...text import clean, mask_secrets
from ..errors import TrackerRefusedError
from .limiter import Told

RETRY_AFTER_S = (0.5, 2.0)
"""A read is asked again so long after it failed, and then no more."""
_MOVED, _LATER = 301, 202


class StrayAnswerError(Exception):
    """An answer that PyGithub would follow by itself: a 301, without the query; a 202, by sleeping and for ever."""

    def __init__(self, status: int) -> None:
        """Take the status."""
        super().__init__(f"HTTP {status}")
        self.status = status


class NeverRetry(Retry):
    """Retries nothing. Not the server's ``Retry-After`` either, which urllib3 would sleep for."""

    def __init__(self, total: int | None = 0, **settings: object) -> None:
        """Be as requests' own default: no retry, and the first error as it is."""
        super().__init__(total, **{**settings, "read": False, "respect_retry_after_header": False})  # type: ignore[arg-type]

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:
        """Have `increment` asked where PyGithub must not see the answer."""
        return status_code == _MOVED or (status_code == _LATER and method == "GET")

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        """Raise StrayAnswerError for such an answer, else what urllib3 raises."""
        if response is not None and error is None:
            response.drain_conn()
            raise StrayAnswerError(response.status)
        return super().increment(method, url, response, error, _pool, _stacktrace)


def never_sent(error: requests.RequestException) -> bool:
    """Return whether it is certain that nothing of a request arrived: no connection came about."""
    if isinstance(error, (requests.exceptions.ConnectTimeout, requests.exceptions.ProxyError)):
        return True
    reason = error.args[0].reason if error.args and isinstance(error.args[0], MaxRetryError) else None
    if isinstance(reason, SSLError):  # of a handshake; one that came while reading is no certainty
        return "CERTIFICATE_VERIFY_FAILED" in str(reason)
    return isinstance(reason, NewConnectionError)  # refused, no route, no such name


def in_words(error: Exception) -> str:
    """Return what went wrong with a connection in a few words; never with an address, which may hold a password."""
    text = str(error)
    known = (
        ("NameResolution", "its name is not known here"),
        ("Connection refused", "the connection is refused"),
        ("CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted"),
        ("unreachable", "the network cannot be reached"),
        ("imed out", "it did not answer in time"),
        ("timeout", "it did not answer in time"),
        ("ProxyError", "the proxy does not let it through"),
        ("reset", "the connection broke"),
        ("without response", "the connection broke"),
        ("aborted", "the connection broke"),
        ("IncompleteRead", "the answer was cut off"),
        ("InvalidChunkLength", "the answer was cut off"),
    )
    return next((words for part, words in known if part in text), f"the connection failed ({type(error).__name__})")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server answered; header names are in small letters."""

    status: int
    headers: Mapping[str, str]
    data: object
    """JSON, as Python reads it; ``None``: there was no body, or it was no JSON (then ``is_json`` is false)."""
    is_json: bool = True

    @property
    def message(self) -> str:
        """Return the server's own words, cleaned, with the fields that a 422 is about."""
        if not isinstance(self.data, dict):
            return ""
        said = [str(self.data.get("message") or "")]
        errors = self.data.get("errors")
        for each in errors[:5] if isinstance(errors, list) else ():
            if isinstance(each, dict):
                words = each.get("message") or f"{each.get('field') or each.get('resource')}: {each.get('code')}"
                said.append(str(words))
            else:
                said.append(str(each))
        return mask_secrets(clean("; ".join(part for part in said if part), limit=300))

    @property
    def date(self) -> datetime | None:
        """Return the server's own time."""
        try:
            return parsedate_to_datetime(self.headers["date"])
        except (KeyError, ValueError, TypeError):
            return None

    @property
    def told(self) -> Told | None:
        """Return what the headers say of the primary limit of REST; GraphQL has one of its own."""
        headers, date = self.headers, self.date
        try:
            if headers.get("x-ratelimit-resource", "core") != "core" or date is None:
                return None
            remaining, limit = int(headers["x-ratelimit-remaining"]), int(headers["x-ratelimit-limit"])
            return Told(remaining, limit, float(headers["x-ratelimit-reset"]) - date.timestamp() + 1.0)
        except (KeyError, ValueError):
            return None

    @property
    def is_limit(self) -> bool:
        """Return whether it asks to wait, which a 403 does not always do.

        By its headers, else by its words: as in GitHub's *Exceeding the rate limit* and in PyGithub's Requester.
        """
        words = self.message.lower()
        if self.status == 422:
            return "submitted too quickly" in words
        if self.status not in {403, 429}:
            return False
        return (
            self.status == 429
            or "retry-after" in self.headers
            or self.headers.get("x-ratelimit-remaining") == "0"
            or "rate limit" in words
            or "abuse detection" in words
            or "try again later" in words
        )

    @property
    def pause(self) -> float | None:
        """Return for how many seconds it asks all to wait; ``None``: it does not say."""
        try:
            return max(float(self.headers["retry-after"]), 1.0)
        except (KeyError, ValueError):
            pass
        if self.headers.get("x-ratelimit-remaining") == "0" and self.told is not None:
            return max(self.told.seconds, 1.0)
        return None


def read_answer(status: int, headers: Mapping[str, str], text: str) -> Answer:
    """Return an answer; a page of some proxy, which is no JSON, is told by ``is_json``."""
    if not text:
        return Answer(status, headers, None)
    try:
        return Answer(status, headers, json.loads(text))
    except ValueError:
        return Answer(status, headers, None, is_json=False)


def refusal(answer: Answer, what: str, repository: str, credential: str) -> TrackerRefusedError:
    """Return why the server says no to ``what``, and what to do; ``credential`` names where the token is from."""
    said = f" ({answer.message})" if answer.message else ""
    return TrackerRefusedError("; ".join(_reason(answer, what, repository, credential, said)), answer.status)


def _reason(answer: Answer, what: str, repository: str, credential: str, said: str) -> Iterator[str]:
    words = answer.message.lower()
    match answer.status:
        case 401:
            yield f"GitHub does not take the token of {credential}{said}: it has expired, was revoked, or is another's"
            yield "make a new one and put it there"
        case 403:
            yield f"GitHub does not permit {what} in {repository}{said}"
            yield f"give the token of {credential} the permission Issues: read and write for it"
        case 301 | 302 | 307 | 308:
            yield f"{repository}, or {what} in it, has moved: it was renamed, or the Issue went to another repository"
            yield "write the new name as tracker.repo: in rollcage.yml"
        case 410 if "disabled" in words:
            yield f"{repository} has no Issues{said}"
            yield "switch them on in its settings, or name another as tracker.repo: in rollcage.yml"
        case 410:
            yield f"{what} in {repository} is gone{said}: it was deleted, or the repository has no Issues"
        case 404:
            yield f"GitHub knows no {what} in {repository}{said}, or the token of {credential} may not see it"
        case 422:
            yield f"GitHub does not take {what} in {repository}{said or ' as it is'}"
        case status:
            yield f"GitHub refuses {what} in {repository} with HTTP {status}{said}"
