"""Real packages with real tests, as their source distributions have them; none of it is kept in this repository."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

Files = dict[str, str]
"""A tree: path and text of each file."""


@dataclass(frozen=True, slots=True)
class Package:
    """A package of which histories are made: small, pure Python, its tests done in half a second."""

    name: str
    version: str
    keep: str
    """A pattern of the paths that the repository begins with, below the top of the source distribution."""
    modules: tuple[str, ...]
    """Where faults and good edits are made."""
    tests: tuple[str, ...]
    """What `unit` is given."""
    more_tests: str
    """The folder for further tests."""

    @property
    def check(self) -> tuple[str, ...]:
        """Return what `unit` runs: the package's tests, and those that come later."""
        return (*self.tests, self.more_tests)

    def importable(self, module: str) -> str:
        """Return the name that ``module``, a path, is imported by."""
        return module.removeprefix("src/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")


_BOLTONS = ("formatutils", "ioutils", "namedutils", "statsutils", "strutils", "tableutils", "tbutils", "typeutils")
PACKAGES = (
    Package(
        "boltons",
        "24.0.0",
        rf"boltons/(__init__|{'|'.join(_BOLTONS)})\.py|tests/(__init__|test_({'|'.join(_BOLTONS)}))\.py|README.md",
        tuple(f"boltons/{name}.py" for name in _BOLTONS),
        tuple(f"tests/test_{name}.py" for name in _BOLTONS),
        "tests/more",
    ),
    Package(
        "cachetools",
        "5.3.3",
        r"src/cachetools/\w+\.py|tests/\w+\.py|README.rst|CHANGELOG.rst",
        ("src/cachetools/__init__.py", "src/cachetools/func.py", "src/cachetools/keys.py"),
        ("tests",),
        "tests/more",
    ),
    Package(
        "toolz",
        "1.0.0",
        r"toolz/[\w/]+\.py|tlz/\w+\.py|README.rst",
        ("toolz/itertoolz.py", "toolz/dicttoolz.py", "toolz/functoolz.py", "toolz/recipes.py", "toolz/utils.py"),
        tuple(f"toolz/tests/test_{name}.py" for name in ("itertoolz", "dicttoolz", "functoolz", "recipes", "utils")),
        "tests/more",
    ),
    Package(
        "webcolors",
        "1.13",
        r"src/webcolors/\w+\.py|tests/\w+\.py|README.rst",
        tuple(f"src/webcolors/{name}.py" for name in ("conversion", "html5", "normalization")),
        ("tests",),
        "tests/more",
    ),
)


def cache() -> Path:
    """Return the folder that outlives the runs: ``$XDG_CACHE_HOME/rollcage-bench``; made where it is missing."""
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)  # HOME is the bench's own by now
    folder = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "rollcage-bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def fetch(package: Package) -> Files:
    """Return the package's files, downloaded once. Raises RuntimeError where there is none to be had."""
    stem = f"{package.name}-{package.version}"
    archive = cache() / f"{stem}.tar.gz"
    if not archive.exists():
        with tempfile.TemporaryDirectory() as place:
            words = ["download", "--quiet", "--no-binary", ":all:", "--no-deps", "--dest", place]
            done = subprocess.run(
                [sys.executable, "-m", "pip", *words, f"{package.name}=={package.version}"],
                capture_output=True,
                text=True,
                check=False,
            )
            found = list(Path(place).glob("*.tar.gz"))
            if done.returncode or not found:
                raise RuntimeError(f"{stem} cannot be downloaded: {done.stderr.strip()[-300:]}")
            whole = archive.with_suffix(f".{os.getpid()}")
            whole.write_bytes(found[0].read_bytes())
            whole.rename(archive)
    files: Files = {}
    with tarfile.open(archive) as opened:
        for member in opened:
            path = member.name.partition("/")[2]
            content = opened.extractfile(member) if member.isfile() else None
            if content is not None and re.fullmatch(package.keep, path):
                files[path] = content.read().decode().replace("\r\n", "\n")
    files[f"{package.more_tests}/test_start.py"] = "def test_start():\n    assert True\n"
    files[".gitignore"] = "__pycache__/\n/report.xml\n"
    files["plan.md"] = "# Plan\n\n- keep the tests green\n"
    return files
