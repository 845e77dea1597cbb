"""A fresh database for each test, and a folder for what is kept of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.postgres import Server


@pytest.fixture
def url(postgres_server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the address of a fresh database, with its programs within reach."""
    monkeypatch.setenv("PG_BIN", str(postgres_server.programs))
    return postgres_server.fresh()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "snapshot"
    folder.mkdir()
    return folder
