"""Histories of any length, made by one ``git fast-import``."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import git

FILES_A_FOLDER, LINES = 25, 60


def make_history(top: Path, length: int, *, folders: int = 40, repack: bool = True) -> list[str]:
    """Make a repository of ``length`` commits and 25 files of 60 lines a folder; return the commits, newest first.

    Each commit changes one line of one file, another line each time the file's turn comes round, so that any one of
    the newest few thousand can be taken back without a conflict. Without ``repack`` the pack stays as fast-import
    wrote it, which a long history is made in seconds by.
    """
    top.mkdir()
    git(top, "init", "-q", "-b", "main")
    with subprocess.Popen(["git", "fast-import", "--quiet"], cwd=top, stdin=subprocess.PIPE) as done:
        assert done.stdin is not None
        for text in _stream(length, folders):
            done.stdin.write(text.encode())
    if done.returncode:
        raise RuntimeError(f"fast-import ended with {done.returncode}")
    git(top, "reset", "-q", "--hard")
    if repack:
        git(top, "repack", "-q", "-a", "-d")
    return git(top, "rev-list", "main").split("\n")


def _stream(length: int, folders: int) -> Iterator[str]:
    contents = {
        f"folder{folder:02}/module{file:02}.py": [f"value_{line} = {line}" for line in range(LINES)]
        for folder in range(folders)
        for file in range(FILES_A_FOLDER)
    }
    names = list(contents)
    for number in range(length):
        yield f"commit refs/heads/main\ncommitter Ann <ann@example.com> {1_700_000_000 + number} +0000\n"
        summary = f"change {number}"
        yield f"data {len(summary)}\n{summary}\n"
        changed = names
        if number:
            name = names[number % len(names)]
            line = 3 * (number // len(names)) % LINES
            contents[name][line] += f" + {number}"
            changed = [name]
        for name in changed:
            text = "\n".join([*contents[name], ""])
            yield f"M 100644 inline {name}\ndata {len(text)}\n{text}\n"
