"""Real repositories for plans: the scenes of tests/execute."""

from tests.execute.conftest import bad, begun, carried_out, carried_out_once, laid_out, scene

__all__ = ["bad", "begun", "carried_out", "carried_out_once", "laid_out", "scene"]
