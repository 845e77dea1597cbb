"""What the risk of an option is judged by, looked up in history, working trees and remotes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..gitrepo.git import Git
from ..gitrepo.history import attribute, commits
from ..gitrepo.objects import read_commits
from ..gitrepo.paths import shown
from ..model import CheckOutcome, Commit, Diagnosis, OptionType
from ..services import Services
from .risk import Effect, RiskFacts


@dataclass(frozen=True, slots=True)
class Tried:
    """What a rehearsal came to."""

    type: OptionType
    head: str
    tree: str | None
    """None: it does not apply, or changes nothing."""
    targets: tuple[str, ...]
    """The newest first."""
    files: tuple[str, ...] = ()
    lost_lines: int = 0
    checks: tuple[CheckOutcome, ...] = ()
    ways: Mapping[str, str] | None = None
    """By merge, the parent that it goes back to."""
    overlaps: bool = False
    """An uncommitted edit stands in the way."""
    conflicts: bool = False
    """It does not apply because later commits changed the same lines."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts, and what they were counted from."""

    risk: RiskFacts
    dependents: tuple[Commit, ...]
    """Later commits that touch a file which would change, newest first."""
    lost_commits: tuple[str, ...]
    edited: tuple[str, ...]
    """Files that would change and have uncommitted edits."""


def gather(services: Services, diagnosis: Diagnosis, tried: Tried, agents: Sequence[str], database: Effect) -> Facts:
    """Return the facts about an option that stops ``agents``. Costs a few git processes; runs no check."""
    targets = _commits(services, tried.targets)
    files = set(tried.files) or {path for commit in targets for path in commit.files if tried.conflicts}
    brought = _brought(services, tried)
    strangers = _strangers(brought)
    own = {_who(commit) for commit in (*targets, *brought) if commit not in strangers}
    later = _later(services, tried, files)
    lost = tuple(commit.sha for commit in strangers) if tried.tree else ()
    edited = _edited(services, tried.files)
    others = {path for commit in later if _who(commit) not in own for path in commit.files}
    risk = RiskFacts(
        lines_changed=_lines_changed(services, tried),
        lost_lines=tried.lost_lines,
        lost_commits=len(lost),
        dependents=len(later),
        others_files=len(others & files),
        database=database,
        history_rewritten=False,
        pushed=_pushed(services, tried.targets),
        dirty_overlap=tried.overlaps,
        dirty_same_file=bool(edited),
        checks_passed=_passed(tried),
        confidence=_confidence(diagnosis, tried.targets),
        agents_stopped=len(agents),
        commits_taken_back=len(tried.targets) + len(brought),
    )
    return Facts(risk, tuple(later), lost, edited)


def _commits(services: Services, shas: Sequence[str]) -> list[Commit]:
    known = read_commits(services.mirror, shas)
    found = [commit for sha in known for commit in commits(services.mirror, sha, limit=1)]
    return attribute(found, services.settings.agents)


def _who(commit: Commit) -> str:
    """Return whose a commit is: an agent's, or else its author's."""
    return commit.agent or commit.author


def _brought(services: Services, tried: Tried) -> list[Commit]:
    """Return the commits that go together with merges, newest first: what those brought into the branch."""
    found: dict[str, Commit] = {}
    for merge, parent in (tried.ways or {}).items():
        limit = services.settings.limits.lookback
        for commit in commits(services.mirror, merge, since=parent, limit=limit, first_parent=False):
            if commit.sha not in tried.targets and len(commit.parents) < 2:
                found[commit.sha] = commit
    return attribute(list(found.values()), services.settings.agents)


def _strangers(brought: Sequence[Commit]) -> list[Commit]:
    """Return the commits among those of a merge that are not the work of whoever did most of it.

    A merge is taken back as a whole, though only something in it is bad. One agent's work is one change; what others
    did there is wanted work that would go with it.
    """
    counts = Counter(_who(commit) for commit in brought)
    return [commit for commit in brought if _who(commit) != counts.most_common(1)[0][0]]


def _later(services: Services, tried: Tried, files: set[str]) -> list[Commit]:
    if not files:
        return []
    since = commits(services.mirror, tried.head, since=tried.targets[-1], limit=services.settings.limits.lookback)
    touching = [commit for commit in since if commit.sha not in tried.targets and files & set(commit.files)]
    return attribute(touching, services.settings.agents)


def _lines_changed(services: Services, tried: Tried) -> int:
    """Return how many lines go and come, of the whole patch; a binary file counts as one."""
    if tried.tree is None or tried.type is OptionType.RESTART_ONLY:
        return 0
    git = services.mirror.git
    out = git.run("diff-tree", "-r", "-z", "-M", "--numstat", "--no-ext-diff", "--no-textconv", tried.head, tried.tree)
    words = iter(out.out.split(b"\0"))
    total = 0
    for word in words:
        if not word:
            continue
        added, deleted, path = word.split(b"\t", 2)
        total += 1 if added == b"-" else int(added) + int(deleted)
        if not path:  # renamed: both names follow
            next(words), next(words)
    return total


def _edited(services: Services, files: Sequence[str]) -> tuple[str, ...]:
    """Return which of ``files`` have uncommitted edits in a working tree of the branch."""
    if not files:
        return ()
    found: dict[str, None] = {}
    for worktree in services.repository.worktrees():
        if worktree.branch == services.settings.branch:
            status = Git(worktree.path).run(
                "status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=no", "--ignore-submodules=all"
            )
            found.update(dict.fromkeys(shown(line[3:]) for line in status.out.split(b"\0") if line))
    return tuple(path for path in files if path in found)


def _pushed(services: Services, targets: Sequence[str]) -> bool | None:
    if not targets:
        return None
    refs = services.repository.git.run(
        "for-each-ref", "--contains", targets[-1], "--count=1", "refs/remotes", ok=(0, 1, 128, 129)
    )
    return bool(refs.out) if refs.status == 0 else None


def _passed(tried: Tried) -> bool | None:
    """Return what the rehearsal showed: one that fails is a failure, one without a verdict leaves it open."""
    verdicts = [check.passed for check in tried.checks]
    if False in verdicts:
        return False
    return None if not verdicts or None in verdicts else True


def _confidence(diagnosis: Diagnosis, targets: Sequence[str]) -> float:
    """Return how sure it is that all of ``targets`` did it."""
    culprits = {suspect.sha for suspect in diagnosis.culprits}
    if culprits.issuperset(targets):
        return diagnosis.confidence
    known = {suspect.sha: suspect.probability for suspect in diagnosis.suspects}
    return min(diagnosis.confidence if sha in culprits else known.get(sha, 0.0) for sha in targets)
