"""Whatever the history: nothing is lost, what was rehearsed is what comes, and undo brings back what was."""

from __future__ import annotations

import shutil
from pathlib import Path

from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from rollcage.core.execute.runner import start_rollback
from rollcage.core.model import RollbackState
from rollcage.core.plan.options import build_options
from rollcage.core.plan.undo import plan_undo
from tests.conftest import git
from tests.execute.scene import Scene, carry_on, diagnosis_of, incident_of
from tests.gitrepo.worlds import LINES, files_of

FILES = ("calc", "plan")
COMMITS = st.lists(
    st.tuples(st.sampled_from(FILES), st.integers(0, 19), st.sampled_from(("executor", "planner"))),
    min_size=2,
    max_size=5,
)
DIRTY = st.dictionaries(st.sampled_from((*FILES, "untracked")), st.integers(0, 19), max_size=2)


def with_line(text: str, number: int, to: str) -> str:
    """Return ``text`` with another line of that number."""
    lines = text.split("\n")
    return "\n".join([*lines[:number], to, *lines[number + 1 :]])


# Not made smaller when one fails: each try is a whole rollback.
@settings(
    max_examples=5,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(commits=COMMITS, dirty=DIRTY, which=st.integers(0, 4))
def test_nothing_is_lost_and_all_comes_as_rehearsed(
    tmp_path: Path, commits: list[tuple[str, int, str]], dirty: dict[str, int], which: int
) -> None:
    shutil.rmtree(tmp_path / "world", ignore_errors=True)
    scene = Scene(tmp_path / "world")
    scene.top.mkdir(parents=True)
    scene.paths.root.mkdir(mode=0o700)
    git(scene.top, "init", "-q", "-b", "main")
    texts = dict.fromkeys(FILES, LINES)
    scene.commit("planner", "start", **texts)
    shas = []
    for number, (name, line, agent) in enumerate(commits):
        texts[name] = with_line(texts[name], line, f"changed by {number}")
        shas.append(scene.commit(agent, f"change {number}", **{name: texts[name]}))
    for name, line in dirty.items():
        (scene.top / name).write_text(with_line(texts.get(name, LINES), line, "not committed"))
    before, known = files_of(scene.top), set(git(scene.top, "rev-list", "main").split())
    head_tree = scene.tree()

    services = scene.services(checks=[])
    incident = incident_of(services)
    ((_, plan), *_) = build_options(services, incident, diagnosis_of(incident, shas[which % len(shas)]))
    assume(plan.tree is not None)
    start_rollback(services, plan, approved_by="ann@here")
    ended = carry_on(scene, checks=[])
    if ended.state is RollbackState.UNDONE:  # an edit was in the way: then all is as it was
        assert not ended.head_after
        assert files_of(scene.top) == before
        services.store.close()
        return
    assert ended.state is RollbackState.DONE, ended.note
    assert scene.tree() == plan.tree, "what was rehearsed is what came"
    mine = {name for name, (_, content) in files_of(scene.top).items() if b"not committed" in content}
    assert mine == {name for name, (_, content) in before.items() if b"not committed" in content}

    git(scene.top, "commit", "-q", "--allow-empty", "-m", "an agent's next")
    assert scene.tree() == plan.tree, "a plain commit brings nothing back"

    turned = start_rollback(
        services, plan_undo(services, ended, "undo"), approved_by="ann@here", kind="undo", of="rb-1"
    )
    assert carry_on(scene, turned.id, checks=[]).state is RollbackState.DONE
    assert scene.tree() == head_tree, "undo brings back what was"
    assert files_of(scene.top) == before
    assert known <= set(git(scene.top, "rev-list", "main").split()), "no commit becomes unreachable"
    services.store.close()
