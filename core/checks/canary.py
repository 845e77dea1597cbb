"""May a check be believed? One that cannot fail, or that looks at another copy of the code, blames nobody rightly.

Two trials, after DESIGN "Checks". It must fail in a tree whose sources are emptied; and on one commit it must say the
same in a scratch tree and in the checkout itself.

The tests stay in the emptied tree: were they emptied too, "no tests found" would pass for a failure, and tests that
import an editable install of the checkout would be believed. To some checks an empty file is a good one (a linter,
`cargo test` with the tests inside the sources), so what passes is tried again with sources that are no program at all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from ..config import CheckSettings
from ..errors import GitError
from ..gitrepo.git import Git
from ..text import clean
from .attempt import Ending, attempt, judge, set_up
from .sources import overwrite, sources
from .workspace import UnpreparedError, report_paths

TreeMaker = Callable[[str], AbstractContextManager[Path]]
"""Gives a folder with a commit or tree checked out, exactly and clean, and takes it back."""

_SPOILED = b"}{ ' \" <?php }{ spoiled by rollcage in a scratch tree, to see whether a check can fail\n"
_FAILS = "fails with every source emptied"
_STATUS_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Belief:
    """Whether a check may be believed, and why: one line for people, to be read behind the check's name."""

    believed: bool
    why: str
    final: bool = True
    """False: something could not be tried this time, and may be another time."""


def fails_when_emptied(
    check: CheckSettings, tree: TreeMaker, commit: str, checkout: Path, stop: Event | None
) -> Belief:
    """Run ``check`` on ``commit`` without its sources; it is believed if it does not pass then."""
    for content in (b"", _SPOILED):
        with tree(commit) as folder:
            overwrite(sources(check, folder), content)
            seen = set_up(check, checkout, folder, stop) or attempt(check, folder, stop=stop)
        if seen.ending is Ending.STOPPED:
            return Belief(False, "was stopped before it could be tried", final=False)
        if seen.ending is not Ending.PASSED:
            return Belief(True, _FAILS)
    return Belief(
        False,
        "passes even with every source emptied: it cannot fail, or it looks at another copy of the "
        "code, such as an editable install; make it use the tree that it runs in, with env: PYTHONPATH or setup:",
    )


def agrees_in_place(check: CheckSettings, checkout: Path, tree: str, passed: bool | None, stop: Event | None) -> Belief:
    """Run ``check`` in the user's own checkout; it is believed unless it contradicts what a scratch tree said.

    Only where the checkout is at ``tree`` and no tracked file is edited, before and after; a contradiction counts only
    where no untracked file could explain it. The report that it writes goes again if there was none before; what else
    it leaves there (caches) stays, and is named: only the user can tell it from work.
    """
    before = _look_at(checkout)
    problem = before.problem_at(tree) or ("" if passed is not None else "it has no verdict in the scratch tree")
    if problem:
        return Belief(True, f"{_FAILS}; not compared with the checkout: {problem}", final=False)
    unwritten = {"PYTHONDONTWRITEBYTECODE": "1"}
    quiet = check.model_copy(update={"junit": None})  # a report of the user's own is not ours to remove
    with _without_reports(check, checkout):
        outcome, _ = judge(quiet, lambda: attempt(quiet, checkout, stop=stop, env=unwritten), check.retries)
    after = _look_at(checkout)
    left = ", ".join(sorted(after.untracked - before.untracked)[:5])
    note = clean(f"; running it there left {left}") if left else ""
    problem = after.problem_at(tree) or ("" if outcome.passed is not None else outcome.detail.partition("\n")[0])
    if not problem and outcome.passed != passed and after.untracked:
        problem = "it says otherwise there, but untracked files may be why"
    if problem:
        return Belief(True, f"{_FAILS}; not compared with the checkout: {problem}{note}", final=False)
    if outcome.passed == passed:
        return Belief(True, f"{_FAILS}, and says the same in the checkout{note}")
    if passed:
        how, advice = "passes in a scratch tree but fails", "files that git ignores make the difference"
    else:
        how = "fails in a scratch tree but passes"
        advice = "the scratch tree lacks something: name .venv, node_modules or .env in link:, or make it in setup:"
    return Belief(False, f"{how} in the checkout at the same commit: {advice}{note}")


@contextmanager
def _without_reports(check: CheckSettings, checkout: Path) -> Iterator[None]:
    """Remove the reports of ``check`` that were written within, and none that was there before."""
    try:
        new = [path for path in report_paths(check, checkout) if not os.path.lexists(path)]
    except UnpreparedError:
        new = []
    try:
        yield
    finally:
        for path in new:
            with suppress(OSError):
                path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Checkout:
    """What git says of the user's checkout."""

    tree: str
    edited: bool
    untracked: frozenset[str] = frozenset()

    def problem_at(self, tree: str) -> str:
        """Return why its results cannot be compared with those of ``tree``, or nothing."""
        if not self.tree:
            return "there is none that git can read"
        if self.tree != tree:
            return "it is at another commit"
        return "it has uncommitted edits" if self.edited else ""


def _look_at(checkout: Path) -> _Checkout:
    git = Git(checkout)
    try:
        tree = git.text("rev-parse", "--verify", "--quiet", "HEAD^{tree}", timeout=_STATUS_LIMIT_S)
        status = git.text("status", "--porcelain", "-z", "--untracked-files=normal", timeout=_STATUS_LIMIT_S)
    except GitError:  # a bare repository, or an unborn branch
        return _Checkout("", edited=False)
    entries = [entry for entry in status.split("\0") if entry]
    untracked = frozenset(clean(entry[3:]) for entry in entries if entry.startswith("?? "))
    return _Checkout(tree, edited=len(untracked) < len(entries), untracked=untracked)
