"""A diff is read as git meant it, whatever its lines look like."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rollcage.widgets.diff import diff_lines, diff_summary, file_starts, parse, totals
from rollcage.widgets.line_view import text_of
from tests.boards import DIFF, WIDE_DIFF


def test_each_file_has_its_name_and_numbers() -> None:
    assert [(file.path, file.added, file.removed) for file in parse(WIDE_DIFF)] == [
        ("calc.py", 1, 1),
        ("shop/basket.py", 1, 3),
        ("docs/notes.md", 0, 2),
    ]
    assert totals(WIDE_DIFF) == (2, 6)
    assert diff_summary(DIFF) == "calc.py +1 −1"
    assert diff_summary(WIDE_DIFF) == "3 files +2 −6"
    assert diff_summary("") == "no code"


def test_a_removed_line_that_looks_like_a_heading_is_a_line() -> None:
    assert ("--- an old list", "removed") in parse(WIDE_DIFF)[2].lines


def test_names_with_spaces_quotes_and_renames() -> None:
    text = (
        "diff --git a/a b.txt b/a b.txt\nnew file mode 100644\n--- /dev/null\n+++ b/a b.txt\n@@ -0,0 +1 @@\n+x\n"
        'diff --git "a/tab\\there" "b/tab\\there"\n--- "a/tab\\there"\n+++ "b/tab\\there"\n@@ -1 +1 @@\n-x\n+y\n'
        "diff --git a/old b/new\nsimilarity index 100%\nrename from old\nrename to new\n"
        "diff --git a/logo.png b/logo.png\nBinary files a/logo.png and b/logo.png differ\n"
    )
    assert [file.path for file in parse(text)] == ["a b.txt", '"tab\\there"', "new", "logo.png"]
    assert "rename from old" in text_of(diff_lines(text, 60))
    assert "Binary files" in text_of(diff_lines(text, 60))


def test_a_diff_that_was_cut_off_still_shows_its_later_files() -> None:
    text = "diff --git a/a b/a\n@@ -1,9 +1,9 @@\n x\ndiff --git a/b b/b\n@@ -1 +1 @@\n-x\n+y"
    assert [file.path for file in parse(text)] == ["a", "b"]


def test_the_start_of_each_file_is_known() -> None:
    lines = diff_lines(WIDE_DIFF, 60)
    starts = file_starts(WIDE_DIFF)
    assert [lines[at][0].text.strip("─ ") for at in starts] == ["calc.py", "shop/basket.py", "docs/notes.md"]


@given(st.text(max_size=300))
def test_any_text_can_be_shown(text: str) -> None:
    diff_lines(text, 40)
    assert totals(text) >= (0, 0)
