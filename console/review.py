"""What other rooms say of the settings, asked while the line of each mistake is still known."""

from __future__ import annotations

from pathlib import Path

from ..core.config import Settings
from ..core.detect.rules import rules


def review(settings: Settings) -> None:
    """Raise SettingsError, without a line, for what a room cannot use. Imports neither Textual nor a room not asked.

    The keymap is left to the console: its actions need Textual.
    """
    rules(settings)
    if settings.database is not None:
        from ..core.data.database import open_database

        open_database(settings.database, Path())  # names it only; opens nothing
    if settings.console.quiet_hours is not None:
        from .attention import quiet_hours

        quiet_hours(settings.console.quiet_hours)
    if settings.console.theme is not None:
        from .appearance import appearance

        appearance(settings.console, {})
