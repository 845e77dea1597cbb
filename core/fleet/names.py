"""What an agent may be called: the name is also a folder and an argument, so it must be harmless as both."""

from __future__ import annotations

import re

AGENT_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]{0,63}")


def name_problem(name: str) -> str:
    """Return why ``name`` cannot name an agent, as one line; empty where it can."""
    if AGENT_NAME.fullmatch(name) and name not in {".", ".."}:
        return ""
    shown = ascii(name[:64])
    return f"{shown} cannot be an agent's name: 1 to 64 letters, digits, '.', '_' or '-', not beginning with '-'"
