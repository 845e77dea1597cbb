"""A GitHub App: its short-lived tokens, shared by all threads and renewed in time.

PyGithub's own AppInstallationAuth belongs to one client, so that each thread would have a token of its own, and tells
by this machine's clock when a token ends. Here all threads share one, and GitHub's own time counts.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from datetime import datetime

import jwt
import requests
from github import Auth, Github, GithubException

from ...clock import Clock, parse_iso
from ..errors import TrackerOfflineError, TrackerRefusedError
from .credentials import APP_KEY, app_identity
from .retry import NeverRetry, StrayAnswerError, in_words, read_answer, refusal

RENEW_S = 300.0
"""A token is renewed so long before it ends: an hour after it was made."""
API_VERSION = "2022-11-28"
TIMEOUT_S = 15
"""GitHub ends a request after 10 s by itself: https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api"""

# At DEBUG PyGithub logs whole answers, and that of a GitHub App's request for a token is the token.
logging.getLogger("github.Requester").setLevel(logging.INFO)


class AppToken:
    """The tokens of one installation of a GitHub App."""

    def __init__(self, server: str, app: str, key: str, installation: int, clock: Clock) -> None:
        """Take the server, the App's id, its private key in PEM, and the installation's id."""
        self.name, self.identity = f"GitHub App {app}", app_identity(app, installation)
        self._server, self._app, self._key, self._installation = server, app, key, installation
        self._clock = clock
        self._guard = threading.Lock()
        self._token = ""
        self._until = 0.0
        self._ahead = 0.0
        """Seconds by which this machine's clock is ahead of GitHub's: a JWT is good by GitHub's."""

    def token(self) -> str:
        """See `Credential.token`."""
        with self._guard:
            if not self._token or self._clock.boot() >= self._until:
                self._token = self._make()
            return self._token

    def renew(self, refused: str) -> bool:
        """See `Credential.renew`."""
        with self._guard:
            if self._token == refused:
                self._token = ""
            return True

    def _make(self) -> str:
        """Exchange a JWT for a token; once more where only the clocks differ."""
        for again in (False, True):
            status, headers, text = self._exchange()
            answer = read_answer(status, headers, text)
            if status == 201 and isinstance(answer.data, dict) and answer.data.get("token"):
                now = answer.date or self._clock.now()
                ends = parse_iso(str(answer.data["expires_at"]))
                self._until = self._clock.boot() + max((ends - now).total_seconds() - RENEW_S, 0.0)
                return str(answer.data["token"])
            if status >= 500:
                break
            ahead = self._measure(answer.date)
            if again or status != 401 or abs(ahead - self._ahead) < 30.0:
                raise refusal(answer, "a token for the installation", "the App", self.name)
            self._ahead = ahead
        raise TrackerOfflineError(
            f"{self._server} made no token for {self.name}: it answered {status}; try again later"
        )

    def _measure(self, date: datetime | None) -> float:
        return (self._clock.now() - date).total_seconds() if date is not None else 0.0

    def _exchange(self) -> tuple[int, Mapping[str, str], str]:
        with_clock = Auth.AppAuth(self._app, sign_func=self._sign)
        client = Github(
            auth=with_clock,
            base_url=self._server,
            timeout=TIMEOUT_S,
            retry=NeverRetry(),
            seconds_between_requests=None,
            seconds_between_writes=None,
            user_agent="rollcage",
            api_version=API_VERSION,
        )
        try:
            path = f"/app/installations/{self._installation}/access_tokens"
            return client.requester.requestJson("POST", path, input={})
        except (requests.RequestException, GithubException, StrayAnswerError, ValueError) as error:
            raise TrackerOfflineError(
                f"{self._server} made no token for {self.name}: {in_words(error)}; look at the connection"
            ) from None
        finally:
            client.close()

    def _sign(self, payload: dict[str, object]) -> str:
        now = self._clock.now().timestamp() - self._ahead
        moments = {"iat": int(now) - 60, "exp": int(now) + 540}
        try:
            return jwt.encode({**payload, **moments}, key=self._key, algorithm="RS256")
        except (ValueError, TypeError, jwt.PyJWTError):
            raise TrackerRefusedError(
                f"${APP_KEY} names no private key of a GitHub App; download one in the App's settings", 401
            ) from None
