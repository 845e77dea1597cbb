"""The audit log: who did what, when, why, with what outcome, as a chain of hashes.

Each record's hash is SHA-256 over the hash before it and the record's canonical JSON (as in Haber and Stornetta,
"How to time-stamp a digital document", 1991), so that an altered, removed or inserted record breaks the chain. The
hash of the newest record is kept once more, so that records missing at the end are noticed, too. Whoever can write
the file can rewrite the whole chain: keep `AuditReport.head` elsewhere to notice even that.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from ..clock import iso
from ..codec import canonical, from_json
from ..text import clean, clean_lines, mask_secrets
from .tables import Tables

_GENESIS = "0" * 64
_LONGEST = 2_000
_LARGEST = 100_000
"""Characters of a value in the details: more than the body of an Issue can have; both sides of a conflict are there."""
_SHORT = 12


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One operation."""

    seq: int
    """From 1, without a gap."""
    at: datetime
    who: str
    what: str
    subject: str
    why: str
    outcome: str
    detail: Mapping[str, object]
    hash: str = ""
    """SHA-256 in hexadecimal, over the hash of the record before and this one."""


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The answer of ``rollcage audit --verify``."""

    ok: bool
    records: int
    """How many there are."""
    problem: str
    """The first one found, for people; empty where it is ``ok``."""
    head: str
    """The hash of the newest record; worth keeping elsewhere."""


class Audit(Tables):
    """The audit log."""

    def audit(
        self,
        who: str,
        what: str,
        subject: str,
        why: str = "",
        outcome: str = "done",
        detail: Mapping[str, object] | None = None,
    ) -> int:
        """Write a record at the end of the chain, durably; return its place. Texts are cleaned, secrets masked."""
        record: dict[str, object] = {
            "at": self._now(),
            "who": _safe(who),
            "what": _safe(what),
            "subject": _safe(subject),
            "why": _safe(why),
            "outcome": _safe(outcome),
            "detail": _plain(detail or {}),
        }
        with self._connections.transaction() as connection:
            last, previous = connection.execute("SELECT seq, hash FROM audit_head").fetchone() or (0, _GENESIS)
            seq = int(last) + 1
            body = canonical({"seq": seq, **record})
            digest = _link(previous, body)
            connection.execute("INSERT INTO audit VALUES (?, ?, ?)", (seq, body, digest))
            connection.execute("INSERT OR REPLACE INTO audit_head VALUES (1, ?, ?)", (seq, digest))
        return seq

    def audit_records(self, limit: int = 200, after: int = 0) -> list[AuditRecord]:
        """Return the newest ``limit`` of the records behind place ``after``, oldest first.

        Raises StoreError where one is damaged; `verify_audit` says which.
        """
        with self._connections.reading() as connection:
            rows = connection.execute(
                "SELECT body, hash FROM audit WHERE seq > ? ORDER BY seq DESC LIMIT ?", (after, limit)
            ).fetchall()
        return [replace(from_json(AuditRecord, body), hash=digest) for body, digest in reversed(rows)]

    def verify_audit(self) -> AuditReport:
        """Walk the whole chain; report the first record that does not fit. Raises StoreError where it is unreadable."""
        problem, previous, expected = "", _GENESIS, 0
        with self._connections.snapshot() as connection:
            count = int(connection.execute("SELECT COUNT(*) FROM audit").fetchone()[0])
            head = connection.execute("SELECT seq, hash FROM audit_head").fetchone() or (0, _GENESIS)
            for seq, body, digest in connection.execute("SELECT seq, body, hash FROM audit ORDER BY seq"):
                expected += 1
                if seq != expected:
                    problem = f"record {expected} is missing"
                elif not isinstance(body, str) or digest != _link(previous, body):
                    problem = f"record {seq} was altered, or does not follow the one before it"
                if problem:
                    break
                previous = digest
        if not problem and head != (expected, previous):
            problem = (
                f"the newest record is {expected}, but record {head[0]} was written: records are missing at the end"
            )
            if expected >= head[0]:
                problem = f"record {expected} is not the one written last: records were put in, or altered, at the end"
        return AuditReport(not problem, count, problem, str(head[1]))


def _link(previous: str, body: str) -> str:
    return hashlib.sha256(previous.encode() + body.encode(errors="surrogatepass")).hexdigest()


def _safe(text: str) -> str:
    # Too short for a secret, and nothing to clean, as are the names of most fields: half of the time goes here.
    if len(text) <= _SHORT and text.isascii() and text.isprintable() and " " not in text and ":" not in text:
        return text
    # Masked before it is cut: half a token would not be recognised.
    masked = mask_secrets(clean(text, limit=5 * _LONGEST))
    return masked if len(masked) <= _LONGEST else masked[: _LONGEST - 1] + "…"


def _plain(value: object) -> object:
    """Return ``value`` as what JSON can hold: texts safe, times as ISO 8601, everything unknown as its text."""
    if isinstance(value, Mapping):
        return {_safe(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return iso(value)
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    text = str(value)
    return _safe(text) if len(text) <= _SHORT else mask_secrets(clean_lines(text, limit=_LARGEST))
