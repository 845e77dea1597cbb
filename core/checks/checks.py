"""The user's checks on exact trees: run in scratch trees, cached by tree and definition, tried by the canary."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from threading import Event, Lock
from typing import Protocol

from ..clock import Clock
from ..codec import canonical, from_json, to_json
from ..config import CheckSettings, Settings
from ..model import CheckOutcome
from .attempt import Attempt, Ending, attempt, judge, set_up
from .canary import Belief, agrees_in_place, fails_when_emptied

__all__ = ["Belief", "Checks", "Store", "TreePool"]

_FORMAT = 1
"""Of what a definition's hash covers and how outcomes are judged; a new number voids what is cached."""


class TreePool(Protocol):
    """What checks need of `rollcage.core.gitrepo.scratch.ScratchPool`."""

    def tree(self, commit_or_tree: str, /) -> AbstractContextManager[Path]:
        """Give a folder with exactly that checked out, nothing else in it; for the caller alone."""
        ...


class Store(Protocol):
    """What checks need of `rollcage.core.store.store.Store`."""

    def check(self, tree: str, definition: str, /) -> CheckOutcome | None: ...
    def save_check(self, tree: str, definition: str, outcome: CheckOutcome, /) -> None: ...
    def get_note(self, key: str, /) -> str | None: ...
    def set_note(self, key: str, value: str, /) -> None: ...


class Checks:
    """Runs checks. Safe between threads; several processes may use one store."""

    def __init__(self, settings: Settings, repository_top: Path, pool: TreePool, store: Store, clock: Clock) -> None:
        """Take the trusted settings and the user's checkout, which `link:` reads and the canary compares with."""
        self._settings = settings
        self._top = repository_top
        self._pool = pool
        self._store = store
        self._clock = clock
        self._counting = Lock()
        self._runs, self._seconds = 0, 0.0

    @property
    def runs(self) -> int:
        """How often a check's command was run through this object, tries to tell flaky from broken included."""
        with self._counting:
            return self._runs

    @property
    def seconds(self) -> float:
        """How long those runs took, in seconds; of those that ran side by side each counts."""
        with self._counting:
            return self._seconds

    def counted_anew(self) -> Checks:
        """Return the same checks with a count of their own, from 0: what others run meanwhile does not count."""
        return Checks(self._settings, self._top, self._pool, self._store, self._clock)

    def definition(self, check: CheckSettings) -> str:
        """Return a SHA-256 of everything in the settings that decides what ``check`` says; its name does not."""
        return _hash([_FORMAT, check.model_dump(mode="json", exclude={"name"})])

    @property
    def checks_hash(self) -> str:
        """A SHA-256 of all checks together: a commit is good only for the checks that it passed."""
        return _hash([[check.name, self.definition(check)] for check in self._settings.checks])

    def cached(
        self,
        tree: str,
        check: CheckSettings,
        only: Sequence[str] = (),
        *,
        once: bool = False,
        see: Collection[str] = (),
    ) -> CheckOutcome | None:
        """Return what is known of ``tree`` without running anything, as `run` would answer."""
        if see and check.junit is not None:
            known = self._store.check(tree, self._key(check, only, see=see))
            plain = None if known is not None else self._store.check(tree, self._key(check, only))
            # What did not pass is not tried again until it does; a pass does not tell of which tests.
            return known if plain is None or plain.passed else replace(plain, unseen=tuple(sorted(see)))
        known = self._store.check(tree, self._key(check))
        if known is not None and (not only or known.passed):
            return known
        hit = tuple(name for name in known.failing if name in only) if known is not None else ()
        if known is not None and known.passed is False and hit:
            return replace(known, failing=hit)
        known = self._store.check(tree, self._key(check, only)) if only else None
        return known or (self._store.check(tree, self._key(check, only, once=True)) if once else None)

    def _key(
        self, check: CheckSettings, only: Sequence[str] = (), *, once: bool = False, see: Collection[str] = ()
    ) -> str:
        """Return what an outcome is cached under, beside its tree; the tests followed count where there are reports.

        A failure that was not tried again has a place of its own: it tells less. What tells more has one too.
        """
        followed = sorted(only) if check.junit is not None else []
        told = [["see", *sorted(see)]] if see and check.junit is not None else []
        definition = self.definition(check)
        return _hash([definition, followed, *["once"] * once, *told]) if followed or once or told else definition

    def run(
        self,
        commit: str,
        tree: str,
        check: CheckSettings,
        *,
        fresh: bool = False,
        stop: Event | None = None,
        only: Sequence[str] = (),
        once: bool = False,
        see: Collection[str] = (),
    ) -> CheckOutcome:
        """Run ``check`` on ``commit``, whose tree is ``tree``, unless that is known; ``fresh`` runs it anyway.

        A failure is tried again in a fresh tree as often as ``retries:`` says: passed then, it is flaky (``passed`` is
        ``None``, the detail begins with "flaky"). ``only`` names failing tests to follow, which needs `junit:`:
        others do not count. What cannot be started, set up or judged has ``passed`` ``None``, and is not cached as far
        as another try may go better. ``once`` does not try a failure again: for a search, which doubts each answer
        anyway. ``see`` names tests that are to be seen passing: those that were not are in ``unseen``. ``commit`` may
        be empty for a tree without one. Raises StoreError, GitError.
        """
        if not fresh and (known := self.cached(tree, check, only, once=once, see=see)) is not None:
            return known
        return self._run(commit or tree, tree, check, stop, only, once=once, see=see)[0]

    def _run(
        self,
        commit: str,
        tree: str,
        check: CheckSettings,
        stop: Event | None,
        only: Sequence[str],
        *,
        once: bool = False,
        see: Collection[str] = (),
    ) -> tuple[CheckOutcome, Ending]:
        def run() -> Attempt:
            with self._pool.tree(commit) as folder:
                unready = set_up(check, self._top, folder, stop)
                return unready or attempt(check, folder, stop=stop, only=only, see=see)

        outcome, ending = judge(check, run, 0 if once else check.retries)
        with self._counting:
            self._runs += outcome.runs
            self._seconds += outcome.duration_s
        if ending not in {Ending.UNABLE, Ending.STOPPED}:
            unsure = once and check.retries > 0 and outcome.passed is False
            self._store.save_check(tree, self._key(check, only, once=unsure), replace(outcome, unseen=()))
            if see and check.junit is not None and not once:
                self._store.save_check(tree, self._key(check, only, see=see), outcome)
        return outcome, ending

    def run_all(
        self,
        commit: str,
        tree: str,
        *,
        fresh: bool = False,
        stop: Event | None = None,
        see: Mapping[str, Collection[str]] | None = None,
    ) -> tuple[CheckOutcome, ...]:
        """Run every check of the settings, each in a tree of its own, some at the same time; in the settings' order.

        ``see`` names by check the tests that are to be seen passing.
        """
        checks, wanted = self._settings.checks, see or {}

        def run(check: CheckSettings) -> CheckOutcome:
            return self.run(commit, tree, check, fresh=fresh, stop=stop, see=wanted.get(check.name, ()))

        if len(checks) < 2:
            return tuple(run(check) for check in checks)
        with ThreadPoolExecutor(self._settings.limits.parallel_checks, thread_name_prefix="check") as executor:
            return tuple(executor.map(run, checks))

    def believed(
        self, check: CheckSettings, commit: str, tree: str, *, fresh: bool = False, stop: Event | None = None
    ) -> Belief:
        """Try the canary at ``commit``, the branch's tip; kept by definition, so that it costs nothing the next time.

        What is not believed is tried again at the next tree, or with ``fresh``: its mend may lie outside the settings.
        Raises StoreError, GitError.
        """
        key = f"canary:{self.definition(check)}"
        text = None if fresh else self._store.get_note(key)
        known = from_json(_Tried, text) if text else None
        if known is not None and known.belief.final and (known.belief.believed or known.tree == tree):
            return _named(check, known.belief)
        outcome, ending = self.cached(tree, check), None
        if outcome is None:
            outcome, ending = self._run(commit or tree, tree, check, stop, ())
        if ending in {Ending.UNABLE, Ending.STOPPED}:
            return _named(check, Belief(False, outcome.detail.partition("\n")[0], final=False))
        if known is not None and known.belief.believed:
            belief = known.belief
        else:
            belief = fails_when_emptied(check, self._pool.tree, commit or tree, self._top, stop)
        if belief.believed:
            belief = agrees_in_place(check, self._top, tree, outcome.passed, stop)
        if belief.believed or belief.final:
            self._store.set_note(key, canonical(to_json(_Tried(belief, tree, self._clock.now()))))
        return _named(check, belief)


@dataclass(frozen=True, slots=True)
class _Tried:
    """What the canary found out, as it is kept."""

    belief: Belief
    tree: str
    at: datetime


def _named(check: CheckSettings, belief: Belief) -> Belief:
    return replace(belief, why=f"check {check.name} {belief.why}")


def _hash(value: object) -> str:
    return hashlib.sha256(canonical(value).encode()).hexdigest()
