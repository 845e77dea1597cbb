"""Databases and file trees: integrity checks, snapshot, restore."""
