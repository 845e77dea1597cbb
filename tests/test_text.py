"""Foreign text comes out safe, whatever went in; what looks like a secret does not come out."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rollcage.core.text import clean, clean_lines, mask_secrets

INTRODUCERS = [
    "\x1b",
    "\x1b[",
    "\x1b]",
    "\x1bP",
    "\x1b_",
    "\x1b^",
    "\x1bX",
    "\x9b",
    "\x9d",
    "\x90",
    "\x98",
    "\x9e",
    "\x9f",
]
PIECES = [
    *INTRODUCERS,
    *[
        "\x07",
        "\x1b\\",
        "\x9c",
        "31m",
        "?1049h",
        "0;title",
        "8;;http://x/",
        "\r\n",
        "\r",
        "\n",
        "\t",
        "\v",
        "\f",
        "\x85",
    ],
    *["\u202e", "\u2066", "\u200b", "\u2028", "\ufeff", "\ufe0f", "\xad", "\u3164", "\ud83d", "\udc9b", "\U000e0041"],
    *["a", " ", "ü", "日本", "[/]", "[red]"],
]
hostile = st.lists(st.sampled_from(PIECES) | st.text(st.characters(), max_size=4), max_size=30).map("".join)

# Invisible, though Unicode counts it as a letter or a mark.
INVISIBLE = {*"\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0", *map(chr, range(0xFE00, 0xFE10))}
# Visible, though Unicode counts it as a format character: number and verse marks, and how hieroglyphs are stacked.
VISIBLE = (
    "ARABIC NUMBER",
    "ARABIC SIGN",
    "ARABIC FOOTNOTE",
    "ARABIC END",
    "ARABIC POUND",
    "ARABIC PIASTRE",
    "ARABIC DISPUTED",
    "SYRIAC ABBREVIATION",
    "KAITHI",
    "EGYPTIAN",
)


def unsafe(text: str, *, keep: str = "") -> set[str]:
    """Return what a terminal may act on, or an eye may miss."""
    return {
        character
        for character in text
        if character not in keep
        and not unicodedata.name(character, "").startswith(VISIBLE)
        and (character in INVISIBLE or unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"})
    }


@settings(deadline=None)
@given(hostile)
def test_a_cleaned_line_holds_nothing_that_a_terminal_acts_on_or_an_eye_misses(text: str) -> None:
    assert unsafe(clean(text)) == set()


@settings(deadline=None)
@given(hostile)
def test_cleaned_lines_hold_line_ends_and_nothing_else_of_the_kind(text: str) -> None:
    assert unsafe(clean_lines(text), keep="\n") == set()


def test_no_character_at_all_passes_that_is_unsafe() -> None:
    everything = "".join(map(chr, range(0x110000)))
    shown = "".join(clean_lines(f"x{character}x") for character in everything if unsafe(character))
    assert unsafe(shown, keep="\n") == set()


@settings(deadline=None)
@given(hostile, st.integers(1, 40))
@example("\t" * 30, 40)
@example("a" + "\x00" * 200, 10)
def test_cleaning_twice_is_cleaning_once(text: str, limit: int) -> None:
    once, lines = clean(text, limit=limit), clean_lines(text, limit=limit)
    assert clean(once, limit=limit) == once
    assert clean_lines(lines, limit=limit) == lines
    assert len(once) <= limit
    assert len(lines) <= limit


@settings(deadline=None)
@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=60))
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert clean_lines(text) == text
    assert clean(text) == " ".join(text.split())


BODY = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)


@settings(deadline=None)
@given(
    BODY,
    st.sampled_from(["\x1b]", "\x9d", "\x1bP", "\x90", "\x1b_", "\x1b^", "\x1bX"]),
    BODY,
    st.sampled_from(["\x07", "\x1b\\", "\x9c"]),
    BODY,
)
def test_a_string_sequence_goes_whole(before: str, start: str, body: str, end: str, after: str) -> None:
    assert clean_lines(before + start + body + end + after) == before + after


@settings(deadline=None)
@given(
    BODY,
    st.sampled_from(["\x1b[", "\x9b"]),
    st.text("0123456789:;<=>?", max_size=8),
    st.text(" !\"#$%&'()*+,-./", max_size=2),
    st.characters(min_codepoint=0x40, max_codepoint=0x7E),
    BODY,
)
def test_a_control_sequence_goes_whole(
    before: str, start: str, parameters: str, middle: str, final: str, after: str
) -> None:
    assert clean_lines(before + start + parameters + middle + final + after) == before + after


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;owned\x07title", "title"),
        ("\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\", "click"),
        ("\x1b]52;c;cm0gLXJm\x07x", "x"),
        ("\x1b(B\x1b7\x1b8\x1bcok", "ok"),
        ("\x1b\x1b[31mx", "x"),
        ("\x1b[\x1b[31mx", "x"),
        ("an end is missing \x1b]0;title", "an end is missing"),
        ("an end is missing \x1b[", "an end is missing"),
        ("a\r\nb\rc\td", "a b c d"),
        ("if (admin\u202e\u2066) {", "if (admin) {"),
        ("pass\u200bword", "password"),
        ("[/] [bold] stays", "[/] [bold] stays"),
        ("\udce4 is no UTF-8", "is no UTF-8"),
    ],
)
def test_what_agents_have_tried(text: str, line: str) -> None:
    assert clean(text) == line


def test_a_sequence_that_never_ends_takes_its_own_line_only() -> None:
    assert clean_lines("a\x1b]0;title\nb") == "a\nb"


def test_line_ends_stay_in_lines_and_a_tab_becomes_four_spaces() -> None:
    assert clean_lines("a\r\n\tb\rc\fd\n") == "a\n    b\nc\nd\n"


def test_a_cut_is_shown() -> None:
    assert clean("abcdef", limit=4) == "abc…"
    assert clean("abcd", limit=4) == "abcd"
    assert clean("a" + "\x00" * 100 + "b", limit=4) == "a…"
    assert clean("a" + " " * 100, limit=4) == "a"


TOKENS = [
    "ghp_" + "a1B2" * 9,
    "ghs_" + "a1B2" * 9,
    "github_pat_" + "11ABCDEFG0_" + "x" * 50,
    "sk-ant-api03-" + "Ab_9-" * 8,
    "sk-proj-" + "Ab9" * 10,
    "xoxb-123456789012-abcdefABCDEF",
    "AKIA" + "IOSFODNN7EXAMPLE",
]


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize(
    "around", ["{}", "TOKEN={}", "'{}'", "Authorization: Bearer {}\n", "https://{}@github.com/a/b"]
)
def test_a_token_is_masked_wherever_it_stands(token: str, around: str) -> None:
    assert mask_secrets(around.format(token)) == around.format("***")


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgres://app:hunter2@db:5432/shop", "postgres://***@db:5432/shop"),
        ("redis://:hunter2@cache:6379/0", "redis://***@cache:6379/0"),
        ("https://ghp_" + "a" * 36 + ":hunter2@github.com/a/b", "https://***@github.com/a/b"),
        ("https://ann:hun@ter2@example.com", "https://***@example.com"),
        ("https://example.com:8080/a?mail=ann@example.com", "https://example.com:8080/a?mail=ann@example.com"),
        ("https://example.com:8080?mail=ann@example.com", "https://example.com:8080?mail=ann@example.com"),
        ("ssh://git@example.com/a", "ssh://git@example.com/a"),
    ],
)
def test_a_password_within_a_url_is_masked_and_the_rest_stays(url: str, masked: str) -> None:
    assert mask_secrets(f"cannot reach {url}, giving up") == f"cannot reach {masked}, giving up"


def test_words_that_only_resemble_a_token_stay() -> None:
    text = "the risk-assessment-of-rollbacks and disk-usage-monitoring-agent"
    assert mask_secrets(text) == text


@settings(deadline=None)
@given(st.lists(st.sampled_from([*TOKENS, "://", ":", "@", "/", "a", " ", "***", "\n"]), max_size=12).map("".join))
def test_masking_twice_is_masking_once_and_no_token_is_left(text: str) -> None:
    masked = mask_secrets(text)
    assert mask_secrets(masked) == masked
    assert not re.search(r"gh[ps]_\w{20}|github_pat_|AKIA\w{16}", masked)
