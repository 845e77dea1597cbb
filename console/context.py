"""What a verb works on: the repository, its state and its trusted settings, each opened when it is first asked for."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.clock import Clock, SystemClock
from ..core.errors import RollcageError, UsageError
from ..core.text import clean
from .diagnostics import say

if TYPE_CHECKING:
    from ..core.config import Settings
    from ..core.coordination.embedded import EmbeddedLeases
    from ..core.coordination.leases import Leases
    from ..core.gitrepo.repository import Repository
    from ..core.issues.desk import Desk
    from ..core.services import Services
    from ..core.status import View
    from ..core.store.paths import RepositoryPaths
    from ..core.store.signals import Signals
    from ..core.store.store import Store
    from ..core.trust import Trusted
    from .operator import StoreOperator


class Context:
    """Everything that verbs share. What it opened is closed by `close`."""

    def __init__(self, directory: Path | None = None, config: Path | None = None, clock: Clock | None = None) -> None:
        """Take the folder of ``-C`` (default: the current one) and the file of ``--config``."""
        self.directory = directory or Path()
        self.config = config
        self.clock: Clock = clock or SystemClock()

    def work_on(self, directory: str = "") -> None:
        """Work on the repository of ``directory``, if one is named; before anything was opened.

        Within a supervised agent that repository wins which its supervisor works on: the agent may stand in a clone.
        """
        if directory:
            self.directory = Path(directory)
        inbox = os.environ.get("ROLLCAGE_INBOX", "")
        if inbox:
            from ..core.store.locate import read_record

            record = read_record(os.path.dirname(inbox))  # noqa: PTH120
            if record is not None:
                self.directory = Path(str(record["path"]))

    @cached_property
    def repository(self) -> Repository:
        """The repository that the folder lies in. Raises GitVersionError, or UsageError where there is none."""
        from ..core.gitrepo.git import require_git
        from ..core.gitrepo.repository import Repository

        require_git()
        return Repository.discover(self.directory)

    @cached_property
    def _known(self) -> tuple[Path, RepositoryPaths] | None:
        """The git directory and the state of a plain repository that is known, found without git, which most lists
        then do not need; ``None``: ask git."""
        from ..core.store.identity import known_paths
        from ..core.store.locate import state_home

        known = known_paths(self.directory)
        return known if known and not state_home().resolve().is_relative_to(known[0].parent.resolve()) else None

    @property
    def is_known(self) -> bool:
        """Whether its state is there and can be read without asking git or making anything."""
        return self._known is not None

    @property
    def top(self) -> Path:
        """The main working tree. Raises as `repository` does."""
        return self._known[0].parent if self._known else self.repository.top

    @cached_property
    def paths(self) -> RepositoryPaths:
        """Where its state lies; made where it is missing.

        Raises StoreError, and UsageError where ``ROLLCAGE_STATE_DIR`` would put it among the files of the repository.
        """
        if self._known is not None:
            return self._known[1]
        named = os.environ.get("ROLLCAGE_STATE_DIR", "")
        if named and not Path(named).is_absolute():
            raise UsageError(
                f"ROLLCAGE_STATE_DIR is '{clean(named)}'; allowed: an absolute path, outside the repository"
            )
        if named and Path(named).resolve().is_relative_to(self.repository.top.resolve()):
            raise UsageError(
                f"ROLLCAGE_STATE_DIR is '{clean(named)}', in the repository: agents would commit or clean it"
            )
        from ..core.store.identity import identify

        return identify(self.repository.common_dir, self.repository.root_commits)

    @cached_property
    def store(self) -> Store:
        """Its durable state. Raises StoreError."""
        from ..core.store.store import Store

        return Store.open(self.paths, self.clock)

    @cached_property
    def signals(self) -> Signals:
        """The inbox. Raises StoreError."""
        from ..core.store.signals import Signals

        return Signals(self.store)

    @cached_property
    def own_leases(self) -> EmbeddedLeases:
        """The leases of this machine alone, that of the engine among them. Raises StoreError."""
        from ..core.coordination.embedded import EmbeddedLeases

        return EmbeddedLeases(self.paths, self.clock)

    @cached_property
    def leases(self) -> Leases:
        """The leases that agents, Issue operations and operators share. Raises StoreError, and as `trusted` does."""
        if self.settings.coordination.kind == "embedded":
            return self.own_leases
        from ..core.coordination.opening import open_leases

        return open_leases(self.settings.coordination, self.paths, self.clock)

    @cached_property
    def desk(self) -> Desk:
        """The desk of Issue operations, for the agent or the person that this process works for.

        Raises as `trusted` does, UsageError where the tracker or the scope cannot be as they are set, StoreError.
        """
        from ..core.issues.context import working_scope
        from ..core.issues.desk import open_desk
        from ..core.issues.errors import TrackerRefusedError
        from .who import worker_name

        scope = working_scope(self.settings, self.paths, os.environ)
        try:
            return open_desk(self.settings, self.paths, self.clock, holder=worker_name(), scope=scope)
        except TrackerRefusedError as error:  # no token, say
            raise UsageError(str(error)) from error

    @cached_property
    def trusted(self) -> Trusted:
        """The settings that count, after the operator was asked on a terminal where they changed.

        Raises SettingsError where they are wrong, UntrustedError where they are not trusted.
        """
        from ..core.errors import UntrustedError
        from ..core.trust import load_trusted
        from .review import review

        def load() -> Trusted:
            return load_trusted(self.top, self.paths, self.config, review=review)

        try:
            trusted = load()
        except UntrustedError:
            from .asking import ask_to_trust

            if not self.interactive or not ask_to_trust(self):
                raise
            trusted = load()
        if trusted.message:
            say(trusted.message)
        return trusted

    @property
    def settings(self) -> Settings:
        """See `trusted`."""
        return self.trusted.settings

    @property
    def interactive(self) -> bool:
        """Whether somebody is there to answer a question."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    @property
    def view(self) -> View:
        """What a reader of the state needs."""
        from ..core.status import View

        return View(self.paths, self.store, self.signals, self.settings)

    @cached_property
    def _services(self) -> Services:
        from ..core.services import open_services

        trusted = self.trusted
        return open_services(self.repository, self.paths, self.store, trusted.settings, trusted.pin, self.clock)

    def services(self) -> Services:
        """Open what the stages need, once. Raises RollcageError."""
        return self._services

    def operator(self, *, read_only: bool = False) -> StoreOperator:
        """Return the one that writes the operator's decisions."""
        from .operator import StoreOperator

        return StoreOperator(self.store, self.clock, lambda: self.leases, read_only=read_only)

    def engine(self) -> str | None:
        """Return which engine leads this repository, as ``pid 47 on host``; ``None``: none does."""
        from ..core.coordination.leader import Leader

        common = self._known[0] if self._known else self.repository.common_dir
        return Leader(common, self.own_leases).holder()

    def close(self) -> None:
        """Close what was opened; what agents are to be told of their Issues goes out first."""
        if "desk" in self.__dict__:
            from ..core.issues.notify import post_new

            with suppress(RollcageError):  # the engine sends it later
                post_new(self.paths, self.desk.records)
        for name in ("desk", "signals", "leases", "own_leases", "store"):
            opened = self.__dict__.pop(name, None)
            if opened is not None:
                opened.close()
