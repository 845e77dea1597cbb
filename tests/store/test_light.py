"""The modules that light verbs stand on pull in nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import rollcage

HEAVY = {"click", "yaml", "pydantic", "psutil", "git", "networkx", "textual", "dataclasses", "asyncio", "filelock"}


def test_inbox_and_locate_import_nothing_heavy() -> None:
    """In an interpreter without site-packages, since an editable install imports a few things by itself."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import rollcage.core.store.inbox, rollcage.core.store.locate\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    top = Path(rollcage.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(top)], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "sqlite3" in loaded
    assert loaded.isdisjoint(HEAVY | {"pathlib", "typing", "threading"})
