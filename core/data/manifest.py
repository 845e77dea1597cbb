"""The manifest of a snapshot's folder: what it is of, and every file in it by its SHA-256. Written last: it seals."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..codec import canonical
from ..errors import StoreError
from ..store.files import write_atomically

MANIFEST_NAME = "manifest.json"
_VERSION = 1
_DIGEST = re.compile(r"[0-9a-f]{64}")


def write_manifest(folder: Path, facts: Mapping[str, object]) -> int:
    """Seal ``folder``: write ``facts`` and the list of its files, durably; return the bytes in it altogether.

    Files of `files` are named by their digest and were hashed as they were copied: they are not read again.
    Raises StoreError, or OSError where a file cannot be read.
    """
    total, files = 0, []
    for path in _files(folder):
        size = path.stat().st_size
        digest = path.name if _DIGEST.fullmatch(path.name) else digest_of(path)
        files.append({"path": str(path.relative_to(folder)), "size": size, "sha256": digest})
        total += size
    data = canonical({**facts, "version": _VERSION, "files": files}).encode()
    write_atomically(folder / MANIFEST_NAME, data)
    return total + len(data)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of ``folder``. Raises StoreError where there is none: the snapshot was not finished."""
    path = folder / MANIFEST_NAME
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise StoreError(f"the snapshot {folder} was not finished: it has no {MANIFEST_NAME}") from error
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("version") != _VERSION:
        raise StoreError(f"{path} is of another version of rollcage, or damaged")
    return manifest


def verify_folder(folder: Path) -> list[str]:
    """Read everything in ``folder`` again; return what is missing or differs from its manifest. Raises StoreError."""
    problems = []
    for file in read_manifest(folder)["files"]:
        try:
            if digest_of(folder / file["path"]) != file["sha256"]:
                problems.append(f"{file['path']} is damaged")
        except OSError as error:
            problems.append(f"{file['path']} cannot be read: {error.strerror}")
    return problems


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _files(folder: Path) -> Iterator[Path]:
    """Return the files of ``folder`` in order, without its manifest and what a killed writer left."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / MANIFEST_NAME and not path.name.startswith("."):
            yield path
