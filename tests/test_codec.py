"""Every noun survives the way to JSON and back, and a damaged record is an error that says where."""

from __future__ import annotations

import dataclasses
import inspect
import json
import types
import typing
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcage.core import model
from rollcage.core.codec import canonical, from_json, to_json
from rollcage.core.errors import StoreError

NOUNS: list[type[Any]] = [
    noun
    for _, noun in inspect.getmembers(model, inspect.isclass)
    if dataclasses.is_dataclass(noun) and noun.__module__ == model.__name__
]

text = st.text(st.characters(codec="utf-8"), max_size=12)
number = st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | number | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)
WAYS: dict[object, st.SearchStrategy[Any]] = {
    str: text,
    int: st.integers(),
    float: number,
    bool: st.booleans(),
    type(None): st.none(),
    object: plain,
    datetime: st.datetimes(timezones=st.just(UTC)),
}


def any_of(kind: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for whatever a noun may hold by its annotations."""
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if kind in WAYS:
        return WAYS[kind]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return st.builds(kind, **{field.name: any_of(hints[field.name]) for field in dataclasses.fields(kind)})
    if origin is tuple and inside[1:] == (...,):
        return st.lists(any_of(inside[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*map(any_of, inside))
    if origin is Mapping:
        return st.dictionaries(any_of(inside[0]), any_of(inside[1]), max_size=3)
    if origin in {typing.Union, types.UnionType}:
        return st.one_of(*map(any_of, inside))
    raise NotImplementedError(f"a noun holds {kind}: say here how such a thing is made")


every_noun = pytest.mark.parametrize("kind", NOUNS, ids=lambda kind: kind.__name__)


@every_noun
@settings(deadline=None, max_examples=12)
@given(st.data())
def test_a_noun_comes_back_as_it_was(kind: type[Any], data: st.DataObject) -> None:
    noun = data.draw(any_of(kind))
    body = to_json(noun)
    assert from_json(kind, body) == noun
    assert from_json(kind, json.dumps(body, allow_nan=False)) == noun
    assert from_json(kind, canonical(body)) == noun


@every_noun
@settings(deadline=None, max_examples=5)
@given(st.data())
def test_a_record_that_breaks_off_is_damaged(kind: type[Any], data: st.DataObject) -> None:
    whole = canonical(to_json(data.draw(any_of(kind))))
    part = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(StoreError, match=f"a stored {kind.__name__} is damaged at "):
        from_json(kind, part)


@every_noun
@settings(deadline=None, max_examples=5)
@given(st.data())
def test_a_record_with_one_character_changed_is_read_or_damaged_never_a_crash(
    kind: type[Any], data: st.DataObject
) -> None:
    whole = canonical(to_json(data.draw(any_of(kind))))
    place = data.draw(st.integers(0, len(whole) - 1))
    broken = whole[:place] + data.draw(st.characters()) + whole[place + 1 :]
    with suppress(StoreError):
        assert isinstance(from_json(kind, broken), kind)


@every_noun
@settings(deadline=None, max_examples=3)
@given(st.data())
def test_a_field_of_another_kind_is_damaged_and_named(kind: type[Any], data: st.DataObject) -> None:
    body = to_json(data.draw(any_of(kind)))
    for name in body:
        with pytest.raises(StoreError, match=f"a stored {kind.__name__} is damaged at {name}"):
            from_json(kind, {**body, name: [{"no": ["such"]}]})


@every_noun
@settings(deadline=None, max_examples=3)
@given(st.data())
def test_a_field_that_is_missing_is_damage_unless_it_has_a_default(kind: type[Any], data: st.DataObject) -> None:
    body = to_json(data.draw(any_of(kind)))
    for field in dataclasses.fields(kind):
        less = {name: value for name, value in body.items() if name != field.name}
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            with pytest.raises(StoreError, match=f"damaged at {field.name}"):
                from_json(kind, less)
        else:
            assert isinstance(from_json(kind, less), kind)


@pytest.mark.parametrize(
    "garbage", ["", "null", "[]", "1", '"text"', "{", "[" * 100_000, '{"search": "\udc80"}', "\x00"]
)
def test_garbage_is_damaged(garbage: str) -> None:
    with pytest.raises(StoreError, match="a stored CheckRuns is damaged"):
        from_json(model.CheckRuns, garbage)


def test_json_holds_times_in_utc_and_enums_as_their_values() -> None:
    at = datetime(2026, 11, 20, 15, 2, 31, 120_000, tzinfo=timezone(timedelta(hours=1)))
    body = to_json(model.Signal(at, "executor", model.SignalKind.METRIC, "memory_usage", 7.2e9, attrs={"pid": 47}))
    assert body == {
        "at": "2026-11-20T14:02:31.120000Z",
        "agent": "executor",
        "kind": "metric",
        "name": "memory_usage",
        "value": 7.2e9,
        "text": None,
        "unit": None,
        "attrs": {"pid": 47},
        "seq": 0,
    }
    assert type(body["kind"]) is str


@settings(deadline=None)
@given(st.dictionaries(text, plain, max_size=4))
def test_equal_values_give_equal_canonical_text(value: dict[str, Any]) -> None:
    turned = dict(reversed(value.items()))
    assert canonical(turned) == canonical(value)
    assert canonical(value).isascii()
    assert json.loads(canonical(value)) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_cannot_say_has_no_canonical_text(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical({"value": value})
