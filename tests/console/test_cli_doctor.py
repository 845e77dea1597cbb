"""doctor: each fault with its mend, exit 0 or 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rollcage.console import examination
from tests.conftest import git
from tests.console.cli_support import Rollcage, runner
from tests.coordination.redis_server import redis_server


@pytest.fixture
def rollcage(capsys: pytest.CaptureFixture[str], repository: Path, monkeypatch: pytest.MonkeyPatch) -> Rollcage:
    monkeypatch.chdir(repository)
    return runner(capsys)


def faults(rollcage: Rollcage) -> dict[str, dict[str, Any]]:
    ran = rollcage("doctor", "--json")
    found = {record["name"]: record for record in ran.records if record["status"] == "fault"}
    assert ran.code == (1 if found else 0)
    return found


def trusted(rollcage: Rollcage, repository: Path, text: str) -> None:
    (repository / "rollcage.yml").write_text(text)
    assert rollcage("trust").code == 0


def test_a_healthy_repository_has_no_fault(rollcage: Rollcage, repository: Path) -> None:
    trusted(rollcage, repository, "checks: [{name: tests, run: 'true'}]\n")
    assert faults(rollcage) == {}
    names = [record["name"] for record in rollcage("doctor", "--json").records]
    assert {"system", "git", "repository", "state", "writers", "settings", "branch", "check tests", "database"} <= set(
        names
    )
    person = rollcage("doctor")
    assert person.code == 0
    assert "✓ git" in person.out


def test_what_is_missing_is_a_fault_with_its_mend(rollcage: Rollcage, repository: Path) -> None:
    trusted(
        rollcage,
        repository,
        "branch: trunk\nchecks: [{name: tests, run: no-such-command -q}]\nagents: {ann: {run: no-such-agent}}\n",
    )
    found = faults(rollcage)
    assert found.keys() == {"branch", "check tests", "agent ann"}
    assert "no-such-command" in found["check tests"]["detail"]
    assert all(record["mend"] for record in found.values())


def test_a_check_found_on_its_own_path_is_found(rollcage: Rollcage, repository: Path) -> None:
    tool = repository / "bin" / "tool"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    trusted(
        rollcage,
        repository,
        f"checks: [{{name: a, run: bin/tool}}, {{name: b, run: tool, env: {{PATH: {tool.parent}}}}}, "
        "{name: c, run: ./tool, cwd: bin}]\n",
    )
    assert faults(rollcage) == {}


def test_wrong_and_untrusted_settings_are_faults(rollcage: Rollcage, repository: Path) -> None:
    (repository / "rollcage.yml").write_text("level: off\nbrnch: x\n")
    ran = rollcage("doctor", "--json")
    wrong = [record["detail"] for record in ran.records if record["name"] == "settings"]
    assert [detail.split(": ")[0] for detail in wrong] == ["rollcage.yml:1", "rollcage.yml:2"]
    (repository / "rollcage.yml").write_text("level: watch\n")
    assert faults(rollcage)["settings"]["mend"] == "rollcage trust"


def test_state_that_others_may_read_is_a_fault(rollcage: Rollcage, own_home: Path) -> None:
    faults(rollcage)
    (folder,) = (own_home / "state" / "rollcage" / "repositories").iterdir()
    folder.chmod(0o755)
    assert faults(rollcage)["state"]["mend"] == f"chmod 700 {folder}"


def test_a_network_file_system_is_a_fault(rollcage: Rollcage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "_file_system", lambda path: "nfs4")
    assert "a disk of this machine" in faults(rollcage)["repository"]["mend"]


def test_outside_of_a_repository_the_rest_is_still_looked_at(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = runner(capsys)("doctor", "--json")
    assert ran.code == 1
    assert [record["name"] for record in ran.records] == ["system", "terminal", "git", "repository"]


def test_without_git_it_says_how_to_get_it(rollcage: Rollcage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt install git" in faults(rollcage)["git"]["mend"]


def test_a_damaged_database_is_a_fault(rollcage: Rollcage, repository: Path) -> None:
    (repository / "app.db").write_bytes(b"no database at all" * 100)
    trusted(rollcage, repository, "database: {url: 'sqlite:///app.db'}\n")
    assert "database" in faults(rollcage)


def test_a_mistyped_rule_is_a_warning(rollcage: Rollcage, repository: Path) -> None:
    trusted(rollcage, repository, "rules: {memory_usge: {warning: 3 GB}}\n")
    warnings = [record for record in rollcage("doctor", "--json").records if record["status"] == "warning"]
    assert any("memory_usage" in record["mend"] for record in warnings)


def test_a_required_filter_without_its_program_is_a_fault_and_a_partial_clone_is_told(
    rollcage: Rollcage, repository: Path
) -> None:
    git(repository, "config", "filter.big.required", "true")
    git(repository, "config", "filter.big.smudge", "no-such-program %f")
    assert "no-such-program" in faults(rollcage)["repository"]["detail"]
    git(repository, "config", "filter.big.smudge", "cat")
    git(repository, "config", "remote.origin.promisor", "true")
    assert faults(rollcage) == {}
    assert "partial clone" in rollcage("doctor").out


def test_a_redis_server_that_may_lose_locks_is_a_fault(rollcage: Rollcage, repository: Path) -> None:
    with redis_server() as server:
        trusted(rollcage, repository, f"coordination: {{kind: redis, url: 'unix://{server.socket}'}}\n")
        assert "redis" not in faults(rollcage)
        said = [record for record in rollcage("doctor", "--json").records if record["name"] == "redis"]
        root = git(repository, "rev-list", "--max-parents=0", "HEAD")
        assert f"unix://{server.socket}?db=0, version 6." in said[0]["detail"]
        assert f"namespace {root}; its clock is 0.0 s" in said[0]["detail"]
        assert [record["mend"] for record in said[1:]] == ["set appendonly yes there"]
        server.command("CONFIG SET maxmemory 100mb")
        server.command("CONFIG SET maxmemory-policy allkeys-lru")
        server.command("CONFIG SET appendonly yes")
        assert "set maxmemory-policy noeviction" in faults(rollcage)["redis"]["mend"]
        server.command("CONFIG SET maxmemory-policy noeviction")
        server.command("REPLICAOF 127.0.0.1 1")
        assert "only reads" in faults(rollcage)["redis"]["detail"]
    found = faults(rollcage)["coordination"]["detail"]
    assert "Redis server unix://" in found
    assert "cannot be reached" in found
