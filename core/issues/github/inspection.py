"""What `rollcage doctor` looks at of GitHub, in one request: token, repository, Issues, permissions, limits, clocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...clock import Clock
from ..errors import TrackerError, TrackerLimitError, TrackerOfflineError, TrackerRefusedError
from .client import Request
from .credentials import DEFAULT_SERVER
from .tracker import GitHubTracker

CLOCK_S = 60.0
"""A difference of clocks that is told."""
LOW = 0.1
"""Less than this share of the requests left is told."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found; ``mend`` is empty where all is well."""

    detail: str
    mend: str = ""
    is_fault: bool = False
    """Whether Issues cannot be written before it is mended; what comes right by itself is none."""


def inspect(tracker: GitHubTracker, clock: Clock) -> Iterator[Finding]:
    """Look, and yield what was found: the state of things first. Raises StoreError."""
    client, repository = tracker.client, tracker.repository
    try:
        answer = client.send(Request("GET", client.root, "reading"))
    except TrackerError as problem:
        yield _not_reached(problem, tracker)
        return
    data: Any = answer.data if isinstance(answer.data, dict) else {}
    budget = tracker.budget()
    left = ""
    if budget is not None and budget.remaining is not None and budget.limit:
        left = f", {budget.remaining:,} of {budget.limit:,} requests left"
    yield Finding(f"{repository} as {client.credential.name}{left}")
    if data.get("has_issues") is False:
        yield Finding(f"{repository} has no Issues", "switch them on in its settings on GitHub", is_fault=True)
    if data.get("archived"):
        yield Finding(f"{repository} is archived: nothing can be written", "unarchive it on GitHub", is_fault=True)
    permissions = data.get("permissions")
    if isinstance(permissions, dict) and not any(
        permissions.get(each) for each in ("triage", "push", "maintain", "admin")
    ):
        yield Finding(
            f"{client.credential.name} may read {repository} and not write labels and assignees there",
            "give its owner the role Triage or Write, and the token the permission Issues: read and write",
            is_fault=True,
        )
    if budget is not None and budget.remaining is not None and budget.limit and budget.remaining < LOW * budget.limit:
        when = f"{budget.resets:%H:%M} UTC" if budget.resets else "within the hour"
        yield Finding(f"only {budget.remaining:,} requests are left until {when}", "let fewer agents share the token")
    if answer.date is not None:
        ahead = (clock.now() - answer.date).total_seconds()
        if abs(ahead) > CLOCK_S:
            way = "ahead of" if ahead > 0 else "behind"
            yield Finding(
                f"this machine's clock is {abs(ahead):,.0f} s {way} GitHub's; rollcage goes by GitHub's there",
                "set it, such as by timedatectl set-ntp true",
            )


def _not_reached(problem: TrackerError, tracker: GitHubTracker) -> Finding:
    what, _, mend = str(problem).rpartition("; ")
    match problem:
        case TrackerLimitError():
            return Finding(str(problem), "wait; all who share the token wait too")
        case TrackerOfflineError():
            server = tracker.client.server
            if server.startswith("https://") and server != DEFAULT_SERVER and not server.endswith("/api/v3"):
                mend += "; the base_url of an Enterprise server ends in /api/v3"
            return Finding(f"{what}; Issues are written to the outbox until it can", mend)
        case TrackerRefusedError(status=status) if 300 <= status < 400:
            return Finding(f"{tracker.repository} was renamed", "correct tracker.repo: in rollcage.yml", is_fault=True)
        case TrackerRefusedError(status=404):
            name = tracker.client.credential.name
            return Finding(
                f"GitHub knows no {tracker.repository}, or the token of {name} may not see it",
                "correct tracker.repo: in rollcage.yml, or give the token access to it",
                is_fault=True,
            )
    return Finding(what or str(problem), mend, is_fault=True)
