"""Where the state lies, and which repository a folder belongs to. Light: ``rollcage signal`` runs this."""

# os.path throughout: importing pathlib costs half as much again as starting Python.
# ruff: noqa: PTH100, PTH111, PTH112, PTH113, PTH116, PTH117, PTH118, PTH120, PTH123

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping

TYPE_CHECKING = False  # not from typing, which costs more than all of this file
if TYPE_CHECKING:
    from pathlib import Path

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def state_home() -> Path:
    """Return ``ROLLCAGE_STATE_DIR``, else ``$XDG_STATE_HOME/rollcage``, else ``~/.local/state/rollcage``; absolute."""
    from pathlib import Path

    return Path(_state_home())


def _state_home() -> str:
    named = os.environ.get("ROLLCAGE_STATE_DIR")
    if named:
        return os.path.abspath(named)
    base = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):  # the XDG Base Directory Specification: a relative path is to be ignored
        base = os.path.expanduser("~/.local/state")
    return os.path.join(base, "rollcage")


def find_inbox(start: str) -> str:
    """Return the path of ``inbox.db`` for the repository that ``start`` lies in; ``ROLLCAGE_INBOX`` wins.

    Raises LookupError with one clear line: no repository there, or rollcage never saw it.
    """
    return os.environ.get("ROLLCAGE_INBOX") or os.path.join(find_root(start), "inbox.db")


def find_root(start: str) -> str:
    """Return where the state of the repository lies that ``start`` lies in; the folder of ``ROLLCAGE_INBOX`` wins.

    Raises LookupError with one clear line: no repository there, or rollcage never saw it.
    """
    named = os.environ.get("ROLLCAGE_INBOX")
    if named:
        return os.path.dirname(os.path.abspath(named))
    common = find_common_dir(start)
    uuid = read_id(common)
    root = os.path.join(_state_home(), "repositories", uuid) if uuid else ""
    record = read_record(root) if root else None
    if uuid is None or record is None or stands_elsewhere(record, common, uuid):
        raise LookupError(f"rollcage does not know the repository of {start!r} yet: run `rollcage health` in it once")
    return root


def find_common_dir(start: str) -> str:
    """Return the common git directory of the repository that ``start`` lies in, as a real path.

    Follows the ``.git`` file of a linked worktree or submodule, and knows a bare repository. Raises LookupError.
    """
    folder = os.path.realpath(start)
    while True:
        inner = os.path.join(folder, ".git")
        if os.path.isdir(inner):
            return _common_of(inner)
        if os.path.isfile(inner):
            target = _first_line(inner)
            if target.startswith("gitdir: "):
                return _common_of(os.path.join(folder, target.removeprefix("gitdir: ")))
        if os.path.isfile(os.path.join(folder, "HEAD")) and os.path.isdir(os.path.join(folder, "objects")):
            return _common_of(folder)
        parent = os.path.dirname(folder)
        if parent == folder:
            raise LookupError(f"no git repository at or above {start!r}: go into one, or set ROLLCAGE_INBOX")
        folder = parent


def _common_of(git_dir: str) -> str:
    # A linked worktree's own git directory names the one that it shares; others have no such file.
    shared = _first_line(os.path.join(git_dir, "commondir"))
    return os.path.realpath(os.path.join(git_dir, shared) if shared else git_dir)


def read_id(common_dir: str) -> str | None:
    """Return the repository's UUID from ``rollcage/id``; ``None`` where it is missing or damaged."""
    text = _first_line(os.path.join(common_dir, "rollcage", "id"))
    return text if _UUID.fullmatch(text) else None


def read_record(root: str) -> dict[str, object] | None:
    """Return what was recorded of the repository whose state lies in ``root``; ``None``: missing or damaged.

    The keys: ``path`` (real path of the common git directory), ``device``, ``inode``, ``shallow`` (whether history is
    cut off there), and ``roots`` (root commits, the oldest first).
    """
    try:
        with open(os.path.join(root, "repository.json"), "rb") as file:
            record = json.loads(file.read(1_000_000))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("path"), str):
        return None
    return record


def stands_elsewhere(record: Mapping[str, object], common_dir: str, uuid: str) -> bool:
    """Tell whether the recorded repository still stands at another path, so that ``common_dir`` is only its copy.

    A repository that was moved (the old path is gone, or is another repository now) does not stand elsewhere.
    """
    old = str(record["path"])
    if old == common_dir:
        return False
    try:
        there, here = os.stat(old), os.stat(common_dir)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # it cannot be looked at: in doubt two repositories never share one state
    if os.path.samestat(there, here):
        return False  # one directory by two paths, such as a bind mount
    return read_id(old) == uuid or (there.st_dev, there.st_ino) == (record.get("device"), record.get("inode"))


def _first_line(path: str) -> str:
    # O_NONBLOCK: a FIFO put there by accident must not hang the caller.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.fsdecode(os.read(descriptor, 8192)).partition("\n")[0].rstrip("\r")
    except OSError:
        return ""
    finally:
        os.close(descriptor)
