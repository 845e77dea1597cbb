"""Git runs the same whatever the caller's environment and configuration say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from rollcage.core.errors import GitError, GitVersionError, UsageError
from rollcage.core.gitrepo.git import Git, require_git, revision
from tests.conftest import git


def fake_git(folder: Path, script: str) -> str:
    """Put a program named git into ``folder``; return a PATH that finds it before the real one's helpers."""
    folder.mkdir()
    (folder / "git").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "git").chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


def test_bytes_pass_through_unchanged(repository: Path) -> None:
    content = bytes(range(256)) + b"\r\n\n\n"
    name = Git(repository).text("hash-object", "-w", "--stdin", stdin=content)
    assert Git(repository).run("cat-file", "blob", name).out == content


def test_the_callers_git_variables_have_no_say(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere/index")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.bare")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "true")
    assert Git(repository).text("rev-parse", "--is-inside-work-tree") == "true"


def test_hooks_do_not_run_and_commits_are_ours_and_unsigned(repository: Path) -> None:
    hook = repository / ".git/hooks/pre-commit"
    hook.write_text("#!/bin/sh\ntouch hooked\nexit 1\n")
    hook.chmod(0o755)
    git(repository, "config", "commit.gpgSign", "true")
    git(repository, "config", "gpg.program", "/bin/false")
    Git(repository).run("commit", "-q", "--allow-empty", "-m", "x")
    assert not (repository / "hooked").exists()
    assert git(repository, "log", "-1", "--format=%an <%ae>|%cn <%ce>") == "|".join(
        ["rollcage <rollcage@localhost>"] * 2
    )


def test_standard_input_is_empty_unless_given(repository: Path) -> None:
    assert Git(repository).run("cat-file", "--batch", timeout=10).out == b""


def test_a_failure_is_one_clear_line_with_status_and_reason(repository: Path) -> None:
    with pytest.raises(GitError, match=r"git rev-parse failed in .*shop: fatal: Needed a single revision") as caught:
        Git(repository).run("rev-parse", "--verify", "nowhere")
    assert caught.value.status == 128
    assert "\n" not in str(caught.value)
    assert Git(repository).run("rev-parse", "--verify", "-q", "nowhere", ok=(0, 1)).status == 1


def test_hostile_words_of_git_are_cleaned(repository: Path) -> None:
    with pytest.raises(GitError) as caught:
        Git(repository).run("-c", "alias.bad=!printf 'fatal: \\033[31m[/]\\n' >&2; exit 3", "bad")
    assert "\x1b" not in str(caught.value)
    assert caught.value.status == 3


def test_a_missing_folder_is_an_error_and_never_the_current_one(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    with pytest.raises(GitError):
        Git(tmp_path / "gone").run("rev-parse", "HEAD")
    with pytest.raises(GitError):
        Git(tmp_path / "gone.git", bare=True).run("rev-parse", "HEAD")


def test_after_the_time_the_whole_group_is_killed(repository: Path, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"!sh -c 'trap : TERM; sleep 60 & echo $$ $! > {pids}; wait; wait' #"
    with pytest.raises(GitError, match=r"took longer than 0.5 s"):
        Git(repository).run("-c", f"alias.slow={script}", "slow", timeout=0.5)
    alive = [int(pid) for pid in pids.read_text().split() if psutil.pid_exists(int(pid))]
    assert [pid for pid in alive if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE] == []


def test_isolated_git_reads_no_configuration_of_the_user(repository: Path, own_home: Path) -> None:
    (own_home / ".gitconfig").write_text("[merge]\n\tsecret = 1\n")
    assert Git(repository).text("config", "merge.secret") == "1"
    assert Git(repository / ".git", bare=True, isolated=True).run("config", "merge.secret", ok=(1,)).out == b""


@pytest.mark.parametrize("name", ["-f", "--all", "", "a b", "a\nb", "a\0b"])
def test_names_that_git_could_misread_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        revision(name)


def test_the_installed_git_will_do() -> None:
    assert require_git() >= (2, 39, 0)


@pytest.mark.parametrize("version", ["git version 2.30.2", "git version 2.38.1 (Apple Git-1)"])
def test_an_old_git_is_refused_with_the_way_to_a_newer_one(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", fake_git(tmp_path / "bin", f"echo '{version}'"))
    with pytest.raises(GitVersionError, match=r"git 2\.3\d\.\d is too old.*git 2\.39 or newer.*apt install git"):
        require_git()


@pytest.mark.parametrize("variables", [{}, {"GIT_TRACE": "0"}])
def test_a_missing_git_says_what_to_install(variables: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/env").symlink_to("/usr/bin/env")
    command = [sys.executable, "-c", "from rollcage.core.gitrepo.git import require_git; require_git()"]
    environment = {"PATH": str(tmp_path / "bin"), **variables}
    top = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=top, env=environment, capture_output=True, check=False)
    last = done.stderr.decode().strip().splitlines()[-1]
    assert "GitVersionError: git was not found on PATH" in last
    assert "apt install git" in last
