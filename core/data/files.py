"""File trees outside git (`files:` of the settings): kept by content, and brought back exactly.

A kept tree is ``trees.json``, written last, and ``blobs/SHA256`` for each different content. The names and the
contents are of agents' making: nothing is followed out of the checkout, and special files are left alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import IO, Literal

from ..codec import canonical, from_json, to_json
from ..errors import SettingsError, StoreError
from ..gitrepo.paths import raw, shown
from ..store.files import write_atomically
from ..text import clean
from .manifest import digest_of, sync_folder

FILES_LIMIT = 200_000
SIZE_LIMIT = 10 * 10**9
_INDEX = "trees.json"
_BLOBS = "blobs"
_READS = 3
"""How often a file is read that changes meanwhile, before it is kept as it came."""
_BLOCK = 1024 * 1024
_TEMPORARY = ".rollcage-"
"""How the names of our unfinished files begin."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in a tree."""

    path: str
    """Below the top of the checkout; bytes that are no UTF-8 as surrogates."""
    kind: Literal["file", "folder", "link"]
    mode: int
    """Permission bits."""
    size: int = 0
    content: str = ""
    """The SHA-256 of a file; where a link points."""


@dataclass(frozen=True, slots=True)
class Trees:
    """What was kept."""

    paths: tuple[str, ...]
    entries: tuple[Entry, ...]
    """A folder before what is in it."""
    warnings: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """The bytes of all files, one that is there twice counted twice."""
        return sum(entry.size for entry in self.entries)


@dataclass(frozen=True, slots=True)
class RestoredTrees:
    """What bringing trees back did."""

    written: tuple[str, ...]
    """What was missing or different."""
    extra: tuple[str, ...]
    """What is there now and was not kept."""
    removed: bool
    """Whether the extra ones were removed."""


def snapshot_trees(
    top: Path,
    paths: Sequence[str],
    folder: Path,
    *,
    blobs: Path | None = None,
    size_limit: int = SIZE_LIMIT,
    files_limit: int = FILES_LIMIT,
) -> Trees:
    """Keep the files and folders ``paths`` below ``top`` in ``folder``, durably; nothing is ever read whole at once.

    ``blobs`` is where their contents go; other kept trees may share it. By default a folder of their own.

    A file that changes while it is read is read again, then kept with a warning; so are a path that does not exist, a
    file that cannot be read and a special file named. Raises SettingsError for a path that leaves ``top``, StoreError
    over the limits (before anything is written) or where ``folder`` cannot be written.
    """
    warnings: list[str] = []
    roots = [_root(top, path) for path in paths]
    found = _listed(top, roots, warnings)
    files = [about.st_size for _, about in found if stat.S_ISREG(about.st_mode)]
    if len(found) > files_limit or sum(files) > size_limit:
        raise StoreError(
            f"files: has {len(found):,} entries of {sum(files) / 1e9:.1f} GB; a snapshot takes {files_limit:,} "
            f"and {size_limit / 1e9:g} GB: name smaller folders"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        blobs = blobs or folder / _BLOBS
        blobs.mkdir(parents=True, exist_ok=True, mode=0o700)
        entries = [entry for path, about in found if (entry := _keep(top, path, about, blobs, warnings))]
        sync_folder(blobs)
        trees = Trees(tuple(_shown(top, root) for root in roots), tuple(entries), tuple(warnings))
        write_atomically(folder / _INDEX, canonical(to_json(trees)).encode())
    except OSError as error:
        raise StoreError(f"the snapshot of files: cannot be written to {folder}: {error.strerror}") from error
    return trees


def restore_trees(folder: Path, top: Path, *, blobs: Path | None = None, remove_extra: bool = False) -> RestoredTrees:
    """Bring back below ``top`` what ``folder`` keeps: contents, modes and links; what is the same is not touched.

    Everything kept is verified before anything is written. Each file is replaced whole; what stands where something
    of another kind was kept is replaced too. What is there and was not kept stays, unless ``remove_extra``. So take a
    fresh snapshot first. Raises StoreError; done again after a failure it goes on where it stopped.
    """
    trees = read_trees(folder)
    blobs = blobs or folder / _BLOBS
    _verify(blobs, trees)
    written: list[str] = []
    try:
        for entry in trees.entries:
            path = _root(top, os.fsdecode(raw(entry.path)))
            if not _is_as_kept(path, entry):
                _bring_back(path, entry, blobs)
                written.append(entry.path)
            if entry.kind == "folder":
                path.chmod(entry.mode | stat.S_IRWXU)
        extra = _extra(top, trees)
        ours = {path for path in extra if path.name.startswith(_TEMPORARY)}  # an earlier try was killed
        for path in reversed(extra):
            if remove_extra or path in ours:
                _clear(path)
        for entry in reversed(trees.entries):  # only now: a read-only folder lets nothing be written into it
            if entry.kind == "folder":
                _root(top, os.fsdecode(raw(entry.path))).chmod(entry.mode)
    except OSError as error:
        place = clean(str(error.filename or top))
        raise StoreError(f"files: cannot be brought back at {place}: {error.strerror}; {len(written)} were") from error
    return RestoredTrees(tuple(written), tuple(_shown(top, path) for path in extra if path not in ours), remove_extra)


def look_of(top: Path, paths: Sequence[str]) -> str:
    """Return a SHA-256 that is another where anything in the trees was written or moved since; nothing is read."""
    about = [
        [_shown(top, path), seen.st_mode, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino]
        for path, seen in _listed(top, [_root(top, path) for path in paths], [])
    ]
    return hashlib.sha256(canonical(about).encode()).hexdigest()


def _root(top: Path, path: str) -> Path:
    """Return ``path`` below ``top``. Raises SettingsError where its letters, or links above its last name, leave it."""
    parts = Path(path).parts
    absolute = top / path
    inside = bool(parts) and ".." not in parts and parts[0] not in {"/", ".git"}
    if not inside or not absolute.parent.resolve().is_relative_to(top.resolve()):
        raise SettingsError("rollcage.yml", None, "files", f"{clean(path)} leaves the repository; name a path below it")
    return absolute


def _shown(top: Path, path: Path) -> str:
    return shown(os.fsencode(path.relative_to(top)))


def _listed(top: Path, roots: Sequence[Path], warnings: list[str]) -> list[tuple[Path, os.stat_result]]:
    """Return everything in ``roots`` and below with what lstat says, each folder before its contents."""
    found: dict[Path, os.stat_result] = {}
    for root in roots:
        todo = [root]
        while todo:
            path = todo.pop()
            try:
                about = path.lstat()
                if stat.S_ISDIR(about.st_mode):
                    todo += sorted(path.iterdir(), reverse=True)
                found[path] = about
            except FileNotFoundError:
                if path == root:
                    warnings.append(f"{_shown(top, path)} does not exist")
            except OSError as error:
                warnings.append(f"{_shown(top, path)} cannot be read: {error.strerror}")
    return list(found.items())


def _keep(top: Path, path: Path, about: os.stat_result, blobs: Path, warnings: list[str]) -> Entry | None:
    """Keep one thing; return ``None`` where it cannot be, with a warning. Raises OSError where ``blobs`` fails."""
    name, mode = _shown(top, path), stat.S_IMODE(about.st_mode)
    if stat.S_ISDIR(about.st_mode):
        return Entry(name, "folder", mode)
    try:
        if stat.S_ISLNK(about.st_mode):
            return Entry(name, "link", mode, content=shown(os.fsencode(path.readlink())))
        if not stat.S_ISREG(about.st_mode):
            warnings.append(f"{name} is no file, folder or link; it is not kept")
            return None
        # Should it be another thing by now, a FIFO must not hold us, nor a link lead us away.
        source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        warnings.append(f"{name} cannot be read: {error.strerror}")
        return None
    with os.fdopen(source, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(source).st_mode):
            return None
        digest, size, steady = _copy(file, blobs)
    if not steady:
        warnings.append(f"{name} changed while it was read; it is kept as it came")
    return Entry(name, "file", mode, size, digest)


def _copy(source: FileIO, blobs: Path) -> tuple[str, int, bool]:
    """Keep the content of ``source``; return its digest, its size, and whether it stood still meanwhile."""
    for last in (*[False] * (_READS - 1), True):
        source.seek(0)
        before = os.fstat(source.fileno())
        with _new_file(blobs) as copy:
            digest, size = hashlib.sha256(), 0
            while block := source.read(_BLOCK):
                digest.update(block)
                copy.write(block)
                size += len(block)
            after = os.fstat(source.fileno())
            steady = (before.st_mtime_ns, before.st_size) == (
                after.st_mtime_ns,
                after.st_size,
            ) and size == after.st_size
            if steady or last:
                os.fsync(copy.fileno())
                Path(copy.name).replace(blobs / digest.hexdigest())
                break
    return digest.hexdigest(), size, steady


@contextlib.contextmanager
def _new_file(folder: Path) -> Iterator[IO[bytes]]:
    """Give a new file in ``folder``, which is gone afterwards unless it was renamed."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=_TEMPORARY, delete=False) as file:
        try:
            yield file
        finally:
            Path(file.name).unlink(missing_ok=True)


def read_trees(folder: Path) -> Trees:
    """Return what ``folder`` keeps. Raises StoreError where it was not finished or is damaged."""
    path = folder / _INDEX
    try:
        return from_json(Trees, path.read_text(encoding="ascii"))
    except FileNotFoundError as error:
        raise StoreError(f"the snapshot of files: {folder} was not finished: it has no {_INDEX}") from error
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error


def _verify(blobs: Path, trees: Trees) -> None:
    for digest in sorted({entry.content for entry in trees.entries if entry.kind == "file"}):
        path = blobs / digest
        try:
            sound = digest_of(path) == digest
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}; nothing was changed") from error
        if not sound:
            raise StoreError(f"{path} is damaged: its SHA-256 differs; nothing was changed")


def _is_as_kept(path: Path, entry: Entry) -> bool:
    try:
        about = path.lstat()
    except FileNotFoundError:
        return False
    if entry.kind == "folder":
        return stat.S_ISDIR(about.st_mode)
    if entry.kind == "link":
        return stat.S_ISLNK(about.st_mode) and os.fsencode(path.readlink()) == raw(entry.content)
    if not stat.S_ISREG(about.st_mode) or (about.st_size, stat.S_IMODE(about.st_mode)) != (entry.size, entry.mode):
        return False
    return digest_of(path) == entry.content


def _bring_back(path: Path, entry: Entry, blobs: Path) -> None:
    if entry.kind == "folder" or (path.is_dir() and not path.is_symlink()):
        _clear(path)
    if entry.kind == "folder":
        path.mkdir(parents=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if entry.kind == "link":
        with _new_file(path.parent) as new:
            temporary = Path(new.name)
            temporary.unlink()
            temporary.symlink_to(os.fsdecode(raw(entry.content)))
            temporary.replace(path)
        return
    with (blobs / entry.content).open("rb") as kept, _new_file(path.parent) as new:
        shutil.copyfileobj(kept, new, _BLOCK)
        new.flush()
        os.fchmod(new.fileno(), entry.mode)
        os.fsync(new.fileno())
        Path(new.name).replace(path)


def _clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _extra(top: Path, trees: Trees) -> list[Path]:
    """Return what is in the kept trees now and was not kept."""
    kept = {entry.path for entry in trees.entries}
    roots = [_root(top, os.fsdecode(raw(path))) for path in trees.paths]
    return [path for path, _ in _listed(top, roots, []) if _shown(top, path) not in kept]
