"""Places at which a process may die, found by watching what it does.

A place has a kind, a number from 0 within it, and a moment:

- ``journal``: the journal's writes, ``before`` or ``after`` each is durable;
- ``store``: all other writes of the state, likewise: these lie inside the steps;
- ``file``: what Python itself changes below the scene: ``before`` it makes, renames or removes a file or connects to a
  database, and with a new file ``made`` but empty;
- ``git``: each git process, killed with us at its ``begin`` or ``amid`` what it writes, or left to itself: ``alone``;
- ``checkout``: git's own, where it comes to a file with the filter of `slow_checkout`; git dies with us.
"""

# os.path throughout: it is run at every change of a file, and all files are read at every place.
# ruff: noqa: PTH115, PTH117, PTH118, PTH119, PTH123, PTH208

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollcage.core.gitrepo import git as git_module
from tests.conftest import git
from tests.execute.scene import Scene

AMID_S = 0.5
"""So long, at most, a git process is waited for to begin to write."""
_CHANGES = frozenset({"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate"})
_WRITES = os.O_WRONLY | os.O_RDWR
_PASSING = "/state/work/"
"""Folders for what is needed in passing; what a kill leaves there nobody reads again."""
_VERB = re.compile(r"[a-z]+(-[a-z]+)*")

Place = tuple[str, int | str, str]
"""A place to die: kind, number (or the name of the first of that name), moment."""


@dataclass(frozen=True)
class Met:
    """A place that was come by, its name, and what was on the disk then."""

    place: Place
    name: str
    look: str


class Places:
    """Counts the places below a folder, those of the store within another of the store not, and dies at one of them."""

    def __init__(self, folder: Path, die: Place | None, *, listing: bool = False, looking: bool = True) -> None:
        """Die at a place, or list all places, with a `look` at the disk at each or without."""
        self._folder, self._die, self._listing, self._looking = str(folder), die, listing, looking
        self._depth = 0
        self._busy = False
        self.names: dict[str, list[str]] = {"journal": [], "store": [], "git": [], "file": []}
        self.met: list[Met] = []

    def watch(self, where: str, kind: type, names: Sequence[str]) -> None:
        """Let writes through methods of ``kind`` be places."""
        for name in names:
            setattr(kind, name, self._watched(where, name, getattr(kind, name)))

    def watch_git(self) -> None:
        """Let the start of each git process be a place."""
        started = git_module._started

        def start(command: list[str], *more: Any) -> Any:
            number = self._count("git", next((word for word in command[3:] if _VERB.fullmatch(word)), ""))
            self._meet("git", number, "begin", dies=False)
            process = started(command, *more)
            moment = next((each for each in ("begin", "amid", "alone") if self._is_last("git", number, each)), "")
            if moment == "amid":
                self._wait_until_it_writes(process.pid)
            if moment:
                if moment != "alone":
                    os.killpg(process.pid, signal.SIGKILL)
                die()
            return process

        git_module._started = start  # type: ignore[assignment]

    def watch_files(self) -> None:
        """Let changes of files be places, by sys.addaudithook: there is no taking that back."""
        sys.addaudithook(self._audited)

    def _audited(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._busy or (event not in _CHANGES and event not in {"open", "sqlite3.connect"}):
            return
        flags = arguments[2] if event == "open" else 0
        if event == "open" and not (isinstance(flags, int) and flags & _WRITES):
            return
        name = os.fsdecode(arguments[0]) if not isinstance(arguments[0], int) else ""
        if not name or _PASSING in name or (os.path.isabs(name) and not name.startswith(self._folder)):
            return
        number = self._count("file", f"{event} {os.path.basename(name)}")
        self._meet("file", number, "before")
        if event == "open" and flags & os.O_CREAT and not os.path.lexists(name):
            if self._listing:
                self.met.append(Met(("file", number, "made"), name, f"made {number}"))
            if self._is_last("file", number, "made"):
                self._busy = True
                os.close(os.open(name, flags, 0o600))
                die()

    def _count(self, kind: str, name: str) -> int:
        self.names[kind].append(name)
        return len(self.names[kind]) - 1

    def _is_last(self, kind: str, number: int, moment: str) -> bool:
        return (
            self._die is not None
            and (self._die[0], self._die[2]) == (kind, moment)
            and self._die[1] in {number, self.names[kind][number]}
        )

    def _meet(self, kind: str, number: int, moment: str, *, dies: bool = True) -> None:
        if self._listing:
            self._busy = True
            looks = look(Path(self._folder)) if self._looking else ""
            self.met.append(Met((kind, number, moment), self.names[kind][number], looks))
            self._busy = False
        if dies and self._is_last(kind, number, moment):
            die()

    def _watched(self, where: str, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **named: Any) -> Any:
            if self._depth:
                return method(*args, **named)
            first = args[1] if len(args) > 1 else ""
            subject = first if isinstance(first, str) else getattr(first, "name", "")
            number = self._count(where, f"{name} {subject}".strip()[:60])
            self._meet(where, number, "before")
            self._depth += 1
            try:
                result = method(*args, **named)
            finally:
                self._depth -= 1
            self._meet(where, number, "after")
            return result

        return watched

    def _wait_until_it_writes(self, pid: int) -> None:
        """Return once the process has a lock or a temporary file open below the folder, or has ended."""
        deadline = time.monotonic() + AMID_S
        while time.monotonic() < deadline and not any(_is_being_written(name) for name in self._open_files(pid)):
            try:
                if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                    return
            except ChildProcessError:
                return

    def _open_files(self, pid: int) -> Iterator[str]:
        folder = f"/proc/{pid}/fd"
        try:
            for name in os.listdir(folder):
                target = os.readlink(f"{folder}/{name}")
                if target.startswith(self._folder):
                    yield target
        except OSError:
            return


def _is_being_written(name: str) -> bool:
    return name.endswith(".lock") or "tmp_" in name or "/tmp" in name.rpartition(".git")[2]


def die() -> None:
    """End at once, as by ``kill -9``."""
    os.kill(os.getpid(), signal.SIGKILL)


def look(folder: Path) -> str:
    """Return what tells one state of the disk from another: names, modes and contents below ``folder``."""
    digest = hashlib.sha1(usedforsecurity=False)
    for top, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "work")
        for name in sorted(files):
            path = os.path.join(top, name)
            try:
                mode = os.lstat(path).st_mode
                if name.endswith("-shm") or not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
                    continue  # SQLite makes that anew
                content = os.fsencode(os.readlink(path)) if stat.S_ISLNK(mode) else _read(path)
            except FileNotFoundError:
                continue
            digest.update(f"{path}\0{mode}\0{len(content)}\0".encode(errors="surrogateescape"))
            digest.update(content)
        digest.update("\0".join(folders).encode(errors="surrogateescape"))
    return digest.hexdigest()


def _read(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read()


def distinct(met: Sequence[Met]) -> list[Place]:
    """Return the places at which the disk looks as at no place before, and the moments of each git that writes."""
    seen: set[str] = set()
    found: list[Place] = []
    for number, each in enumerate(met):
        if each.look not in seen:
            seen.add(each.look)
            found.append(each.place)
        after = met[number + 1].look if number + 1 < len(met) else ""
        if each.place[0] == "git" and after != each.look and not after.startswith("made"):
            found += [("git", each.place[1], moment) for moment in ("amid", "alone")]
    return found


def as_json(met: Sequence[Met]) -> str:
    """Return what `from_json` reads."""
    return json.dumps([[list(each.place), each.name, each.look] for each in met])


def from_json(text: str) -> list[Met]:
    """Return what `as_json` wrote."""
    return [Met((place[0], place[1], place[2]), name, looks) for place, name, looks in json.loads(text)]


def slow_checkout(scene: Scene) -> None:
    """Let the checkout of files ``*.slow`` kill git, and the process that ``CRASH_AT_CHECKOUT`` names."""
    script = scene.place / "smudge"
    # Git asks for the content elsewhere, too; it leads its own process group, and only read-tree writes files.
    leader = "ps -ww -o args= -p $(ps -o pgid= -p $$)"
    dies = 'if test -n "$CRASH_AT_CHECKOUT"; then kill -9 "$CRASH_AT_CHECKOUT" 0; fi'
    mark = f": > '{scene.place / 'checked-out'}'"
    script.write_text(f"#!/bin/sh\nif {leader} | grep -q 'read-tree -m -u'; then\n{mark}\n{dies}\nfi\ncat\n")
    script.chmod(0o755)
    git(scene.top, "config", "filter.slow.smudge", f"'{script}'")
    (scene.top / ".git/info/attributes").write_text("*.slow filter=slow\n")
