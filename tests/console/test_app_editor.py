"""The editor: the operator's own, without a shell, on a file that nobody else can read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rollcage.console.editor import edit_text, editor_command
from rollcage.core.errors import UsageError


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    folder = tmp_path / "bin with spaces"
    folder.mkdir()
    return folder


def tool(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def path_with(folder: Path) -> dict[str, str]:
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def test_visual_goes_before_editor_and_words_are_split_as_a_shell_does(tools: Path) -> None:
    tool(tools, "code", "true")
    found = path_with(tools)
    assert editor_command({**found, "VISUAL": "code --wait 'a b'", "EDITOR": "ed"}) == ["code", "--wait", "a b"]
    assert editor_command({**found, "VISUAL": "  ", "EDITOR": "code"}) == ["code"]


def test_an_editor_that_is_not_there_is_named(tools: Path) -> None:
    with pytest.raises(UsageError, match=r"the editor 'emacs' of \$EDITOR is not installed"):
        editor_command({"EDITOR": "emacs -nw", "PATH": str(tools)})
    with pytest.raises(UsageError, match="no editor: set EDITOR"):
        editor_command({"PATH": str(tools)})
    with pytest.raises(UsageError, match=r"\$EDITOR cannot be split"):
        editor_command({"EDITOR": "vi 'x", "PATH": str(tools)})


def test_no_shell_reads_the_command(tools: Path, tmp_path: Path) -> None:
    tool(tools, "ed1", 'echo "$1" > "$ARGUMENTS"; echo more >> "$2"')
    environment = {
        **path_with(tools),
        "EDITOR": "ed1 $(touch\\ pwned)",
        "ARGUMENTS": str(tmp_path / "arguments"),
    }
    assert edit_text("plan: 1\n", environment) == "plan: 1\nmore\n"
    assert (tmp_path / "arguments").read_text() == "$(touch pwned)\n"


def test_the_file_is_the_operators_alone_and_gone_afterwards(tools: Path, tmp_path: Path) -> None:
    tool(tools, "ed2", 'stat -c %a "$1" > "$SEEN"; echo "$1" >> "$SEEN"')
    edit_text("secret", {**path_with(tools), "EDITOR": "ed2", "SEEN": str(tmp_path / "seen")})
    mode, name = (tmp_path / "seen").read_text().split()
    assert mode == "600"
    assert not Path(name).exists()


def test_an_editor_that_fails_changes_nothing(tools: Path) -> None:
    tool(tools, "ed3", "exit 3")
    with pytest.raises(UsageError, match="ended with status 3: nothing is changed"):
        edit_text("x", {**path_with(tools), "EDITOR": "ed3"})


def test_what_is_no_text_is_said(tools: Path) -> None:
    tool(tools, "ed4", "printf '\\377\\376' > \"$1\"")
    with pytest.raises(UsageError, match="could not be edited"):
        edit_text("x", {**path_with(tools), "EDITOR": "ed4"})
