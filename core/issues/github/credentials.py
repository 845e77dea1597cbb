"""Who rollcage is for GitHub: a token from a variable, or a GitHub App. Light: consoles do without PyGithub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from ...clock import Clock
from ...config import TrackerSettings
from ..errors import TrackerRefusedError

APP_ID, APP_KEY, APP_INSTALLATION = (
    "ROLLCAGE_GITHUB_APP_ID",
    "ROLLCAGE_GITHUB_APP_KEY",
    "ROLLCAGE_GITHUB_APP_INSTALLATION",
)
"""The variables of a GitHub App: its id, the path of its private key, the id of its installation."""
DEFAULT_SERVER = "https://api.github.com"


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


def server_of(settings: TrackerSettings) -> str:
    """Return the address of the server that the settings name."""
    return (settings.base_url or DEFAULT_SERVER).rstrip("/")


def app_identity(app: str, installation: int) -> str:
    """Return what the limits of a GitHub App's installation are kept by."""
    return f"app:{app}:{installation}"


def identity(settings: TrackerSettings, environ: Mapping[str, str]) -> str:
    """Return what the limits are kept by, as `credential` has it; empty where there is none, or it is wrong."""
    app, installation = (environ.get(name, "").strip() for name in (APP_ID, APP_INSTALLATION))
    if app and installation.isdigit():
        return app_identity(app, int(installation))
    return "" if app or installation else environ.get(settings.token_env, "").strip()


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
        from .app_token import AppToken  # with PyGithub, which costs most of a second

        return AppToken(server_of(settings), given[APP_ID], key, int(given[APP_INSTALLATION]), clock)
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
