"""Paths between git's bytes and the text that people and records see; see `rollcage.core.model` for the promise."""

from __future__ import annotations

import re

from ..text import clean_lines

_ESCAPES = {"\a": "a", "\b": "b", "\t": "t", "\n": "n", "\v": "v", "\f": "f", "\r": "r", '"': '"', "\\": "\\"}
_UNESCAPES = {letter: char for char, letter in _ESCAPES.items()}


def shown(path: bytes) -> str:
    """Return ``path`` as git shows it with core.quotePath=false: plain, or C-quoted where it is no clean UTF-8."""
    text = path.decode("utf-8", "surrogateescape")
    if _is_clean(text) and '"' not in text and "\\" not in text:
        return text
    return '"' + "".join(_quoted(char) for char in text) + '"'


def raw(text: str) -> bytes:
    """Return the bytes of a path that `shown` wrote."""
    if not text.startswith('"'):
        return text.encode("utf-8", "surrogateescape")
    return re.sub(
        rb'\\([0-7]{3}|[abtnvfr"\\])',
        lambda match: bytes([int(match[1], 8)]) if len(match[1]) == 3 else _UNESCAPES[match[1].decode()].encode(),
        text[1:-1].encode("utf-8", "surrogateescape"),
    )


def quoted(path: bytes) -> bytes:
    """Return ``path`` in double quotes, C-quoted: as fast-import and alternates files take any name."""
    text = shown(path).encode()
    return text if text.startswith(b'"') else b'"' + text + b'"'


def _quoted(char: str) -> str:
    if char in _ESCAPES:
        return "\\" + _ESCAPES[char]
    if _is_clean(char):
        return char
    return "".join(f"\\{byte:03o}" for byte in char.encode("utf-8", "surrogateescape"))


def _is_clean(text: str) -> bool:
    return "\n" not in text and clean_lines(text) == text
