"""Which lines are errors, and what two errors have in common once numbers, ids, paths and addresses are masked.

Pure. Whoever compares errors compares their templates: ``cannot reach 10.0.0.7:5432`` and ``cannot reach
10.0.0.8:5432`` are the same error.
"""

from __future__ import annotations

import re

# The order counts: what contains others (a URL has a host, a path and numbers) goes first. No mark holds what a later
# rule, or a second pass, would match.
_MASKS = tuple(
    (re.compile(pattern, re.IGNORECASE), mark)
    for pattern, mark in (
        (r"\b[a-z][a-z0-9+.-]*://[^\s\"'<>\])}]+", "<address>"),
        (r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+", "<address>"),
        (r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<id>"),
        (r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)?", "<n>"),
        (r"(?<![\w:>])(?=[0-9a-f:]*::|(?:[0-9a-f]+:){7})(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:])", "<address>"),
        (r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b", "<address>"),
        (r"\b0x[0-9a-f]+\b", "<address>"),
        (r"(?<![\w<])(?:~|\.{1,2})?(?:/[\w.@%+=-]+)+/?", "<path>"),
        (r"(?<![\w/<])(?:[\w.@%+=-]+/)+[\w.@%+=-]+", "<path>"),
        (r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,64}\b", "<id>"),
        (r"\b(?=\w*\d)(?=\w*[a-z])\w{20,}\b", "<id>"),
        (r"(?:(?<!\w)[-+])?\d+(?:[.,:]\d+)*(?:e[-+]?\d+)?", "<n>"),
    )
)

_ROUNDS = 10
"""More than any text was seen to need."""

# An exception's name alone, or with its message: the last line of a traceback.
_EXCEPTION = re.compile(r"^\s*(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt)(?::\s|\s*$)")
# Log levels, and the ways in which programs begin a fatal message.
_ERROR = re.compile(
    r"^.{0,80}?(?<![\w-])(?:ERROR|FATAL|CRITICAL|PANIC|SEVERE|EMERG)(?![\w=-])"
    r"|^\s*(?:[\w./-]+:\s)?(?i:error|fatal(?: error)?|panic|exception|uncaught \w+|unhandled \w+)(?:\[\w+\])?\s*[:!]"
    r"|:\d+(?::\d+)?:\s(?:fatal )?error:"
    r"|(?i:\b(?:level|lvl|severity)\"?\s*[=:]\s*\"?(?:error|fatal|critical|panic)\b)"
    r"|^npm ERR!|\bpanicked at\b|^Segmentation fault|\bOut of memory\b|^Killed$|\bcommand not found$"
)
_HARMLESS = re.compile(
    r"(?i)\b(?:no|0|without|zero)\s+(?:\w+\s+)?errors?\b|\berrors?\s*[=:]\s*(?:0\b|none\b|false\b|null\b)"
)


def looks_like_error(line: str) -> bool:
    """Return whether one cleaned line of output reports an error.

    A guess by form, made to be quiet: exception lines, log levels, ``error:``, ``fatal:``, ``panic:`` and the like, not
    ``0 errors``. The head of a traceback is none, since its last line is one.
    """
    if _EXCEPTION.search(line):
        return True
    return _ERROR.search(line) is not None and _HARMLESS.search(line) is None


def template(text: str, *, limit: int = 300) -> str:
    """Return ``text`` (its first ``limit`` characters) with numbers, ids, paths and addresses masked. Idempotent."""
    before, masked = "", text[:limit]
    for _ in range(_ROUNDS):  # a mark may leave something beside it that a mask matches: until nothing changes
        if masked == before:
            break
        before = masked
        for pattern, mark in _MASKS:
            masked = pattern.sub(mark, masked)
        masked = " ".join(masked.split())[:limit]
    return masked
