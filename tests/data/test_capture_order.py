"""Changes that have an order keep it, and those that have none go together."""

from __future__ import annotations

import json

from rollcage.core.data.capture import Change
from rollcage.core.data.capture_order import Shape, arrange

SHAPES = {
    "orders": Shape("1", (("id",), ("customer",)), (("1", ("above",), ("id",)),)),
    "lines": Shape("2", (("id",),), (("1", ("o",), ("id",)),)),
}


def arranged(*written: tuple[str, str, dict[str, object] | None, dict[str, object] | None]) -> list[list[int]]:
    """Return the numbers of what was written, oldest first, as they are taken back."""
    changes = []
    for number, (table, kind, before, after) in enumerate(written, 1):
        key = json.dumps([(before or after or {})["id"]])
        images = [json.dumps(row) if row is not None else None for row in (before, after)]
        changes.append(Change(number, "a", table, kind, key, images[0], images[1]))
    return [[change.number for change in group] for group in arrange(changes[::-1], SHAPES)]


def order(number: int, **more: object) -> dict[str, object]:
    return {"id": number, "customer": None, "above": None, "price": 1, **more}


def line(number: int, o: int) -> dict[str, object]:
    return {"id": number, "o": o}


def test_what_has_no_order_goes_together_and_what_refers_goes_before() -> None:
    written = [row for n in range(3) for row in (("orders", "I", None, order(n)), ("lines", "I", None, line(n, n)))]
    assert arranged(*written) == [[6, 4, 2], [5, 3, 1]]


def test_the_changes_of_one_row_go_newest_first() -> None:
    changed = ("orders", "U", order(1), order(1, price=2))
    assert arranged(("orders", "I", None, order(1)), changed, changed) == [[3], [2], [1]]


def test_a_unique_value_that_went_from_one_row_to_another_goes_back_the_same_way() -> None:
    assert arranged(
        ("orders", "D", order(1, customer="ann"), None), ("orders", "I", None, order(2, customer="ann"))
    ) == [[2], [1]]
    assert arranged(("orders", "D", order(1), None), ("orders", "I", None, order(2))) == [[2], [1]]


def test_an_update_that_leaves_what_others_refer_to_alone_waits_for_nobody() -> None:
    assert arranged(
        ("lines", "I", None, line(1, 1)), ("orders", "U", order(1), order(1, price=2)), ("lines", "I", None, line(2, 1))
    ) == [[3, 1], [2]]


def test_what_was_emptied_comes_back_parents_first_whatever_went_first() -> None:
    gone = [("orders", "D", order(1), None), ("lines", "D", line(1, 1), None)]
    assert arranged(*gone) == [[1], [2]]
    assert arranged(*gone[::-1]) == [[2], [1]]
    assert arranged(("orders", "D", order(1), None), ("orders", "D", order(2, above=1), None)) == [[2, 1]]
