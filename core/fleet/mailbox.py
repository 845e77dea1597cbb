"""What rollcage tells an agent: a file of JSON lines, named in the agent's environment as ``ROLLCAGE_MAILBOX``."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ..clock import iso, parse_iso
from ..errors import StoreError, UsageError
from ..text import clean_lines
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
    """A line of a mailbox: ``{"at", "from", "to", "text"}``."""

    at: datetime
    sender: str
    text: str


def mailbox(paths: RepositoryPaths, agent: str) -> Path:
    """Return the path of the mailbox of ``agent``. Raises UsageError for a name that is none."""
    if problem := name_problem(agent):
        raise UsageError(problem)
    return paths.agents / agent / "mailbox.jsonl"


def post(paths: RepositoryPaths, agent: str, text: str, sender: str, at: datetime) -> None:
    """Append a message durably; the agent need not run. Raises StoreError; the message is not there then."""
    path = mailbox(paths, agent)
    line = json.dumps({"at": iso(at), "from": sender, "to": agent, "text": clean_lines(text, limit=LONGEST)})
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > LIMIT:
            path.replace(older(path))
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"  # whoever wrote last died meanwhile
            data = (b"\n" if torn else b"") + line.encode() + b"\n"
            if os.write(descriptor, data) != len(data):
                os.ftruncate(descriptor, size)
                raise StoreError(f"{path}: the disk is full; the message was not written; make room, try again")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}; the message was not written") from error


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
        return Message(parse_iso(told["at"]), clean_lines(str(told["from"])), clean_lines(str(told["text"])))
    except (ValueError, KeyError, TypeError):
        return None
