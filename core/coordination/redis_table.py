"""What this process knows of the leases on a Redis server: their keys, which holders live, and who waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..clock import Clock
from ..errors import StoreError
from ..store.files import make_private
from ..store.locate import read_record
from ..store.paths import RepositoryPaths
from ..text import clean
from .holders import is_alive, is_holder_id
from .leases import Holding, LostLeaseError, Waiting, WaitLog
from .redis_connection import RedisServer, parse_address
from .redis_floor import Floor
from .redis_lua import Script
from .redis_scripts import LOG, TAKE

MICRO = 1_000_000
"""Microseconds, in which the server counts, of a second."""
ENDED = "is over: its holder has ended"
"""Why a lease was taken from a holder that was dead."""


@dataclass(frozen=True, slots=True)
class Row:
    """A lease, or a waiter; its texts are cleaned, its times are the server's."""

    number: int
    """The token; of a waiter its place."""
    holder: str
    holder_id: str
    boot_id: str
    session: str
    slots: int
    permits: int
    since: int
    expires: int
    name: str


def _row(text: str) -> Row | None:
    """Read what `LOG` tells; ``None``: nothing that rollcage wrote."""
    try:
        number, holder, holder_id, boot_id, session, slots, permits, since, expires, name = text.split("\x1f")
        whole = (int(slots), int(permits), int(since), int(expires))
        return Row(int(number), _safe(holder), holder_id, boot_id, _safe(session), *whole, _safe(name))
    except ValueError:
        return None


def _safe(text: str) -> str:
    # Of a thousand locks, cleaning takes longer than all else.
    return text if text.isascii() and text.isprintable() and len(text) <= 500 else clean(text)


class RedisTable:
    """The leases of one repository on one server; safe between threads and processes."""

    def __init__(self, paths: RepositoryPaths, clock: Clock, url: str) -> None:
        """Connect to nothing yet. Raises as `RedisLeases` does."""
        address = parse_address(url)
        self.clock, self.boot_id = clock, clock.boot_id()
        self.server = RedisServer(address)
        self.namespace = address.namespace or repository_namespace(paths)
        """Who names the same one has the same leases."""
        self.key = f"rollcage:{{{self.namespace}}}"
        """All that is kept on the server begins with that."""
        self.holders = paths.root / "redis_holders"
        """The files of the holders of this machine: others than those of ``locks.db``, which knows nothing of these."""
        make_private(self.holders)
        self.floor = Floor(paths.root / "redis_floor", self.boot_id)

    def run(self, script: Script, *arguments: object, repeat: bool = True) -> Any:
        """Run ``script``; see `RedisServer.run`."""
        return self.server.run(script, self.key, *arguments, repeat=repeat)

    def lives(self, boot_id: str, holder: str) -> bool:
        """Tell whether that holder lives, as far as it can be told here; in doubt it does."""
        return boot_id != self.boot_id or not is_holder_id(holder) or is_alive(self.holders, holder)

    def evict(self, name: str, watched: dict[int, str]) -> bool:
        """Take ``name`` from those of ``watched`` (token to holder) who are dead; return whether there were any.

        All of them are holders of this boot. They are watched no longer. Raises StoreError.
        """
        dead = [token for token, holder in watched.items() if not self.lives(self.boot_id, holder)]
        for token in dead:
            self.run(TAKE, name, token, watched.pop(token), ENDED, 0)
        return bool(dead)

    def living(self, which: str = "all") -> tuple[int, list[Row], list[Row]]:
        """Return the server's time, the leases by name and token, and the waiters by place; those that live.

        ``which`` "entangled": of the leases only those that a circle of waits can have. Raises StoreError.
        """
        now, leases, waiters = self.run(LOG, which)
        held, waiting = ([row for text in texts if (row := _row(text))] for texts in (leases, waiters))
        alive = {party: self.lives(*party) for party in {(each.boot_id, each.holder_id) for each in (*held, *waiting)}}
        held = [each for each in held if alive[each.boot_id, each.holder_id]]
        waiting = [each for each in waiting if alive[each.boot_id, each.holder_id]]
        held.sort(key=lambda each: (each.name.encode(), each.number))
        waiting.sort(key=lambda each: each.number)
        return int(now), held, waiting

    def wait_log(self, which: str = "all") -> WaitLog:
        """See `Leases.wait_log`, and `living` for ``which``."""
        now, leases, waiters = self.living(which)
        return WaitLog(
            tuple(Holding(one.name, one.session, one.holder, one.number, one.slots, one.permits) for one in leases),
            tuple(
                Waiting(
                    one.name,
                    one.session,
                    one.holder,
                    one.number,
                    one.slots,
                    one.permits,
                    max(0.0, (now - one.since) / MICRO),
                )
                for one in waiters
            ),
        )

    def lost(self, name: str, token: int, answer: Any) -> LostLeaseError:
        """Return the error for what the server said of a lease that is no longer held."""
        its = f"lock {clean(name)!r}: token {token}"
        match answer:
            case ["lapsed"]:
                return LostLeaseError(f"{its} has lapsed; take the lock again", lapsed=True)
            case ["gone", why]:
                return LostLeaseError(f"{its} {clean(why)}")
            case ["taken", holder, later]:
                return LostLeaseError(f"{its} is stale; {clean(holder)} has had the lock since, with token {later}")
            case ["lost"]:
                return LostLeaseError(f"{its} is stale; Redis server {self.server.shown} lost its data: take it again")
            case _:
                return LostLeaseError(f"{its} is stale; it was given back, or its time was up and somebody else had it")

    def close(self) -> None:
        """Close what is open. A later use is a StoreError."""
        self.server.close()
        self.floor.close()


def micro(seconds: float) -> int:
    """Return ``seconds`` as the server counts."""
    return max(1, int(min(seconds, 1e9) * MICRO))


def repository_namespace(paths: RepositoryPaths) -> str:
    """Return what all clones of the repository have in common. Raises StoreError where there is nothing."""
    record = read_record(str(paths.root)) or {}
    roots = record.get("roots")
    if isinstance(roots, list) and roots and not record.get("shallow"):
        return clean(str(roots[0]), limit=100)
    problem = "is a shallow clone" if record.get("shallow") else "has no commit yet"
    mend = "git fetch --unshallow" if record.get("shallow") else "make one"
    raise StoreError(
        f"this repository {problem}, so that its clones would not meet in Redis; {mend}, or name it in all of them: "
        "?namespace=NAME behind the url under coordination: in rollcage.yml"
    )
