"""Reads a JUnit XML report for the names of its tests. A report is written by agents' code: it is hostile input.

junitparser takes lxml where that is installed, which resolves entities and opens files; so the XML is parsed here,
by the standard library's expat, with no document type at all (no entities to expand), and bounded in size and depth.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

from junitparser import JUnitXml, JUnitXmlError

from ..text import clean

SIZE_LIMIT = 16 * 1024 * 1024
"""Bytes of a report; 100,000 tests with their output fit."""
DEPTH_LIMIT = 50
NAMES_LIMIT = 10_000
"""Failing tests that are kept; more tell nothing more."""


@dataclass(frozen=True, slots=True)
class Report:
    """The tests that a report names, as ``classname.name``, in its order; skipped ones count as neither."""

    failing: tuple[str, ...] = ()
    passing: frozenset[str] = frozenset()
    problem: str = ""
    """Why there is nothing in it; one clean line. Empty: it was read."""


def read_report(path: Path) -> Report:
    """Return what the report at ``path`` says; a missing, huge, broken or hostile one is empty and says so."""
    try:
        # Not through a link, and a FIFO must not hold us.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return Report(problem=f"no JUnit report: {clean(error.strerror or str(error))}")
    with os.fdopen(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            return Report(problem="the JUnit report is no regular file")
        data = file.read(SIZE_LIMIT + 1)
    if len(data) > SIZE_LIMIT:
        return Report(problem=f"the JUnit report is larger than {SIZE_LIMIT // 1024**2} MiB and was not read")
    try:
        return _names(JUnitXml.fromroot(_parse(data)))
    except (Xml.ParseError, JUnitXmlError, _RefusedXmlError, ValueError, LookupError) as error:  # LookupError: encoding
        return Report(problem=f"the JUnit report cannot be read: {clean(str(error), limit=200)}")


def _names(report: JUnitXml) -> Report:
    failing: dict[str, None] = {}
    passing: set[str] = set()
    for suite in report:
        for case in suite:
            name = clean(".".join(part for part in (case.classname, case.name) if part))
            if case.is_failure or case.is_error:
                failing[name] = None
            elif not case.is_skipped:
                passing.add(name)
    return Report(tuple(failing)[:NAMES_LIMIT], frozenset(passing.difference(failing)))


class _RefusedXmlError(Exception):
    """The XML has what no report needs."""


class _Builder(Xml.TreeBuilder):
    """Builds the tree, unless the XML declares a document type or nests too deep."""

    _depth = 0

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise _RefusedXmlError("it declares a document type, which may define entities")

    def start(self, tag: Any, attrs: dict[Any, Any], /) -> Xml.Element:
        self._depth += 1
        if self._depth > DEPTH_LIMIT:
            raise _RefusedXmlError(f"it nests deeper than {DEPTH_LIMIT} elements")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> Xml.Element:
        self._depth -= 1
        return super().end(tag)


def _parse(data: bytes) -> Any:
    parser = Xml.XMLParser(target=_Builder())  # noqa: S314 - see _Builder
    parser.feed(data)
    return parser.close()
