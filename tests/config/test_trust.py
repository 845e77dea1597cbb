"""Only settings that an operator trusted count."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rollcage.core.clock import SystemClock
from rollcage.core.config import Settings
from rollcage.core.errors import ExitCode, SettingsError, StoreError, UntrustedError
from rollcage.core.store.identity import identify
from rollcage.core.store.paths import RepositoryPaths
from rollcage.core.store.store import Store
from rollcage.core.trust import NO_FILE, difference, load_trusted, pinned_content, trust, written_content


@pytest.fixture
def top(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    (folder / ".git").mkdir(parents=True)
    return folder


@pytest.fixture
def paths(top: Path) -> RepositoryPaths:
    return identify(top / ".git", lambda: ["0" * 40])


@pytest.fixture
def store(paths: RepositoryPaths) -> Iterator[Store]:
    store = Store.open(paths, SystemClock())
    yield store
    store.close()


def write(top: Path, text: str) -> bytes:
    (top / "rollcage.yml").write_text(text)
    return text.encode()


def test_without_a_file_the_defaults_count_and_it_is_said(top: Path, paths: RepositoryPaths) -> None:
    trusted = load_trusted(top, paths)
    assert trusted.settings == Settings()
    assert trusted.message == NO_FILE


def test_a_file_counts_once_it_is_trusted_and_until_it_changes(top: Path, paths: RepositoryPaths, store: Store) -> None:
    content = write(top, "level: watch\n")
    with pytest.raises(UntrustedError, match=r"never trusted.*rollcage trust") as caught:
        load_trusted(top, paths)
    assert caught.value.exit_code is ExitCode.USAGE
    trust(paths, store, content, "ann@host")
    first = load_trusted(top, paths)
    assert first.settings.level == "watch"
    assert not first.message
    write(top, "level: watch \n")
    with pytest.raises(UntrustedError, match=r"changed since.*rollcage trust"):
        load_trusted(top, paths)
    trust(paths, store, b"level: watch \n", "ann@host")
    assert load_trusted(top, paths).pin != first.pin


def test_removing_the_file_is_a_change_too(top: Path, paths: RepositoryPaths, store: Store) -> None:
    trust(paths, store, write(top, "level: watch\n"), "ann@host")
    (top / "rollcage.yml").unlink()
    with pytest.raises(UntrustedError, match="removed since"):
        load_trusted(top, paths)
    trust(paths, store, None, "ann@host")
    assert load_trusted(top, paths).message == NO_FILE
    assert pinned_content(paths) is None


def test_who_trusted_what_is_in_the_audit_log(top: Path, paths: RepositoryPaths, store: Store) -> None:
    trust(paths, store, write(top, "level: watch\n"), "ann@host")
    (record,) = store.audit_records()
    assert (record.who, record.what, record.subject) == ("ann@host", "trust", "rollcage.yml")
    assert record.detail["to"] == load_trusted(top, paths).pin


def test_what_is_trusted_is_what_was_shown_not_what_the_file_is_by_then(
    top: Path, paths: RepositoryPaths, store: Store
) -> None:
    shown = write(top, "level: watch\n")
    write(top, "level: auto\n")
    trust(paths, store, shown, "ann@host")
    with pytest.raises(UntrustedError):
        load_trusted(top, paths)


def test_a_wrong_file_is_reported_as_wrong_before_anybody_is_asked_to_trust_it(
    top: Path, paths: RepositoryPaths
) -> None:
    write(top, "level: off\n")
    with pytest.raises(SettingsError, match=r"^rollcage\.yml:1: level: "):
        load_trusted(top, paths)


def test_a_file_named_by_hand_counts_as_trusted(top: Path, paths: RepositoryPaths, tmp_path: Path) -> None:
    write(top, "level: auto\n")
    other = tmp_path / "other.yml"
    other.write_text("level: watch\n")
    assert load_trusted(top, paths, other).settings.level == "watch"
    other.write_text("level: off\n")
    with pytest.raises(SettingsError, match=r"other\.yml:1: level"):
        load_trusted(top, paths, other)
    with pytest.raises(SettingsError, match="does not exist"):
        load_trusted(top, paths, tmp_path / "missing.yml")


def test_a_link_out_of_the_repository_is_refused(top: Path, paths: RepositoryPaths, tmp_path: Path) -> None:
    (tmp_path / "outside.yml").write_text("level: auto\n")
    (top / "rollcage.yml").symlink_to(tmp_path / "outside.yml")
    with pytest.raises(SettingsError, match="leaves the repository"):
        load_trusted(top, paths)


def test_a_link_within_the_repository_is_followed(top: Path, paths: RepositoryPaths, store: Store) -> None:
    (top / "settings.yml").write_text("level: watch\n")
    (top / "rollcage.yml").symlink_to("settings.yml")
    trust(paths, store, written_content(top), "ann@host")
    assert load_trusted(top, paths).settings.level == "watch"


def test_the_difference_hides_nothing() -> None:
    lines = difference(b"level: watch\nbranch: main\n", b"level: auto\nbranch: \x1b[31mmain\n\xff")
    text = "\n".join(lines)
    assert "-level: watch" in text
    assert "\x1b" not in text
    assert "\\x1b[31m" in text
    assert "\\xff" in text
    assert "\\u202e" in "\n".join(difference(None, "a: \u202eb\n".encode()))


def test_a_pin_is_private_and_one_that_cannot_be_read_is_an_error(
    top: Path, paths: RepositoryPaths, store: Store
) -> None:
    trust(paths, store, write(top, "level: watch\n"), "ann@host")
    assert paths.trusted.stat().st_mode & 0o777 == 0o600
    paths.trusted.unlink()
    paths.trusted.mkdir()
    with pytest.raises(StoreError, match="cannot read"):
        load_trusted(top, paths)
