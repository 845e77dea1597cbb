"""Histories grown on real packages, with seeded faults, and what rollcage makes of them (see `cases`)."""
