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
_FILE = re.compile(rb"[\w-][\w.-]*\.\w+")
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
    named = _Named.of(b"\n".join(later.values()))
    # What later work defines for itself it does not need from here.
    words = named.words - named.defined
    found = []
    for part in parts:
        if part.kind is PartKind.FILE:
            if part.added and (why := named.why(part.path)):
                found.append(Wanted(part.name, f"{part.path}: later work {why} it"))
        elif names := sorted(defined(part) & words):
            listed = ", ".join(name.decode("ascii", "replace") for name in names[:3])
            found.append(Wanted(part.name, f"{part.name}: later work uses {listed}"))
    return found


def closure(parts: Sequence[Part], wanted: Collection[str]) -> set[str]:
    """Return the names of ``wanted`` parts with those that define what they use, and so on."""
    by_name = {part.name: part for part in parts}
    added = [part for part in parts if part.kind is PartKind.FILE and part.added]
    makers: dict[bytes, list[str]] = {}
    for part in parts:
        if part.kind is not PartKind.FILE:
            for name in defined(part) | brought(part):
                makers.setdefault(name, []).append(part.name)
    found = set(wanted)
    waiting = [name for name in wanted if name in by_name]
    while waiting:
        named = _Named.of(by_name[waiting.pop()].gone)
        new = {maker for word in named.words for maker in makers.get(word, ())}
        new |= {file.name for file in added if named.why(file.path)}
        waiting += new - found
        found |= new
    return found


@dataclass(frozen=True, slots=True)
class _Named:
    """What a text names."""

    words: set[bytes]
    defined: set[bytes]
    imported: set[bytes]
    files: set[bytes]

    @classmethod
    def of(cls, text: bytes) -> _Named:
        imports = b"\n".join(_IMPORT.findall(text))
        return cls(
            set(_WORD.findall(text)),
            {found[1] for found in _DEFINITION.finditer(text)},
            set(_WORD.findall(imports)),
            set(_FILE.findall(text)),
        )

    def why(self, path: str) -> str:
        """Return how a file is named; empty: it is not."""
        plain = PurePosixPath(path.strip('"'))
        if plain.suffix and plain.name.encode("utf-8", "surrogateescape") in self.files:
            return "names"
        stem = plain.parent.name if plain.stem in {"__init__", "index", "mod"} else plain.stem
        return "imports" if len(stem) > 1 and stem.encode("utf-8", "surrogateescape") in self.imported else ""


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
