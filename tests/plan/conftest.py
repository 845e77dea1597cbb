"""Real repositories for plans: the scenes of tests/execute."""

from tests.execute.conftest import bad, begun, laid_out, scene

__all__ = ["bad", "begun", "laid_out", "scene"]
