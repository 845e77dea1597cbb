"""A PostgreSQL database: read-only checks, dumps beside its users, and restoring into the live database.

Needs psycopg (the extra ``postgres``) and, for what is kept and brought back, the client programs of PostgreSQL.
"""

# ruff: noqa: S608  what is put into a query is a constant of this file

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import DatabaseCheck
from ..errors import SettingsError, StoreError
from ..text import clean, mask_secrets
from .database import CheckError, MissingDatabaseError, SnapshotFile
from .postgres_tools import Tools, dump, restore_script, run_script

if TYPE_CHECKING:
    import psycopg

    from .capture import RowCapture

SNAPSHOT_NAME = "database.dump"
LOCK_WAIT_S = 5.0
QUERY_LIMIT_S = 30.0
CONNECT_S = 5
_PROBLEMS_SHOWN = 20
_OURS = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
_NOT_OF_AN_EXTENSION = (
    "NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = '{}'::regclass AND d.objid = {} AND d.deptype = 'e')"
)


class PostgresDatabase:
    """One database of a PostgreSQL server, 13 or newer. Every call has a connection of its own."""

    kind = "postgresql"

    def __init__(
        self,
        url: str,
        checks: Sequence[DatabaseCheck] = (),
        *,
        captured: Sequence[str] = (),
        lock_wait: float = LOCK_WAIT_S,
        query_limit: float = QUERY_LIMIT_S,
    ) -> None:
        """Take the address, the tables recorded, and in seconds how long to wait for others' locks and for a check.

        Nobody is connected to yet. Raises SettingsError where psycopg is missing or the address makes no sense.
        """
        try:
            import psycopg
            from psycopg.conninfo import conninfo_to_dict
        except ImportError as error:
            raise _wrong("needs psycopg: pip install 'rollcage[postgres]'") from error
        try:
            parts = conninfo_to_dict(url)
        except psycopg.Error as error:
            raise _wrong(f"is no address: {clean(mask_secrets(str(error)))}") from error
        self.url = url
        self._parts = {name: str(value) for name, value in parts.items() if value is not None}
        self._checks = checks
        self._captured = captured
        self._lock_wait = lock_wait
        self._query_limit = query_limit

    @property
    def named(self) -> str:
        """What it is called in messages; never a password."""
        host = self._parts.get("host", "this machine")
        return clean(f"PostgreSQL database {self._parts.get('dbname', '(of the user)')} at {host}")

    @property
    def capture(self) -> RowCapture | None:
        """See `Database.capture`."""
        if not self._captured:
            return None
        from .capture_postgres import PostgresCapture  # it opens its database as this does

        return PostgresCapture(self, self._captured)

    def fingerprint(self) -> str:
        """See `Database.fingerprint`: which transactions that write there were, in the whole server."""
        query = (
            "SELECT pg_snapshot_xmin(s)::text, pg_snapshot_xmax(s)::text, pg_postmaster_start_time()::text"
            " FROM pg_current_snapshot() AS s"
        )
        with self.connected() as connection:
            oldest, following, started = connection.execute(query).fetchone() or ("", "-", "")
        return f"{started} {following}" if oldest == following else ""

    def tables(self) -> list[str]:
        """See `Database.tables`; those of other schemas than the first with their schema's name."""
        query = f"""
            SELECT CASE WHEN n.nspname = current_schema() THEN '' ELSE n.nspname || '.' END || c.relname
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND {_OURS} AND c.relname NOT LIKE 'rollcage\\_%'
            AND {_NOT_OF_AN_EXTENSION.format("pg_class", "c.oid")} ORDER BY 1"""
        with self.connected() as connection:
            return [str(name) for (name,) in connection.execute(query).fetchall()]

    def check_errors(self) -> list[CheckError]:
        """See `Database.check_errors`: one number or rows, as with SQLite; true counts 1, false 0."""
        try:
            with self.connected() as connection:
                connection.read_only = True
                return self.ask(connection)
        except StoreError as error:
            return [CheckError(check.name, None, str(error)) for check in self._checks]

    def ask(self, connection: psycopg.Connection[tuple[Any, ...]]) -> list[CheckError]:
        """Run every check on a connection, within its transaction if it is in one. Raises what psycopg raises."""
        return [self._ask(connection, check) for check in self._checks]

    def _ask(self, connection: psycopg.Connection[tuple[Any, ...]], check: DatabaseCheck) -> CheckError:
        import psycopg

        first: tuple[Any, ...] | None = None
        rows = 0
        try:
            with connection.transaction(), connection.cursor() as cursor:
                cursor.execute("SELECT set_config('statement_timeout', %s, true)", (_ms(self._query_limit),))
                for row in cursor.stream(check.sql.encode()):  # one row at a time: there may be millions
                    first = row if first is None else first
                    rows += 1
        except psycopg.errors.QueryCanceled:
            return CheckError(check.name, None, f"took longer than {self._query_limit:g} s and was stopped")
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            return CheckError(check.name, None, f"{self.named} is busy: another process holds what it looks at")
        except psycopg.Error as error:
            if connection.closed or error.sqlstate is None:
                return CheckError(check.name, None, _said(error))
            # A table or column that is gone is damage; a query that was always wrong wants mending as well.
            return CheckError(check.name, 1, clean(f"fails: {_said(error)}"))
        if rows != 1 or first is None or len(first) != 1:
            return CheckError(check.name, rows)
        value = first[0]
        if isinstance(value, (int, float, Decimal)) and math.isfinite(value):
            return CheckError(check.name, abs(float(value) - check.expect))
        if value is None:
            return CheckError(check.name, 1, "answers NULL; a sum over no rows is NULL: write coalesce(..., 0)")
        return CheckError(check.name, 0 if value == "ok" else 1)

    def integrity(self) -> list[str]:
        """See `Database.integrity`: amcheck of every B-tree where that is installed, invalid indexes, constraints.

        An index that is being built counts as invalid only once nobody builds it any more.
        """
        invalid = f"""
            SELECT 'index ' || i.indexrelid::regclass || ' of ' || i.indrelid::regclass || ' is invalid' FROM pg_index i
            JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE NOT (i.indisvalid AND i.indisready) AND {_OURS}
            AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)"""
        loose = f"""
            SELECT 'constraint ' || k.conname || ' of ' || k.conrelid::regclass || ' is not validated'
            FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
            WHERE NOT k.convalidated AND k.conrelid <> 0 AND {_OURS}"""
        with self.connected() as connection:
            found = [row[0] for query in (invalid, loose) for row in connection.execute(query.encode()).fetchall()]
            found += self._amcheck(connection)
        return [clean(str(problem)) for problem in found[:_PROBLEMS_SHOWN]]

    def _amcheck(self, connection: psycopg.Connection[tuple[Any, ...]]) -> list[str]:
        import psycopg

        query = (
            "SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace"
            " WHERE e.extname = 'amcheck'"
        )
        row = connection.execute(query).fetchone()
        if row is None:
            return []
        indexes = f"""
            SELECT i.indexrelid, i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
            JOIN pg_am a ON a.oid = c.relam JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE a.amname = 'btree' AND c.relkind = 'i' AND c.relpersistence <> 't' AND i.indisvalid AND {_OURS}"""
        problems = []
        for oid, name in connection.execute(indexes.encode()).fetchall():
            try:
                with connection.transaction():
                    connection.execute(f"SELECT {row[0]}.bt_index_check({int(oid)})".encode())
            except (psycopg.errors.DataCorrupted, psycopg.errors.IndexCorrupted) as error:
                problems.append(f"index {name}: {_said(error)}")
            except psycopg.errors.InsufficientPrivilege:
                return problems
        return problems

    def snapshot(self, folder: Path) -> SnapshotFile:
        """See `Database.snapshot`: ``pg_dump -Fc``, of one moment, while others go on."""
        size, digest = dump(self._tools(), folder / SNAPSHOT_NAME, self.named, self._lock_wait)
        return SnapshotFile(SNAPSHOT_NAME, size, digest)

    def restore(self, file: Path, *, sha256: str | None = None) -> None:
        """See `Database.restore`. What came since goes: tables, functions and types that the dump does not know.

        ``pg_restore --clean --if-exists`` writes a script, ``psql`` runs it in one transaction: others see all of it or
        nothing, whoever is killed meanwhile. An earlier try that still runs in the server is ended first. Its
        extensions are made anew, which may need a superuser.
        """
        tools = self._tools()
        with restore_script(tools, file, sha256) as script:
            with self.connected() as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = %s"
                    " AND datname = current_database() AND usename = current_user",
                    (tools.restoring_as,),
                )
            run_script(tools, script, _CLEAR, self.named, self._lock_wait)
        problems = self.integrity()
        if problems:
            raise StoreError(f"{self.named} was restored but is damaged: {problems[0]}; look at its server")

    def examine(self) -> str:
        """Return the server's version and what snapshots are taken with, for ``rollcage doctor``. Raises StoreError."""
        tools = self._tools()
        return f"PostgreSQL {tools.server // 10_000}, pg_dump {tools.version} in {tools.folder}"

    def _tools(self) -> Tools:
        with self.connected() as connection:
            return Tools.find(self._parts, connection.info.server_version, self.named)

    @contextmanager
    def connected(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """Give a connection in autocommit that waits only so long for locks. Raises StoreError in one line."""
        import psycopg

        with self.explained(), contextlib.ExitStack() as stack:
            connection = stack.enter_context(
                contextlib.closing(
                    psycopg.connect(self.url, autocommit=True, connect_timeout=CONNECT_S, application_name="rollcage")
                )
            )
            if connection.info.server_version < 130_000:
                raise StoreError(f"{self.named} is of PostgreSQL older than 13: update its server")
            connection.execute("SELECT set_config('lock_timeout', %s, false)", (_ms(self._lock_wait),))
            yield connection

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn psycopg's errors within into a StoreError that says in one line what is wrong and what to do."""
        import psycopg

        busy = (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled, psycopg.errors.DeadlockDetected)
        try:
            yield
        except busy as error:
            raise StoreError(f"{self.named} is busy: another process holds it; end that, then try again") from error
        except psycopg.errors.DiskFull as error:
            raise StoreError(f"the disk of {self.named} is full; free some, then try again") from error
        except psycopg.OperationalError as error:
            said = _said(error)
            if "database" in said and "does not exist" in said:
                raise MissingDatabaseError(f"there is no {self.named}; mend database: url: or create it") from error
            raise StoreError(
                f"{self.named} cannot be reached: {said}; look at its server and database: url:"
            ) from error
        except psycopg.Error as error:
            raise StoreError(f"{self.named} cannot be used: {_said(error)}; look at its permissions") from error


_CLEAR = f"""
DO $$
DECLARE it record;
BEGIN
  FOR it IN SELECT n.nspname, c.relname, CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
      WHEN 'f' THEN 'FOREIGN TABLE' WHEN 'S' THEN 'SEQUENCE' WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END AS kind
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c') AND {_OURS}
      AND {_NOT_OF_AN_EXTENSION.format("pg_class", "c.oid")}
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
          AND d.deptype = 'i')
  LOOP EXECUTE format('DROP %s IF EXISTS %I.%I CASCADE', it.kind, it.nspname, it.relname); END LOOP;
  FOR it IN SELECT p.oid::regprocedure::text AS name FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
      WHERE {_OURS} AND {_NOT_OF_AN_EXTENSION.format("pg_proc", "p.oid")}
  LOOP EXECUTE format('DROP ROUTINE IF EXISTS %s CASCADE', it.name); END LOOP;
  FOR it IN SELECT n.nspname, t.typname FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
      WHERE t.typtype IN ('e', 'd', 'r') AND {_OURS} AND {_NOT_OF_AN_EXTENSION.format("pg_type", "t.oid")}
  LOOP EXECUTE format('DROP TYPE IF EXISTS %I.%I CASCADE', it.nspname, it.typname); END LOOP;
END $$
"""
"""A table that came since could refer to one that must go, and would stay behind otherwise."""


def _wrong(problem: str) -> SettingsError:
    return SettingsError("rollcage.yml", None, "database.url", problem)


def _ms(seconds: float) -> str:
    return str(max(int(seconds * 1000), 1))


def _said(error: BaseException) -> str:
    return clean(mask_secrets(str(error)), limit=300)
