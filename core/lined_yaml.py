"""YAML read as plain text, lists and mappings, each with the line that it stands on.

Every scalar stays the text that was written (``null``, ``~`` and nothing at all are ``None``): what the settings
want decides what it means, not YAML 1.1's guesses, to which ``no`` is false, ``012`` is 10 and ``22:30`` is 1350.
It is built from parser events with a stack of its own, because libyaml's composer overflows that of C on deep nesting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[str | int, ...]

MAX_DEPTH = 20
MAX_VALUES = 20_000
"""Counted after aliases: a few nested ones can stand for billions of values."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAGS = {None, "!"} | {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "seq", "map")}
_NULLS = {"", "~", "null", "Null", "NULL"}


@dataclass(frozen=True, slots=True)
class YamlProblem:
    """What is wrong with the text, on which line from 1, at which path."""

    line: int
    path: Path
    problem: str


class YamlError(Exception):
    """The text cannot be read any further; ``problem`` says why."""

    def __init__(self, line: int, problem: str) -> None:
        """Take the line from 1 and what is wrong there."""
        super().__init__(problem)
        self.problem = YamlProblem(line, (), problem)


@dataclass(slots=True)
class LinedYaml:
    """The value, the line of every path in it, and what is wrong without making it unreadable (a key given twice)."""

    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[YamlProblem] = field(default_factory=list)

    def line(self, path: Path) -> int | None:
        """Return the line of ``path``, or of the nearest thing around it that has one."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)


@dataclass(slots=True)
class _Open:
    """A list or mapping that is being read."""

    value: list[Any] | dict[str, Any]
    path: Path
    line: int
    anchor: str | None
    counted: int
    """How many values had been read when it began."""
    key: str | None = None
    """The key that waits for its value."""
    merged: list[tuple[int, object]] = field(default_factory=list)
    """The values of ``<<`` with their lines."""


def read(text: str) -> LinedYaml:
    """Read one YAML document. Raises YamlError."""
    if control := yaml.reader.Reader.NON_PRINTABLE.search(text):
        line = text.count("\n", 0, control.start()) + 1
        raise YamlError(line, "has a control character; allowed: printable text")
    try:
        return _Reader().read(yaml.parse(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line if mark else 0
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        beginning = re.match(r"\s*", text.split("\n")[min(line, text.count("\n"))])
        hint = "; indent with spaces, not with tabs" if beginning and "\t" in beginning[0] else ""
        raise YamlError(line + 1, f"is not valid YAML: {problem}{hint}") from None


class _Reader:
    """Turns the parser's events into values."""

    def __init__(self) -> None:
        self._result = LinedYaml()
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[object, int]] = {}
        """Each with its value and how many values it stands for."""
        self._count = 0
        self._documents = 0

    def read(self, events: Iterator[yaml.Event]) -> LinedYaml:
        for event in events:
            line = event.start_mark.line + 1 if event.start_mark else 1
            if isinstance(event, yaml.DocumentStartEvent):
                self._documents += 1
                if self._documents > 1:
                    raise YamlError(line, "begins a second document; allowed: one document, without '---' in it")
            elif isinstance(event, yaml.ScalarEvent):
                self._check_tag(event.tag, line)
                plain = event.tag is None and event.implicit[0] and event.style in (None, "")
                self._add(None if plain and event.value in _NULLS else event.value, event.anchor, line)
            elif isinstance(event, yaml.AliasEvent):
                self._alias(str(event.anchor), line)
            elif isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
                self._check_tag(event.tag, line)
                self._begin([] if isinstance(event, yaml.SequenceStartEvent) else {}, event.anchor, line)
            elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
                self._end()
        return self._result

    @staticmethod
    def _check_tag(tag: str | None, line: int) -> None:
        if tag not in _TAGS:
            raise YamlError(line, f"has the tag '{tag}'; allowed: plain values without tags")

    def _alias(self, anchor: str, line: int) -> None:
        if anchor not in self._anchors:
            raise YamlError(
                line, f"uses *{anchor}, which is not defined before; allowed: &{anchor} at an earlier value"
            )
        value, stands_for = self._anchors[anchor]
        self._count += stands_for - 1
        self._add(value, None, line)

    def _begin(self, value: list[Any] | dict[str, Any], anchor: str | None, line: int) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise YamlError(line, f"is nested too deeply; allowed: {MAX_DEPTH} levels")
        parent = self._open[-1] if self._open else None
        if parent is not None and isinstance(parent.value, dict) and parent.key is None:
            raise YamlError(line, "has a list or mapping as a key; allowed: a word as a key")
        self._open.append(_Open(value, self._path(line), line, anchor, self._count))

    def _end(self) -> None:
        done = self._open.pop()
        if isinstance(done.value, dict):
            for line, merged in done.merged:
                for part in merged if isinstance(merged, list) else [merged]:
                    if not isinstance(part, dict):
                        raise YamlError(line, "'<<' merges what is no mapping; allowed: an alias of a mapping")
                    done.value.update({key: item for key, item in part.items() if key not in done.value})
        self._keep(done.value, done.anchor, done.line, self._count - done.counted + 1)

    def _add(self, value: object, anchor: str | None, line: int) -> None:
        """Take a finished scalar or alias: a mapping's next key, or a value."""
        parent = self._open[-1] if self._open else None
        if parent is not None and isinstance(parent.value, dict) and parent.key is None:
            if value is not None and not isinstance(value, str):
                raise YamlError(line, "has a list or mapping as a key; allowed: a word as a key")
            parent.key = "null" if value is None else value
            path = (*parent.path, parent.key)
            if parent.key in parent.value:
                first = self._result.lines[path]
                self._result.problems.append(YamlProblem(line, path, f"is given twice, first on line {first}"))
            self._result.lines[path] = line
            return
        self._path(line)
        self._keep(value, anchor, line, 1)

    def _path(self, line: int) -> Path:
        """Return where the next value goes, and note its line unless its key has noted it."""
        if not self._open:
            path: Path = ()
        else:
            parent = self._open[-1]
            path = (*parent.path, len(parent.value) if isinstance(parent.value, list) else parent.key or "")
        self._result.lines.setdefault(path, line)
        return path

    def _keep(self, value: object, anchor: str | None, line: int, stands_for: int) -> None:
        self._count += 1
        if self._count > MAX_VALUES:
            raise YamlError(line, f"has too many values (aliases counted in); allowed: {MAX_VALUES:,}")
        if anchor is not None:
            self._anchors[anchor] = (value, stands_for)
        if not self._open:
            self._result.value = value
            return
        parent = self._open[-1]
        if isinstance(parent.value, list):
            parent.value.append(value)
            return
        assert parent.key is not None
        if parent.key == "<<":
            parent.merged.append((line, value))
        else:
            parent.value[parent.key] = value
        parent.key = None
