"""Text keeps its place: cut and filled to exact cells, and nothing in it drives the terminal."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from rollcage.widgets.spans import Span, both_ends, changed_cells, cut, cut_line, fit, line_width, safe, wrap

TEXT = st.text(max_size=80)
SPANS = st.lists(st.tuples(st.text(alphabet="ab 漢é", max_size=9), st.sampled_from(["", "ok", "critical"])), max_size=6)


@given(TEXT)
@example("\x1b]52;c;eA==\x07")
@example("\x9b31m")
@example("a\u202eb")
@example("e\u0301 \u200d \ufe0f")
@example("line\nnext\ttab")
def test_safe_text_only_prints(text: str) -> None:
    shown = safe(text)
    assert all(char.isprintable() for char in shown)
    assert safe(shown) == shown


@given(TEXT, st.integers(0, 40), st.booleans())
@example("漢字漢字", 3, False)
def test_fitted_text_takes_exactly_its_cells(text: str, cells: int, right: bool) -> None:
    assert cell_len(fit(text, cells, right=right)) == cells


def test_what_is_cut_off_shows() -> None:
    assert cut("executor", 5) == "exec…"
    assert cut("漢字漢字", 4) == "漢…"
    assert cut("ok", 5) == "ok"


@given(SPANS, st.integers(1, 30))
def test_a_cut_line_fits_and_says_that_it_was_cut(pieces: list[tuple[str, str]], cells: int) -> None:
    line = tuple(Span(*piece) for piece in pieces)
    shown = cut_line(line, cells)
    assert line_width(shown) <= cells
    if line_width(line) > cells:
        assert "…" in "".join(span.text for span in shown)
    else:
        assert shown == line


@given(SPANS, SPANS)
def test_all_cells_that_differ_are_within_the_changed_ones(
    old: list[tuple[str, str]], new: list[tuple[str, str]]
) -> None:
    before, after = tuple(Span(*piece) for piece in old), tuple(Span(*piece) for piece in new)
    start, end = changed_cells(before, after)

    def cells(line: tuple[Span, ...]) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for span in line:
            for char in span.text:
                found += [(char, span.style)] * max(cell_len(char), 0)
        return found

    first, second = cells(before), cells(after)
    length = max(len(first), len(second))
    first += [("", "")] * (length - len(first))
    second += [("", "")] * (length - len(second))
    for x in range(length):
        if first[x] != second[x]:
            assert start <= x < end


@given(TEXT, st.integers(4, 40))
def test_wrapped_text_fits_and_loses_no_word(text: str, cells: int) -> None:
    lines = wrap(text, cells)
    assert all(cell_len(line) <= cells for line in lines)
    assert "".join("".join(lines).split()) == "".join(safe(text).split())


@pytest.mark.parametrize("cells", [1, 5, 12, 30])
def test_both_ends_never_overlap(cells: int) -> None:
    line = both_ends((Span("left side"),), (Span("right"),), cells)
    assert line_width(line) <= cells
