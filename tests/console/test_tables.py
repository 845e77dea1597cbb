"""Lists for people, where a program reads them: every cell whole, in columns."""

from __future__ import annotations

import pytest

from rollcage.console.output import Column, write_list


def test_cells_stand_under_each_other_whole_and_without_markup(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[tuple[int, str, str | None]] = [(7, "日本 [bold]x[/]", None), (10_000, "x" * 300, "a\x1b[2Jb")]
    columns: tuple[Column[tuple[int, str, str | None]], ...] = (
        Column("issue", lambda row: row[0], right=True),
        Column("title", lambda row: row[1]),
        Column("held by", lambda row: row[2]),
    )

    write_list(rows, columns, as_json=False, body=lambda row: {}, empty="none")

    assert capsys.readouterr().out.splitlines() == [
        f"issue  title{' ' * 295}  held by",
        "    7  日本 [bold]x[/]",
        f"10000  {'x' * 300}  ab",
    ]
