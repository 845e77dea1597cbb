"""The check of a grown repository, as a program: ``unit.py REPORT TEST_FILE_OR_FOLDER...``; needs only Python.

It runs unittest cases, and plain functions and classes as pytest finds them, without fixtures; pytest itself would take
four times as long to start as these tests to run, and there are thousands of runs. It ends with 0 if all pass, 1 if one
fails, and 125 if a file does not compile, as ``git bisect run`` has it. The report is JUnit XML. The variable
CORPUS_RUNS names a file that grows by a byte with each run.
"""

from __future__ import annotations

import importlib.util
import inspect
import io
import os
import sys
import traceback
import unittest
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from xml.sax.saxutils import quoteattr

CANNOT_TELL = 125


def main(report: str, places: list[str]) -> int:
    """Run the tests of ``places``, write the report, and return the exit status."""
    sys.dont_write_bytecode = True
    if counted := os.environ.get("CORPUS_RUNS"):
        with Path(counted).open("ab") as runs:
            runs.write(b".")
    here = Path.cwd()
    sys.path[:0] = [str(here), str(here / "src")]
    files = [file for place in places for file in _files(here / place)]
    lines: list[str] = []
    failed = ran = 0
    for file in files:
        name = ".".join(file.relative_to(here).with_suffix("").parts)
        try:
            suite = unittest.TestSuite(_tests(_load(name, file)))
            tests = list(_flat(suite))  # a suite forgets its tests once they ran
        except SyntaxError as error:
            print(f"{error.filename}:{error.lineno}: does not compile: {error.msg}")
            return CANNOT_TELL
        except Exception:  # as a runner does: what cannot be imported is a failure with a name
            problem = traceback.format_exc()
            print(problem)
            lines.append(_line(name, "import", problem))
            failed += 1
            continue
        result = unittest.TextTestRunner(io.StringIO(), verbosity=0).run(suite)
        problems = {test.id(): text for test, text in [*result.failures, *result.errors]}
        for test in tests:
            ran += 1
            lines.append(_line(name, test.id(), problems.get(test.id(), "")))
        for identity, text in problems.items():
            failed += 1
            print(f"FAILED {name}::{identity}\n{text}")
    whole = "\n".join(["<testsuite>", *lines, "</testsuite>", ""])
    Path(report).write_text(whole, encoding="utf-8", errors="xmlcharrefreplace")
    print(f"{failed} failed, {ran - failed} passed")
    return 1 if failed or not ran else 0


def _files(place: Path) -> Iterator[Path]:
    yield from sorted(place.glob("test*.py")) if place.is_dir() else [place]


def _load(name: str, file: Path) -> ModuleType:
    """Import a test file by its path, within its package where it lies in one, for its relative imports."""
    if (file.parent / "__init__.py").exists():
        return importlib.import_module(name)
    sys.path.insert(0, str(file.parent))
    specification = importlib.util.spec_from_file_location(file.stem, file)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def _tests(module: ModuleType) -> Iterator[unittest.TestCase | unittest.TestSuite]:
    for name, item in list(vars(module).items()):
        if inspect.isclass(item) and issubclass(item, unittest.TestCase):
            yield unittest.defaultTestLoader.loadTestsFromTestCase(item)
        elif inspect.isclass(item) and name.startswith("Test"):
            for method, function in inspect.getmembers(item, inspect.isfunction):
                if method.startswith("test"):
                    yield _Function(f"{name}.{method}", _bound(item, method), not _needs(function, 1))
        elif inspect.isfunction(item) and name.startswith("test"):
            yield _Function(name, item, not _needs(item, 0))


def _bound(item: type, method: str) -> object:
    def run() -> None:
        getattr(item(), method)()  # an instance of its own for each test

    return run


def _needs(function: object, known: int) -> bool:
    """Say whether a test wants fixtures."""
    assert callable(function)
    parameters = list(inspect.signature(function).parameters.values())[known:]
    return any(each.default is each.empty for each in parameters)


class _Function(unittest.TestCase):
    def __init__(self, name: str, function: object, runs: bool) -> None:
        super().__init__("run_it" if runs else "skip_it")
        self._name, self._function = name, function

    def id(self) -> str:
        return self._name

    def run_it(self) -> None:
        assert callable(self._function)
        self._function()

    def skip_it(self) -> None:
        raise unittest.SkipTest("wants fixtures")


def _flat(suite: object) -> Iterator[unittest.TestCase]:
    if isinstance(suite, unittest.TestSuite):
        for each in suite:
            yield from _flat(each)
    elif isinstance(suite, unittest.TestCase):
        yield suite


def _line(module: str, name: str, problem: str) -> str:
    head = f"<testcase classname={quoteattr(module)} name={quoteattr(name.removeprefix(module + '.'))}"
    if not problem:
        return head + " />"
    return f"{head}><failure message={quoteattr(problem.strip().splitlines()[-1][:300])} /></testcase>"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
