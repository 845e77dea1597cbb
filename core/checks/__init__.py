"""The one place that runs the user's checks: scratch trees, retries, JUnit XML, cache by tree, and the canary."""
