"""A repository keeps its identity when moved, gets a new one when copied, and is found again when its id is lost."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rollcage.core.errors import StoreError
from rollcage.core.store.identity import identify
from rollcage.core.store.locate import find_inbox, state_home
from rollcage.core.store.paths import RepositoryPaths
from tests.conftest import git
from tests.store.conftest import roots


def known(repository: Path, home: Path | None = None) -> RepositoryPaths:
    return identify(repository / ".git", lambda: roots(repository), home=home)


class TestIdentity:
    """Who a repository is."""

    def test_stays_the_same(self, repository: Path) -> None:
        """The second time nothing is asked of git and nothing is written."""
        first = known(repository)

        def never() -> list[str]:
            raise AssertionError("root commits were asked for")

        assert identify(repository / ".git", never) == first
        assert (repository / ".git/rollcage/id").read_text() == f"{first.uuid}\n"

    def test_is_the_same_through_a_link(self, repository: Path, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(repository)
        assert known(tmp_path / "link") == known(repository)

    def test_goes_along_when_moved(self, repository: Path, tmp_path: Path) -> None:
        first = known(repository)
        moved = repository.rename(tmp_path / "elsewhere, with ünïcode")
        assert known(moved) == first
        assert known(moved) == first

    def test_goes_along_when_another_repository_takes_the_old_place(self, repository: Path, tmp_path: Path) -> None:
        first = known(repository)
        moved = repository.rename(tmp_path / "elsewhere")
        git(tmp_path, "init", "-q", "shop")
        git(repository, "commit", "-q", "--allow-empty", "-m", "another project")
        other = known(repository)
        assert known(moved) == first
        assert other != first

    def test_is_new_for_a_copy(self, repository: Path, tmp_path: Path) -> None:
        first = known(repository)
        copy = shutil.copytree(repository, tmp_path / "copy")
        second = known(copy)
        assert second != first
        assert known(copy) == second
        assert known(repository) == first

    def test_is_new_for_a_copy_even_where_the_original_lost_its_id(self, repository: Path, tmp_path: Path) -> None:
        first = known(repository)
        copy = shutil.copytree(repository, tmp_path / "copy")
        shutil.rmtree(repository / ".git/rollcage")
        assert known(copy) != first
        assert known(repository) == first

    @pytest.mark.parametrize(
        "damage", [b"", b"../../etc\n", b"\xff\xfe", b"x" * 10_000_000], ids=["empty", "path", "bytes", "huge"]
    )
    def test_is_found_again_when_the_id_is_lost(self, repository: Path, damage: bytes) -> None:
        first = known(repository)
        (repository / ".git/rollcage/id").write_bytes(damage)
        assert known(repository) == first
        shutil.rmtree(repository / ".git/rollcage")
        assert known(repository) == first

    def test_is_found_again_after_git_was_deleted_and_cloned(self, repository: Path, tmp_path: Path) -> None:
        """``rm -rf .git`` by a mad agent loses nothing of ours."""
        backup = shutil.copytree(repository, tmp_path / "backup")
        first = known(repository)
        shutil.rmtree(repository)
        git(tmp_path, "clone", "-q", str(backup), "shop")
        assert known(repository) == first

    def test_is_new_for_another_project_in_the_same_place(self, repository: Path, tmp_path: Path) -> None:
        first = known(repository)
        shutil.rmtree(repository)
        git(tmp_path, "init", "-q", "shop")
        git(repository, "commit", "-q", "--allow-empty", "-m", "another project")
        assert known(repository) != first

    def test_of_an_unborn_repository_stays_with_its_first_commit(self, tmp_path: Path) -> None:
        git(tmp_path, "init", "-q", "young")
        young = tmp_path / "young"
        first = identify(young / ".git", list)
        git(young, "commit", "-q", "--allow-empty", "-m", "start")
        assert known(young) == first
        assert json.loads(first.record.read_text())["roots"] == roots(young)

    def test_is_adopted_by_a_new_state_directory(self, repository: Path, tmp_path: Path) -> None:
        first = known(repository)
        other = known(repository, tmp_path / "other state")
        assert other.uuid == first.uuid
        assert other.root != first.root

    def test_survives_a_damaged_record(self, repository: Path) -> None:
        first = known(repository)
        first.record.write_text("{")
        assert known(repository) == first
        assert json.loads(first.record.read_text())["path"] == str(repository / ".git")

    def test_is_one_for_processes_that_race(self, repository: Path) -> None:
        code = (
            "import sys; from pathlib import Path; from rollcage.core.store.identity import identify\n"
            "sys.stdin.read(); print(identify(Path(sys.argv[1]), lambda: ['a']).uuid)"
        )
        racers = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(repository / ".git")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.close()
            racer.stdin = None
        assert len({racer.communicate(timeout=30)[0] for racer in racers}) == 1


class TestStateDirectory:
    """Where the state lies, and who may enter it."""

    def test_is_for_its_owner_only(self, repository: Path) -> None:
        paths = known(repository)
        for folder in (state_home(), paths.root.parent, paths.root, paths.holders, paths.agents, paths.scratch):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder

    def test_of_the_user_keeps_its_mode_but_ours_within_is_closed(self, repository: Path, tmp_path: Path) -> None:
        home = tmp_path / "shared"
        home.mkdir(mode=0o755)
        home.chmod(0o755)
        paths = known(repository, home)
        assert stat.S_IMODE(home.stat().st_mode) == 0o755
        assert stat.S_IMODE(paths.root.parent.stat().st_mode) == 0o700

    @pytest.mark.parametrize("home", ["/dev/null/state", "/proc/rollcage"])
    def test_that_cannot_be_written_is_one_clear_line(self, repository: Path, home: str) -> None:
        with pytest.raises(StoreError, match=rf"cannot write {home}.*: .*ROLLCAGE_STATE_DIR") as caught:
            known(repository, Path(home))
        assert "\n" not in str(caught.value)

    def test_a_git_directory_that_is_gone_is_one_clear_line(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="cannot read the git directory"):
            identify(tmp_path / "none", list)

    def test_follows_the_environment(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("ROLLCAGE_STATE_DIR", "here")
        assert state_home() == tmp_path / "here"
        monkeypatch.setenv("ROLLCAGE_STATE_DIR", "")
        monkeypatch.setenv("XDG_STATE_HOME", "/var/xdg")
        assert state_home() == Path("/var/xdg/rollcage")
        monkeypatch.setenv("XDG_STATE_HOME", "relative")
        assert state_home() == Path(os.environ["HOME"]) / ".local/state/rollcage"


class TestFindInbox:
    """What a light verb needs: the inbox of the repository that it is run in."""

    def test_from_anywhere_in_the_repository(self, repository: Path, tmp_path: Path) -> None:
        paths = known(repository)
        git(repository, "worktree", "add", "-q", str(tmp_path / "second"))
        (repository / "a/b").mkdir(parents=True)
        for start in (repository, repository / "a/b", repository / ".git/refs", tmp_path / "second"):
            assert find_inbox(str(start)) == str(paths.inbox_db), start

    def test_of_a_bare_repository(self, repository: Path, tmp_path: Path) -> None:
        git(tmp_path, "clone", "-q", "--bare", str(repository), "bare.git")
        paths = identify(tmp_path / "bare.git", lambda: roots(repository))
        assert find_inbox(str(tmp_path / "bare.git")) == str(paths.inbox_db)

    def test_is_what_the_supervisor_says(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ROLLCAGE_INBOX", "/some/inbox.db")
        assert find_inbox(str(tmp_path)) == "/some/inbox.db"

    def test_without_a_repository_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(LookupError, match="no git repository at or above"):
            find_inbox(str(tmp_path))

    def test_of_an_unknown_repository_says_what_to_do(self, repository: Path) -> None:
        with pytest.raises(LookupError, match="run `rollcage health`"):
            find_inbox(str(repository))

    def test_never_reports_for_the_original_from_its_copy(self, repository: Path, tmp_path: Path) -> None:
        known(repository)
        copy = shutil.copytree(repository, tmp_path / "copy")
        with pytest.raises(LookupError, match="run `rollcage health`"):
            find_inbox(str(copy))

    def test_does_not_hang_on_a_fifo(self, repository: Path) -> None:
        paths = known(repository)
        (repository / ".git/rollcage/id").unlink()
        os.mkfifo(repository / ".git/rollcage/id")
        with pytest.raises(LookupError):
            find_inbox(str(repository))
        assert known(repository) == paths
