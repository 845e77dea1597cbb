"""Diagnosis: suspects ranked by evidence, the culprit found and confirmed by the checks, and what both add up to."""
