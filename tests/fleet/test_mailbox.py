"""A mailbox takes messages whole or not at all, and shows only what makes sense."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rollcage.core.errors import StoreError, UsageError
from rollcage.core.fleet import mailbox
from rollcage.core.store.paths import RepositoryPaths

from .test_output import full_disk

AT = datetime(2026, 11, 20, 14, 0, 1, tzinfo=UTC)


def test_messages_come_in_order_as_json_lines(paths: RepositoryPaths) -> None:
    mailbox.post(paths, "ann", "EMERGENCY_STOP - bob critical error detected", "engine", AT)
    mailbox.post(paths, "ann", "two\nlines \x1b[31m[/]", "engine", AT)
    assert [message.text for message in mailbox.read(paths, "ann")] == [
        "EMERGENCY_STOP - bob critical error detected",
        "two\nlines [/]",
    ]
    first = json.loads(mailbox.mailbox(paths, "ann").read_text().splitlines()[0])
    assert first == {
        "at": "2026-11-20T14:00:01.000000Z",
        "from": "engine",
        "to": "ann",
        "text": "EMERGENCY_STOP - bob critical error detected",
    }
    assert mailbox.read(paths, "bob") == []


def test_what_a_dying_writer_left_does_not_spoil_the_next_message(paths: RepositoryPaths) -> None:
    mailbox.post(paths, "ann", "one", "engine", AT)
    with mailbox.mailbox(paths, "ann").open("a") as file:
        file.write('{"at": "2026')
    mailbox.post(paths, "ann", "two", "engine", AT)
    assert [message.text for message in mailbox.read(paths, "ann")] == ["one", "two"]


def test_a_full_disk_is_an_error_and_leaves_no_half_message(paths: RepositoryPaths) -> None:
    mailbox.post(paths, "ann", "one", "engine", AT)
    path = mailbox.mailbox(paths, "ann")
    before = path.read_bytes()
    with full_disk(len(before) + 10), pytest.raises(StoreError, match="the message was not written"):
        mailbox.post(paths, "ann", "two", "engine", AT)
    assert path.read_bytes() == before


def test_a_full_mailbox_is_put_aside(paths: RepositoryPaths) -> None:
    path = mailbox.mailbox(paths, "ann")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * (mailbox.LIMIT + 1))
    mailbox.post(paths, "ann", "next", "engine", AT)
    assert path.stat().st_size < 1000
    assert [message.text for message in mailbox.read(paths, "ann")] == ["next"]


def test_a_name_cannot_lead_out_of_the_folder(paths: RepositoryPaths, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        mailbox.post(paths, "../state", "x", "engine", AT)
