"""What rollcage costs, as ratios to a named floor measured in the same run; nothing here passes or fails."""
