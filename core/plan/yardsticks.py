"""Which files say whether the code works: tests, and the settings of what runs them.

Taking such a file back changes what passes means, so an option says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..config import Settings

_FOLDERS = frozenset({"test", "tests", "testing", "spec", "specs", "__tests__", "testdata"})
_NAMES = re.compile(
    r"(?:test_.*|.*[_.-](?:test|tests|spec)\.\w+|.*Tests?\.\w+|conftest\.py|rollcage\.ya?ml"
    r"|(?:pytest|tox)\.ini|\.coveragerc|setup\.cfg|noxfile\.py|(?:jest|vitest|playwright)\.config\.\w+|Makefile)"
)
"""By the customs of pytest, unittest, Go, JavaScript, Ruby and JUnit; and where their settings are."""
_PIPELINES = (".github/workflows/", ".gitlab-ci", ".circleci/", ".ci/")


def yardsticks(settings: Settings, paths: Iterable[str]) -> tuple[str, ...]:
    """Return those of ``paths`` that are tests, settings of tests, or named in the command of a check; in order."""
    commands = {word.removeprefix("./") for check in settings.checks for word in (*check.run, *(check.setup or ()))}
    return tuple(path for path in paths if path in commands or _is_test(path))


def _is_test(path: str) -> bool:
    *folders, name = path.split("/")
    return not _FOLDERS.isdisjoint(folders) or bool(_NAMES.fullmatch(name)) or path.startswith(_PIPELINES)
