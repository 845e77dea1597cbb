"""Tests of rollcage.core.checks."""
