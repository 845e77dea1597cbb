"""Real agents, as in the tests of the fleet."""

from __future__ import annotations

from tests.fleet.conftest import nothing_left, paths, script, start

__all__ = ["nothing_left", "paths", "script", "start"]
