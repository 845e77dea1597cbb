"""What rollcage tells an agent: a file of JSON lines, named in the agent's environment as ``ROLLCAGE_MAILBOX``."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ..clock import iso, parse_iso
from ..errors import StoreError, UsageError
from ..text import clean, clean_lines
from .names import name_problem
from .output import older

if TYPE_CHECKING:
    from ..store.paths import RepositoryPaths

LONGEST = 10_000
"""Characters of a message that are kept."""
LIMIT = 2**20
"""Bytes of the file; then it becomes ``mailbox.jsonl.1``, and a new one is begun."""


@dataclass(frozen=True, slots=True)
class Message:
    """A line of a mailbox: ``{"at", "from", "to", "text"}``, with ``"id"`` where its arrival is to be confirmed."""

    at: datetime
    sender: str
    text: str
    id: str = ""
    """The agent confirms it by ``rollcage signal message "seen ID"``; empty: nobody waits for that."""


def mailbox(paths: RepositoryPaths, agent: str) -> Path:
    """Return the path of the mailbox of ``agent``. Raises UsageError for a name that is none."""
    if problem := name_problem(agent):
        raise UsageError(problem)
    return paths.agents / agent / "mailbox.jsonl"


def post(paths: RepositoryPaths, agent: str, text: str, sender: str, at: datetime, key: str = "") -> None:
    """Append a message durably, with the id ``key`` if it has one; the agent need not run.

    Raises StoreError; the message is not there then.
    """
    path = mailbox(paths, agent)
    told = {"at": iso(at), "from": sender, "to": agent, "text": clean_lines(text, limit=LONGEST)}
    line = json.dumps({**told, "id": key} if key else told)
    try:
        if path.exists() and path.stat().st_size > LIMIT:
            path.replace(older(path))
        with _held(path) as descriptor:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"  # whoever wrote last died meanwhile
            data = (b"\n" if torn else b"") + line.encode() + b"\n"
            if os.write(descriptor, data) != len(data):
                os.ftruncate(descriptor, size)
                raise StoreError(f"{path}: the disk is full; the message was not written; make room, try again")
            os.fsync(descriptor)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}; the message was not written") from error


def withdraw(paths: RepositoryPaths, agent: str, name: str) -> int:
    """Take all messages out of the mailbox of ``agent``; return how many. They are kept under ``name`` for `give_back`.

    Idempotent: what was posted after the first call with that name stays. Raises StoreError.
    """
    path, aside = mailbox(paths, agent), _aside(paths, agent, name)
    try:
        if path.exists() and not aside.exists():
            with _held(path):
                path.replace(aside)
                _sync_folder(path.parent)
        return len([line for line in aside.read_bytes().splitlines() if line]) if aside.exists() else 0
    except OSError as error:
        raise StoreError(f"cannot empty {path}: {error.strerror}") from error


def give_back(paths: RepositoryPaths, agent: str, name: str) -> None:
    """Put what `withdraw` took under ``name`` into the mailbox again, before what came since. Idempotent.

    Raises StoreError.
    """
    path, aside = mailbox(paths, agent), _aside(paths, agent, name)
    try:
        if not aside.exists():
            return
        taken = aside.read_bytes()
        with _held(path) as descriptor:
            since = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
            if not since.startswith(taken):  # else whoever did it before died behind the move
                draft = path.with_name(f".{path.name}.{name}")
                draft.write_bytes(taken + since)
                with draft.open("rb") as stream:
                    os.fsync(stream.fileno())
                draft.replace(path)
            aside.unlink()
            _sync_folder(path.parent)
    except OSError as error:
        raise StoreError(f"cannot give the messages in {aside} back: {error.strerror}") from error


@contextmanager
def _held(path: Path) -> Iterator[int]:
    """Open the mailbox for writing, made where it is missing, with nobody else writing; yields the descriptor."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_at(path, descriptor):  # else it was put aside while we waited for it
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _aside(paths: RepositoryPaths, agent: str, name: str) -> Path:
    return mailbox(paths, agent).with_name(f"mailbox.{name}.jsonl")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(paths: RepositoryPaths, agent: str) -> list[Message]:
    """Return the messages to ``agent``, oldest first, cleaned; lines that make no sense are left out."""
    path = mailbox(paths, agent)
    found = []
    for file in (older(path), path):
        try:
            lines = file.read_bytes().splitlines()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreError(f"cannot read {file}: {error.strerror}") from error
        found += [message for message in map(_message, lines) if message is not None]
    return found


def _message(line: bytes) -> Message | None:
    try:
        told = json.loads(line)
        sender, text = clean_lines(str(told["from"])), clean_lines(str(told["text"]))
        return Message(parse_iso(told["at"]), sender, text, clean(str(told.get("id", "")), limit=100))
    except (ValueError, KeyError, TypeError):
        return None
