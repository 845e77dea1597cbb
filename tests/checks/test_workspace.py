"""A tree is made ready for a check without ever leaving it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollcage.core.checks.workspace import UnpreparedError, inside, link_paths, report_paths, working_folder
from tests.checks.conftest import MakeCheck


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    checkout, folder = tmp_path / "check out", tmp_path / "scratch"
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / "web" / "node_modules").mkdir(parents=True)
    folder.mkdir()
    return checkout, folder


def test_links_what_is_named_from_the_checkout(trees: tuple[Path, Path], check: MakeCheck) -> None:
    checkout, folder = trees
    link_paths(check(link=(".venv", "web/node_modules")), checkout, folder)
    assert (folder / ".venv" / "bin").is_dir()
    assert (folder / "web" / "node_modules").readlink() == checkout / "web" / "node_modules"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("missing", "is not in the checkout"),
        ("-rf", "begins with '-'"),
        ("outside", "leads out of the checkout"),
        ("away/x", "leads out of"),
        ("tracked", "is tracked by git"),
        ("dangling", "is tracked by git"),
        ("sideways/x", "leads out of"),
    ],
)
def test_refuses_what_is_missing_leaves_the_checkout_or_is_in_the_way(
    trees: tuple[Path, Path], check: MakeCheck, name: str, problem: str
) -> None:
    checkout, folder = trees
    elsewhere = checkout.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "x").touch()
    (checkout / "outside").symlink_to(elsewhere)
    (checkout / "away").symlink_to(elsewhere)
    for name_in_both in ("tracked", "dangling", "-rf"):
        (checkout / name_in_both).touch()
    (folder / "tracked").touch()
    (folder / "dangling").symlink_to("nowhere")
    (checkout / "sideways").mkdir()
    (checkout / "sideways" / "x").touch()
    (folder / "sideways").symlink_to(elsewhere)  # a commit of an agent's
    with pytest.raises(UnpreparedError, match=problem):
        link_paths(check(link=(name,)), checkout, folder)
    assert sorted(path.name for path in elsewhere.iterdir()) == ["x"]


def test_the_working_folder_and_the_report_stay_in_the_tree(trees: tuple[Path, Path], check: MakeCheck) -> None:
    checkout, folder = trees
    (folder / "back").mkdir()
    (folder / "out").symlink_to(checkout)
    assert working_folder(check(), folder) == folder.resolve()
    assert working_folder(check(cwd="back"), folder) == (folder / "back").resolve()
    named = check(cwd="back", junit="report.xml")
    assert report_paths(named, folder) == [folder / "back" / "report.xml", folder / "report.xml"]
    for cwd in ("nowhere", "out"):
        with pytest.raises(UnpreparedError, match=f"cwd: {cwd}"):
            working_folder(check(cwd=cwd), folder)
    with pytest.raises(UnpreparedError, match="leads out"):
        report_paths(check(junit="out/report.xml"), folder)
    with pytest.raises(UnpreparedError, match="leads out"):
        inside(folder, "../scratch/../x")
    (folder / "loop").symlink_to("loop")
    with pytest.raises(UnpreparedError):
        inside(folder, "loop/x")
