"""Which tables a query reads, by its words alone: nothing is run, and what is not understood is left out. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_WORDS = re.compile(
    r"(?P<nothing>\s+|--[^\n]*|/\*.*?(?:\*/|\Z)|'(?:[^']|'')*(?:'|\Z)|\$(\w*)\$.*?(?:\$\2\$|\Z))"
    r'|(?P<quoted>"(?:[^"]|"")+"|`[^`]+`|\[[^\]]+\])'
    r"|(?P<word>[^\W\d][\w$]*)"
    r"|(?P<mark>.)",
    re.DOTALL,
)
# After one of these the list of what is read is over.
_ENDS = frozenset({"where", "group", "order", "having", "limit", "offset", "fetch", "window", "union", "intersect"}) | {
    *("except", "select", "returning", "for"),
}
_BETWEEN = frozenset({"lateral", "only"})
_LONGEST = 100_000


@dataclass(frozen=True, slots=True)
class _Word:
    text: str
    is_name: bool
    """Quoted, or a word that may be a name."""

    @property
    def key(self) -> str:
        return self.text.lower()


def tables_of(sql: str) -> tuple[str, ...]:
    """Return the tables and views that ``sql`` names behind FROM and JOIN, in order, with a schema where it gives one.

    Sub-queries count, names made by WITH, functions and the FROM within ``extract(year FROM x)`` do not.
    """
    words = list(_words(sql[:_LONGEST]))
    made = {words[at].key for at in range(len(words) - 2) if words[at].is_name and _is_made(words, at)}
    found: dict[str, None] = {}
    # For each open parenthesis: whether a SELECT was seen in it, and whether a list of tables goes on.
    levels = [[False, False]]
    at, wanted = 0, False
    while at < len(words):
        word, level = words[at], levels[-1]
        if word.text == "(" and not word.is_name:
            levels.append([wanted and level[1], wanted])
        elif word.text == ")" and not word.is_name:
            if len(levels) > 1:
                levels.pop()
            wanted = False
        elif word.key == "select" and word.is_name:
            level[:] = [True, False]
            wanted = False
        elif word.key == "from" and level[0] and (at == 0 or words[at - 1].key != "distinct"):
            level[1] = wanted = True
        elif word.key == "join" and level[1]:
            wanted = True
        elif word.key in _ENDS and word.is_name:
            level[1] = wanted = False
        elif word.text == "," and not word.is_name:
            wanted = level[1]
        elif wanted and word.is_name and word.key not in _BETWEEN:
            name, at = _dotted(words, at)
            if not (at + 1 < len(words) and words[at + 1].text == "(") and name.lower() not in made:
                found[name] = None
            wanted = False
        at += 1
    return tuple(found)


def _words(sql: str) -> Iterator[_Word]:
    for match in _WORDS.finditer(sql):
        if match["quoted"]:
            yield _Word(match["quoted"][1:-1].replace('""', '"'), is_name=True)
        elif match["word"] or match["mark"]:
            yield _Word(match["word"] or match["mark"], is_name=bool(match["word"]))


def _is_made(words: Sequence[_Word], at: int) -> bool:
    """Return whether ``WITH name [(columns)] AS [NOT MATERIALIZED] (`` gives that name a meaning of its own."""
    if at == 0 or words[at - 1].key not in {"with", "recursive", ","}:
        return False
    after = at + 1
    if words[after].text == "(":
        while after < len(words) and words[after].text != ")":
            after += 1
        after += 1
    if after >= len(words) or words[after].key != "as":
        return False
    return any(word.text == "(" for word in words[after + 1 : after + 4])


def _dotted(words: Sequence[_Word], at: int) -> tuple[str, int]:
    """Return a name such as ``schema.table`` and the place of its last word."""
    name = words[at].text
    while at + 2 < len(words) and words[at + 1].text == "." and words[at + 2].is_name:
        at += 2
        name += f".{words[at].text}"
    return name, at
