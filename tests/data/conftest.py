"""A PostgreSQL server of the tests' own, started by the first test that needs it, and a fresh database for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import Server


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a running server; it is stopped, and its data are gone, at the end."""
    with Server.started(tmp_path_factory.mktemp("postgres")) as server:
        yield server


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
