"""Who sits here: an operator, or a process that is supervised as an agent and may decide nothing."""

from __future__ import annotations

import getpass
import os
import socket

from ..core.errors import RefusedError
from ..core.store.store import Store
from ..core.text import clean


def operator_name() -> str:
    """Return who decides here, as ``user@host``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in some containers
        user = str(os.getuid())
    return clean(f"{user}@{socket.gethostname()}", limit=100)


def worker_name() -> str:
    """Return who works here, as leases and records name them: the supervised agent, else ``user on host``."""
    agent = clean(os.environ.get("ROLLCAGE_AGENT", ""), limit=100)
    return agent or operator_name().replace("@", " on ", 1)


def refuse_agents(store: Store, what: str) -> None:
    """Raise RefusedError, and record the attempt, where this process is supervised as an agent.

    A guard against accidents: another process of the same user could take the variable out of its environment.
    """
    agent = clean(os.environ.get("ROLLCAGE_AGENT", ""), limit=100)
    if agent:
        store.audit(agent, "decision_refused", what, "agents may not decide", outcome="refused")
        raise RefusedError("agent", f"agent {agent} may not {what}: only an operator decides")
