"""Whether a rehearsed tree shows that the fault is mended, and not only that the test which shows it is gone.

A check that passes proves little where tests or settings of checks went along. So, of a check that fails at the head:

- the tests that fail there must be seen to pass on the tree; where that changes tests or settings, with the present
  ones put back onto it as well;
- or, where the commits go as a whole, tests that came with them may go with them, if code goes too and the check fails
  at the head with the tests of the last good commit as well: the tests that go are not all that shows the fault;
- a check that names no tests (no `junit:`) passes with the present tests put back, or it is no proof;
- where tests or settings are among what the commits changed, all checks also pass with these as they were at the last
  good commit: a change may have weakened them.

What is not proven may still be right. It ranks behind, and never runs without a human.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..config import CheckSettings
from ..gitrepo.entries import changes
from ..gitrepo.paths import shown
from ..gitrepo.rehearse import make_commit
from ..gitrepo.tree_edits import edited_tree
from ..model import CheckOutcome, Diagnosis, RecoveryPlan, Rehearsal
from ..services import Services
from .wanted import is_check_setting, is_test

MOST_FLAKES = 6
"""So often a check is run at the head at most to see whether a test that is flaky in rehearsal is so there as well."""
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Proof:
    """What was shown of a rehearsed tree."""

    holds: bool
    words: tuple[str, ...] = ()
    """What must be known of it, a line each."""
    others: tuple[CheckOutcome, ...] = ()
    """Of checks with other tests put onto the tree; the name says which."""
    known_flaky: tuple[str, ...] = ()
    """Checks without a verdict on the tree whose failing tests are flaky at the head too."""


def followed(
    services: Services, heads: Sequence[str], stop: threading.Event | None = None, *, run: bool = True
) -> dict[str, frozenset[str]]:
    """Return the checks that fail at the head, each with its failing tests; of those that name none: nothing.

    ``heads`` are commits that say so, the best first: the first for which it is known. Where it is known of none, none
    does, unless ``run`` allows to run the checks on the first. Raises GitError, StoreError.
    """
    checks, settings = services.checks, services.settings.checks
    for head in heads:
        tree = services.repository.tree(head)
        known = [checks.cached(tree, check) for check in settings]
        if all(outcome is not None for outcome in known):
            return _failing([outcome for outcome in known if outcome is not None])
    if not run:
        return {}
    return _failing(checks.run_all(heads[0], services.repository.tree(heads[0]), stop=stop))


def _failing(outcomes: Sequence[CheckOutcome]) -> dict[str, frozenset[str]]:
    return {outcome.name: frozenset(outcome.failing) for outcome in outcomes if outcome.passed is False}


def prove(
    services: Services,
    diagnosis: Diagnosis,
    plan: RecoveryPlan,
    rehearsal: Rehearsal,
    files: Sequence[str],
    tests: Sequence[str],
    *,
    stop: threading.Event | None = None,
) -> Proof:
    """Return what ``rehearsal`` of a plan proves; runs checks where tests are among what changes.

    Its outcomes tell of the tests that `followed` names. ``files`` differ from the head; ``tests`` are the tests and
    settings among them and among what the targets changed. Raises GitError, StoreError.
    """
    if plan.tree is None:
        return Proof(False)
    head, outcomes = plan.head, rehearsal.checks
    case = _Case(services, head, plan.tree, plan.parts, tuple(files), tuple(tests), stop)
    faults = followed(services, (head, diagnosis.head or head), stop)
    if not faults:
        return Proof(False, ("no check fails at the head, so nothing shows that it helps",))
    named = {outcome.name: outcome for outcome in outcomes}
    flaky = tuple(name for name, outcome in named.items() if case.is_flaky_at_head(outcome, faults.get(name)))
    holds = all(outcome.passed or outcome.name in flaky for outcome in outcomes)
    holds = holds and all(name in named for name in faults)
    # Told in any case, run only where the rest holds: what cannot act alone need not be proven.
    case.tell_gone(named, faults)
    if holds:
        weak = {name: tests_of for name, tests_of in faults.items() if not case.shows(named[name], tests_of)}
        good = diagnosis.last_good
        holds = not case.tests or case.passes_with_last_good(good)
        holds = holds and (not weak or case.goes_with_its_tests(weak, good))
    return Proof(holds, tuple(dict.fromkeys(case.words)), tuple(case.others), flaky)


@dataclass(slots=True)
class _Case:
    """One rehearsed tree."""

    services: Services
    head: str
    tree: str
    parts: tuple[str, ...]
    files: tuple[str, ...]
    tests: tuple[str, ...]
    stop: threading.Event | None
    words: list[str] = field(default_factory=list)
    others: list[CheckOutcome] = field(default_factory=list)

    @property
    def changed_tests(self) -> tuple[str, ...]:
        """The tests and settings that differ from the head. What a check only reads is as much code as setting."""
        words = {word.removeprefix("./") for check in self.services.settings.checks for word in check.run[:2]}
        found = (path for path in self.tests if path in self.files)
        return tuple(path for path in found if is_test(path) or is_check_setting(path, words))

    def tell_gone(self, outcomes: Mapping[str, CheckOutcome], faults: Mapping[str, Collection[str]]) -> None:
        """Say which tests that fail now are not there any more."""
        gone = [test for name in faults if name in outcomes for test in outcomes[name].unseen]
        if gone and all(outcomes[name].passed is not False for name in faults if name in outcomes):
            more = f" and {len(gone) - _NAMED} more" if len(gone) > _NAMED else ""
            self.words.append(f"takes away the test that shows the fault: {', '.join(gone[:_NAMED])}{more}")

    def shows(self, outcome: CheckOutcome, tests: Collection[str]) -> bool:
        """Return whether a check that failed at the head was seen to pass by the present tests."""
        if not self.changed_tests:
            return not outcome.unseen
        if tests and outcome.unseen:
            return False
        check, present = self._check(outcome.name), self.services.repository.tree(self.head)
        tree = self._with_files_of(present, self.changed_tests)
        if tree != present:
            seen = self._run(tree, check, tests, "with the present tests")
            if seen.passed is True and not seen.unseen:
                return True
        if not tests:
            self.words.append(f"tests go along, and {check.name} names none: {', '.join(self.changed_tests[:_NAMED])}")
        return False

    def goes_with_its_tests(self, weak: Mapping[str, Collection[str]], last_good: str | None) -> bool:
        """Return whether tests may go, since the targets go as a whole, code with them, and older tests tell the same.

        They do where the check fails at the head with the tests of the last good commit too.
        """
        code = set(self.files).difference(self.changed_tests)
        if self.parts or not code or not all(weak.values()):
            return False
        if not self.tests:
            return True
        if last_good is None:
            return False
        source = self.services.repository.tree(last_good)
        tree = self._with_files_of(source, self.tests, self.services.repository.tree(self.head))
        for name in weak:
            if self._run(tree, self._check(name), (), "at the head with the last good tests").passed is not False:
                self.words.append("only tests that it changed show the fault, and they go with it")
                return False
        return True

    def passes_with_last_good(self, last_good: str | None) -> bool:
        """Return whether every check passes with the tests as they were at the last good commit; say so."""
        if last_good is None:
            self.words.append("tests are changed, and no good commit is known whose tests could tell")
            return False
        tree = self._with_files_of(self.services.repository.tree(last_good), self.tests)
        if tree == self.tree:
            self.words.append("its tests are those of the last good commit")
            return True
        checks = self.services.settings.checks
        seen = [self._run(tree, check, (), "with the last good tests") for check in checks]
        good = all(outcome.passed is True for outcome in seen)
        bad = ", ".join(outcome.name for outcome in seen if outcome.passed is not True)
        self.words.append(f"with the last good tests {f'not: {bad}' if bad else 'every check passes too'}")
        return good

    def is_flaky_at_head(self, outcome: CheckOutcome, fault: Collection[str] | None) -> bool:
        """Return whether a check failed at times only, by tests that do so at the head too, and all others passed.

        Those that failed steadily at the head must have been seen to pass in each of at least two runs.
        """
        others = set(outcome.failing)
        mixed = outcome.passed is None and outcome.runs > 1 and outcome.detail.startswith("flaky: failed")
        if not mixed or not fault or not others or outcome.unseen or others & set(fault):
            return False
        check, tree = self._check(outcome.name), self.services.repository.tree(self.head)
        failed: set[str] = set()
        passed: set[str] = set()
        for _ in range(MOST_FLAKES):
            if self.stop is not None and self.stop.is_set():
                return False
            seen = self.services.checks.run(
                self.head, tree, check, fresh=True, only=sorted(others), see=sorted(others), once=True, stop=self.stop
            )
            failed |= others & set(seen.failing)
            passed |= others - set(seen.unseen) if seen.passed is not None or seen.unseen else set()
            if failed == passed == others:
                return True
        return False

    def _check(self, name: str) -> CheckSettings:
        return next(check for check in self.services.settings.checks if check.name == name)

    def _with_files_of(self, source: str, paths: Collection[str], onto: str = "") -> str:
        """Return the rehearsed tree, or ``onto``, with ``paths`` as they are in the tree ``source``."""
        mirror, wanted, tree = self.services.mirror, set(paths), onto or self.tree
        edits = {
            change.path: change.new for change in changes(mirror.git, tree, source) if shown(change.path) in wanted
        }
        return edited_tree(mirror, tree, edits)

    def _run(self, tree: str, check: CheckSettings, tests: Collection[str], how: str) -> CheckOutcome:
        """Run a check on another tree; of ``tests``, where there are any, only those count."""
        commit = make_commit(self.services.mirror, tree, [self.head], "rehearsal", self.services.clock.now())
        only = sorted(tests)
        outcome = self.services.checks.run(commit, tree, check, only=only, see=only, stop=self.stop)
        self.others.append(replace(outcome, name=f"{check.name} {how}"))
        return outcome


def tests_among(services: Services, files: Collection[str]) -> tuple[str, ...]:
    """Return the tests and the settings of checks among ``files``."""
    commands = {word for check in services.settings.checks for word in (*check.run, *(check.setup or ()))}
    return tuple(path for path in files if is_test(path) or is_check_setting(path, commands))
