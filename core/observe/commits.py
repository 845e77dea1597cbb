"""New commits on the fleet's branch, and whose they are, also where its history was rewritten."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from ..clock import iso
from ..errors import GitError
from ..gitrepo.history import Origin, attribute, commits, contradictions
from ..model import EVERYBODY, Commit, Signal, SignalKind
from ..services import origin_key

if TYPE_CHECKING:
    from ..services import Services

LIMIT = 200
"""Commits that are reported at a time: the newest."""
FILES = 100
"""Paths of a commit that are named."""


class CommitWatcher:
    """Compares the branch with where it was at the last look, also that of an engine before this one."""

    def __init__(self, services: Services) -> None:
        """Take the services: repository, mirror, settings, and the store's notes."""
        self._services = services
        self._key = f"observe:head:{services.settings.branch}"
        self._noted = self._head = services.store.get_note(self._key)

    def look(self, now: datetime, origins: Callable[[], Mapping[str, Origin]] = dict) -> list[Signal]:
        """Return a signal for each commit that is new on the branch, oldest first; at the very first look none.

        ``origins`` tells where commits were made; it is asked where there are new ones, and what it tells of those that
        say of nobody to be his is kept as a note (`rollcage.core.services.attributed` reads it).

        ``name`` is the sha, ``text`` the summary; attrs: ``parents``, ``files`` (at most 100), ``branch``,
        ``committed`` (time). Where the branch no longer contains its last head (a reset, an amended commit) they have
        ``rewritten`` true and ``was``, that head; if no commit is new then, the head itself is reported. With
        ``mismatch`` are those that contradict where they were made. Raises GitError.
        """
        # Where an engine died before it could hand on what it saw, the next one sees it again.
        if self._head is not None and self._head != self._noted:
            self._services.store.set_note(self._key, self._head)
            self._noted = self._head
        tip = self._services.repository.tip(self._services.settings.branch)
        if tip is None or tip == self._head:
            return []
        signals = self._compare(self._head, tip, now, origins) if self._head is not None else []
        self._head = tip
        return signals

    def _compare(
        self, before: str, tip: str, now: datetime, origins: Callable[[], Mapping[str, Origin]]
    ) -> list[Signal]:
        mirror = self._services.mirror
        try:
            contained = mirror.git.run("merge-base", "--is-ancestor", before, tip, ok=(0, 1)).status == 0
            found = commits(mirror, tip, since=before, limit=LIMIT, first_parent=False)
        except GitError:  # the old head was cleared away
            contained, found = False, []
        found = found or commits(mirror, tip, limit=1)
        about: dict[str, object] = {} if contained else {"rewritten": True, "was": before}
        about["branch"] = self._services.settings.branch
        made, agents = origins(), self._services.settings.agents
        lies = contradictions(found, agents, made)
        signals = []
        for commit in reversed(attribute(found, agents, lambda sha: self._noted_origin(sha, made))):
            lie = {"mismatch": lies[commit.sha]} if commit.sha in lies else {}
            signals.append(_signal(commit, {**about, **lie}, now))
        return signals

    def _noted_origin(self, sha: str, made: Mapping[str, Origin]) -> str | None:
        """Return whose place ``sha`` was made in, and keep it: the logs that tell so go with the working tree."""
        if sha not in made:
            return None
        self._services.store.set_note(origin_key(sha), made[sha].agent)
        return made[sha].agent


def _signal(commit: Commit, about: dict[str, object], now: datetime) -> Signal:
    return Signal(
        at=now,
        agent=commit.agent or EVERYBODY,
        kind=SignalKind.COMMIT,
        name=commit.sha,
        text=commit.summary,
        attrs={
            "parents": list(commit.parents),
            "files": list(commit.files[:FILES]),
            "committed": iso(commit.at),
            **about,
        },
    )
