"""``rollcage demo``: the main job on a sandbox, with nobody there and with an operator at a terminal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import git
from tests.e2e.conftest import processes_of
from tests.e2e.pseudo_terminal import terminal

DEMO = [sys.executable, "-m", "rollcage", "demo"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for sandboxes; ROLLCAGE_STATE_DIR is the operator's own and must not be touched."""
    path = tmp_path / "sand box"
    path.mkdir()
    monkeypatch.setenv("TMPDIR", str(path))
    return path


def test_without_a_terminal_it_recovers_and_leaves_no_process(folder: Path, own_home: Path) -> None:
    done = subprocess.run(
        [*DEMO, "--auto", "--keep"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("recovered, ")
    assert any('"tidy add" by executor makes tests fail' in line for line in lines)
    assert any("memory_usage" in line for line in lines)
    assert not processes_of(folder.parent)
    (sandbox,) = folder.iterdir()
    assert str(sandbox) in done.stderr
    assert_shop_is_mended(sandbox / "shop")
    assert not (own_home / "state" / "rollcage").exists()


def assert_shop_is_mended(shop: Path) -> None:
    """The fault alone is taken back; commits of the others that came after it, and what nobody committed, are there."""
    assert "return a + b" in git(shop, "show", "main:shop/calc.py")
    summaries = git(shop, "log", "--format=%s", "main").splitlines()
    took_back = next(index for index, summary in enumerate(summaries) if summary.startswith("Take back "))
    fault = summaries.index("tidy add")
    assert took_back < fault
    agents = git(shop, "log", "--format=%(trailers:key=Agent,valueonly,separator=%x2C)", "main").split()
    assert {"planner", "analyzer", "executor", "monitor"} <= set(agents)
    for words in (["shop/prices.py", "discount_1"], ["docs/plan.md", "Release step 1"], ["shop/limits.py", "LIMIT_1"]):
        assert words[1] in git(shop, "show", f"main:{words[0]}")
    assert (shop / "README.md").read_text().endswith("Half a sentence that nobody")
    status = git(shop, "status", "--porcelain").splitlines()
    assert " M README.md" in status
    assert {f"?? drafts/{name}.md" for name in ("planner", "analyzer", "executor", "monitor")} <= set(status)
    git(shop, "fsck", "--strict", "--no-dangling")


def test_an_operator_sees_the_finding_approves_and_sees_it_recovered(folder: Path) -> None:
    with terminal(DEMO, folder) as screen:
        screen.wait("needs you")
        screen.wait("makes tests fail")
        asked = screen.type("A")
        screen.wait("A approve and run", since=asked)
        screen.wait("return a - b", since=asked)
        approved = screen.type("A")
        screen.wait("is approved", since=approved)
        screen.wait("recovered", since=approved)
        screen.wait("all well", since=approved)
        screen.type("q")
        assert screen.end() == 0
        assert screen.is_restored()
    assert not processes_of(folder.parent)
    assert not list(folder.iterdir())
