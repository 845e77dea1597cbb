"""Foreign text is hostile: agent output, commit messages, branch names. It is cleaned once, where it enters."""

from __future__ import annotations

import re

# C0, DEL, C1, the bidirectional controls (CVE-2021-42574), zero-width and separators, surrogates, byte-order marks.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
# CSI, OSC/DCS/APC/PM/SOS strings up to their end, and two-character escapes: dropped whole, so that no "[31m" stays.
_ESCAPE = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]?"
    "|(?:\x1b[\\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\\\|\x9c)?"
    "|\x1b[ -/]*[0-~]?"
)
_SECRET = re.compile(
    r"gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|sk-[A-Za-z0-9_-]{16,}|xox[abpr]-[\w-]{10,}|AKIA[0-9A-Z]{16}"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
)


def clean(text: str, *, limit: int = 500) -> str:
    """Return ``text`` as one safe line: no escape sequences, no control, bidirectional or invisible characters.

    Line ends and tabs become single spaces; what is longer than ``limit`` characters ends in ``…``. Idempotent.
    """
    line = " ".join(clean_lines(text, limit=limit * 4).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def clean_lines(text: str, *, limit: int = 100_000) -> str:
    """Like `clean`, but line ends stay (as ``\\n``) and a tab becomes four spaces: for diffs and output."""
    text = _ESCAPE.sub("", text[:limit])
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    ").replace("\v", "\n").replace("\f", "\n")
    return "\n".join(_UNSAFE.sub("", line) for line in text.split("\n"))


def mask_secrets(text: str) -> str:
    """Return ``text`` with what looks like a token, or a password within a URL, replaced by ``***``."""
    return _SECRET.sub("***", text)
