"""An agent's output is kept within bounds, read through rotations, and never in the agent's way."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollcage.core.fleet.output import OutputLog, OutputPump, OutputReader, older


def read_all(reader: OutputReader) -> bytes:
    found = b""
    while data := reader.read(7):
        found += data
    return found


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond ``size``: the write fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@given(chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=40), every=st.integers(1, 2))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
def test_a_reader_that_keeps_up_gets_every_byte(tmp_path: Path, chunks: list[bytes], every: int) -> None:
    path = tmp_path / "output.log"
    log = OutputLog(path, limit=100)
    reader = OutputReader(path, inode=log.inode())
    found = b""
    for number, chunk in enumerate(chunks):
        log.write(chunk)
        if number % every == 0:
            found += read_all(reader)
    found += read_all(reader)
    assert found == b"".join(chunks)
    assert path.stat().st_size <= 100
    assert not older(path).exists() or older(path).stat().st_size <= 100
    log.close()
    reader.close()


def test_a_reader_that_falls_behind_goes_on_with_the_oldest_that_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    log = OutputLog(path, limit=10)
    reader = OutputReader(path)
    for letter in b"abcd":
        log.write(bytes([letter]) * 10)
    assert read_all(reader) == b"a" * 10 + b"c" * 10 + b"d" * 10
    log.close()
    reader.close()


def test_a_new_run_begins_a_new_file_and_keeps_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    for word in (b"first", b"second", b"third"):
        log = OutputLog(path)
        log.write(word)
        log.close()
    assert (older(path).read_bytes(), path.read_bytes()) == (b"second", b"third")


def test_a_reader_finds_its_file_even_if_that_was_rotated_before_it_came(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    log = OutputLog(path, limit=10)
    number = log.inode()
    log.write(b"a" * 10)
    log.write(b"b" * 10)
    reader = OutputReader(path, inode=number)
    assert read_all(reader) == b"a" * 10 + b"b" * 10
    log.close()
    reader.close()


def test_a_file_that_somebody_empties_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    log = OutputLog(path)
    log.write(b"before")
    reader = OutputReader(path, at_end=True)
    os.truncate(path, 0)
    log.write(b"now")
    assert read_all(reader) == b"now"
    log.close()
    reader.close()


def test_a_full_disk_loses_output_and_says_how_much(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    log = OutputLog(path)
    log.write(b"before\n")
    with full_disk(10):
        log.write(b"0123456789")
        log.write(b"more\n")
    log.write(b"after\n")
    assert path.read_bytes() == b"before\n012\n[rollcage: 12 bytes of output could not be written]\nafter\n"
    log.close()


def test_a_folder_that_is_gone_harms_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "agent"
    log = OutputLog(folder / "output.log")
    log.write(b"nowhere\n")
    folder.mkdir()
    log.write(b"here\n")
    log.close()
    assert (folder / "output.log").read_bytes() == b"[rollcage: 8 bytes of output could not be written]\nhere\n"


def test_a_pump_carries_everything_and_ends_with_the_last_writer(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    log = OutputLog(tmp_path / "output.log")
    pump = OutputPump(reading, log)
    pump.start()
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(b"x" * 200_000)
    pump.join(timeout=20)
    assert not pump.is_alive()
    assert (tmp_path / "output.log").stat().st_size == 200_000
    log.close()
