"""Agents under supervision: held, released and watched from the command line, whether an engine runs or not."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import psutil
import pytest

from tests.conftest import git
from tests.e2e.conftest import BAD, GOOD, SETTINGS, Shop, processes_of, until

WORKER = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
with open("../ticks", "a") as ticks:
    while True:
        ticks.write(f"{os.getpid()} {child.pid}\\n")
        ticks.flush()
        time.sleep(0.02)
"""
"""Writes down its process and its child's all the time."""


def ticks(shop: Shop) -> list[str]:
    file = shop.path.parent / "ticks"
    return file.read_text().splitlines() if file.exists() else []


def ticking(shop: Shop) -> tuple[int, int]:
    """Wait until the worker works; return the pids of its process and of that one's child."""
    before = len(ticks(shop))
    until(lambda: len(ticks(shop)) > before + 1)
    worker, child = ticks(shop)[-2].split()
    return int(worker), int(child)


def stands_still(shop: Shop, *pids: int) -> bool:
    return all(psutil.Process(pid).status() == psutil.STATUS_STOPPED for pid in pids)


def agent(shop: Shop, name: str = "worker") -> dict[str, Any]:
    """Return what ``rollcage agents --json`` says of an agent."""
    return next(record for record in shop.here("agents", "--json").records if record["name"] == name)


@contextmanager
def running(shop: Shop, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run rollcage in the background; afterwards it, and every supervisor that it left, is ended."""
    with subprocess.Popen(
        [sys.executable, "-m", "rollcage", *words],
        cwd=shop.path,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.communicate()


@pytest.fixture
def supervisors(shop: Shop) -> Iterator[None]:
    """End the supervisors that a test leaves on purpose: they outlive engines and consoles."""
    yield
    for process in processes_of(shop.path.parent):
        if "rollcage.core.fleet.supervisor" in process.cmdline():
            process.terminate()
    until(lambda: not processes_of(shop.path.parent))


@pytest.mark.parametrize("with_engine", [False, True])
def test_an_agent_is_paused_resumed_stopped_and_started_again_with_all_its_processes(
    shop: Shop, with_engine: bool
) -> None:
    with running(shop, "run", "worker", "--", sys.executable, "-c", WORKER):
        first = ticking(shop)
        with running(shop, "--auto") if with_engine else nullcontext():
            if with_engine:
                until(lambda: "engine: pid" in shop.here("health").out)
            assert shop.here("pause", "worker").code == 0
            assert stands_still(shop, *first)
            assert agent(shop)["hold"] == "paused"
            assert shop.here("resume", "worker").code == 0
            assert ticking(shop) == first
            assert shop.here("stop", "worker").code == 0
            until(lambda: not any(map(psutil.pid_exists, first)))  # killed they are: their supervisor reaps them
            assert agent(shop)["hold"] == "stopped"
            assert shop.here("resume", "worker").code == 0
            second = ticking(shop)
            assert set(second).isdisjoint(first)
            assert agent(shop)["state"] == "running"
    assert not any(map(psutil.pid_exists, second))
    records = [each for each in shop.here("audit", "--json").records if each["subject"] == "worker"]
    assert [each["what"] for each in records] == ["pause_agent", "resume_agent", "stop_agent", "start_agent"]
    assert not any(each["who"] == "engine" for each in records)


def test_an_agent_reports_and_may_not_decide(shop: Shop) -> None:
    shop.commit("executor", "tidy add", {"calc.py": BAD})
    shop.once("--level", "propose", code=3)
    program = f"{sys.executable} -m rollcage"
    script = (
        f"{program} signal metric batch_processing_time 4800; {program} signal message 'half way'; "
        f"{program} approve opt-1.1; echo exit $?; {program} rollback opt-1.1 --yes; echo exit $?"
    )
    done = shop.rollcage("run", "worker", "--", "sh", "-c", script, code=0)
    assert done.stdout.count("exit 1") == 2
    assert "agent worker may not" in done.stdout + done.stderr
    refused = [record for record in shop.here("audit", "--json").records if record["outcome"] == "refused"]
    assert {record["who"] for record in refused} == {"worker"}
    assert len(refused) == 2
    assert shop.read("calc.py") == BAD
    signals = shop.here("signals", "--json").records
    assert {"batch_processing_time", "message"} <= {each["name"] for each in signals if each["agent"] == "worker"}


def test_an_engine_killed_leaves_agents_at_work_and_the_next_one_carries_on(shop: Shop, supervisors: None) -> None:
    worker = f"  worker: {{run: ['{sys.executable}', '-c', {json.dumps(WORKER)}], start: engine}}\n"
    shop.trust(SETTINGS + worker)
    with running(shop, "--auto") as engine:
        first = ticking(shop)
        engine.send_signal(signal.SIGKILL)
    assert ticking(shop) == first
    with running(shop, "--auto", "--json") as engine:
        until(lambda: f"engine: pid {engine.pid}" in shop.here("health").out)
        shop.commit("executor", "tidy add", {"calc.py": BAD})
        assert engine.stdout is not None
        seen = [json.loads(line) for line in iter_until(engine, '"recovered"')]
        told = next(event["told"] for event in seen if event["event"] == "phase" and event.get("told"))
        assert told == ["worker"]
        assert shop.read("calc.py") == GOOD
        assert ticking(shop) == first
        assert agent(shop)["hold"] == "none"
        engine.terminate()
        assert engine.wait() == 0
    assert ticking(shop) == first
    assert git(shop.path, "status", "--porcelain") == "?? rollcage.yml"


def iter_until(engine: subprocess.Popen[str], text: str) -> Iterator[str]:
    """Yield the lines of ``engine`` up to the first with ``text``."""
    assert engine.stdout is not None
    for line in engine.stdout:
        yield line
        if text in line:
            return
    raise AssertionError(f"{text} never came")
