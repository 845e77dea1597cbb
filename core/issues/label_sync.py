"""The label synchroniser: goes over all Issues and puts right what contradicts itself (see `labels`), and twins."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass

from ..errors import LeaseError
from .create import heal_twins
from .desk import Desk
from .errors import ConcurrencyConflictError
from .issue import Issue
from .labels import DONE, FAILED, PREFIXES, STATUS, Repair, definitions_missing, repair
from .merge import Change
from .update import Goal, change_issue
from .values import name_key


@dataclass(frozen=True, slots=True)
class Synced:
    """What one pass of the synchroniser did."""

    looked_at: int
    """So many Issues."""
    repairs: tuple[Repair, ...]
    defined: tuple[str, ...]
    """Labels whose definition was made or got its colour."""
    skipped: tuple[int, ...]
    """Issues that somebody holds, or that others changed at the same time: they come in the next pass."""
    twins: tuple[int, ...] = ()
    """Issues that were closed, since both requests of one creation had come through."""


def sync_labels(desk: Desk) -> Synced:
    """Put the labels of all Issues right, each under its lease, and define those of ours with their colours.

    Raises TrackerError, ScopeViolationError, StoreError: what was put right by then stays so.
    """
    looked_at = 0
    used: dict[str, str] = {}
    wrong: list[int] = []
    for issue in desk.tracker.issues():
        looked_at += 1
        used.update({name_key(label): label for label in issue.labels if name_key(label).startswith(tuple(PREFIXES))})
        if repair(issue, {}):
            wrong.append(issue.number)
    for label in STATUS:
        if label not in (DONE, FAILED):  # what a closed one cannot have
            wrong += [issue.number for issue in desk.tracker.issues(state="closed", labels=(label,))]
    repairs, skipped = repair_issues(desk, wrong)
    twins = () if desk.is_local else tuple(heal_twins(desk))
    return Synced(looked_at, repairs, define_labels(desk, used.values()), skipped, twins)


def repair_issues(desk: Desk, numbers: Iterable[int]) -> tuple[tuple[Repair, ...], tuple[int, ...]]:
    """Put the labels of these Issues right, each under its lease; return what was done, and those that wait.

    Raises as `sync_labels` does.
    """
    repairs: list[Repair] = []
    skipped: list[int] = []
    for number in dict.fromkeys(numbers):
        goal = _InStep(desk)
        try:
            change_issue(desk, number, goal, wait=0)
        except (LeaseError, ConcurrencyConflictError):
            skipped.append(number)
        else:
            if goal.made:
                repairs.append(Repair(number, goal.made.add_labels, goal.made.remove_labels))
    return tuple(repairs), tuple(skipped)


def define_labels(desk: Desk, used: Iterable[str] = ()) -> tuple[str, ...]:
    """Define the labels of ours that are not, or have another colour; return their names. Raises TrackerError."""
    missing = list(definitions_missing(desk.tracker.label_definitions(), used))
    with desk.records.transaction() if desk.is_local else nullcontext():
        for name, colour, description in missing:
            desk.tracker.define_label(name, colour, description)
            desk.records.wrote(desk.holder, "define label", name, after={"colour": colour, "description": description})
    return tuple(name for name, _, _ in missing)


class _InStep(Goal):
    """Labels that do not contradict each other."""

    what = "repair labels"

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.made = Change()

    def plan(self, current: Issue, *, written: bool) -> Change:
        change = repair(current, self._desk.records.labels_added(current.number))
        if change:
            self.made = change
        return change
