"""Which repository is this? A UUID in its common git directory, and a record of where it stood in the state directory.

======================================  =====================================================
the id in the repository                 the repository is
======================================  =====================================================
known, recorded at this path             that one
known, the recorded path is gone         that one, moved
known, the recorded path still has it    a copy: it gets a new id
not known here                           that one, new to this state directory
lost or damaged                          the one recorded at this path with a root commit in common, else new
======================================  =====================================================

The record is one file beside each repository's state, so there is no central index to damage. Every file is replaced
atomically, and whoever creates or changes one holds a lock in the common directory and one in the state directory.
The record is written before the id: a process that dies between is recognised by path and root commits the next time.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from uuid import uuid4

from ..errors import StoreError
from .files import locked, make_private, not_writable, write_atomically
from .locate import find_common_dir, read_id, read_record, stands_elsewhere, state_home
from .paths import RepositoryPaths


def identify(
    common_dir: Path, root_commits: Callable[[], Sequence[str]], *, home: Path | None = None
) -> RepositoryPaths:
    """Return the state paths of the repository with this common git directory; make what is missing, mode 0700.

    ``root_commits`` is called only where they are needed. ``home`` is the state directory (default: `state_home`).
    Raises StoreError where the repository or the state directory cannot be read or written.
    """
    home = home or state_home()
    try:
        real = os.path.realpath(common_dir, strict=True)
    except OSError as error:
        raise StoreError(f"cannot read the git directory {common_dir}: {error.strerror}") from error
    repositories = home / "repositories"
    known = _unchanged(real, repositories)
    if known is None:
        mark = Path(real) / "rollcage"
        try:
            mark.mkdir(exist_ok=True)
        except OSError as error:
            raise not_writable(mark, error) from error
        _make_home(repositories)
        with locked(mark / "id.lock"), locked(home / "identity.lock"):
            known = _recognise(real, repositories, root_commits)
    for folder in (known.root, known.scratch, known.snapshots, known.agents, known.holders):
        make_private(folder)
    return known


def known_paths(start: Path) -> tuple[Path, RepositoryPaths] | None:
    """Return the common git directory and the state of the plain repository that ``start`` lies in, without git.

    ``None`` where only git can tell: a bare one, a submodule, one whose settings name another working tree, and one
    that is not as it was recorded, or not recorded at all. The working tree of what is returned is its parent.
    """
    try:
        common = Path(find_common_dir(str(start)))
        plain = common.name == ".git" and not _ELSEWHERE.search((common / "config").read_bytes())
        known = _unchanged(str(common), state_home() / "repositories") if plain else None
    except (LookupError, OSError):
        return None
    if known is None or not all(
        folder.is_dir() for folder in (known.scratch, known.snapshots, known.agents, known.holders, common / "objects")
    ):
        return None
    return (common, known) if (common / "HEAD").is_file() else None


_ELSEWHERE = re.compile(rb"worktree|\[\s*include|^\s*bare(?!\s*=\s*false)", re.IGNORECASE | re.MULTILINE)
"""In the settings of a repository: the working tree may be another than the parent of its git directory."""


def _make_home(repositories: Path) -> None:
    make_private(repositories)
    try:
        repositories.chmod(0o700)  # the folder above may be one that the user made and shares; this one is ours
    except OSError as error:
        raise not_writable(repositories, error) from error


def _unchanged(real: str, repositories: Path) -> RepositoryPaths | None:
    # The common case: everything is as recorded. It takes no lock and writes nothing.
    uuid = read_id(real)
    if uuid is None:
        return None
    record = read_record(str(repositories / uuid))
    if record is None or not record.get("roots") or {**record, **_place(real)} != record:
        return None
    return RepositoryPaths(repositories / uuid)


def _place(real: str) -> dict[str, object]:
    status = Path(real).stat()
    # The oldest commits of a shallow clone are no roots; once it is made whole they are to be read again.
    shallow = os.path.exists(f"{real}/shallow")  # noqa: PTH110 - of a text, on the way of every verb
    return {"path": real, "device": status.st_dev, "inode": status.st_ino, "shallow": shallow}


def _recognise(real: str, repositories: Path, root_commits: Callable[[], Sequence[str]]) -> RepositoryPaths:
    place = _place(real)
    uuid = read_id(real)
    record = read_record(str(repositories / uuid)) if uuid else None
    if uuid is None or (record is not None and stands_elsewhere(record, real, uuid)):
        roots = list(root_commits())
        uuid = _recorded_at(real, repositories, roots) or str(uuid4())
    else:
        same = record is not None and record.get("shallow") == place["shallow"]
        roots = _texts(record.get("roots")) if record and same else []
        roots = roots or list(root_commits())  # none recorded: it was unborn, or is new here
    paths = RepositoryPaths(repositories / uuid)
    make_private(paths.root)
    write_atomically(paths.record, json.dumps({**place, "roots": roots}).encode())
    if read_id(real) != uuid:
        write_atomically(Path(real) / "rollcage" / "id", f"{uuid}\n".encode(), mode=0o644)
    return paths


def _recorded_at(real: str, repositories: Path, roots: Sequence[str]) -> str | None:
    """Return the id recorded at this path for a repository that shares a root commit (or had none yet)."""
    for folder in sorted(repositories.iterdir()):
        record = read_record(str(folder))
        if record is not None and record["path"] == real:
            recorded = _texts(record.get("roots"))
            if not recorded or not set(recorded).isdisjoint(roots):
                return folder.name
    return None


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, Iterable) and not isinstance(value, str) else []
