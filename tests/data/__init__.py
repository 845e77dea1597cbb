"""Tests of rollcage.core.data."""
