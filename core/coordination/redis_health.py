"""What a Redis server says of itself, as far as leases depend on it."""

from __future__ import annotations

from dataclasses import dataclass

from ..clock import Clock
from ..errors import StoreError
from ..text import clean
from .redis_connection import OLDEST, RedisServer


@dataclass(frozen=True, slots=True)
class Health:
    """What `examine` found."""

    version: str
    is_new_enough: bool
    clock_ahead: float
    """Seconds by which the server's clock is ahead of this machine's."""
    is_replica: bool
    """It can only be read."""
    eviction: str
    """What it drops when memory runs out (``maxmemory-policy``); ``noeviction``: nothing."""
    is_limited: bool
    """Whether memory can run out: ``maxmemory`` is set."""
    keeps: bool | None
    """Whether its data outlive its restart; ``None``: it does not say."""


def examine(server: RedisServer, clock: Clock) -> Health:
    """Ask the server. Raises StoreError where it does not answer."""
    rows = [row.partition(":") for row in str(server.command("INFO")).splitlines()]
    facts = {name: clean(value, limit=100) for name, _, value in rows}
    asked = clock.now().timestamp()
    seconds, micros = server.command("TIME")
    here = (asked + clock.now().timestamp()) / 2
    version = facts.get("redis_version", "")
    return Health(
        version or "unknown",
        _numbers(version) >= OLDEST,
        int(seconds) + int(micros) / 1_000_000 - here,
        facts.get("role") in {"slave", "replica"},
        facts.get("maxmemory_policy", "noeviction"),
        facts.get("maxmemory", "0") != "0",
        facts.get("aof_enabled") == "1" or _saves(server),
    )


def _saves(server: RedisServer) -> bool | None:
    try:
        answer = server.command("CONFIG", "GET", "save")
    except StoreError:  # hosted ones often forbid it
        return None
    return bool(answer[1]) if len(answer) == 2 else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
