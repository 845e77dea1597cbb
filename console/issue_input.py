"""What the words and files of the Issue verbs mean: fields, lists, batches. Wrong ones are one line, exit 2."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..core.errors import UsageError
from ..core.issues.batch import Operation, in_order
from ..core.issues.issue import FIELDS, Draft
from ..core.issues.outbox import OPERATION_ID
from ..core.issues.values import (
    check_body,
    check_draft,
    check_label,
    check_labels,
    check_number,
    check_people,
    check_state,
    check_title,
)
from ..core.text import clean

LISTS = ("labels", "assignees")
STANDARD_INPUT = "-"
LONGEST = 16_000_000
"""Bytes of a body or a batch."""
MOST = 10_000
"""Operations of a batch."""

_ARGS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "create": (("title",), ("body", "labels", "assignees")),
    "update": (("number", "set"), ("expect",)),
    "comment": (("number", "body"), ()),
    "label": (("number",), ("add", "remove")),
    "close": (("number",), ()),
}
"""By operation: what it needs, and what it takes beside."""


def read_text(text: str) -> str:
    """Return ``text``; for ``-`` what standard input says. Raises UsageError where that is no text."""
    return _input("the body") if text == STANDARD_INPUT else text


def read_number(text: str) -> int | str:
    """Return the number of an Issue, or the operation that is to create it. Raises UsageError."""
    if OPERATION_ID.fullmatch(text):
        return text
    if not re.fullmatch(r"#?[0-9]{1,18}", text):
        raise UsageError(f"{_shown(text)} is no Issue; allowed: its number, or the operation that is to create it")
    return check_number(int(text.lstrip("#")))


def read_version(text: str | None) -> str | None:
    """Return the version of an Issue. Raises UsageError where it is none."""
    if text is not None and not re.fullmatch(r"[0-9a-f]{64}", text):
        raise UsageError(f"{_shown(text)} is no version; allowed: 64 hexadecimal digits, as rollcage issue show tells")
    return text


def read_draft(title: str, body: str, labels: Sequence[str], assignees: Sequence[str]) -> Draft:
    """Return the Issue that is to be created. Raises UsageError for what no tracker would take."""
    return check_draft(Draft(title, body, tuple(labels), tuple(assignees)))


def read_updates(words: Sequence[str], add: Sequence[str], remove: Sequence[str]) -> dict[str, object]:
    """Return what the words ``FIELD=VALUE`` set, and ``add_labels``, ``remove_labels``. Raises UsageError."""
    given: dict[str, object] = {}
    for word in words:
        field, equals, value = word.partition("=")
        if not equals or field not in FIELDS:
            raise UsageError(f"--set {_shown(word)}; allowed: FIELD=VALUE, of {', '.join(FIELDS)}")
        if field in given:
            raise UsageError(f"--set {field} is given twice; allowed: once")
        given[field] = _list(field, value) if field in LISTS else value
    updates = check_fields(given)
    if (add or remove) and "labels" in updates:
        raise UsageError("--set labels is the whole set; allowed: that, or --add-label and --remove-label")
    both = sorted(set(add) & set(remove))
    if both:
        raise UsageError(f"label {_shown(both[0])} is to be added and removed; allowed: one of the two")
    if not updates and not add and not remove:
        raise UsageError("nothing is to be updated; say --set FIELD=VALUE, --add-label or --remove-label")
    if add:
        updates["add_labels"] = check_labels(add)
    if remove:
        updates["remove_labels"] = tuple(sorted(set(remove)))  # what is there already may have any form
    return updates


def check_fields(given: Mapping[str, object]) -> dict[str, object]:
    """Return ``given`` with lists as tuples, each once, sorted. Raises UsageError for an unknown field or value."""
    checks = {"title": check_title, "body": check_body, "state": check_state}
    found: dict[str, object] = {}
    for field, value in given.items():
        if field in checks:
            checks[field](value)  # type: ignore[arg-type]  # what is no text they refuse
            found[field] = value
        elif field in LISTS:
            texts = _texts(field, value)
            found[field] = check_labels(texts) if field == "labels" else check_people(texts)
        else:
            raise UsageError(f"there is no field {_shown(field)}; allowed: {', '.join(FIELDS)}")
    return found


def _list(field: str, value: str) -> list[object]:
    """Read a list: JSON, or words with commas between."""
    if not value.lstrip().startswith("["):
        return [word.strip() for word in value.split(",")] if value.strip() else []
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        allowed = 'words with commas, or JSON: ["a", "b"]'
        raise UsageError(f"{field}: {_shown(value)} is no list; allowed: {allowed}") from None
    assert isinstance(found, list)
    return found


def _texts(field: str, value: object) -> list[str]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise UsageError(f"{field}: {_shown(value)} is no list of texts")
    return list(value)


# Batches


def read_batch(source: str) -> list[Operation]:
    """Return the operations of the file ``source``, a JSON object a line; ``-``: of standard input. Raises UsageError.

    A number may also be the operation, queued earlier, that is to create the Issue.
    """
    text = _input("the batch") if source == STANDARD_INPUT else _file(source)
    operations: list[Operation] = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                operations.append(_operation(line))
            except UsageError as error:
                raise UsageError(f"line {number}: {error}") from None
    if not operations:
        raise UsageError("the batch is empty; allowed: one JSON object a line, with id, op, args and after")
    if len(operations) > MOST:
        raise UsageError(f"the batch has {len(operations)} operations; allowed: at most {MOST}")
    return in_order(operations)


def _operation(line: str) -> Operation:
    try:
        body = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"no JSON: {str(error).splitlines()[0]}") from None
    if not isinstance(body, dict):
        raise UsageError("must be a JSON object")
    unknown = sorted(set(body) - {"id", "op", "args", "after"})
    if unknown:
        raise UsageError(f"unknown key {_shown(unknown[0])}; allowed: id, op, args, after")
    name, kind, args, after = body.get("id"), body.get("op"), body.get("args", {}), body.get("after", [])
    if not isinstance(name, str) or not name or clean(name, limit=100) != name:
        raise UsageError(f"id {_shown(name)}; allowed: a text of 1 to 100 plain characters")
    if not isinstance(kind, str) or kind not in _ARGS:
        raise UsageError(f"op {_shown(kind)}; allowed: {', '.join(_ARGS)}")
    if not isinstance(args, dict):
        raise UsageError("args must be an object")
    return Operation(name, kind, _args(kind, args), tuple(_texts("after", after)))


def _args(kind: str, args: Mapping[str, object]) -> dict[str, object]:
    needed, allowed = _ARGS[kind]
    for key in args:
        if key not in needed and key not in allowed:
            raise UsageError(f"{kind}: unknown key {_shown(key)} in args; allowed: {', '.join((*needed, *allowed))}")
    for key in needed:
        if key not in args:
            raise UsageError(f"{kind}: {key} is missing in args")
    found = dict(args)
    if "number" in found and not (isinstance(found["number"], str) and OPERATION_ID.fullmatch(found["number"])):
        check_number(found["number"])
    if kind == "update":
        wanted = found["set"]
        if not isinstance(wanted, dict) or not wanted:
            raise UsageError("update: set must be an object of fields")
        found["set"] = check_fields(wanted)
        expect = found.get("expect")
        if expect is not None and not isinstance(expect, str):
            raise UsageError(f"{_shown(expect)} is no version")
        found["expect"] = read_version(expect)
    elif kind == "label":
        for key in ("add", "remove"):
            found[key] = tuple(check_label(label) for label in _texts(key, found.get(key, [])))
        if not found["add"] and not found["remove"]:
            raise UsageError("label: nothing is to be added or removed")
    else:
        found |= check_fields({key: value for key, value in found.items() if key in FIELDS})
    return found


# Files


def _file(source: str) -> str:
    try:
        with Path(source).open("rb") as file:
            content = file.read(LONGEST + 1)
    except OSError as error:
        raise UsageError(f"{clean(source)}: {error.strerror}") from None
    return _decoded(content, clean(source))


def _input(what: str) -> str:
    try:
        content = sys.stdin.buffer.read(LONGEST + 1)
    except OSError as error:
        raise UsageError(f"standard input cannot be read: {error.strerror}") from None
    return _decoded(content, f"{what} on standard input")


def _decoded(content: bytes, what: str) -> str:
    if len(content) > LONGEST:
        raise UsageError(f"{what} is longer than {LONGEST} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{what} is no UTF-8: byte {error.start + 1}") from None


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
