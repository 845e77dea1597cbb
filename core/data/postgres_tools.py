"""PostgreSQL's own client programs: which of them fit the server, and running them without a password in sight."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import StoreError
from ..text import clean, mask_secrets
from .manifest import digest_of, sync_folder

_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")
_DEBIAN = Path("/usr/lib/postgresql")
"""Where Debian keeps the programs of each version; on PATH is only a wrapper."""
_PROGRAMS = ("pg_dump", "pg_restore", "psql")
_HEAD = 65_536
_NEW_IN_17 = b"SET transaction_timeout = 0;"


@dataclass(frozen=True, slots=True)
class Tools:
    """Programs of one version, and the database that they work on."""

    folder: Path
    version: int
    server: int
    """The server's version as libpq has it: 180004 is 18.4."""
    connection: Mapping[str, str]
    """What libpq takes, the password left out."""
    secrets: Mapping[str, str]
    """What goes by the environment, which only this user can read."""

    restoring_as = "rollcage-restore"
    """The name of the sessions that restore."""

    @classmethod
    def find(cls, parts: Mapping[str, str], server: int, named: str) -> Tools:
        """Return the first programs that are at least as new as the server: of ``PG_BIN``, of PATH, of the system.

        Raises StoreError.
        """
        secrets = {
            variable: parts[name]
            for name, variable in (("password", "PGPASSWORD"), ("sslpassword", "PGSSLPASSWORD"))
            if name in parts
        }
        rest = {name: value for name, value in parts.items() if name not in {"password", "sslpassword"}}
        found = []
        for folder in _folders():
            version = _version(folder)
            if version is not None and version >= server // 10_000:
                return cls(folder, version, server, rest, secrets)
            found += [f"{version} in {folder}"] if version is not None else []
        there = f"there is {', '.join(found)}" if found else "there is none"
        raise StoreError(
            f"{named} is of PostgreSQL {server // 10_000} and needs pg_dump, pg_restore, psql as new as that; {there}:"
            " install them, or name their folder in the variable PG_BIN"
        )

    def run(self, name: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[bytes]:
        """Run a program on the database, ``more`` of libpq's parameters on top; its output is messages only."""
        from psycopg.conninfo import make_conninfo

        connection = make_conninfo(**{**self.connection, "connect_timeout": "5", **more})
        return self.run_alone(name, "--no-password", "-d", connection, *arguments)

    def run_alone(self, name: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """Run a program by itself."""
        environment = {**os.environ, **self.secrets, "LC_ALL": "C", "LC_MESSAGES": "C"}
        return subprocess.run(
            [self.folder / name, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )


def dump(tools: Tools, target: Path, named: str, lock_wait: float) -> tuple[int, str]:
    """Write the database into ``target``, durably; return its size and SHA-256. Raises StoreError."""
    partial = target.with_name(f"{target.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        wait = f"--lock-wait-timeout={int(lock_wait * 1000)}"
        done = tools.run("pg_dump", "-Fc", wait, "-f", str(partial), application_name="rollcage")
        if done.returncode != 0:
            raise StoreError(f"{named} cannot be dumped: {_said(done)}")
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        size, digest = partial.stat().st_size, digest_of(partial)
        partial.replace(target)
        sync_folder(target.parent)
    except OSError as error:
        raise StoreError(f"the snapshot of {named} cannot be written to {target.parent}: {error.strerror}") from error
    return size, digest


@contextmanager
def restore_script(tools: Tools, file: Path, sha256: str | None) -> Iterator[Path]:
    """Give the SQL that brings ``file`` back; it is gone afterwards. Raises StoreError; nothing was changed then."""
    try:
        digest = digest_of(file)
        if sha256 is not None and digest != sha256:
            raise StoreError(f"the snapshot {file} is not what was kept: its SHA-256 differs; nothing was changed")
        with tempfile.TemporaryDirectory(prefix=".rollcage-") as folder:
            script = Path(folder) / "restore.sql"
            done = tools.run_alone("pg_restore", "--clean", "--if-exists", "-f", str(script), "--", str(file))
            if done.returncode != 0:
                raise StoreError(f"the snapshot {file} is damaged: {_said(done)}; nothing was changed")
            if tools.server < 170_000:
                _blank_out(script)
            yield script
    except OSError as error:
        raise StoreError(f"the snapshot {file} cannot be read: {error.strerror}; nothing was changed") from error


def run_script(tools: Tools, script: Path, first: str, named: str, lock_wait: float) -> None:
    """Run the SQL ``first`` and then ``script`` in one transaction. Raises StoreError; nothing was changed then."""
    wait = f"SET lock_timeout = {int(lock_wait * 1000)}"
    quiet = "SET client_min_messages = warning"
    arguments = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-1", "-c", wait, "-c", quiet, "-c", first, "-f", str(script)]
    done = tools.run("psql", *arguments, application_name=tools.restoring_as)
    if done.returncode != 0:
        said = _said(done)
        if "lock timeout" in said:
            raise StoreError(
                f"{named} is busy: another process holds it; end that, then try again; nothing was changed"
            )
        raise StoreError(f"{named} cannot be restored: {said}; nothing was changed")


def _blank_out(script: Path) -> None:
    """Blank a setting that an older server does not know; a newer pg_restore writes it all the same."""
    with script.open("r+b") as file:
        place = file.read(_HEAD).find(_NEW_IN_17)
        if place >= 0:
            file.seek(place)
            file.write(b" " * len(_NEW_IN_17))


def _folders() -> Sequence[Path]:
    named = os.environ.get("PG_BIN", "")
    paths = [Path(path) for path in (named, *os.environ.get("PATH", "").split(os.pathsep)) if path]
    debian = sorted(_DEBIAN.glob("*/bin"), key=lambda path: -int(path.parent.name) if path.parent.name.isdigit() else 0)
    return [path for path in dict.fromkeys((*paths, *debian)) if all((path / name).is_file() for name in _PROGRAMS)]


def _version(folder: Path) -> int | None:
    try:
        done = subprocess.run(
            [folder / "pg_dump", "--version"], capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(done.stdout)
    return int(found[1]) if found else None


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return the first line that tells of an error, cleaned."""
    lines = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()] or lines or [f"exit status {done.returncode}"]
    return clean(mask_secrets(errors[0]), limit=300)
