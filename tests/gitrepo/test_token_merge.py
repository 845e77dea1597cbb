"""Within the line both sides' changes are merged by words, or refused: nothing is dropped and nothing made up."""

from __future__ import annotations

import subprocess
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rollcage.core.gitrepo.finely import merge_file
from rollcage.core.gitrepo.mirror import Mirror
from rollcage.core.gitrepo.token_merge import (
    MOST_TOKENS,
    Edit,
    TokenMerge,
    applied,
    lines,
    merge_tokens,
    token_edits,
    tokens,
)

texts = st.lists(st.sampled_from(["a", "b", "foo", " ", "  ", "+", "(", ")", ",", "\n", "\r\n", "ü"]), max_size=14).map(
    lambda words: "".join(words).encode()
)


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "merged"),
    [
        # the bad one is base, a later commit made ours of it, before it was theirs
        ("return a - b", "return round(a - b, 2)", "return a + b", "return round(a + b, 2)"),
        ("x = f(a,b)", "x = f(a,b, key=c)", "x = g(a,b)", "x = g(a,b, key=c)"),
        ("if n > 1: go()", "if n > 1 and m: go()", "if n >= 1: go()", "if n >= 1 and m: go()"),
        ("value = 3.15", "price = 3.15", "value = 3.14", "price = 3.14"),
        ("a\nb\nc\n", "a\nb2\nc\n", "a1\nb\nc\n", "a1\nb2\nc\n"),
        ("bad()\n", "bad()\nlater()\n", "", "later()\n"),
        ("one = 1\r\n", "one = 1  # why\r\n", "one = 0\r\n", "one = 0  # why\r\n"),
        ("größe - b", "rund(größe - b)", "größe + b", "rund(größe + b)"),
    ],
)
def test_changes_of_one_line_that_do_not_meet_are_both_made(base: str, ours: str, theirs: str, merged: str) -> None:
    assert merge_tokens(base.encode(), ours.encode(), theirs.encode()) == TokenMerge(merged.encode())


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "words"),
    [
        ("return a - b", "return a * b", "return a + b", "'-' to '*' and to '+'"),
        ("f(a)", "f(a, b)", "f(a, c)", "nothing to ', b' and to ', c'"),
        ("x = old(1)", "y[2] = new", "x = older(1)", "'x = old(1)' to 'old' and to 'y[2] = new'"),
    ],
)
def test_changes_that_meet_are_refused_with_the_words(base: str, ours: str, theirs: str, words: str) -> None:
    merged = merge_tokens(base.encode(), ours.encode(), theirs.encode())
    assert merged.text is None
    assert merged.conflict.startswith("the same words were changed in two ways: ")
    if not base.startswith("x"):
        assert words in merged.conflict


def test_what_was_changed_in_a_line_is_gone_with_the_line() -> None:
    base, ours, theirs = b"a = 1\nb = 2\nc = 3\n", b"a = 1\nc = 3\n", b"a = 1\nb = 5\nc = 3\n"
    assert merge_tokens(base, ours, theirs).text is None
    assert merge_tokens(base, ours, theirs, deleted_stays=True) == TokenMerge(ours)
    whole = b"a = 1\nx = 7\ny = 8\nc = 3\n"  # lines that would come back are no words within the line
    assert merge_tokens(base, ours, whole, deleted_stays=True).text is None


def test_what_is_shown_of_a_conflict_is_clean() -> None:
    merged = merge_tokens(b"a", b"\x1b[31mb", b"c" * 500)
    assert "\x1b" not in merged.conflict
    assert len(merged.conflict) < 300


def test_a_huge_text_is_not_compared_token_by_token() -> None:
    base = b"x = 1\n" * MOST_TOKENS
    assert merge_tokens(base, base + b"y", base).text == base + b"y"
    assert merge_tokens(b"a " * MOST_TOKENS, b"a " * MOST_TOKENS + b"b", b"c " + b"a " * MOST_TOKENS).text is None


@settings(max_examples=60)
@given(texts, texts)
def test_a_side_that_changed_nothing_has_no_say(base: bytes, other: bytes) -> None:
    for ours, theirs in ((base, other), (other, base), (other, other)):
        assert merge_tokens(base, ours, theirs) == TokenMerge(other)


@settings(max_examples=60)
@given(texts, texts)
def test_edits_turn_the_one_text_into_the_other(old: bytes, new: bytes) -> None:
    assert b"".join(tokens(old)) == old
    assert b"".join(lines(old)) == old
    edits = token_edits(old, new)
    assert applied(tokens(old), edits) == new
    assert all(one.end < other.start for one, other in pairwise(edits))


@settings(max_examples=60)
@given(texts, texts, texts)
@example(b"a+b", b"a+bfoo", b"a(b")
def test_it_is_symmetric_and_keeps_what_either_side_put_in(base: bytes, ours: bytes, theirs: bytes) -> None:
    merged = merge_tokens(base, ours, theirs)
    assert merged == merge_tokens(base, theirs, ours)
    if merged.text is None:
        return
    # Byte by byte: what either side put in and what it took away, once where both did the same.
    parts = tokens(base)
    expected = Counter(parts)
    for edit in {*token_edits(base, ours), *token_edits(base, theirs)}:
        expected.subtract(parts[edit.start : edit.end])
        expected.update(edit.new)
    assert sorted(b"".join(expected.elements())) == sorted(merged.text)


def gits(place: Path, base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
    """Return what git merge-file makes of it; None: a conflict."""
    for name, text in (("base", base), ("ours", ours), ("theirs", theirs)):
        (place / name).write_bytes(text)
    done = subprocess.run(
        ["git", "merge-file", "-p", "ours", "base", "theirs"], cwd=place, capture_output=True, check=False
    )
    return done.stdout if done.returncode == 0 else None


line_texts = st.lists(
    st.sampled_from(["a\n", "b\n", "c\n", "d e\n", "d f\n", "<<<<<<< x\n", "=======\n", "e"]), max_size=7
).map(lambda found: "".join(found).encode())


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(line_texts, line_texts, line_texts)
@example(b"a\nb\nc\n", b"a\nb\nd e\n", b"d f\nb\nc\n")
@example(b"a\nb\n", b"a\nb\nc\n", b"a\nb")
def test_where_git_merges_the_result_is_gits(
    mirror: Mirror, tmp_path: Path, base: bytes, ours: bytes, theirs: bytes
) -> None:
    expected = gits(tmp_path, base, ours, theirs)
    merged = merge_file(mirror, base, ours, theirs)
    if expected is not None:
        assert merged.text == expected


def test_a_file_is_merged_by_lines_and_by_words_only_where_those_conflict(mirror: Mirror) -> None:
    base = b"import os\n\n\ndef f(a, b):\n    return a - b\n\n\ndef g():\n    pass\n"
    ours = base.replace(b"return a - b", b"return round(a - b, 2)").replace(b"pass", b"return 1")
    theirs = base.replace(b"a - b", b"a + b").replace(b"import os", b"import re")
    expected = b"import re\n\n\ndef f(a, b):\n    return round(a + b, 2)\n\n\ndef g():\n    return 1\n"
    assert merge_file(mirror, base, ours, theirs) == TokenMerge(expected)
    assert merge_file(mirror, base[:-1], ours[:-1], theirs[:-1]) == TokenMerge(expected[:-1])
    assert merge_file(mirror, b"\0" + base, ours, theirs).conflict == "a binary file that was changed since"


def test_no_newline_at_the_end_stays_so(mirror: Mirror) -> None:
    assert merge_file(mirror, b"a - b", b"f(a - b)", b"a + b") == TokenMerge(b"f(a + b)")
    assert merge_file(mirror, b"a - b", b"f(a - b)\n", b"a + b") == TokenMerge(b"f(a + b)\n")


def test_text_that_looks_like_gits_markers_is_text(mirror: Mirror) -> None:
    marker = b"<<<<<<<<< x\n=======\n>>>>>>> y\n"
    merged = merge_file(mirror, marker + b"a - b\n", marker + b"f(a - b)\n", marker + b"a + b\n")
    assert merged == TokenMerge(marker + b"f(a + b)\n")


def test_words_that_take_each_others_place_are_changes_of_their_own() -> None:
    now, then, later = b"f(total & 256)\n", b"f(old & 0xFF)\n", b"f(sum & 256)\n"
    assert token_edits(now, then) == [Edit(2, 3, (b"old",)), Edit(6, 7, (b"0xFF",))]
    assert merge_tokens(now, later, b"f(total & 0xFF)\n").text == b"f(sum & 0xFF)\n"
