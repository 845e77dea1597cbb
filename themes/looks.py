"""Three looks: dark, light, and one of 16 colours. A look names a style for each meaning; widgets ask for meanings.

Every text style has a contrast of at least 4.5 to 1 on each background that it can stand on (WCAG 2.1, criterion
1.4.3); the tests compute it. Colour only repeats what a glyph and a word say, so the ANSI look may use few colours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.style import Style
from textual.theme import Theme

MEANINGS = (
    "",
    "strong",
    "muted",
    "heading",
    "accent",
    "key",
    "critical",
    "warning",
    "ok",
    "info",
    "added",
    "removed",
    "hunk",
    "spark",
    "frame",
    "frame-focus",
    "title",
    "title-focus",
    "chip-critical",
    "chip-warning",
    "chip-ok",
    "chip-info",
)
"""The names that widgets may use."""


@dataclass(frozen=True, slots=True)
class Look:
    """One theme: Textual's part for borders and inputs, and a Rich style for each meaning."""

    name: str
    theme: Theme
    styles: Mapping[str, Style]
    cursor: Style
    """Laid under the row with the cursor, in the table with the focus."""
    cursor_idle: Style
    """The same in the other tables."""


def _rich(
    *,
    background: str,
    surface: str,
    text: str,
    muted: str,
    frame: str,
    focus: str,
    accent: str,
    critical: str,
    warning: str,
    ok: str,
    info: str,
    added: str,
    removed: str,
    on_chip: str,
    cursor: str,
    cursor_idle: str,
    notice: str,
    dark: bool,
) -> Look:
    name = "rollcage-dark" if dark else "rollcage-light"
    theme = Theme(
        name=name,
        primary=focus,
        secondary=accent,
        accent=accent,
        warning=warning,
        error=critical,
        success=ok,
        foreground=text,
        background=background,
        surface=surface,
        panel=surface,
        dark=dark,
        variables={
            "frame": frame,
            "dialog": focus,
            "muted": muted,
            "notice": notice,
            "scrollbar": frame,
            "scrollbar-hover": focus,
            "scrollbar-active": focus,
            "scrollbar-background": background,
            "scrollbar-background-hover": background,
            "scrollbar-background-active": background,
            "input-cursor-background": text,
            "input-cursor-foreground": background,
            "input-selection-background": cursor,
            "choice-focus": focus,
            "choice-focus-text": on_chip,
        },
    )
    styles = {
        "": Style(),
        "strong": Style(bold=True),
        "muted": Style(color=muted),
        "heading": Style(color=muted),
        "accent": Style(color=accent),
        "key": Style(color=info, bold=True),
        "critical": Style(color=critical, bold=True),
        "warning": Style(color=warning),
        "ok": Style(color=ok),
        "info": Style(color=info),
        "added": Style(color=added),
        "removed": Style(color=removed),
        "hunk": Style(color=accent),
        "spark": Style(color=info),
        "frame": Style(color=frame),
        "frame-focus": Style(color=focus),
        "title": Style(bold=True),
        "title-focus": Style(color=on_chip, bgcolor=focus, bold=True),
        "chip-critical": Style(color=on_chip, bgcolor=critical, bold=True),
        "chip-warning": Style(color=on_chip, bgcolor=warning, bold=True),
        "chip-ok": Style(color=ok, bold=True),
        "chip-info": Style(color=on_chip, bgcolor=info, bold=True),
    }
    return Look(name, theme, styles, Style(bgcolor=cursor), Style(bgcolor=cursor_idle))


DARK = _rich(
    background="#10141b",
    surface="#171c26",
    text="#d8dee9",
    muted="#939eb0",
    frame="#4d5a70",
    focus="#7cb7ff",
    accent="#c4a8ff",
    critical="#ff8078",
    warning="#f0b74f",
    ok="#74cf9a",
    info="#7cb7ff",
    added="#74cf9a",
    removed="#ff8f88",
    on_chip="#10141b",
    cursor="#27344d",
    cursor_idle="#1b2230",
    notice="#303c54",
    dark=True,
)

LIGHT = _rich(
    background="#fcfcfa",
    surface="#f2f3f0",
    text="#20252e",
    muted="#545e6e",
    frame="#8b95a5",
    focus="#0b5cad",
    accent="#6a3aa8",
    critical="#a81f16",
    warning="#7a4b00",
    ok="#17632f",
    info="#0b5299",
    added="#17632f",
    removed="#a81f16",
    on_chip="#ffffff",
    cursor="#d3e3f7",
    cursor_idle="#e8edf3",
    notice="#dbe3ee",
    dark=False,
)


def _ansi() -> Look:
    """Sixteen colours of a terminal whose palette and background nobody knows.

    So text keeps the terminal's own colours, and where colour is used, foreground and background are set together:
    the pairs below are readable with the palettes of VGA, xterm, Tango and Windows alike.
    """
    theme = Theme(
        name="rollcage-ansi",
        ansi=True,
        primary="ansi_default",
        secondary="ansi_default",
        accent="ansi_default",
        warning="ansi_default",
        error="ansi_default",
        success="ansi_default",
        foreground="ansi_default",
        background="ansi_default",
        surface="ansi_default",
        panel="ansi_default",
        boost="ansi_default",
        dark=True,
        variables={
            "frame": "ansi_default",
            "dialog": "ansi_default",
            "muted": "ansi_default",
            "notice": "ansi_default",
            "ansi-background": "ansi_default",
            "ansi-foreground": "ansi_default",
            "text-muted": "ansi_default",
            "text-disabled": "ansi_default",
            "scrollbar": "ansi_default",
            "scrollbar-hover": "ansi_default",
            "scrollbar-active": "ansi_default",
            "scrollbar-background": "ansi_default",
            "scrollbar-background-hover": "ansi_default",
            "scrollbar-background-active": "ansi_default",
            "input-cursor-text-style": "reverse",
            "choice-focus": "ansi_default",
            "choice-focus-text": "ansi_default",
        },
    )
    critical = Style(color="bright_white", bgcolor="red", bold=True)
    warning = Style(color="black", bgcolor="bright_yellow")
    styles = {
        "": Style(),
        "strong": Style(bold=True),
        "muted": Style(),
        "heading": Style(underline=True),
        "accent": Style(),
        "key": Style(bold=True),
        "critical": critical,
        "warning": warning,
        "ok": Style(),
        "info": Style(),
        "added": Style(color="black", bgcolor="bright_green"),
        "removed": Style(color="bright_white", bgcolor="red"),
        "hunk": Style(bold=True),
        "spark": Style(),
        "frame": Style(),
        "frame-focus": Style(bold=True),
        "title": Style(bold=True),
        "title-focus": Style(bold=True, reverse=True),
        "chip-critical": critical,
        "chip-warning": warning,
        "chip-ok": Style(bold=True),
        "chip-info": Style(bold=True, reverse=True),
    }
    return Look("rollcage-ansi", theme, styles, Style(reverse=True), Style(bold=True))


ANSI = _ansi()
LOOKS: Mapping[str, Look] = {look.name: look for look in (DARK, LIGHT, ANSI)}


def look_of(theme_name: str) -> Look:
    """Return the look of Textual's theme ``theme_name``; the dark one for a theme that is not ours."""
    return LOOKS.get(theme_name, DARK)
