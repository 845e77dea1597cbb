"""The environment of a check: what commands need to run, and nothing that opens a door."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..text import mask_secrets

# A check runs agents' code: no credentials, no agent sockets, nothing that turns its git to another repository.
_PREFIXES = ("GIT_", "ROLLCAGE_", "SSH_")
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|(?:^|_)(?:AUTH|COOKIE|PAT)(?:_|$)", re.IGNORECASE)
# These describe our own process: its folder, and the make that may have started it.
_OURS = frozenset({"PWD", "OLDPWD", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"})


def scrubbed(environment: Mapping[str, str], added: Mapping[str, str]) -> dict[str, str]:
    """Return ``environment`` without what its name or its value shows to be secret or ours, and ``added`` on top."""
    kept = {
        name: value
        for name, value in environment.items()
        if not name.startswith(_PREFIXES)
        and name not in _OURS
        and not _SECRET.search(name)
        and mask_secrets(value) == value
    }
    return {**kept, **added}
