"""What the risk of an option is judged by, looked up in history, working trees and remotes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..gitrepo.git import Git
from ..gitrepo.history import commits
from ..gitrepo.objects import read_commits
from ..gitrepo.paths import shown
from ..model import CheckOutcome, Commit, Diagnosis, OptionType
from ..services import Services, attributed
from .proof import tests_among
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
    lost_commits: tuple[str, ...] = ()
    """Commits that no target is and that go along, known from how the tree was made."""
    goal: str = ""
    """BRANCH_RESET: the last good commit."""
    rewrite: bool = False
    needed: tuple[str, ...] = ()
    """What goes though later work names it, a line each."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts, and what they were counted from."""

    risk: RiskFacts
    dependents: tuple[Commit, ...]
    """Later commits that touch a file which would change, newest first."""
    lost_commits: tuple[str, ...]
    edited: tuple[str, ...]
    """Files that would change and have uncommitted edits."""
    tests: tuple[str, ...]
    """Tests and settings of checks that the targets change, or that would change."""
    needed: tuple[str, ...]
    """What goes though later work names it, a line each."""


_MORE_THAN_BLAMED = frozenset({OptionType.FULL_AGENT_RESET, OptionType.BRANCH_RESET})
"""Types that take back more than is known to be bad: what nobody blamed is counted as lost there."""


def gather(services: Services, diagnosis: Diagnosis, tried: Tried, agents: Sequence[str], database: Effect) -> Facts:
    """Return the facts about an option that stops ``agents``. Costs a few git processes; runs no check."""
    targets = _commits(services, tried.targets)
    files = set(tried.files) or {path for commit in targets for path in commit.files if tried.conflicts}
    brought = _brought(services, tried)
    if tried.type is OptionType.FILE_SELECTIVE:  # only what stands in the parts goes
        brought = [commit for commit in brought if not files.isdisjoint(commit.files)]
    strangers = _strangers(brought, diagnosis, tried)
    own = {_who(commit) for commit in (*targets, *brought) if commit not in strangers}
    later = _later(services, tried, files)
    lost: tuple[str, ...] = ()
    if tried.tree and tried.type is not OptionType.RESTART_ONLY:
        shas = (*(commit.sha for commit in strangers), *_unblamed(diagnosis, tried), *tried.lost_commits)
        lost = tuple(dict.fromkeys(shas))
    edited = _edited(services, tried.files)
    others = {path for commit in later if _who(commit) not in own for path in commit.files}
    risk = RiskFacts(
        lines_changed=_lines_changed(services, tried),
        lost_lines=tried.lost_lines,
        lost_commits=len(lost),
        needed=len(tried.needed),
        dependents=len(later),
        others_files=len(others & files),
        database=database,
        history_rewritten=tried.rewrite,
        pushed=_pushed(services, tried),
        dirty_overlap=tried.overlaps,
        dirty_same_file=bool(edited),
        checks_passed=_passed(tried),
        confidence=_confidence(diagnosis, tried),
        agents_stopped=len(agents),
        commits_taken_back=len({*tried.targets, *(commit.sha for commit in brought), *tried.lost_commits}),
    )
    touched = sorted({path for commit in targets for path in commit.files} | set(tried.files))
    return Facts(risk, tuple(later), lost, edited, tests_among(services, touched), tried.needed)


def _commits(services: Services, shas: Sequence[str]) -> list[Commit]:
    known = read_commits(services.mirror, shas)
    found = [commit for sha in known for commit in commits(services.mirror, sha, limit=1)]
    return attributed(services, found)


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
    return attributed(services, list(found.values()))


def _strangers(brought: Sequence[Commit], diagnosis: Diagnosis, tried: Tried) -> list[Commit]:
    """Return the commits among those of a merge that are wanted and would go with it.

    A merge that is a culprit itself failed where each of its parents passed: only the combination is at fault, and
    nothing that it brought. Of another merge something is bad, and one agent's work is one change: there it is what
    others did than whoever did most of it.
    """
    if {suspect.sha for suspect in diagnosis.culprits} & set(tried.ways or {}):
        return list(brought)
    counts = Counter(_who(commit) for commit in brought)
    return [commit for commit in brought if _who(commit) != counts.most_common(1)[0][0]]


def _unblamed(diagnosis: Diagnosis, tried: Tried) -> list[str]:
    """Return the targets that nobody showed to be bad, of an option that takes back more than that."""
    if tried.type not in _MORE_THAN_BLAMED:
        return []
    blamed = {suspect.sha for suspect in diagnosis.culprits or diagnosis.suspects[:1]}
    return [sha for sha in tried.targets if sha not in blamed]


def _later(services: Services, tried: Tried, files: set[str]) -> list[Commit]:
    """Return the commits that have a target in their history and change one of ``files``, newest first.

    Through merges as well: one of a branch that was merged in the meantime stands on the target like any other.
    """
    if not files:
        return []
    git, limit = services.mirror.git, services.settings.limits.lookback
    on_it: dict[str, None] = {}
    for target in tried.targets:
        out = git.run(
            "rev-list", "--topo-order", "--no-merges", f"--max-count={limit}", "--ancestry-path",
            tried.head, f"^{target}", "--", ok=(0, 128),
        )  # fmt: skip
        on_it.update(dict.fromkeys(out.out.decode().split() if out.status == 0 else ()))
    wanted = set(on_it) - set(tried.targets)
    if not wanted:
        return []
    found = commits(services.mirror, tried.head, since=tried.targets[-1], limit=5 * limit, first_parent=False)
    return attributed(services, [commit for commit in found if commit.sha in wanted and files & set(commit.files)])


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


def _pushed(services: Services, tried: Tried) -> bool | None:
    """Return whether a remote has what is taken back; of history that is rewritten: any of it."""
    if not tried.targets:
        return None
    git = services.repository.git
    ids = [tried.targets[-1]]
    if tried.rewrite:
        ids = git.text("rev-list", "--max-count=1000", tried.head, f"^{tried.goal}", "--").split()
    words = [word for sha in ids for word in ("--contains", sha)]
    refs = git.run("for-each-ref", *words, "--count=1", "refs/remotes", ok=(0, 1, 128, 129))
    return bool(refs.out) if refs.status == 0 else None


def _passed(tried: Tried) -> bool | None:
    """Return what the rehearsal showed: one that fails is a failure, one without a verdict leaves it open."""
    verdicts = [check.passed for check in tried.checks]
    if False in verdicts:
        return False
    return None if not verdicts or None in verdicts else True


def _confidence(diagnosis: Diagnosis, tried: Tried) -> float:
    """Return how sure it is that what did it goes, and, of types that take back what is blamed only, all of it did."""
    culprits, targets = {suspect.sha for suspect in diagnosis.culprits}, set(tried.targets)
    known = {suspect.sha: suspect.probability for suspect in diagnosis.suspects}
    if not targets:
        return diagnosis.confidence
    if tried.type in _MORE_THAN_BLAMED:
        if culprits:
            return diagnosis.confidence if culprits <= targets else 0.0
        return min(sum(known.get(sha, 0.0) for sha in targets), 1.0)
    if culprits.issuperset(targets):
        return diagnosis.confidence
    return min(diagnosis.confidence if sha in culprits else known.get(sha, 0.0) for sha in targets)
