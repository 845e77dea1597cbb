"""``rollcage.yml`` from bytes to `Settings`; every mistake is found, with its file, line, key, and what is allowed."""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from . import lined_yaml
from .config import Section, Settings
from .errors import SettingsError
from .settings_review import contradictions, unsupported
from .text import clean, mask_secrets

NAME = "rollcage.yml"
"""Of the file at the top of the repository."""
MAX_BYTES = 1_000_000
Review = Callable[[Settings], object]
"""A check by another room, such as `rollcage.core.detect.rules.rules`; it raises SettingsError without a line."""


def read_bytes(path: Path, shown: str) -> bytes:
    """Return the content of a settings file; ``shown`` names it in errors.

    Raises SettingsError if it is no readable regular file or is larger than `MAX_BYTES`, FileNotFoundError if missing.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO must not make it wait
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise SettingsError(shown, None, "", "is no regular file; allowed: a text file")
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SettingsError(shown, None, "", f"cannot be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise SettingsError(
            shown, None, "", f"is {status.st_size:,} bytes large; allowed: {MAX_BYTES:,} bytes of settings"
        )
    return content


def parse(content: bytes, file: str = NAME, review: Review | None = None) -> Settings:
    """Return the settings in ``content``; ``file`` names it in errors. ``review`` has the last word on right ones.

    Raises SettingsError; where several things are wrong it is about the first, and ``str()`` has a line for each.
    """
    tree = _read_yaml(content, file)
    value = {} if tree.value is None else tree.value
    if not isinstance(value, Mapping):
        raise SettingsError(file, tree.line(()), "", "is no mapping of settings; allowed: lines such as 'branch: main'")
    problems = [(problem.line, problem.path, problem.problem) for problem in tree.problems]
    try:
        settings = Settings.model_validate(value, by_alias=True, by_name=False)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            path = _path(detail)
            problems.append((tree.line(path) or 1, path, _explain(detail, path)))
    else:
        later = (*contradictions(settings), *unsupported(settings))
        problems += [(tree.line(path) or 1, path, problem) for path, problem in later]
    if problems:
        raise _collect(file, problems)
    if review is not None:
        try:
            review(settings)
        except SettingsError as error:
            lines = {_dotted(path): line for path, line in tree.lines.items()}
            place = error.key
            while place and place not in lines:
                place = place.rpartition(".")[0]
            raise SettingsError(file, lines.get(place), error.key, error.problem) from error
    return settings


def _read_yaml(content: bytes, file: str) -> lined_yaml.LinedYaml:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingsError(file, line, "", "is not UTF-8; allowed: UTF-8 text") from None
    try:
        return lined_yaml.read(text)
    except lined_yaml.YamlError as error:
        raise SettingsError(file, error.problem.line, "", clean(error.problem.problem)) from None


def _collect(file: str, problems: Iterable[tuple[int, lined_yaml.Path, str]]) -> SettingsError:
    errors = [
        SettingsError(file, line, clean(_dotted(path), limit=120), problem)
        for line, path, problem in sorted(problems, key=lambda problem: problem[0])
    ]
    return errors[0].with_others(errors[1:])


def _dotted(path: lined_yaml.Path) -> str:
    """Write a path as people read it: ``checks[0].timeout``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _path(detail: ErrorDetails) -> lined_yaml.Path:
    return tuple(part for part in detail["loc"] if part != "[key]")


_EXPECTED = {
    "string_type": "text",
    "string_too_short": "text that is not empty",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a smaller number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "tuple_type": "a list, such as [a, b]",
    "dict_type": "a mapping, such as {key: value}",
    "model_type": "a mapping, such as {key: value}",
}
_COMPARED = {
    "greater_than_equal": ("ge", "{} or more"),
    "greater_than": ("gt", "more than {}"),
    "less_than_equal": ("le", "at most {}"),
}


def _explain(detail: ErrorDetails, path: lined_yaml.Path) -> str:
    """Say what is wrong and what is allowed, without pydantic's words."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "missing":
        return "is missing; needed: " + _documented(path)
    if kind == "extra_forbidden":
        return _unknown(path)
    value = _shown(detail["input"])
    if kind == "value_error":
        return f"{value} {context['error']}" if value else str(context["error"])
    if kind in _COMPARED:
        name, words = _COMPARED[kind]
        allowed = words.format(f"{context[name]:g}")
    elif kind in ("literal_error", "enum"):
        allowed = str(context["expected"]).replace("'", "").replace(" or ", ", ")
    elif kind == "string_pattern_mismatch":
        allowed = _documented(path)
    else:
        allowed = _EXPECTED.get(kind, detail["msg"])
    return f"is {value or _kind(detail['input'])}; allowed: {allowed}"


def _kind(value: object) -> str:
    return {dict: "a mapping", list: "a list", type(None): "empty"}.get(type(value), "something else")


def _shown(value: object) -> str:
    """Quote what was written; nothing for lists and mappings, and no password."""
    return f"'{mask_secrets(clean(str(value), limit=60))}'" if isinstance(value, (str, int, float)) else ""


def _unknown(path: lined_yaml.Path) -> str:
    allowed = _keys(path[:-1])
    near = difflib.get_close_matches(str(path[-1]), allowed, n=1)
    meant = f"did you mean '{near[0]}'? " if near else ""
    return f"is no setting; {meant}allowed: {', '.join(allowed)}"


def _keys(path: lined_yaml.Path) -> list[str]:
    section = _section(path)
    return [field.alias or name for name, field in section.model_fields.items()] if section else []


def _documented(path: lined_yaml.Path) -> str:
    section = _section(path[:-1])
    fields = {field.alias or name: field for name, field in section.model_fields.items()} if section else {}
    field = fields.get(str(path[-1]))
    return (field.description if field else None) or "it is needed"


def _section(path: lined_yaml.Path) -> type[Section] | None:
    """Return the model that describes the mapping at ``path``."""
    kind: Any = Settings
    for part in path:
        if isinstance(kind, type) and issubclass(kind, Section):
            fields = {field.alias or name: field for name, field in kind.model_fields.items()}
            if part not in fields:
                return None
            kind = fields[str(part)].annotation
        else:  # an item of a list or mapping: the last argument of tuple[X, ...] and dict[str, X]
            kind = next((argument for argument in reversed(get_args(kind)) if argument is not Ellipsis), None)
        if get_origin(kind) in (Union, UnionType):
            kind = next(argument for argument in get_args(kind) if argument is not type(None))
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None
