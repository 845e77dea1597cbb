"""Widgets know the board and the nouns, never the engine; nothing heavy comes with the app."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import rollcage.widgets

KNOWN = {"board", "model", "text", "clock"}
FOLDER = Path(rollcage.widgets.__file__).parent


def test_widgets_import_nothing_of_core_but_board_model_text_and_clock() -> None:
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("core"):
                assert node.level == 2
                assert node.module.removeprefix("core.") in KNOWN, f"{path.name} imports {node.module}"
            if isinstance(node, ast.ImportFrom) and node.module:
                assert not node.module.startswith("console"), f"{path.name} imports {node.module}"


def test_importing_the_app_brings_nothing_heavy() -> None:
    heavy = ["networkx", "git", "github", "psutil", "pydantic", "sqlite3", "click", "pygments", "markdown_it"]
    script = f"import sys, rollcage.console.app; print(sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
