"""A check is believed only if it can fail, looks at the tree that it runs in, and finds there what it needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollcage.core.checks.checks import Belief
from rollcage.core.checks.sources import overwrite, sources
from rollcage.core.config import CheckSettings
from tests.checks.conftest import PYTHON, MakeCheck, Project, shell
from tests.conftest import git

BROKEN = "def add(a, b):\n    return a - b\n"


def believed(project: Project, settings: CheckSettings) -> Belief:
    return project.checks(settings).believed(settings, *project.head())


def test_a_check_of_the_tree_is_believed(project: Project, check: MakeCheck) -> None:
    belief = believed(project, check())
    assert belief == Belief(True, "check tests fails with every source emptied, and says the same in the checkout")


def test_so_is_one_that_fails_at_the_head(project: Project, check: MakeCheck) -> None:
    project.commit({"calc.py": BROKEN})
    assert believed(project, check()).believed


@pytest.mark.parametrize("command", [("true",), shell("ls; exit 0"), ("grep", "-c", "", "README")])
def test_a_check_that_cannot_fail_is_not(project: Project, check: MakeCheck, command: tuple[str, ...]) -> None:
    belief = believed(project, check(command if command[0] != "grep" else shell("grep -c '' README || true")))
    assert not belief.believed
    assert belief.why.startswith("check tests passes even with every source emptied: it cannot fail, or")
    assert "\n" not in belief.why


def test_a_check_that_looks_at_the_main_checkout_is_not(project: Project, check: MakeCheck) -> None:
    # As an editable install does: its tests are those of the scratch tree, the code that they import is not.
    belief = believed(project, check(env={"PYTHONPATH": str(project.top), "PYTHONSAFEPATH": "1"}))
    assert not belief.believed
    assert "editable install" in belief.why


def test_linters_and_other_friends_of_empty_files_are_believed(project: Project, check: MakeCheck) -> None:
    compiles = (PYTHON, "-m", "compileall", "-q", ".")
    assert believed(project, check(compiles)).believed


def test_a_script_that_is_all_there_is_can_be_believed(project: Project, check: MakeCheck) -> None:
    git(project.top, "rm", "-q", "calc.py", "test_calc.py")
    project.commit({"check.sh": "exit 0\n"})
    assert believed(project, check(("sh", "check.sh"))).believed


def test_a_scratch_tree_that_lacks_something_is_found_out(project: Project, check: MakeCheck) -> None:
    (project.top / ".gitignore").write_text("deps/\n")
    project.commit({"test_calc.py": "from deps.four import FOUR\nfrom calc import add\nassert add(2, 2) == FOUR\n"})
    (project.top / "deps").mkdir()
    (project.top / "deps" / "four.py").write_text("FOUR = 4\n")
    belief = believed(project, check())
    assert not belief.believed
    assert "fails in a scratch tree but passes in the checkout at the same commit" in belief.why
    assert "link:" in belief.why
    assert believed(project, check(link=("deps",))).believed


def test_what_git_ignores_can_break_the_checkout(project: Project, check: MakeCheck) -> None:
    (project.top / ".gitignore").write_text("sitecustomize.py\n")
    project.commit()
    (project.top / "sitecustomize.py").write_text("raise SystemExit(3)\n")
    belief = believed(project, check(env={"PYTHONPATH": "."}))
    assert not belief.believed
    assert "passes in a scratch tree but fails in the checkout" in belief.why


@pytest.mark.parametrize("edit", ["edited", "untracked", "elsewhere", "in the way"])
def test_no_uncommitted_edit_can_cost_a_check_its_belief(project: Project, check: MakeCheck, edit: str) -> None:
    settings = check()
    commit, tree = project.head()
    if edit == "elsewhere":
        project.commit({"calc.py": BROKEN})
    else:
        name, content = {
            "edited": ("calc.py", BROKEN),
            "untracked": ("notes.txt", "x"),
            "in the way": ("builtins_.py", ""),
        }[edit]
        (project.top / name).write_text(content)
    if edit == "in the way":
        settings = check(shell("[ ! -e builtins_.py ] && exec python3 test_calc.py"))
    belief = project.checks(settings).believed(settings, commit, tree)
    assert belief.believed
    assert belief.final is (edit == "untracked")
    assert ("not compared" in belief.why) is (edit != "untracked")


def test_running_it_in_the_checkout_writes_no_bytecode_and_says_what_else_it_left(
    project: Project, check: MakeCheck
) -> None:
    (project.top / "report.xml").write_text("mine")
    script = "python3 test_calc.py && echo x > left.txt && echo y > report.xml"
    belief = believed(project, check(shell(script), junit="report.xml"))
    assert belief.believed
    assert belief.why.endswith("; running it there left left.txt")
    there = {path.name for path in project.top.iterdir()}
    assert there == {".git", "README", "calc.py", "left.txt", "report.xml", "test_calc.py"}


def test_a_report_that_it_wrote_in_the_checkout_goes_again(project: Project, check: MakeCheck) -> None:
    script = "python3 test_calc.py && echo y > report.xml"
    assert believed(project, check(shell(script), junit="report.xml")).why.endswith("and says the same in the checkout")
    assert not (project.top / "report.xml").exists()


def test_the_verdict_is_kept_by_definition(project: Project, check: MakeCheck, tmp_path: Path) -> None:
    counted = check(shell(f"echo x >> {tmp_path}/runs; exec python3 test_calc.py"))
    first = believed(project, counted)
    runs = (tmp_path / "runs").read_text()
    project.commit({"calc.py": "# another tree\ndef add(a, b):\n    return a + b\n"})
    assert believed(project, counted) == first
    assert (tmp_path / "runs").read_text() == runs
    renamed = counted.model_copy(update={"name": "unit"})
    assert believed(project, renamed).why.startswith("check unit ")


def test_distrust_is_looked_into_again_at_the_next_tree(project: Project, check: MakeCheck, tmp_path: Path) -> None:
    settings = check(shell(f"echo x >> {tmp_path}/runs; [ ! -e guard.py ] || exec python3 guard.py"))
    assert not believed(project, settings).believed
    runs = (tmp_path / "runs").read_text()
    assert not believed(project, settings).believed
    assert (tmp_path / "runs").read_text() == runs
    project.commit({"guard.py": "import calc\ncalc.add\n"})
    assert believed(project, settings).believed


def test_what_could_not_be_compared_is_compared_when_it_can_be(project: Project, check: MakeCheck) -> None:
    (project.top / "calc.py").write_text(BROKEN)
    assert not believed(project, check()).final
    git(project.top, "checkout", "-q", "--", "calc.py")
    assert believed(project, check()).final


def test_what_cannot_be_started_is_not_believed_and_not_remembered(project: Project, check: MakeCheck) -> None:
    belief = believed(project, check(("no-such-runner",)))
    assert (belief.believed, belief.final) == (False, False)
    assert belief.why.startswith("check tests cannot be started: no-such-runner: No such file or directory")


def test_a_bare_repository_has_no_checkout_to_compare_with(project: Project, check: MakeCheck, tmp_path: Path) -> None:
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "-q", "--bare", str(project.top), str(bare))
    project.top = bare
    belief = believed(project, check())
    assert belief.believed
    assert belief.why.endswith("not compared with the checkout: there is none that git can read")


TREE = {
    "src/calc.py", "src/contest.py", "src/test/java/CalcTest.java", "README.md", "web/app.ts", "web/app.spec.ts",
    "web/package.json", "tests/test_calc.py", "tests/data/big.json", "conftest.py", "pyproject.toml", "Makefile",
    "state.txt", "tools/check.py", "run.sh", "go/calc.go", "go/calc_test.go", ".github/workflow.yml", ".gitignore",
    "uv.lock",
}  # fmt: skip


@pytest.mark.parametrize(
    ("run", "cwd", "kept"),
    [
        (("pytest", "-q"), ".", set()),
        (shell("set -e; ./run.sh state.txt"), ".", {"run.sh"}),
        (("python", "-m", "tools.check", "--data=state.txt"), ".", {"tools/check.py"}),
        (("node", "app.ts"), "web", {"web/app.ts"}),
    ],
)
def test_sources_are_what_is_neither_test_nor_build_file_nor_the_script(
    tmp_path: Path, check: MakeCheck, run: tuple[str, ...], cwd: str, kept: set[str]
) -> None:
    tree = tmp_path / "tree"
    for name in TREE:
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("content")
    (tree / "link.py").symlink_to("/etc/hostname")
    (tree / ".git").mkdir()
    (tree / ".git" / "config").touch()
    found = {str(path.relative_to(tree)) for path in sources(check(run, cwd=cwd), tree)}
    code = {"src/calc.py", "src/contest.py", "web/app.ts", "go/calc.go", "tools/check.py", "run.sh"}
    assert found == (code | {"README.md", "state.txt", ".github/workflow.yml"}) - kept


def test_overwriting_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("content")
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(OSError, match="link"):
        overwrite([tmp_path / "link"], b"")
    overwrite([tmp_path / "real"], b"new")
    assert (tmp_path / "real").read_text() == "new"
