"""Processes that do something to a scene and may be killed anywhere, or run out of disk; `tests.crashes` runs them.

Where they may die is in `tests.execute.places`, what they may do in `tests.execute.acts`.
"""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rollcage.core.execute.journal import Journal
from rollcage.core.store.store import Store
from tests.crashes import Processes
from tests.execute.acts import ACTS, be_impatient
from tests.execute.places import Met, Place, Places, as_json, from_json, slow_checkout
from tests.execute.scene import Scene

__all__ = ["CrashServer", "Met", "Place", "slow_checkout"]

JOURNAL_WRITES = ("take_over", "begin", "add", "finish", "write", "save")
STORE_WRITES = (
    *("set_hold", "set_note", "append_event", "audit", "save_snapshot", "forget_snapshot"),
    *("save_checkpoint", "forget_checkpoint", "save_outgoing"),
)


class CrashServer(Processes):
    """Carries rollbacks on, in one process after the other."""

    def __init__(self) -> None:
        super().__init__(__name__)

    def run(self, scene: Scene, **request: object) -> tuple[int, str]:
        """Carry the rollback of ``scene`` on in a process of its own; return its signal (0: none), and what came of it.

        ``act``: something else of `ACTS` instead. ``die``: a `Place`; ``die_at`` names the journal's write, from 0, at
        which it dies, and ``when``: before or after it is durable. ``limit``: no file may be larger than so many
        bytes, as on a full disk. ``list_writes``: return the journal's writes, of ``make_safe`` those of the store;
        ``list_all``: all places, as JSON. ``settings``: more of them. ``rollback``: another than rb-1.
        ``wait``: so many seconds at most for a lock.
        """
        self.begin(place=str(scene.place), **request)
        return self.end()

    def places(self, scene: Scene, *, looking: bool = False, **request: object) -> tuple[str, list[Met]]:
        """Let it come to its end; return what came of it, and every place that it comes by, in order."""
        killed, said = self.run(scene, list_all="look" if looking else "name", **request)
        assert killed == 0, said
        ended, _, listed = said.partition("\n")
        found = from_json(listed)
        checkout = Met(("checkout", 0, "amid"), "checkout", "amid checkout")
        return ended, [*found, checkout] if (scene.place / "checked-out").exists() else found


def _obey_modes() -> None:
    """Give up what lets root write everywhere, for good and for all children: capabilities(7). Others have it not."""
    libc = ctypes.CDLL(None, use_errno=True)
    noroot, lock = 1, 2
    if libc.prctl(28, noroot | lock, 0, 0, 0) == 0:  # PR_SET_SECUREBITS
        header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        assert libc.capset(header, nothing) == 0


def act(request: Mapping[str, Any]) -> str:
    """Do what is asked for; the child's end."""
    scene, name = Scene(Path(request["place"])), request.get("act", "carry_on")
    mine = "journal" if name == "carry_on" else "store"
    die = request.get("die")
    if "die_at" in request:
        die = (mine, request["die_at"], request.get("when", "after"))
    listing = bool(request.get("list_all"))
    looking = request.get("list_all") == "look"
    places = Places(scene.place, (die[0], die[1], die[2]) if die else None, listing=listing, looking=looking)
    if mine == "journal":
        places.watch("journal", Journal, JOURNAL_WRITES)
    places.watch("store", Store, STORE_WRITES)
    places.watch_git()
    if listing or (die and die[0] == "file"):
        places.watch_files()
    if die and die[0] == "checkout":
        os.environ["CRASH_AT_CHECKOUT"] = str(os.getpid())
    if request.get("obey_modes"):
        _obey_modes()
    if "wait" in request:
        be_impatient(request["wait"])
    limit = request.get("limit")
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    ended = ACTS[name](scene, request)
    if listing:
        return f"{ended}\n{as_json(places.met)}"
    return "\n".join(places.names[mine]) if request.get("list_writes") else ended
