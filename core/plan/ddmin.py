"""Delta debugging: the smallest part of a whole that still does it. Pure.

Zeller and Hildebrandt, Simplifying and Isolating Failure-Inducing Input, IEEE TSE 28(2), 2002, figure 5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


def ddmin(units: Sequence[str], does: Callable[[tuple[str, ...]], bool]) -> tuple[str, ...]:
    """Return a part of ``units``, in their order, that ``does`` it, and of which no unit can be left out (1-minimal).

    ``units`` as a whole must do it, and nothing must not. The likeliest units come first: each of the first half as
    many as a search by halves takes is tried by itself before the algorithm of the paper begins, since most faults are
    in one place. ``does`` is asked once for any one part, and may raise to end the search.
    """
    known: dict[tuple[str, ...], bool] = {tuple(units): True, (): False}

    def asked(part: Sequence[str]) -> bool:
        key = tuple(part)
        if key not in known:
            known[key] = does(key)
        return known[key]

    left = list(units)
    for unit in left[: max(1, len(left).bit_length() // 2)]:
        if len(left) > 1 and asked([unit]):
            return (unit,)
    number = 2
    while len(left) > 1:
        chunks = _chunks(left, min(number, len(left)))
        one = next((chunk for chunk in chunks if asked(chunk)), None)
        if one is not None:
            left, number = one, 2
            continue
        rest = next((kept for chunk in reversed(chunks) if asked(kept := [u for u in left if u not in chunk])), None)
        if rest is not None:
            left, number = rest, max(number - 1, 2)
        elif number >= len(left):
            break
        else:
            number = min(2 * number, len(left))
    return tuple(left)


def _chunks(units: list[str], number: int) -> list[list[str]]:
    size, more = divmod(len(units), number)
    chunks, start = [], 0
    for place in range(number):
        end = start + size + (place < more)
        chunks.append(units[start:end])
        start = end
    return chunks
