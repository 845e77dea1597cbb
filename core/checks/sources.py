"""Which files of a tree are sources: what is left when tests, build files and the check's own scripts are taken away.

By the naming conventions of the common languages and test runners. A wrong guess costs sharpness, not safety: a kept
source makes the canary harder to please, an emptied test easier.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ..config import CheckSettings

_TEST_FOLDER = re.compile(r"(?:\w+[-_])?(?:tests?|specs?|e2e)|__tests__|testdata")
_TEST_FILE = re.compile(
    r"(?:tests?|specs?)(?:[-_.].*)?|conftest\.py"  # test_calc.py, tests.sh, spec_helper.rb
    r"|.*[-_.](?:tests?|specs?)(?:\.\w+)+|.*(?:Tests?|Spec|TestCase)\.\w+"  # calc_test.go, calc.spec.ts, CalcTest.java
)
_BUILD_FILE = re.compile(
    r"\..+|[Mm]akefile|GNUmakefile|.*\.mk|[Jj]ustfile|Taskfile\.ya?ml|CMakeLists\.txt|meson\.build|Dockerfile"
    r"|pyproject\.toml|setup\.(?:py|cfg)|(?:tox|pytest|mypy)\.ini|noxfile\.py|requirements.*\.txt|Pipfile"
    r"|.*[-.]lock(?:\.json|\.ya?ml|b)?|package\.json|.*\.config\.[cm]?[jt]s|[jt]sconfig.*\.json|deno\.jsonc?"
    r"|go\.(?:mod|sum|work)|Cargo\.toml|build\.rs|pom\.xml|mvnw|gradlew|.*\.gradle(?:\.kts)?|gradle\.properties"
    r"|Gemfile|Rakefile|.*\.gemspec|composer\.json|phpunit\.xml.*|mix\.exs|rebar\.config|.*\.(?:cs|fs|vb)proj|.*\.sln"
    r"|build\.sbt|Package\.swift|.*\.cabal|dune-project|WORKSPACE|MODULE\.bazel|BUILD(?:\.bazel)?|rollcage\.yml"
)
_DOCUMENT = re.compile(r"(?:README|LICEN[CS]E|COPYING|CHANGE|CONTRIBUTING|AUTHORS|NOTICE).*|.*\.(?:md|rst|adoc)")
_SCRIPT = re.compile(r".*\.(?:py|sh|bash|zsh|bats|[cm]?[jt]s|rb|pl|php|lua|r|R|awk|tcl)")
_WORD = re.compile(r"[^\s\"'`;&|<>(){}=:]+")


def sources(check: CheckSettings, folder: Path) -> list[Path]:
    """Return the source files of the fresh tree in ``folder``, or all its files if it has nothing else but documents.

    Regular files only; links are not followed.
    """
    everything = sorted(_files(folder))
    scripts = _scripts(check, folder)
    found = [path for path in everything if path not in scripts and not _is_kept(path.relative_to(folder))]
    return found if any(not _DOCUMENT.fullmatch(path.name) for path in found) else everything


def overwrite(paths: list[Path], content: bytes) -> None:
    """Give every file of ``paths`` the ``content``. Raises OSError."""
    for path in paths:
        descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        if ".git" in folders:
            folders.remove(".git")
        for name in names:
            path = Path(parent, name)
            if path.is_file() and not path.is_symlink() and name != ".git":
                yield path


def _is_kept(path: PurePosixPath | Path) -> bool:
    in_tests = any(_TEST_FOLDER.fullmatch(part) for part in path.parts[:-1])
    return in_tests or bool(_TEST_FILE.fullmatch(path.name) or _BUILD_FILE.fullmatch(path.name))


def _scripts(check: CheckSettings, folder: Path) -> set[Path]:
    """Return the files that the command names as scripts; data that it names, as in ``grep ok state.txt``, is none."""
    words = {word for argument in (*check.run, *(check.setup or ())) for word in _WORD.findall(argument)}
    words |= {word.replace(".", "/") + ending for word in words for ending in (".py", "/__main__.py")}  # python -m NAME
    named = {Path(os.path.normpath(base / word)) for word in words for base in (folder, folder / check.cwd)}
    return {path for path in named if path.is_file() and (_SCRIPT.fullmatch(path.name) or os.access(path, os.X_OK))}
