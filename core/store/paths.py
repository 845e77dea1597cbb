"""The places of one repository's state, below ``<state home>/repositories/<uuid>``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RepositoryPaths:
    """Where everything of one repository lies; `rollcage.core.store.identity.identify` makes the folders, mode 0700."""

    root: Path

    @property
    def uuid(self) -> str:
        """The repository's identity."""
        return self.root.name

    @property
    def state_db(self) -> Path:
        """Decisions, journal, audit, incidents: the operator's."""
        return self.root / "state.db"

    @property
    def locks_db(self) -> Path:
        """Leases; agents may write."""
        return self.root / "locks.db"

    @property
    def inbox_db(self) -> Path:
        """Signals and the registrations of supervisors; agents may write."""
        return self.root / "inbox.db"

    @property
    def issues_db(self) -> Path:
        """The local tracker, what waits to be sent, batches under way, the audit of Issues; agents may write."""
        return self.root / "issues.db"

    @property
    def record(self) -> Path:
        """Where the repository stood last: its path, device, inode and root commits."""
        return self.root / "repository.json"

    @property
    def mirror(self) -> Path:
        """Our bare repository, with the user's objects as alternates."""
        return self.root / "mirror.git"

    @property
    def scratch(self) -> Path:
        """The pool of scratch trees."""
        return self.root / "scratch"

    @property
    def snapshots(self) -> Path:
        """Emergency snapshots, one folder each."""
        return self.root / "emergency_snapshots"

    @property
    def agents(self) -> Path:
        """A folder for each agent: its output and mailbox."""
        return self.root / "agents"

    @property
    def holders(self) -> Path:
        """A locked file for each living holder of leases."""
        return self.root / "holders"

    @property
    def trusted(self) -> Path:
        """The settings as an operator trusted them last (a file; nothing is there before the first time)."""
        return self.root / "trusted"
