"""Issues on GitHub: the tracker, its client and limiter, who rollcage is there, and eyes on what others change."""
