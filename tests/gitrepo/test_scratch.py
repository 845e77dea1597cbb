"""A scratch tree is exactly the commit asked for, whatever its last user did to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rollcage.core.errors import GitError, StoreError
from rollcage.core.gitrepo.mirror import Mirror
from rollcage.core.gitrepo.scratch import ScratchPool
from tests.conftest import git
from tests.gitrepo.conftest import commit, mirror_of

FILES: dict[str, str | bytes | None] = {
    "-f": "dash\n",
    "src/a.py": "a = 1\n",
    "src/deep/b.py": "b = 2\n",
    'ünï "cödé"\n': "odd\n",
    "image.bin": bytes(range(256)),
    ".gitignore": "*.log\nbuild/\n",
}


@pytest.fixture
def full(repository: Path) -> str:
    """Return a commit with odd names, a link, a program, and a .gitignore."""
    (repository / "link").symlink_to("src/a.py")
    (repository / "run.sh").write_text("#!/bin/sh\n")
    (repository / "run.sh").chmod(0o755)
    return commit(repository, FILES, "full")


@pytest.fixture
def pool(mirror: Mirror, tmp_path: Path) -> ScratchPool:
    return ScratchPool(mirror, tmp_path / "scratch trees", 1)


Content = dict[str, tuple[str, bytes | str, int]]


def content(tree: Path) -> Content:
    """Return all that lies in ``tree`` but .git at its top: kind, content and permissions by path."""
    found: Content = {}
    for path in sorted(tree.rglob("*")):
        name = str(path.relative_to(tree))
        mode = path.lstat().st_mode & 0o777
        if name == ".git" or name.startswith(".git/"):
            continue
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()), 0)
        elif path.is_dir():
            found[name] = ("folder", "", mode)
        else:
            found[name] = ("file", path.read_bytes(), mode)
    return found


def checked_out(repository: Path, sha: str, place: Path) -> Content:
    """Return what git itself makes of the commit in a fresh clone."""
    git(place.parent, "clone", "-q", "--no-checkout", str(repository), str(place))
    git(place, "checkout", "-q", sha)
    return content(place)


def test_it_is_exactly_the_commit_and_clean(pool: ScratchPool, repository: Path, full: str, tmp_path: Path) -> None:
    with pool.tree(full) as tree:
        assert content(tree) == checked_out(repository, full, tmp_path / "fresh")
        assert git(tree, "rev-parse", "HEAD") == full
        assert git(tree, "status", "--porcelain", "--ignored") == ""
        assert git(tree, "log", "--format=%s") == "full\nstart"


def junk(tree: Path) -> None:
    (tree / "new.log").write_text("ignored")
    (tree / "build/deep").mkdir(parents=True)
    (tree / "build/deep/out").write_text("x")
    (tree / "src/a.py").write_text("a = 9\n")
    (tree / "-f").unlink()


def same_size_and_time(tree: Path) -> None:
    before = (tree / "src/a.py").stat()
    (tree / "src/a.py").write_text("a = 7\n")
    os.utime(tree / "src/a.py", ns=(before.st_atime_ns, before.st_mtime_ns))


def modes(tree: Path) -> None:
    (tree / "run.sh").chmod(0o644)
    (tree / "src/a.py").chmod(0o000)
    (tree / "src/deep").chmod(0o000)
    (tree / "src").chmod(0o555)


def nested_repositories(tree: Path) -> None:
    git(tree, "init", "-q", "inner")
    git(tree / "src", "init", "-q")
    (tree / "src/deep/.git").write_text("gitdir: /nowhere\n")


def no_git(tree: Path) -> None:
    git(tree, "add", "--all", "-f", ".")
    (tree / ".git").rename(tree / "moved.git")


def committed(tree: Path) -> None:
    git(tree, "config", "core.fsmonitor", "touch /nowhere")
    git(tree, "config", "filter.x.smudge", "false")
    (tree / ".gitattributes").write_text("* filter=x\n")
    git(tree, "rm", "-q", "-r", "src")
    git(tree, "add", ".gitattributes")
    git(tree, "commit", "-q", "-m", "mad")
    git(tree, "update-index", "--assume-unchanged", "image.bin")
    (tree / "image.bin").write_text("x")


def kinds_swapped(tree: Path) -> None:
    (tree / "src/a.py").unlink()
    (tree / "src/a.py").mkdir()
    (tree / "src/a.py/x").write_text("x")
    (tree / "link").unlink()
    (tree / "link").write_text("src/a.py")
    (tree / "src/deep/b.py").unlink()
    (tree / "src/deep").rmdir()
    (tree / "src/deep").symlink_to(tree.parent)
    (tree / "image.bin").unlink()
    os.mkfifo(tree / "image.bin")


def all_gone(tree: Path) -> None:
    tree.rename(Path(tempfile.mkdtemp(dir=tree.parent.parent)) / "moved")


def replaced_by_a_link(tree: Path) -> None:
    outside = Path(tempfile.mkdtemp(dir=tree.parent.parent)) / "outside"
    tree.rename(outside)
    tree.symlink_to(outside)
    (outside / "precious").write_text("x")


DAMAGE = [
    junk, same_size_and_time, modes, nested_repositories, no_git, committed, kinds_swapped, all_gone,
    replaced_by_a_link,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_nothing_of_an_earlier_use_is_left(
    damage: Callable[[Path], None], pool: ScratchPool, repository: Path, full: str, tmp_path: Path
) -> None:
    other = commit(repository, {".gitignore": None, "src/deep/b.py": "b = 3\n", "new": "n\n"}, "other")
    right = {sha: checked_out(repository, sha, tmp_path / sha) for sha in (full, other)}
    for sha in (full, other):
        with pool.tree(sha) as tree:
            damage(tree)
        for again in (sha, full):
            with pool.tree(again) as tree:
                assert content(tree) == right[again]
                assert git(tree, "status", "--porcelain", "--ignored") == ""
                assert git(tree, "rev-parse", "HEAD") == again
    if damage is replaced_by_a_link:
        assert len(list((tmp_path / "scratch trees").glob("*/outside/precious"))) == 2


def test_a_tree_without_a_commit(pool: ScratchPool, repository: Path, full: str) -> None:
    tree_id = git(repository, "rev-parse", f"{full}^{{tree}}")
    with pool.tree(tree_id) as tree:
        assert git(tree, "rev-parse", "HEAD^{tree}") == tree_id
        assert git(tree, "status", "--porcelain") == ""


def test_the_empty_tree(pool: ScratchPool, repository: Path, full: str) -> None:
    with pool.tree(full):
        pass
    with pool.tree("4b825dc642cb6eb9a060e54bf8d69288fbee4904") as tree:
        assert content(tree) == {}


def test_a_tree_gets_the_place_of_the_one_that_is_most_like_it(mirror: Mirror, full: str, tmp_path: Path) -> None:
    pool = ScratchPool(mirror, tmp_path / "alike", 2)
    empty = mirror.git.text("mktree", stdin=b"")
    places = []
    for tree in (full, empty, full, empty, full):
        with pool.tree(tree) as place:
            places.append(place)
    assert places == [places[0], places[1]] * 2 + [places[0]]
    assert places[0] != places[1]


def test_filters_and_hooks_of_the_user_do_not_run(mirror: Mirror, pool: ScratchPool, own_home: Path) -> None:
    repository = mirror.repository.top
    hooks = own_home / "hooks"
    hooks.mkdir()
    (hooks / "post-checkout").write_text(f"#!/bin/sh\ntouch {own_home}/hooked\n")
    (hooks / "post-checkout").chmod(0o755)
    (own_home / ".gitconfig").write_text(
        f"[core]\n\thooksPath = {hooks}\n\tautocrlf = true\n"
        '[filter "lfs"]\n\tclean = cat\n\tsmudge = sed s/pointer/content/\n\trequired = true\n'
    )
    sha = commit(repository, {".gitattributes": "*.big filter=lfs -text\n", "model.big": "pointer\n", "t": "1\n2\n"})
    (own_home / "hooked").unlink(missing_ok=True)
    with pool.tree(sha) as tree:
        assert (tree / "model.big").read_bytes() == b"pointer\n"
        assert (tree / "t").read_bytes() == b"1\n2\n"
    assert not (own_home / "hooked").exists()


def test_what_runs_there_cannot_move_refs_of_the_user_or_the_mirror(
    mirror: Mirror, pool: ScratchPool, repository: Path, full: str
) -> None:
    with pool.tree(full) as tree:
        git(tree, "checkout", "-q", "-B", "main")
        git(tree, "commit", "-q", "--allow-empty", "-m", "from the scratch tree")
        assert git(tree, "remote") == ""
    assert git(repository, "rev-parse", "main") == full
    assert mirror.git.text("for-each-ref") == ""


def test_submodules_are_empty_folders(repository: Path, pool: ScratchPool) -> None:
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{git(repository, 'rev-parse', 'HEAD')},lib/sub")
    git(repository, "commit", "-q", "-m", "submodule")
    sha = git(repository, "rev-parse", "HEAD")
    with pool.tree(sha) as tree:
        (tree / "lib/sub/junk").write_text("x")
    with pool.tree(sha) as tree:
        assert list((tree / "lib/sub").iterdir()) == []


def test_an_unknown_commit_is_an_error(pool: ScratchPool) -> None:
    for name in ("1" * 40, "-f", "main"):
        with pytest.raises(GitError, match="no commit or tree"), pool.tree(name):
            pass


def test_a_place_that_cannot_be_written_is_a_clear_error(mirror: Mirror, repository: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    pool = ScratchPool(mirror, tmp_path / "file" / "x", 1)
    with pytest.raises(StoreError, match=r"cannot write .*file"), pool.tree(git(repository, "rev-parse", "HEAD")):
        pass


def test_each_user_has_a_tree_of_its_own_and_the_others_wait(mirror: Mirror, full: str, tmp_path: Path) -> None:
    pool = ScratchPool(mirror, tmp_path / "scratch", 2)
    both, third, leave = threading.Barrier(3), threading.Event(), threading.Event()
    seen: list[Path] = []

    def use(last: bool) -> None:
        with pool.tree(full) as tree:
            seen.append(tree)
            if last:
                third.set()
            else:
                both.wait(10)
                leave.wait(10)

    threads = [threading.Thread(target=use, args=(False,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    both.wait(10)
    late = threading.Thread(target=use, args=(True,))
    late.start()
    assert len(set(seen)) == 2
    assert not third.wait(0.3)
    leave.set()
    assert third.wait(10)
    for thread in (*threads, late):
        thread.join(10)


def test_the_tree_of_a_dead_process_is_reclaimed_and_its_processes_write_elsewhere(
    mirror: Mirror, full: str, tmp_path: Path
) -> None:
    script = (
        "import sys, subprocess; from pathlib import Path\n"
        "from tests.gitrepo.conftest import mirror_of\n"
        "from rollcage.core.gitrepo.scratch import ScratchPool\n"
        "mirror = mirror_of(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "with ScratchPool(mirror, Path(sys.argv[3]), 1).tree(sys.argv[4]) as tree:\n"
        "    stray = subprocess.Popen(['sh', '-c', 'while :; do echo x > stray; sleep 0.01; done'], cwd=tree)\n"
        "    print(tree, stray.pid, flush=True); sys.stdin.read()\n"
    )
    place = tmp_path / "scratch"
    process = subprocess.Popen(
        [sys.executable, "-c", script, mirror.repository.top, mirror.path.parent, place, full],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    tree, stray = process.stdout.readline().decode().split()
    try:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        with ScratchPool(mirror, place, 1).tree(full) as again:
            assert str(again) == tree
            for _ in range(20):
                assert git(again, "status", "--porcelain") == ""
    finally:
        os.kill(int(stray), signal.SIGKILL)
        process.stdin.close()
        process.stdout.close()


def test_two_repositories_do_not_share(tmp_path: Path, repository: Path, pool: ScratchPool, full: str) -> None:
    git(tmp_path, "init", "-q", "-b", "main", "--object-format=sha256", "second")
    sha = commit(tmp_path / "second", {"x": "1"})
    with (
        pool.tree(full),
        ScratchPool(mirror_of(tmp_path / "second", tmp_path / "s2"), tmp_path / "t2", 1).tree(sha) as tree,
    ):
        assert (tree / "x").read_text() == "1"
