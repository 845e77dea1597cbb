"""Whatever the history: nothing is lost, what was rehearsed is what comes, and undo brings back what was."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from rollcage.core.execute.runner import start_rollback
from rollcage.core.gitrepo.parts import parts_of
from rollcage.core.model import OptionType, RecoveryPlan, RollbackState
from rollcage.core.plan.options import Wish, rehearse
from rollcage.core.plan.undo import plan_undo
from rollcage.core.services import Services
from tests.conftest import git
from tests.execute.scene import Scene, carry_on, diagnosis_of, incident_of
from tests.gitrepo.worlds import LINES, files_of

EXAMPLES = int(os.environ.get("TORTURE_EXAMPLES", "5"))
FILES = ("calc", "plan")
AGENTS = ("executor", "planner")
LINE = st.integers(0, 19)
TYPES = st.sampled_from([kind for kind in OptionType if kind is not OptionType.RESTART_ONLY])


@dataclass(frozen=True)
class Commit:
    """One commit of a history: a line of a file changed, and the file renamed with it or not."""

    file: str
    line: int
    agent: str
    renames: bool


COMMITS = st.lists(
    st.builds(Commit, st.sampled_from(FILES), LINE, st.sampled_from(AGENTS), st.sampled_from((False, False, True))),
    min_size=2,
    max_size=6,
)
DIRTY = st.dictionaries(st.sampled_from((*FILES, "untracked")), LINE, max_size=2)
"""The line of each file that somebody edited and did not commit."""


def with_line(text: str, number: int, to: str) -> str:
    """Return ``text`` with another line of that number."""
    lines = text.split("\n")
    return "\n".join([*lines[:number], to, *lines[number + 1 :]])


class History:
    """A repository grown from commits, on a branch that two working trees may have."""

    def __init__(self, place: Path, commits: list[Commit], *, twin: bool) -> None:
        shutil.rmtree(place, ignore_errors=True)
        self.scene = Scene(place)
        self.top = self.scene.top
        self.top.mkdir(parents=True)
        self.scene.paths.root.mkdir(mode=0o700)
        git(self.top, "init", "-q", "-b", "main")
        self.texts, self.names = dict.fromkeys(FILES, LINES), {name: name for name in FILES}
        self.scene.commit("planner", "start", **self.texts)
        self.shas = [self._grow(number, commit) for number, commit in enumerate(commits)]
        self.trees = [self.top]
        if twin:
            self.trees.append(place / "twin")
            git(self.top, "worktree", "add", "-q", "--force", str(self.trees[1]), "main")

    def _grow(self, number: int, commit: Commit) -> str:
        old = self.names[commit.file]
        self.texts[commit.file] = with_line(self.texts[commit.file], commit.line, f"changed by {number}")
        if commit.renames:
            self.names[commit.file] = f"{commit.file}-{number}"
            git(self.top, "mv", old, self.names[commit.file])
        (self.top / self.names[commit.file]).write_text(self.texts[commit.file])
        git(self.top, "commit", "-q", "-a", "-m", f"change {number}\n\nAgent: {commit.agent}\n")
        return git(self.top, "rev-parse", "HEAD")

    def edit(self, top: Path, dirty: dict[str, int]) -> None:
        """Leave work in a tree that nobody committed."""
        for file, line in dirty.items():
            text = with_line(self.texts.get(file, LINES), line, f"not committed {file} {line}")
            (top / self.names.get(file, file)).write_text(text)

    def files(self) -> list[dict[bytes, tuple[str, bytes]]]:
        return [files_of(tree) for tree in self.trees]

    def mine(self) -> list[set[bytes]]:
        """Return by working tree the lines that nobody committed."""
        return [
            {line for _, content in files.values() for line in content.split(b"\n") if b"not committed" in line}
            for files in self.files()
        ]

    def commits(self, folder: Path) -> set[str]:
        return set(git(folder, "rev-list", "--all").split())


def planned(services: Services, history: History, kind: OptionType, targets: list[str]) -> RecoveryPlan:
    incident = incident_of(services)
    keeps = () if kind is OptionType.BRANCH_RESET else None
    parts: tuple[str, ...] = ()
    if kind is OptionType.FILE_SELECTIVE:
        parts = tuple(part.name for part in parts_of(services.mirror, targets[-1], targets)[-1:])
    wish = Wish(kind, tuple(targets), keeps=keeps, parts=parts)
    return rehearse(services, incident, diagnosis_of(incident, *targets), wish, "opt-1.1")[1]


# Not made smaller when one fails: each try is a whole rollback.
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
@given(
    commits=COMMITS,
    dirty=DIRTY,
    twins=st.none() | DIRTY,
    kind=TYPES,
    which=st.sets(st.integers(0, 5), min_size=1, max_size=2),
)
def test_nothing_is_lost_and_all_comes_as_rehearsed(
    tmp_path: Path,
    commits: list[Commit],
    dirty: dict[str, int],
    twins: dict[str, int] | None,
    kind: OptionType,
    which: set[int],
) -> None:
    history = History(tmp_path / "world", commits, twin=twins is not None)
    scene, targets = history.scene, [history.shas[number] for number in sorted(which) if number < len(history.shas)]
    assume(targets)
    for tree, edits in zip(history.trees, (dirty, twins or {}), strict=False):
        history.edit(tree, edits)
    before, mine, known, head_tree = history.files(), history.mine(), history.commits(scene.top), scene.tree()

    services = scene.services(checks=[])
    try:
        plan = planned(services, history, kind, targets)
        assume(plan.tree is not None and plan.tree != head_tree)
        start_rollback(services, plan, approved_by="ann@here")
        ended = carry_on(scene, checks=[])
        assert known <= history.commits(scene.paths.mirror), "no commit is lost"
        assert history.mine() == mine, "uncommitted work is kept"
        if ended.state is RollbackState.UNDONE:  # an edit was in the way: then all is as it was
            assert not ended.head_after
            assert history.files() == before
            return
        assert ended.state is RollbackState.DONE, ended.note
        assert scene.tree() == plan.tree, "what was rehearsed is what came"

        assert [git(tree, "diff", "--cached", "--stat") for tree in history.trees] == [""] * len(history.trees)
        git(history.trees[-1], "commit", "-q", "--allow-empty", "-m", "an agent's next")
        assert scene.tree() == plan.tree, "a plain commit brings nothing back"

        turned = start_rollback(
            services, plan_undo(services, ended, "undo"), approved_by="ann@here", kind="undo", of="rb-1"
        )
        assert carry_on(scene, turned.id, checks=[]).state is RollbackState.DONE
        assert scene.tree() == head_tree, "undo brings back what was"
        assert history.files() == before
        assert known <= history.commits(scene.top), "no commit becomes unreachable"
        assert history.commits(scene.top) <= history.commits(scene.paths.mirror)
    finally:
        services.store.close()
