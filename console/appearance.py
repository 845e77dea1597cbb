"""What a terminal gets: which look, mouse or not, how many frames; chosen from the environment and the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..core.errors import SettingsError

if TYPE_CHECKING:
    from ..core.config import ConsoleSettings

THEMES = {"dark": "rollcage-dark", "light": "rollcage-light", "ansi": "rollcage-ansi"}
"""The names for ``console.theme``, and Textual's."""
REMOTE_FRAMES, LOCAL_FRAMES = 10, 30


@dataclass(frozen=True, slots=True)
class Appearance:
    """How the console treats this terminal."""

    theme: str
    mouse: bool
    remote: bool
    """Over SSH: nothing moves by itself and the line is spared."""
    frames: int
    """At most so many a second."""
    one_colour: bool
    """NO_COLOR is set: the ANSI look, without its colours."""


def plain_reason(environment: Mapping[str, str], *, terminal: bool) -> str:
    """Return why only plain lines will do here; empty where the full screen can be shown."""
    if not terminal:
        return "there is no terminal"
    if environment.get("TERM", "") in {"", "dumb", "unknown"}:
        return f"TERM is {environment.get('TERM') or 'not set'}"
    return ""


def appearance(settings: ConsoleSettings, environment: Mapping[str, str]) -> Appearance:
    """Return how to treat the terminal of ``environment``.

    Raises SettingsError where ``console.theme`` is no theme.
    """
    if settings.theme is not None and settings.theme not in THEMES:
        allowed = ", ".join(THEMES)
        raise SettingsError(
            "rollcage.yml", None, "console.theme", f"{settings.theme!r} is no theme; allowed: {allowed}"
        )
    one_colour = bool(environment.get("NO_COLOR"))
    remote = bool(environment.get("SSH_CONNECTION") or environment.get("SSH_TTY"))
    theme = "ansi" if one_colour else settings.theme or _by_terminal(environment)
    return Appearance(
        theme=THEMES[theme],
        mouse=settings.mouse if settings.mouse is not None else not remote,
        remote=remote,
        frames=REMOTE_FRAMES if remote else LOCAL_FRAMES,
        one_colour=one_colour,
    )


def _by_terminal(environment: Mapping[str, str]) -> str:
    """Choose by what the terminal says of itself; COLORFGBG is ``foreground;background`` (rxvt, Konsole, iTerm)."""
    term = environment.get("TERM", "").lower()
    many = environment.get("COLORTERM", "").lower() in {"truecolor", "24bit"} or "256" in term or "direct" in term
    if not many and term not in {"xterm-kitty", "alacritty", "foot", "wezterm", "xterm-ghostty", "ghostty"}:
        return "ansi"
    background = environment.get("COLORFGBG", "").rpartition(";")[2]
    return "light" if background in {"7", "15"} else "dark"
