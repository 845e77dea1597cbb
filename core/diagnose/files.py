"""What kind of file a path is, and whether it is one that failing tests name. By the path's letters alone; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

MOST_NAMES = 500
"""Failing tests that are looked at: where more fail, their names tell little."""
MOST_LETTERS = 100_000
"""Of what failing tests print."""
_DOCUMENTATION = (".md", ".rst", ".txt", ".adoc")
_TEST_FOLDERS = frozenset({"test", "tests", "testing", "spec", "specs", "__tests__", "testdata"})
_TEST_NAME = re.compile(r"(?:test_.*|.*_test|.*_spec|.*[.-](?:test|spec)|conftest|.+Tests?|Test[A-Z].*)\.\w+")
_SETTINGS = re.compile(
    r"(?:.*/)?(?:rollcage\.yml|pytest\.ini|tox\.ini|noxfile\.py|\.coveragerc|phpunit\.xml(?:\.dist)?"
    r"|(?:jest|vitest|karma|playwright)\.conf(?:ig)?\.\w+)|\.github/workflows/.*|\.gitlab-ci\.yml"
)
_SUBJECT = re.compile(r"(?:test_?(?P<behind>.+)|(?P<before>.+?)[._-]?(?:tests?|spec))", re.IGNORECASE)


def is_documentation(path: str) -> bool:
    """Return whether nothing that runs reads the file."""
    return path.lower().endswith(_DOCUMENTATION)


def is_test(path: str) -> bool:
    """Return whether the file is part of the tests, by the customs of the common test runners."""
    place = PurePosixPath(path)
    return not _TEST_FOLDERS.isdisjoint(place.parts[:-1]) or bool(_TEST_NAME.fullmatch(place.name))


def is_check_setting(path: str) -> bool:
    """Return whether the file says how the tests are run."""
    return bool(_SETTINGS.fullmatch(path))


class Named:
    """The files that failing tests name; asking costs nothing that grows with how many there are."""

    def __init__(self, files: Iterable[str], tests: Iterable[str]) -> None:
        """Take files that the output names, by a longer or shorter path, and failing tests: ``tests.test_calc.test_a``.

        A test is named as JUnit XML has it, or as a path with ``::`` behind it.
        """
        modules: dict[str, str] = {}
        given = dict.fromkeys(files)
        for _, test in zip(range(MOST_NAMES), tests, strict=False):
            path, _, _ = test.partition("::")
            if "/" in path:
                given[path] = None
            else:
                modules |= dict.fromkeys(_grown(test.split(".")), test)
        self._files = frozenset(given)
        self._shorter = frozenset(part for file in given for part in _shortened(file))
        self._modules = modules
        names = [name for each in (*given, *modules) for name in (PurePosixPath(each).name.partition(".")[0],)]
        self._subjects = {subject: name for name in names for subject in _subjects(name)}

    def has(self, path: str) -> bool:
        """Return whether ``path`` is one of the files, or that of a failing test, as far as both tell."""
        if path in self._shorter or any(part in self._files for part in _shortened(path)):
            return True
        return any(part in self._modules for part in _shortened(path.rpartition(".")[0]))

    def tested_by(self, path: str) -> str:
        """Return the failing test module that is named after ``path``, as ``test_calc`` is after ``calc.py``."""
        if is_test(path):
            return ""
        return self._subjects.get(PurePosixPath(path).name.partition(".")[0].lower(), "")


class Spoken:
    """The words in the names and the output of failing tests; ``test_hex_to_rgb_twice`` speaks of ``hex_to_rgb``."""

    def __init__(self, text: str) -> None:
        """Take the text, of which the first `MOST_LETTERS` are read."""
        self._words: set[str] = set()
        for word in dict.fromkeys(re.findall(r"[^\W\d]\w{2,}", text[:MOST_LETTERS])):
            self._words.add(_plain(word))
            tested = re.fullmatch(r"[Tt]est_?(.+?)|(.+?)_?[Tt]ests?", word)
            parts = (tested[1] or tested[2]).split("_") if tested else []
            self._words.update(_plain("".join(parts[:end])) for end in range(1, len(parts) + 1))

    def of(self, names: Iterable[str]) -> list[str]:
        """Return which of the names of functions or classes are spoken of, sorted."""
        return sorted(name for name in names if len(_plain(name)) > 2 and _plain(name) in self._words)


def _plain(word: str) -> str:
    return word.replace("_", "").lower()


def _grown(words: list[str]) -> Iterator[str]:
    """Yield ``a``, ``a/b``, ``a/b/c``: one of them is the module of a test, behind it come class and function."""
    for end in range(1, min(len(words), 12) + 1):
        yield "/".join(words[:end])


def _shortened(path: str) -> Iterator[str]:
    """Yield the path, and what is left when folders are taken away from its front."""
    while path:
        yield path
        path = path.partition("/")[2]


def _subjects(name: str) -> Iterator[str]:
    found = _SUBJECT.fullmatch(name)
    if found:
        yield (found["behind"] or found["before"]).lower()
