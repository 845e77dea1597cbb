"""The engine keeps labels in step: an Issue that changed at once, all of them rarely, so that it costs few requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from typing import Any

from ..clock import Clock, iso, parse_iso
from ..store.paths import RepositoryPaths
from ..store.store import Store
from ..text import clean
from .desk import Desk
from .errors import IssueUpdateError, TrackerLimitError, TrackerRefusedError
from .issue import Issue
from .label_sync import Synced, repair_issues, sync_labels
from .labels import Repair, repair

PASS_S = 6 * 3_600.0
"""So often all Issues are gone over: over GitHub a request for each 100 open ones, five for the rest."""
AFTER_PROBLEM_S = 60.0
"""Seconds until it is tried again where the tracker could not be reached or did not take it."""
_PASSED = "labels:passed"
_CHANGES = ("created", "changed", "reopened", "closed")
"""What `watch` tells of Issues."""


class LabelKeeper:
    """Looks in rounds; for one thread."""

    def __init__(self, open_desk: Callable[[], Desk], paths: RepositoryPaths, store: Store, clock: Clock) -> None:
        """Take what opens a desk, where all lies, and where events come from and go to."""
        self._open_desk, self._paths, self._store, self._clock = open_desk, paths, store, clock
        self._read: int | None = None
        """Up to where the events were read; what an earlier engine did not see is found by a whole pass."""
        self._wrong: set[int] = set()
        """Issues whose labels are to be put right."""
        self._not_before = float("-inf")

    def look(self) -> None:
        """Put right what is not, and go over all where it is time. Raises StoreError, TrackerError."""
        self._hear()
        if self._clock.boot() < self._not_before or not self._paths.issues_db.exists():
            return
        due = self._is_due()
        if not due and not self._wrong:
            return
        self._not_before = self._clock.boot() + AFTER_PROBLEM_S
        with closing(self._open_desk()) as desk:
            try:
                self._keep(desk, due)
            except TrackerLimitError as limit:  # the status line shows what is left; there is nothing to mend
                self._not_before = self._clock.boot() + max(limit.seconds, AFTER_PROBLEM_S)
                return
        if not self._wrong:
            self._not_before = float("-inf")

    def _keep(self, desk: Desk, due: bool) -> None:
        if due:
            done = sync_labels(desk)
            self._store.set_note(_PASSED, iso(self._clock.now()))
            self._wrong = set(done.skipped)
            for body in told(done):
                self._store.append_event("issue", body)
            return
        for number in sorted(self._wrong):
            repairs: tuple[Repair, ...] = ()
            skipped: tuple[int, ...] = ()
            try:
                repairs, skipped = repair_issues(desk, [number])
            except (TrackerRefusedError, IssueUpdateError) as problem:
                # It is gone, or will not be mended by trying at once; the next pass looks again, and people are told.
                if getattr(problem, "status", 0) in (401, 403):
                    raise
                note = clean(str(problem))
                self._store.append_event("issue", {"number": number, "change": "labels not repaired", "note": note})
            for each in repairs:
                self._store.append_event("issue", _body(each))
            if not skipped:
                self._wrong.discard(number)

    def _hear(self) -> None:
        """Take in what `watch` told of labels that contradict each other."""
        if self._read is None:
            newest = self._store.recent_events(1)
            self._read = newest[0].seq if newest else 0
        while events := self._store.events_since(self._read):
            for event in events:
                if event.event == "issue" and event.body.get("change") in _CHANGES and _contradicts(event.body):
                    self._wrong.add(int(str(event.body["number"])))
            self._read = events[-1].seq

    def _is_due(self) -> bool:
        last = self._store.get_note(_PASSED)
        if last is None:
            return True
        passed = (self._clock.now() - parse_iso(last)).total_seconds()
        return not 0 <= passed < PASS_S  # a clock that went back: once too often, rather than never again


def told(done: Synced) -> Iterable[dict[str, object]]:
    """Yield what people are told of a pass: an event ``issue`` for each Issue that it wrote to."""
    for each in done.repairs:
        yield _body(each)
    for number in done.twins:
        yield {"number": number, "change": "duplicate closed"}


def _body(each: Repair) -> dict[str, object]:
    return {
        "number": each.number,
        "change": "labels repaired",
        "added": [clean(label, limit=60) for label in each.added],
        "removed": [clean(label, limit=60) for label in each.removed],
    }


def _contradicts(body: Mapping[str, Any]) -> bool:
    """Tell whether labels as `watch` tells them are not in step."""
    moment = parse_iso("2000-01-01T00:00:00Z")
    labels = tuple(str(label) for label in body.get("labels", ()))
    return bool(
        repair(Issue(int(body["number"]), "", "", str(body.get("state", "open")), labels, (), moment, moment), {})
    )
