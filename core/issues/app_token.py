"""Who rollcage is for GitHub: a token from a variable, or a GitHub App whose short-lived tokens are renewed in time.

PyGithub's own AppInstallationAuth belongs to one client, so that each thread would have a token of its own, and tells
by this machine's clock when a token ends. Here all threads share one, and GitHub's own time counts.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Protocol

import jwt
import requests
from github import Auth, Github, GithubException

from ..clock import Clock, parse_iso
from ..config import TrackerSettings
from .errors import TrackerOfflineError, TrackerRefusedError
from .github_retry import NeverRetry, StrayAnswerError, in_words, read_answer, refusal

APP_ID, APP_KEY, APP_INSTALLATION = (
    "ROLLCAGE_GITHUB_APP_ID",
    "ROLLCAGE_GITHUB_APP_KEY",
    "ROLLCAGE_GITHUB_APP_INSTALLATION",
)
"""The variables of a GitHub App: its id, the path of its private key, the id of its installation."""
RENEW_S = 300.0
"""A token is renewed so long before it ends: an hour after it was made."""
DEFAULT_SERVER = "https://api.github.com"
API_VERSION = "2022-11-28"
TIMEOUT_S = 15
"""GitHub ends a request after 10 s by itself: https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api"""

# At DEBUG PyGithub logs whole answers, and that of a GitHub App's request for a token is the token.
logging.getLogger("github.Requester").setLevel(logging.INFO)


class Credential(Protocol):
    """A token, as long as it lives. Safe between threads."""

    name: str
    """Where it comes from, for messages: ``$GITHUB_TOKEN``."""
    identity: str
    """What its limits are kept by; for an App not the token, which changes."""

    def token(self) -> str:
        """Return a token that is good now. Raises TrackerRefusedError, TrackerOfflineError."""
        ...

    def renew(self, refused: str) -> bool:
        """Forget the token ``refused``, which the server did not take; return whether another may be better."""
        ...


class FixedToken:
    """A token that somebody made by hand."""

    def __init__(self, name: str, token: str) -> None:
        """Take the name of its variable, and the token."""
        self.name, self.identity, self._token = f"${name}", token, token

    def token(self) -> str:
        """See `Credential.token`."""
        return self._token

    def renew(self, refused: str) -> bool:
        """See `Credential.renew`: there is no other."""
        return False


class AppToken:
    """The tokens of one installation of a GitHub App."""

    def __init__(self, server: str, app: str, key: str, installation: int, clock: Clock) -> None:
        """Take the server, the App's id, its private key in PEM, and the installation's id."""
        self.name, self.identity = f"GitHub App {app}", f"app:{app}:{installation}"
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


def credential(settings: TrackerSettings, clock: Clock, environ: Mapping[str, str]) -> Credential:
    """Return who rollcage is: the App where its variables are set, else the token of ``token_env``.

    Raises TrackerRefusedError with what is missing. No message has a token or a key in it.
    """
    given = {name: environ.get(name, "").strip() for name in (APP_ID, APP_KEY, APP_INSTALLATION)}
    if any(given.values()):
        if missing := [name for name, value in given.items() if not value]:
            raise TrackerRefusedError(
                f"for a GitHub App ${' and $'.join(missing)} must be set too, or none of them", 401
            )
        if not given[APP_INSTALLATION].isdigit():
            raise TrackerRefusedError(
                f"${APP_INSTALLATION} is no number; it is the last part of the address of the installation's settings",
                401,
            )
        try:
            key = Path(given[APP_KEY]).read_text(encoding="utf-8")
        except (OSError, ValueError):
            raise TrackerRefusedError(
                f"${APP_KEY} names no file that can be read; it is the path of the App's private key (PEM)", 401
            ) from None
        server = settings.base_url or DEFAULT_SERVER
        return AppToken(server, given[APP_ID], key, int(given[APP_INSTALLATION]), clock)
    token = environ.get(settings.token_env, "").strip()
    if not token:
        raise TrackerRefusedError(
            f"${settings.token_env} holds no token; export one with the permission Issues: read and write for "
            f"{settings.repo}, or name another variable as tracker.token_env: in rollcage.yml",
            401,
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise TrackerRefusedError(f"${settings.token_env} holds something that is no token; export it anew", 401)
    return FixedToken(settings.token_env, token)
