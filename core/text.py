"""Foreign text is hostile: agent output, commit messages, branch names. It is cleaned once, where it enters."""

from __future__ import annotations

import re

# C0, DEL, C1; the bidirectional controls (CVE-2021-42574); line separators, interlinear marks, surrogates; and all that
# Unicode calls Default_Ignorable_Code_Point (DerivedCoreProperties.txt, 15.0): it shows nothing, so it can hide text.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# CSI, OSC/DCS/APC/PM/SOS strings up to their end, and two-character escapes: dropped whole, so that no "[31m" stays.
_ESCAPE = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]?"
    "|(?:\x1b[\\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\\\|\x9c)?"
    "|\x1b[ -/]*[0-~]?"
)
# A password within a URL comes first: a token as its user name must not end the search before the password.
_SECRET = re.compile(
    r"(?<=://)[^/\s:@]*:[^/?#\s]+(?=@)"
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|(?<![a-z])sk-[A-Za-z0-9_-]{16,}|xox[abpr]-[\w-]{10,}"
    r"|AKIA[0-9A-Z]{16}"
)


def clean(text: str, *, limit: int = 500) -> str:
    """Return ``text`` as one safe line: no escape sequences, no control, bidirectional or invisible characters.

    Line ends and tabs become single spaces; what is longer than ``limit`` characters ends in ``…``. Idempotent.
    """
    line = " ".join(_safe(text[: limit * 4]).split())
    unread = text[limit * 4 :]
    return line if len(line) <= limit and (not unread or unread.isspace()) else line[: limit - 1] + "…"


def clean_lines(text: str, *, limit: int = 100_000) -> str:
    """Like `clean`, but line ends stay (as ``\\n``) and a tab becomes four spaces: for diffs and output.

    What is longer than ``limit`` characters, before or after, is cut off.
    """
    return _safe(text[:limit])[:limit]


def _safe(text: str) -> str:
    text = _ESCAPE.sub("", text)
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    ").replace("\v", "\n").replace("\f", "\n")
    return "\n".join(_UNSAFE.sub("", line) for line in text.split("\n"))


def mask_secrets(text: str) -> str:
    """Return ``text`` with what looks like a token, or a password within a URL, replaced by ``***``."""
    return _SECRET.sub("***", text)
