"""Processes that carry a rollback on and may be killed anywhere at it, or run out of disk; `tests.crashes` runs them.

A place to die has a kind, a number from 0 within it, and a moment:

- ``journal``: the journal's writes, before or after each is durable;
- ``store``: all other writes of the state, likewise: these lie inside the steps;
- ``git``: each git process that is started, killed with us at its begin, or a moment later, amid what it does;
- ``checkout``: git's own, where it comes to a file with the filter of `slow_checkout`; git dies with us.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rollcage.core.execute.journal import Journal
from rollcage.core.gitrepo import git as git_module
from rollcage.core.store.store import Store
from tests.conftest import git
from tests.crashes import Processes
from tests.execute.scene import Scene, carry_on, made_safe

JOURNAL_WRITES = ("take_over", "begin", "add", "finish", "write", "save")
STORE_WRITES = ("set_hold", "set_note", "append_event", "save_snapshot", "save_outgoing", "audit")
AMID_S = 0.004

Place = tuple[str, int | str, str]
"""A place to die: kind, number (or the name of the first of that name), moment."""


class CrashServer(Processes):
    """Carries rollbacks on, in one process after the other."""

    def __init__(self) -> None:
        super().__init__(__name__)

    def run(self, scene: Scene, **request: object) -> tuple[int, str]:
        """Carry the rollback of ``scene`` on in a process of its own; return its signal (0: none), and what came of it.

        ``act``: ``make_safe`` makes its incident safe instead. ``die``: a `Place`; ``die_at`` names the journal's
        write, from 0, at which it dies, and ``when``: before or after it is durable. ``limit``: no file may be larger
        than so many bytes, as on a full disk. ``list_writes``: return the journal's writes, of ``make_safe`` those of
        the store; ``list_all``: all places by kind, as JSON. ``settings``: more of them.
        """
        self.begin(place=str(scene.place), **request)
        return self.end()

    def places(self, scene: Scene, **request: object) -> list[Place]:
        """Carry the rollback to its end and return every place where it could have died."""
        killed, said = self.run(scene, list_all=True, **request)
        assert killed == 0
        names: dict[str, list[str]] = json.loads(said)
        moments = {"journal": ("before", "after"), "store": ("before", "after"), "git": ("begin", "amid")}
        found: list[Place] = []
        for kind, listed in moments.items():
            found += [(kind, number, moment) for number in range(len(names[kind])) for moment in listed]
        return [*found, ("checkout", 0, "amid")] if (scene.place / "checked-out").exists() else found


def slow_checkout(scene: Scene) -> None:
    """Let the checkout of files ``*.slow`` kill git, and the process that ``CRASH_AT_CHECKOUT`` names."""
    script = scene.place / "smudge"
    # Git asks for the content elsewhere, too; it leads its own process group, and only read-tree writes files.
    leader = "ps -o args= -p $(ps -o pgid= -p $$)"
    dies = 'if test -n "$CRASH_AT_CHECKOUT"; then kill -9 "$CRASH_AT_CHECKOUT" 0; fi'
    mark = f": > '{scene.place / 'checked-out'}'"
    script.write_text(f"#!/bin/sh\nif {leader} | grep -q 'read-tree -m -u'; then\n{mark}\n{dies}\nfi\ncat\n")
    script.chmod(0o755)
    git(scene.top, "config", "filter.slow.smudge", f"'{script}'")
    (scene.top / ".git/info/attributes").write_text("*.slow filter=slow\n")


class _Places:
    """Counts the places, those within another not, and dies at one of them."""

    def __init__(self, die: Place | None) -> None:
        self._die = die
        self._depth = 0
        self.names: dict[str, list[str]] = {"journal": [], "store": [], "git": []}

    def watch(self, where: str, kind: type, names: Sequence[str]) -> None:
        for name in names:
            setattr(kind, name, self._watched(where, name, getattr(kind, name)))

    def watch_git(self) -> None:
        started = git_module._started

        def start(command: list[str], *more: Any) -> Any:
            moment = self._moment("git", next((word for word in command[3:] if word[0] not in "-/"), ""))
            process = started(command, *more)
            if moment:
                time.sleep(AMID_S if moment == "amid" else 0)
                os.killpg(process.pid, signal.SIGKILL)
                _die()
            return process

        git_module._started = start  # type: ignore[assignment]

    def _moment(self, where: str, name: str) -> str:
        """Count a place; return the moment at which to die there, or nothing."""
        self.names[where].append(name)
        if self._die is None or self._die[0] != where or self._die[1] not in {len(self.names[where]) - 1, name}:
            return ""
        return self._die[2]

    def _watched(self, where: str, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **named: Any) -> Any:
            if self._depth:
                return method(*args, **named)
            first = args[1] if len(args) > 1 else ""
            subject = first if isinstance(first, str) else getattr(first, "name", "")
            moment = self._moment(where, f"{name} {subject}".strip()[:60])
            if moment == "before":
                _die()
            self._depth += 1
            try:
                result = method(*args, **named)
            finally:
                self._depth -= 1
            if moment:
                _die()
            return result

        return watched


def _obey_modes() -> None:
    """Give up what lets root write everywhere, for good and for all children: capabilities(7). Others have it not."""
    libc = ctypes.CDLL(None, use_errno=True)
    noroot, lock = 1, 2
    if libc.prctl(28, noroot | lock, 0, 0, 0) == 0:  # PR_SET_SECUREBITS
        header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        assert libc.capset(header, nothing) == 0


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def act(request: Mapping[str, Any]) -> str:
    """Do what is asked for; the child's end."""
    scene, safe = Scene(Path(request["place"])), request.get("act") == "make_safe"
    die = request.get("die")
    if "die_at" in request:
        die = ("store" if safe else "journal", request["die_at"], request.get("when", "after"))
    places = _Places((die[0], die[1], die[2]) if die else None)
    if not safe:
        places.watch("journal", Journal, JOURNAL_WRITES)
    places.watch("store", Store, STORE_WRITES)
    places.watch_git()
    if die and die[0] == "checkout":
        os.environ["CRASH_AT_CHECKOUT"] = str(os.getpid())
    if request.get("obey_modes"):
        _obey_modes()
    limit = request.get("limit")
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    ended = made_safe(scene) if safe else carry_on(scene, **request.get("settings", {})).state.value
    if request.get("list_all"):
        return json.dumps(places.names)
    return "\n".join(places.names["store" if safe else "journal"]) if request.get("list_writes") else ended
