"""Nouns to JSON and back; pydantic validates plain frozen dataclasses, so that a damaged record is an error."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from .clock import iso
from .errors import StoreError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")


_adapters: dict[Any, TypeAdapter[Any]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:
    if kind not in _adapters:
        from pydantic import TypeAdapter  # dearer than all of the store: an empty list does without

        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


def to_json(noun: object) -> dict[str, Any]:
    """Return the dataclass ``noun`` as plain JSON values; times as ISO 8601 in UTC, enums as their values."""
    plain = _adapter(type(noun)).dump_python(noun, mode="python")
    encoded = _plain(plain)
    assert isinstance(encoded, dict)
    return encoded


def _plain(value: object) -> Any:
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    return value


def from_json(kind: type[T], value: dict[str, Any] | str) -> T:
    """Return the dataclass ``kind`` read from a JSON object or its text.

    Raises StoreError where the text is damaged or does not fit.
    """
    from pydantic import ValidationError

    adapter: TypeAdapter[T] = _adapter(kind)
    try:
        return adapter.validate_json(value) if isinstance(value, str) else adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise StoreError(f"a stored {kind.__name__} is damaged at {place or 'its start'}: {first['msg']}") from error


def canonical(value: object) -> str:
    """Return JSON with sorted keys and no spaces, for hashing; equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
