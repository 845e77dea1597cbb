"""The tables of a query are found by its words, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollcage.core.diagnose.tables import tables_of


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("select count(*) from orders", ("orders",)),
        ("SELECT 1 FROM shop.orders o JOIN items AS i ON i.o = o.id WHERE 1", ("shop.orders", "items")),
        ('select * from "Or""ders", `b`, [c] where x = (select max(y) from d)', ('Or"ders', "b", "c", "d")),
        ("select (select 1 from a) from (select 2 from b left outer join c using (id)) t, e", ("a", "b", "c", "e")),
        ("select a, b, from_x from t order by a, b", ("t",)),
        ("with x as (select 1 from a), y(n) as (select 2 from x) select * from x, y join b on true", ("a", "b")),
        ("select extract(year from at), trim(both from n) from t", ("t",)),
        ("select * from t where a is distinct from b and c = 'from d'", ("t",)),
        ("select * from generate_series(1, 9) g, lateral (select 1 from t) s", ("t",)),
        ("select 1 -- from a\n /* from b */ from c", ("c",)),
        ("select 1 from (a join b on true)", ("a", "b")),
        ("select 1 from a union all select 2 from b", ("a", "b")),
        ("select $$ from a $$ from only t", ("t",)),
        ("pragma integrity_check", ()),
        ("select 1", ()),
        ("", ()),
    ],
)
def test_tables(sql: str, tables: tuple[str, ...]) -> None:
    assert tables_of(sql) == tables


WORDS = ["select", "from", "with", "as", "a", "b", "(", ")", ",", ".", "join", "'"]


@given(st.text(max_size=200) | st.lists(st.sampled_from(WORDS)).map(" ".join))
def test_no_text_upsets_it(sql: str) -> None:
    assert all(tables_of(sql))
