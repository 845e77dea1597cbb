"""The smallest change that is seen to make the checks pass and keeps what later work needs."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from ..config import CheckSettings
from ..gitrepo.copies import find_copies
from ..gitrepo.finely import rehearse_finely
from ..gitrepo.later import later_lines
from ..gitrepo.parts import Part, PartKind, Taken, parts_in, pieces_of, take_back, tree_taking_back
from ..gitrepo.rehearse import lines_lost, lost_lines, make_commit
from ..gitrepo.ways import read_series
from ..model import CheckOutcome
from ..services import Services
from .candidate import Candidate, Granularity, granularity
from .ddmin import ddmin
from .proof import followed
from .wanted import closure, defined, is_check_setting, is_test, needed_by

__all__ = ["MOST_RUNS", "Candidate", "Granularity", "candidate_of", "find_smallest", "granularity"]

MOST_RUNS = 24
"""When so many check runs are spent, no further tree is tried; the best found gets all its checks nevertheless."""
MOST_STUCK = 64
"""Of parts that cannot be taken back so many at most are looked at for finer ones that can."""


def find_smallest(
    services: Services,
    head: str,
    targets: Sequence[str],
    ways: Mapping[str, str] | None = None,
    *,
    stop: threading.Event | None = None,
    budget: int = MOST_RUNS,
) -> list[Candidate]:
    """Return the ways to take ``targets`` back from ``head``, the best first; never empty.

    The commits as a whole are the best where that applies, the checks pass, and nothing that is wanted goes along. Else
    it goes finer, from files to hunks to words: first all is taken back but what seems wanted, then delta debugging
    finds the least of it that makes the checks pass. Test and code are told apart: a change that only takes away the
    test that fails is never preferred, and says so.

    ``ways`` names for a merge the parent to go back to. No further tree is tried once ``budget`` check runs are spent
    or ``stop`` is set; what was found by then is returned. Raises GitError, StoreError.
    """
    search = _Search(services, head, targets, dict(ways or {}), stop, budget)
    whole = search.whole()
    if whole.reversal.reason not in {"", "conflict", "no_change"}:
        return [whole]
    try:
        search.look(whole)
    except _OverError as over:
        search.notes.append(str(over))
    return search.ranked(whole)


class _OverError(Exception):
    """No further tree may be tried."""


class _Search:
    """One search: what it may spend, what it has seen."""

    def __init__(
        self,
        services: Services,
        head: str,
        targets: Sequence[str],
        ways: dict[str, str],
        stop: threading.Event | None,
        budget: int,
    ) -> None:
        self.services, self.head, self.targets, self.ways = services, head, targets, ways
        self.stop, self.budget = stop, budget
        self.see = followed(services, (head,), run=False)
        """The checks that fail at the head, with their failing tests."""
        self.series = read_series(services.mirror, head, targets, parents=ways)
        self.before = services.checks.runs
        self.notes: list[str] = []
        self.found: list[tuple[str, ...]] = []
        """What was seen to pass by the failing checks, the best last."""
        self.kept: dict[str, str] = {}
        """What is wanted, by part, and why."""
        self.taken: dict[tuple[str, ...], Taken] = {}
        self.parts: dict[str, Part] = {}
        self.later: Mapping[str, bytes] = {}
        self.failing: list[CheckSettings] = []
        self.output = ""
        """What the failing checks say; empty: none fails."""
        self.at_head: tuple[CheckOutcome, ...] = ()
        self.tests: set[str] = set()
        """The parts that are tests."""
        self.set: set[str] = set()
        """Those and the ones that say how checks run: they are as they were before the targets while more is tried."""

    # What is tried

    def whole(self) -> Candidate:
        """Return the commits as a whole, with every check."""
        reversal = rehearse_finely(self.services.mirror, self.head, self.targets, parents=self.ways)
        if reversal.tree is None or reversal.reason:
            return Candidate(None, (), (), Granularity.COMMIT, 0, (), reversal)
        lost = lost_lines(
            self.services.mirror, self.head, reversal.tree, reversal.targets, parents=self.ways, finely=reversal.finely
        )
        return Candidate(reversal.tree, (), self.checked(reversal.tree), Granularity.COMMIT, lost, (), reversal)

    def checked(self, tree: str) -> tuple[CheckOutcome, ...]:
        """Return the outcome of every check."""
        return self.services.checks.run_all(self.commit(tree), tree, stop=self.stop, see=self.see)

    def commit(self, tree: str) -> str:
        """Return a commit of ``tree``, as a check would see it on the branch."""
        return make_commit(self.services.mirror, tree, [self.head], "rehearsal", self.services.clock.now())

    def take(self, units: Sequence[str]) -> Taken:
        """Return what taking ``units`` back gives; costs no check."""
        key = tuple(sorted(units))
        if key not in self.taken:
            self.taken[key] = take_back(self.services.mirror, self.series, key)
        return self.taken[key]

    def applies(self, units: Sequence[str]) -> bool:
        """Return whether taking ``units`` back can be done and changes something."""
        reversal = self.take(units).reversal
        return bool(units) and reversal.tree is not None and not reversal.reason

    def passes(self, units: Sequence[str], *, unseen: bool = False) -> bool:
        """Return whether the checks that fail now pass without ``units``; the others run on what is left in the end.

        ``unseen``: also where none of the tests that fail now is left to be seen passing.
        """
        tree = self.take(units).reversal.tree
        if not self.applies(units) or tree is None:
            return False
        if self.stop is not None and self.stop.is_set():
            raise _OverError("stopped before all was tried")
        if self.services.checks.runs - self.before >= self.budget:
            raise _OverError(f"not all was tried: {self.budget} check runs were spent")
        return all(self._passes(check, self.commit(tree), tree, unseen) for check in self.failing)

    def _passes(self, check: CheckSettings, commit: str, tree: str, unseen: bool) -> bool:
        tests = self.see.get(check.name, frozenset())
        outcome = self.services.checks.run(commit, tree, check, stop=self.stop, see=tests)
        return outcome.passed is True and (unseen or not tests or not tests.issubset(outcome.unseen))

    # What is looked for

    def look(self, whole: Candidate) -> None:
        """Try what may be better than ``whole``; what passes is in ``found``."""
        mirror = self.services.mirror
        every = parts_in(mirror, self.series)
        self.parts = {part.name: part for part in every}
        commands = {word for check in self.services.settings.checks for word in check.run}
        self.tests = {part.name for part in every if is_test(part.path)}
        self.set = self.tests | {part.name for part in every if is_check_setting(part.path, commands)}
        self.later = later_lines(mirror, self.head, whole.reversal.targets)
        self.kept = {wanted.part: wanted.why for wanted in needed_by(every, self.later)}
        own_tests = {name for name in self.tests if self._is_new(self.parts[name])}
        own_tests |= {name for name in self.tests if self.parts[name].within in own_tests}
        if whole.passes and not self.kept and not own_tests and not whole.lost_lines:
            self._tell_tests(whole)
            return
        self.failing, self.output = self._failing()
        needed = closure(every, self.kept)
        if self._is_innocent(whole):
            if not self._reduce_copies(needed, whole):
                self.notes.append(_INNOCENT)
            return
        keeps = [closure(every, {*needed, *own_tests}), needed | own_tests, needed]
        if not self._reduce(keeps, whole):
            self._tell_tests(whole)
            if whole.passes and (self.kept or whole.lost_lines):
                self._least_of_all(any_hunk=whole.lost_lines > 0)
            elif self.output and not whole.passes and not self._reduce_copies(needed, whole):
                self._one_by_one()

    def _failing(self) -> tuple[list[CheckSettings], str]:
        """Return the checks that do not pass at the head, and what they say; all of them where each passes."""
        tree = self.services.repository.tree(self.head)
        outcomes = self.services.checks.run_all(self.head, tree, stop=self.stop)
        checks = self.services.settings.checks
        failed = [(check, outcome) for check, outcome in zip(checks, outcomes, strict=True) if not outcome.passed]
        text = "\n".join("\n".join([check.name, *outcome.failing, outcome.detail]) for check, outcome in failed)
        self.at_head = outcomes
        self.see = followed(self.services, (self.head,), run=False)
        return [check for check, _ in failed] or list(checks), text

    def _is_innocent(self, whole: Candidate) -> bool:
        """Return whether the checks fail without the whole of it just as they do with it: then no part of it helps."""
        if not self.output or whole.tree is None:
            return False
        without = {outcome.name: outcome for outcome in whole.outcomes}
        failing = [outcome for outcome in self.at_head if outcome.passed is False]
        return bool(failing) and all(_complaint(outcome) == _complaint(without[outcome.name]) for outcome in failing)

    @staticmethod
    def _is_new(part: Part) -> bool:
        return part.added if part.kind is PartKind.FILE else not part.back and not part.added

    def _reduce(self, keeps: Sequence[set[str]], whole: Candidate) -> bool:
        """Look for what passes though it keeps the most, then for the least of that; return whether there is any."""
        seen = {tuple(sorted(self._units(set(), 0)))} if whole.tree is not None else set()
        for keep in keeps:
            for level in range(3):
                units = self._units(keep, level)
                if not units or tuple(sorted(units)) in seen:
                    continue
                seen.add(tuple(sorted(units)))
                if not self.tests.issuperset(units) and self.passes(units):
                    self.found.append(tuple(units))
                    self._least(units)
                    return True
        return False

    def _least_of_all(self, *, any_hunk: bool) -> None:
        """Find the least of the whole: what seems wanted cannot all stay, but some of it may.

        ``any_hunk``: so may lines that the targets did not bring, wherever they are.
        """
        files = self._units(set(), 0)
        if not self.applies(files):
            return
        self._least(files)
        best = self.found[-1] if self.found else files
        finer = [hunk for file in best for hunk in self._within(file) or [file]]
        if (any_hunk or not set(self.kept).isdisjoint(finer)) and len(finer) > 1 and self.passes(finer):
            self._least(finer)

    def _reduce_copies(self, keep: set[str], whole: Candidate) -> bool:
        """Look for what passes where the bad lines are taken back also in files that they were moved or copied to."""
        mirror = self.services.mirror
        tree = whole.tree or self.services.repository.tree(self.head)
        copies = {copy.part.name: copy.part for copy in find_copies(mirror, self.series, tree)}
        self.parts.update(copies)
        for level in range(3 if copies else 0):
            units = [*self._units(keep, level), *copies]
            if self.passes(units):
                self.found.append(tuple(units))
                self._least(units)
                return True
        return False

    def _code(self, units: Sequence[str]) -> list[str]:
        return [unit for unit in units if unit not in self.set]

    def _least(self, units: Sequence[str]) -> None:
        """Find the least of ``units`` that passes. What was done to tests goes back meanwhile, and stays if it may.

        Where no check fails at the head there is nothing to tell more from less by, and all of it goes.
        """
        if not self.output:
            return
        fixed = [unit for unit in units if unit in self.set]

        def does(code: tuple[str, ...]) -> bool:
            if not self.passes([*code, *fixed]):
                return False
            self.found.append((*code, *fixed))
            return True

        code = self._code(units)
        if self.tests.intersection(fixed) and self.passes(fixed, unseen=True):
            # Without its tests anything passes: less can be told from more only where they stay.
            self.notes.append(_HIDES)
            if not code or not self.passes(code):
                return
            self.found.append(tuple(code))
            fixed = []
        elif fixed and self.passes(fixed):
            self.found.append(tuple(fixed))
            return
        least = ddmin(code, does) if code else ()
        if fixed and self.passes(least):
            self.found.append(least)

    def _units(self, keep: set[str], level: int) -> list[str]:
        """Return what to take back to keep ``keep``, the likeliest first: files; from level 1 hunks, from 2 words.

        What cannot be taken back by itself, since later work changed it, is left out, or its finer parts are taken.
        """
        units: list[str] = []
        for file in self._within(""):
            hunks = self._within(file)
            if file not in keep and not keep.intersection(hunks):
                units.append(file)
            elif level:
                units += [hunk for hunk in hunks if hunk not in keep]
                if level > 1:
                    mixed = [hunk for hunk in hunks if hunk in keep and hunk not in self.tests]
                    units += [piece for hunk in mixed for piece in self._free_pieces(hunk)]
        if units and not self.applies(units):
            clashes = self.take(units).reversal.conflicts
            free = [unit for unit in units if not any(f"{self.parts[unit].path}: " in clash for clash in clashes)]
            if not self.applies(free):
                free = []
            stuck = [unit for unit in units if unit not in free][:MOST_STUCK]
            units = [*free, *(finer for unit in stuck for finer in self._applicable(unit, level))]
        return sorted(units, key=lambda unit: -self._score(self.parts[unit]))

    def _applicable(self, unit: str, level: int) -> list[str]:
        if self.applies([unit]):
            return [unit]
        kind = self.parts[unit].kind
        if kind is PartKind.FILE and level:
            return [finer for hunk in self._within(unit) for finer in self._applicable(hunk, level)]
        if kind is PartKind.HUNK and level > 1:
            return [piece for piece in self._pieces(unit) if self.applies([piece])]
        return []

    def _within(self, name: str) -> list[str]:
        kinds = {PartKind.FILE, PartKind.HUNK}
        return [part.name for part in self.parts.values() if part.within == name and part.kind in kinds]

    def _pieces(self, hunk: str) -> list[str]:
        pieces = pieces_of(self.parts[hunk])
        self.parts.update({piece.name: piece for piece in pieces})
        for kind in (self.tests, self.set):
            if hunk in kind:
                kind.update(piece.name for piece in pieces)
        return [piece.name for piece in pieces]

    def _free_pieces(self, hunk: str) -> list[str]:
        """Return the pieces of a wanted hunk that are not what makes it wanted."""
        names = self._pieces(hunk)
        needed = {wanted.part for wanted in needed_by([self.parts[name] for name in names], self.later)}
        return [name for name in names if name not in needed]

    def _score(self, part: Part) -> int:
        """Return how much the failing checks' output points to a part: its file, its lines, the names in it."""
        name = part.path.strip('"')
        score = 0
        if name in self.output:
            score += 3
            last = part.start + part.gone.count(b"\n")
            numbers = re.findall(re.escape(name) + r"\W{1,3}(?:line )?(\d+)", self.output)
            score += 3 * any(part.start <= int(number) <= last for number in numbers)
        elif PurePosixPath(name).stem in self.output:
            score += 2
        words = {word.decode("ascii", "replace") for word in defined(part)}
        return score + any(word in self.output for word in words)

    def _one_by_one(self) -> None:
        """Where nothing larger passes: try each part by itself, the likeliest first, then all but one; then finer."""
        for level in range(3):
            units = [unit for file in self._within("") for unit in self._at(file, level)]
            code = sorted(self._code(units), key=lambda unit: -self._score(self.parts[unit]))
            ways = [[unit] for unit in code]
            if len(code) > 2 and level < 2:
                ways += [[other for other in code if other != unit] for unit in reversed(code)]
            for way in ways:
                if self.passes(way):
                    self.found.append(tuple(way))
                    self._least(way)
                    return

    def _at(self, file: str, level: int) -> list[str]:
        if level == 0:
            return [file]
        hunks = self._within(file) or [file]
        return hunks if level == 1 else [piece for hunk in hunks for piece in self._pieces(hunk) or [hunk]]

    def _tell_tests(self, whole: Candidate) -> None:
        """Say so where taking back only what was done to tests makes the checks pass as well."""
        files = self._within("")
        tests = [file for file in files if file in self.tests]
        if not tests or not whole.passes:
            return
        if len(tests) == len(files):
            self.notes.append(_ONLY_TESTS)
            return
        self.failing, self.output = self._failing()
        if self.output and self.passes(tests, unseen=True):
            self.notes.append(_HIDES)

    # What comes of it

    def ranked(self, whole: Candidate) -> list[Candidate]:
        """Return what passed, the best first, each with every check; behind it the commits as a whole."""
        chosen = list(dict.fromkeys(tuple(sorted(units)) for units in reversed(self.found)))
        every = tuple(sorted(self._within("")))
        made = [self._candidate(units) for units in _ends(chosen) if units != every]
        goes = tuple(why for name, why in self.kept.items() if whole.tree is not None and name in self.parts)
        whole = replace(whole, wanted=goes, why=(*whole.why, *self.notes))
        good = [candidate for candidate in made if candidate.passes]
        bad = [candidate for candidate in made if not candidate.passes]
        return [*good, whole, *bad] if whole.passes or not whole.tree or good else [whole, *bad]

    def _candidate(self, units: tuple[str, ...]) -> Candidate:
        taken = self.take(units)
        tree = taken.reversal.tree
        assert tree is not None
        lost = lines_lost(self.services.mirror, self.head, tree, taken.ways, finely=taken.reversal.finely)
        gone = set(units) | {part.name for part in self.parts.values() if part.within in units}
        goes = tuple(why for name, why in self.kept.items() if name in gone)
        stays = tuple(why for name, why in self.kept.items() if name not in gone)
        return Candidate(
            tree, units, self.checked(tree), granularity(units), lost, (*stays, *self.notes), taken.reversal, goes
        )


_INNOCENT = "the checks fail without it just as they do with it"
_HIDES = "taking back only its tests makes the checks pass too: the fault may be older, and what shows it goes along"
_ONLY_TESTS = "it only changed tests: taking it back may hide a fault and not mend it"


def _complaint(outcome: CheckOutcome) -> tuple[bool | None, tuple[str, ...], str]:
    """Return what a check says, without the numbers: times and addresses differ from run to run."""
    return outcome.passed, outcome.failing, re.sub(r"0x[0-9a-f]+|[0-9]+", "0", outcome.detail)


def _ends(chosen: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return the best and the widest of what passed."""
    return [chosen[0], *([chosen[-1]] if len(chosen) > 1 else [])] if chosen else []


def candidate_of(
    services: Services,
    head: str,
    targets: Sequence[str],
    parts: Sequence[str],
    ways: Mapping[str, str] | None = None,
    *,
    stop: threading.Event | None = None,
) -> Candidate:
    """Return what taking back just ``parts`` of the targets gives, with every check: for an edited plan.

    No parts are the whole commits. Raises GitError, StoreError.
    """
    taken = tree_taking_back(services.mirror, head, targets, parts, parents=ways)
    reversal = taken.reversal
    grain = granularity(parts)
    if reversal.tree is None or reversal.reason:
        return Candidate(None, tuple(parts), (), grain, 0, (), reversal)
    commit = make_commit(services.mirror, reversal.tree, [head], "rehearsal", services.clock.now())
    outcomes = services.checks.run_all(commit, reversal.tree, stop=stop)
    lost = lines_lost(services.mirror, head, reversal.tree, taken.ways, finely=reversal.finely)
    return Candidate(reversal.tree, tuple(parts), outcomes, grain, lost, (), reversal)
