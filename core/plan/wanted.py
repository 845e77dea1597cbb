"""Which parts of a bad change are wanted: later work names what they define, or they are tests of their own.

All of it is a guess by names, in any language: it only decides what is tried first to be kept. The checks decide.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ..gitrepo.parts import Part, PartKind

_WORD = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*")
_DEFINITION = re.compile(
    rb"^[ \t]*(?:(?:export|default|public|private|protected|static|final|abstract|async|pub|unsafe|inline|declare)\s+)*"
    rb"(?:def|class|function|func|fn|sub|struct|enum|union|interface|trait|type|module|namespace|const|let|var|val|macro|"
    rb"#\s*define)\b[ \t*&]*(?:\([^)\n]*\)[ \t]*)?([A-Za-z_][A-Za-z0-9_]*)[^\n]*",
    re.MULTILINE,
)
_ASSIGNMENT = re.compile(rb"^([A-Za-z_][A-Za-z0-9_]*)\s*(?::[^=\n]+)?=(?!=)", re.MULTILINE)
_IMPORT = re.compile(
    rb"^[ \t]*(?:[A-Za-z_]+\s+)?(?:import|from|require|include|use|using|load|source|mod|extends)\b[^\n]*", re.M
)
_BROUGHT = re.compile(rb"^[ \t]*(?:from\s+\S+\s+)?import\s+([^\n]+)", re.MULTILINE)
_TEST = re.compile(
    r"(?:^|/)(?:tests?|specs?|__tests__|testing)/|(?:^|/)(?:test_[^/]*|conftest\.py|[^/]*(?:_test|\.test|_spec|\.spec|Tests?)\.\w+)$"
)
_SETTINGS = re.compile(
    r"(?:^|/)(?:pyproject\.toml|setup\.cfg|tox\.ini|pytest\.ini|\.coveragerc|noxfile\.py|Makefile|package\.json|"
    r"jest\.config\.\w+|vitest\.config\.\w+|karma\.conf\.\w+|build\.gradle(?:\.kts)?|pom\.xml|CMakeLists\.txt)$"
)
_SHORTEST = 3
"""A shorter name is in any line by chance."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A part that is wanted, by name, and why in one line."""

    part: str
    why: str


def is_test(path: str) -> bool:
    """Return whether ``path`` is a test's, or of what tests need, by the names that test runners look for."""
    return bool(_TEST.search(path.strip('"')))


def is_check_setting(path: str, commands: Collection[str] = ()) -> bool:
    """Return whether ``path`` says how checks run: a known file, or a word of their ``commands``."""
    return bool(_SETTINGS.search(path)) or path in commands


def needed_by(parts: Sequence[Part], later: Mapping[str, bytes]) -> list[Wanted]:
    """Return which of ``parts`` the ``later`` lines, by file, name: what a part defines, or the file that it added."""
    everything = b"\n".join(later.values())
    # What later work defines for itself it does not need from here.
    words = set(_WORD.findall(everything)) - {found[1] for found in _DEFINITION.finditer(everything)}
    imports = b"\n".join(_IMPORT.findall(everything))
    found = []
    for part in parts:
        if part.kind is PartKind.FILE:
            if part.added and (why := _names_file(part.path, imports, everything)):
                found.append(Wanted(part.name, why))
        elif names := sorted(defined(part) & words):
            listed = ", ".join(name.decode("ascii", "replace") for name in names[:3])
            found.append(Wanted(part.name, f"{part.name}: later work uses {listed}"))
    return found


def closure(parts: Sequence[Part], wanted: Collection[str]) -> set[str]:
    """Return the names of ``wanted`` parts with those that define what they use, and so on."""
    finer = [part for part in parts if part.kind is not PartKind.FILE]
    files = {part.name: part for part in parts if part.kind is PartKind.FILE}
    found = set(wanted)
    waiting = list(wanted)
    by_name = {part.name: part for part in parts}
    while waiting:
        part = by_name.get(waiting.pop())
        if part is None:
            continue
        words = set(_WORD.findall(part.gone))
        imports = b"\n".join(_IMPORT.findall(part.gone))
        new = [other.name for other in finer if other.name not in found and (defined(other) | brought(other)) & words]
        new += [
            file.name
            for file in files.values()
            if file.name not in found and file.added and _names_file(file.path, imports, part.gone)
        ]
        found.update(new)
        waiting += new
    return found


def defined(part: Part) -> set[bytes]:
    """Return the names that a part defines and that were not there before it, such as of functions and parameters."""
    before = set(_WORD.findall(part.back))
    names: set[bytes] = set()
    for found in _DEFINITION.finditer(part.gone):
        # Where it was there before, its parameters may be new.
        names |= set(_WORD.findall(found[0])) if found[1] in before else {found[1]}
    names |= set(_ASSIGNMENT.findall(part.gone))
    return {name for name in names - before if len(name) >= _SHORTEST}


def brought(part: Part) -> set[bytes]:
    """Return the names that a part imports and that were not there before it."""
    names = {name for found in _BROUGHT.findall(part.gone) for name in _WORD.findall(found)}
    return {name for name in names - set(_WORD.findall(part.back)) if len(name) > 1}


def _names_file(path: str, imports: bytes, text: bytes) -> str:
    """Return why a file counts as named; empty: it is not."""
    plain = PurePosixPath(path.strip('"'))
    if plain.suffix and re.search(rb"(?<![\w.-])" + re.escape(plain.name.encode()) + rb"(?![\w-])", text):
        return f"{path}: later work names it"
    stem = plain.parent.name if plain.stem in {"__init__", "index", "mod"} else plain.stem
    if len(stem) > 1 and re.search(rb"(?<![\w])" + re.escape(stem.encode()) + rb"(?![\w])", imports):
        return f"{path}: later work imports it"
    return ""
