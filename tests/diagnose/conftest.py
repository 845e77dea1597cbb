"""The shop under watch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loop import Shop


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """Yield a small shop; what it opened is closed."""
    shop = Shop(tmp_path)
    yield shop
    shop.close()
