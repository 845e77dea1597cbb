"""Contents kept once, each in a file named by its SHA-256; large files in pieces, to share what stays the same.

Pieces have a fixed size: SQLite changes pages where they are, and a dump is another one throughout anyway.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import StoreError
from .manifest import sync_folder

PIECE = 1024 * 1024
"""Bytes."""
_TEMPORARY = ".rollcage-"


def keep_file(objects: Path, source: Path) -> list[str]:
    """Keep the content of ``source``, durably; return the names of its pieces in order. Raises OSError."""
    objects.mkdir(parents=True, exist_ok=True, mode=0o700)
    names = []
    with source.open("rb") as file:
        while piece := file.read(PIECE):
            names.append(hashlib.sha256(piece).hexdigest())
            _keep(objects, names[-1], piece)
    sync_folder(objects)
    return names


def bring_file(objects: Path, names: Sequence[str], target: Path) -> None:
    """Write the pieces ``names`` into ``target``. Raises StoreError for one that is damaged or gone, OSError."""
    with target.open("wb") as file:
        for name in names:
            try:
                piece = (objects / name).read_bytes()
            except FileNotFoundError as error:
                raise StoreError(f"{objects / name} is gone; nothing was changed") from error
            if hashlib.sha256(piece).hexdigest() != name:
                raise StoreError(f"{objects / name} is damaged: its SHA-256 differs; nothing was changed")
            file.write(piece)


def sizes(objects: Path) -> dict[str, int]:
    """Return the bytes of every content that is kept, by name; what a killed writer left is not among them."""
    if not objects.is_dir():
        return {}
    return {entry.name: entry.stat().st_size for entry in os.scandir(objects) if not entry.name.startswith(_TEMPORARY)}


def drop_all_but(objects: Path, wanted: Iterable[str]) -> int:
    """Remove every content that is not ``wanted``, and what killed writers left; return the bytes. Raises OSError."""
    kept, freed = set(wanted), 0
    for entry in list(os.scandir(objects)) if objects.is_dir() else ():
        if entry.name not in kept:
            freed += entry.stat().st_size
            Path(entry.path).unlink()
    return freed


def _keep(objects: Path, name: str, piece: bytes) -> None:
    target = objects / name
    try:
        if target.stat().st_size == len(piece):
            return
    except FileNotFoundError:
        pass
    with tempfile.NamedTemporaryFile(dir=objects, prefix=_TEMPORARY, delete=False) as new:
        try:
            new.write(piece)
            new.flush()
            os.fsync(new.fileno())
            Path(new.name).replace(target)
        finally:
            Path(new.name).unlink(missing_ok=True)
