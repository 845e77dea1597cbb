"""The one table: it repaints what differs and nothing else, and its cursor stays on its item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.geometry import Region

from rollcage.widgets.live_table import GAP, Bars, Cell, Column, LiveTable, column_widths
from rollcage.widgets.spans import Span

Item = tuple[str, float]


class Prices(LiveTable[Item]):
    """A small table for these tests; it counts the lines that it had painted."""

    COLUMNS: ClassVar[Sequence[Column]] = (
        Column("name", 6, most=20),
        Column("price", 10, right=True, drop=1),
        Column("course", 4, drop=2),
    )

    def __init__(self) -> None:
        super().__init__()
        self.repainted: list[Region] = []

    def key_of(self, item: Item) -> str:
        return item[0]

    def cells_of(self, item: Item) -> Sequence[Cell]:
        return (Span(item[0]), (Span(f"{item[1]:.2f}"), Span(" €", "muted")), Bars((1.0, item[1])))

    def refresh(self, *regions: Region, **options: Any) -> Prices:
        self.repainted += regions
        return super().refresh(*regions, **options)


class TableApp(App[None]):
    """Holds the table and notes what it says."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Prices()
        self.said: list[str] = []

    def compose(self) -> ComposeResult:
        yield self.table

    def on_live_table_moved(self, event: LiveTable.Moved) -> None:
        self.said.append(f"moved {event.key}")

    def on_live_table_opened(self, event: LiveTable.Opened) -> None:
        self.said.append(f"opened {event.key}")


def rows(count: int) -> list[Item]:
    return [(f"item-{number:04}", float(number)) for number in range(count)]


async def test_the_same_again_repaints_nothing() -> None:
    app = TableApp()
    async with app.run_test(size=(40, 10)) as pilot:
        app.table.show_items(rows(20))
        await pilot.pause()
        app.table.repainted.clear()
        app.table.show_items(rows(20))
        await pilot.pause()
        assert app.table.repainted == []


async def test_a_changed_cell_repaints_its_cells_only() -> None:
    app = TableApp()
    async with app.run_test(size=(40, 10)) as pilot:
        app.table.show_items(rows(20))
        await pilot.pause()
        app.table.repainted.clear()
        changed = rows(20)
        changed[3] = ("item-0003", 7.0)
        changed[19] = ("item-0019", 8.0)  # below the last row on the screen
        app.table.show_items(changed)
        (region,) = app.table.repainted
        assert (region.y, region.height) == (4, 1)
        assert region.x > 6  # the name is as it was


async def test_ten_thousand_rows_are_no_more_work_than_those_on_the_screen() -> None:
    app = TableApp()
    made: list[str] = []
    async with app.run_test(size=(40, 10)) as pilot:
        app.table.show_items(rows(10_000))
        await pilot.pause()
        cells_of = app.table.cells_of

        def counted(item: Item) -> Sequence[Cell]:
            made.append(item[0])
            return cells_of(item)

        app.table.cells_of = counted  # type: ignore[method-assign]
        app.table.show_items(rows(10_000))
        assert len(made) <= 10


async def test_the_cursor_stays_on_its_item_when_others_come_and_go() -> None:
    app = TableApp()
    async with app.run_test(size=(40, 10)) as pilot:
        app.table.show_items(rows(5))
        await pilot.press("down", "down")
        assert app.table.key == "item-0002"
        app.table.show_items([("new", 1.0), *reversed(rows(5))])
        assert app.table.key == "item-0002"
        app.table.show_items([item for item in rows(5) if item[0] != "item-0002"])
        await pilot.pause()
        assert app.table.key == "item-0004"  # its item is gone: the one that stands in its place now
        app.table.show_items([])
        await pilot.pause()
        assert app.table.item is None
        assert app.said[-1] == "moved "


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        (["down"], "item-0001"),
        (["j", "j", "k"], "item-0001"),
        (["end"], "item-0099"),
        (["end", "home"], "item-0000"),
        (["pagedown"], "item-0008"),
        (["up"], "item-0000"),
    ],
)
async def test_keys_move_the_cursor_and_the_view_follows(keys: list[str], key: str) -> None:
    app = TableApp()
    async with app.run_test(size=(40, 10)) as pilot:
        app.table.show_items(rows(100))
        await pilot.press(*keys)
        await pilot.pause()
        assert app.table.key == key
        visible = [app.table.index_at(y) for y in range(10)]
        assert int(key[-4:]) in visible


async def test_a_click_moves_and_a_double_click_opens() -> None:
    app = TableApp()
    async with app.run_test(size=(40, 10)) as pilot:
        app.table.show_items(rows(100))
        await pilot.pause()
        await pilot.click(Prices, offset=(3, 5))
        assert app.table.key == "item-0004"
        await pilot.double_click(Prices, offset=(3, 6))
        await pilot.press("enter")
        assert app.said[-2:] == ["opened item-0005", "opened item-0005"]


async def test_a_filter_shows_rows_with_all_its_words_whatever_the_case() -> None:
    app = TableApp()
    async with app.run_test(size=(40, 10)) as pilot:
        app.table.show_items(rows(100))
        app.table.filter("ITEM 42.00")
        await pilot.pause()
        assert [item[0] for item in app.table.items] == ["item-0042"]
        assert app.table.hidden == 99
        app.table.show_items(rows(50))  # it stays in force
        assert app.table.key == "item-0042"
        app.table.filter("nothing like that")
        assert app.table.item is None
        app.table.filter("")
        assert len(app.table.items) == 50


async def test_a_log_follows_its_end_until_somebody_moves_away() -> None:
    app = TableApp()
    async with app.run_test(size=(40, 10)) as pilot:
        app.table.follow = True
        app.table.show_items(rows(50))
        await pilot.pause()
        app.table.show_items(rows(60))
        await pilot.pause()
        assert app.table.key == "item-0059"
        await pilot.press("home")
        app.table.show_items(rows(70))
        assert app.table.key == "item-0000"


COLUMNS = st.lists(
    st.builds(
        Column,
        st.just("x"),
        st.integers(1, 12),
        most=st.integers(0, 30),
        right=st.booleans(),
        drop=st.integers(0, 4),
    ),
    min_size=1,
    max_size=8,
)


@given(COLUMNS, st.integers(1, 200))
def test_columns_fit_where_the_ones_that_stay_can(columns: list[Column], cells: int) -> None:
    widths = column_widths(columns, cells)
    kept = [columns[index] for index, _ in widths]
    assert [index for index, _ in widths] == sorted(index for index, _ in widths)
    assert all(column in kept for column in columns if not column.drop)
    total = sum(width for _, width in widths) + GAP * (len(widths) - 1)
    if sum(column.width for column in kept) + GAP * (len(kept) - 1) <= cells:
        assert total <= cells
        assert all(column.width <= width for column, (_, width) in zip(kept, widths, strict=True))


async def test_numbers_end_where_their_heading_ends() -> None:
    app = TableApp()
    async with app.run_test(size=(40, 10)) as pilot:
        app.table.show_items([("a", 1.0), ("b", 1234.5)])
        await pilot.pause()
        texts = [app.table.render_line(y).text for y in range(3)]
        ends = [texts[0].index("price") + 5, texts[1].index("1.00 €") + 6, texts[2].index("1234.50 €") + 9]
        assert len(set(ends)) == 1
