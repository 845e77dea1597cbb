"""The world as signals: processes, output, commits, data."""
