"""The ``rollcage.yml`` that ``rollcage init`` writes: every setting with its default and what it means.

The comments are the descriptions in `rollcage.core.config`, so that a setting is documented in one place.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from .config import (
    AgentSettings,
    CheckSettings,
    CompetitionSettings,
    DatabaseCheck,
    DatabaseSettings,
    RuleSettings,
    Section,
    Settings,
    split_command,
)
from .units import Dimension, duration, size, write

_HEAD = """\
# How rollcage watches this repository, and what it may do by itself. Every setting is here with its default.
# After a change: rollcage trust. Durations are 90s, 10m, 2h or 30d, sizes 5 GB, shares 1%.
"""
_NOT_WRITTEN = {"state_dir"}
"""The state directory is the machine's business, not the repository's."""
_COMMENT_AT = 40
_HAS_PYTEST = "import sys, importlib.util; sys.exit(importlib.util.find_spec('pytest') is None)"
_EXAMPLES: dict[str, object] = {
    "checks": (CheckSettings(name="tests", run=("pytest", "-q")),),
    "agents": {"executor": AgentSettings(kind="batch_performance_optimizer", stage="executor")},
    "rules": {"queue_length": RuleSettings(direction="above", normal=10, warning=100, critical=1000)},
    "database": DatabaseSettings(
        url="sqlite:///app.db",
        checks=(DatabaseCheck(name="orphans", sql="select * from orders where customer is null"),),
    ),
    "competitions": {"titanic": CompetitionSettings()},
}


@dataclass(frozen=True, slots=True)
class GuessedCheck:
    """A command that most likely checks the code, and what of the checkout it needs in a scratch tree."""

    run: tuple[str, ...]
    link: tuple[str, ...] = ()


def guess_check(top: Path) -> GuessedCheck | None:
    """Guess by the files at ``top``; ``None``: nothing there tells."""
    if _has_pytest_suite(top):
        return _pytest(top)
    if _has_npm_test(_text(top / "package.json")):
        return GuessedCheck(("npm", "test"), ("node_modules",) if (top / "node_modules").is_dir() else ())
    if re.search(r"^test\s*:(?!=)", _text(top / "Makefile") or _text(top / "makefile"), re.MULTILINE):
        return GuessedCheck(("make", "test"))
    if (top / "go.mod").is_file():
        return GuessedCheck(("go", "test", "./..."))
    if (top / "Cargo.toml").is_file():
        return GuessedCheck(("cargo", "test"))
    return None


def _has_pytest_suite(top: Path) -> bool:
    if (top / "pytest.ini").is_file() or (top / "conftest.py").is_file():
        return True
    if "[tool.pytest" in _text(top / "pyproject.toml"):
        return True
    return any(next((top / folder).glob("test_*.py"), None) for folder in ("tests", "test", "."))


def _pytest(top: Path) -> GuessedCheck:
    # As a module: it then finds the code at the top of the repository without an installation.
    for venv in (".venv", "venv"):
        if (top / venv / "bin" / "python").exists():
            return GuessedCheck((f"{venv}/bin/python", "-m", "pytest", "-q"), (venv,))
    for python in filter(shutil.which, ("python", "python3")):
        # From the root folder, so that no module of the repository is found.
        done = subprocess.run([python, "-c", _HAS_PYTEST], cwd="/", capture_output=True, check=False, timeout=60)
        if done.returncode == 0:
            return GuessedCheck((python, "-m", "pytest", "-q"))
    return GuessedCheck(("pytest", "-q"))


def _has_npm_test(package: str) -> bool:
    try:
        test = json.loads(package)["scripts"]["test"]
    except (ValueError, KeyError, TypeError):
        return False
    return isinstance(test, str) and "no test specified" not in test  # what npm init writes


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def template(branch: str, check: GuessedCheck | None) -> str:
    """Return a whole ``rollcage.yml`` for ``branch``; without a ``check`` there is an example of one."""
    guessed = (CheckSettings(name="tests", run=check.run, link=check.link),) if check else ()
    settings = Settings(branch=branch, checks=guessed)
    return _HEAD + "".join(_aligned(line) for line in _lines(settings))


def _aligned(line: tuple[str, str]) -> str:
    text, comment = line
    return f"{text:<{_COMMENT_AT - 1}} # {comment}\n" if comment else f"{text}\n"


def _lines(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield each line with its comment."""
    for name, field in type(settings).model_fields.items():
        if name in _NOT_WRITTEN:
            continue
        value = getattr(settings, name)
        if not value and name in _EXAMPLES:
            yield f"{name}:", f"{field.description}; for example:"
            for text, comment in _block(_EXAMPLES[name], "  "):
                yield f"#{text}", comment
        else:
            yield from _entry(name, field, value, "")


def _entry(name: str, field: FieldInfo, value: object, indent: str) -> Iterator[tuple[str, str]]:
    name, comment = field.alias or name, field.description or ""
    if isinstance(value, Section) or (value and _holds_sections(value)):
        yield f"{indent}{name}:", comment
        yield from _block(value, indent + "  ")
    else:
        yield f"{indent}{name}: {_flow(value, field)}", comment


def _holds_sections(value: object) -> bool:
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple) else ()
    return any(isinstance(item, Section) for item in items)


def _block(value: object, indent: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Section):
        for name, field in type(value).model_fields.items():
            yield from _entry(name, field, getattr(value, name), indent)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield f"{indent}{name}:", ""
            yield from _block(item, indent + "  ")
    elif isinstance(value, tuple):
        for item in value:
            for index, (text, comment) in enumerate(_block(item, indent + "  ")):
                yield (text if index else f"{indent}- {text.lstrip()}"), comment


def _flow(value: Any, field: FieldInfo) -> str:
    """Write ``value`` on one line, in the unit that people would use."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Section):
        pairs = (
            (sub.alias or name, _flow(getattr(value, name), sub)) for name, sub in type(value).model_fields.items()
        )
        return "{" + ", ".join(f"{name}: {text}" for name, text in pairs) + "}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_flow(item, field)}" for name, item in value.items()) + "}"
    if isinstance(value, tuple) and _is_read_by(split_command, field):
        return _scalar(shlex.join(value))
    if isinstance(value, tuple):
        return "[" + ", ".join(_scalar(str(item)) for item in value) + "]"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if _is_read_by(duration, field):
            return write(value, Dimension.DURATION)
        return write(value, Dimension.SIZE) if _is_read_by(size, field) else f"{value:g}"
    return _scalar(str(value))


def _is_read_by(reader: object, kind: Any) -> bool:
    """Return whether the type of a field, or a type within it, has ``reader`` as its validator."""
    metadata = kind.metadata if isinstance(kind, FieldInfo) else getattr(kind, "__metadata__", ())
    within = get_args(kind.annotation if isinstance(kind, FieldInfo) else kind)
    return any(isinstance(entry, BeforeValidator) and entry.func is reader for entry in metadata) or any(
        _is_read_by(reader, part) for part in within
    )


def _scalar(text: str) -> str:
    """Quote ``text`` where YAML, within a list too, would read anything else."""
    plain = re.fullmatch(r"[\w./][\w ./=+-]*", text) and not text.endswith(" ") and text not in {"null", "Null", "NULL"}
    return text if plain else json.dumps(text, ensure_ascii=False)
