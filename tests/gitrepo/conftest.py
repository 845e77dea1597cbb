"""Repositories and mirrors for the tests of git."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from rollcage.core.gitrepo.mirror import Mirror
from rollcage.core.gitrepo.repository import Repository
from tests.conftest import git


def commit(top: Path, files: Mapping[str, str | bytes | None], message: str = "change") -> str:
    """Write ``files`` (None removes one), commit all of it on the branch checked out; return the commit."""
    for name, content in files.items():
        file = top / name
        if content is None:
            file.unlink()
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    git(top, "add", "--all", "--", ".")
    git(top, "commit", "-q", "--allow-empty", "-m", message)
    return git(top, "rev-parse", "HEAD")


def mirror_of(top: Path, place: Path) -> Mirror:
    """Return a mirror in ``place`` of the repository at ``top``, made."""
    mirror = Mirror(Repository.discover(top), place / "mirror.git")
    mirror.ensure()
    return mirror


@pytest.fixture
def mirror(repository: Path, tmp_path: Path) -> Mirror:
    """Return the mirror of the repository ``shop``."""
    return mirror_of(repository, tmp_path / "state of mine")
