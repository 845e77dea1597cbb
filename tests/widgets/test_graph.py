"""The graph of the agents: layers follow dependencies, edges can be followed, cycles are named."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rollcage.widgets.graph import Node, draw, find_cycle, layers_of
from rollcage.widgets.line_view import text_of
from rollcage.widgets.spans import line, line_width


def node(name: str, *after: str, layer: int = 0) -> Node:
    return Node(name, (line(name), line("state")), after, layer)


def picture(*nodes: Node, width: int = 100, height: int = 30, gap: int = 5) -> str:
    drawn = draw(nodes, width, height, gap)
    assert drawn is not None
    return text_of(drawn)


def test_a_chain_is_one_line_of_arrows() -> None:
    assert picture(node("planner"), node("analyzer", "planner"), node("executor", "analyzer")) == (
        "planner ──▶ analyzer ──▶ executor\nstate       state        state"
    )


def test_a_diamond_forks_and_joins() -> None:
    assert picture(node("a"), node("b", "a"), node("c", "a"), node("d", "b", "c")).split("\n") == [
        "a ─────┬▶ b ─────┬▶ d",
        "state  │  state  │  state",
        "       │         │",
        "       ╰▶ c ─────╯",
        "          state",
    ]


def test_an_edge_that_passes_a_layer_goes_round_its_nodes() -> None:
    assert picture(node("a"), node("b", "a"), node("c", "b", "a")).split("\n") == [
        "a ─────┬▶ b ─────┬▶ c",
        "state  │  state  │  state",
        "       │         │",
        "       ╰─────────╯",
    ]


def test_stages_place_agents_without_dependencies() -> None:
    layers = layers_of([node("late", layer=4), node("early", layer=1), node("after", "late", layer=0)])
    assert layers == {"early": 0, "late": 1, "after": 2}


def test_a_cycle_is_named_and_not_drawn() -> None:
    cycle = find_cycle([node("a", "c"), node("b", "a"), node("c", "b"), node("d")])
    assert cycle[0] == cycle[-1]
    assert set(cycle) == {"a", "b", "c"}
    assert find_cycle([node("a"), node("b", "a", "unknown")]) == ()


def test_what_does_not_fit_is_not_drawn() -> None:
    chain = [node(f"agent-{n}", *([f"agent-{n - 1}"] if n else [])) for n in range(6)]
    assert draw(chain, 40, 10) is None
    assert draw([node(f"a{n}") for n in range(10)], 80, 5) is None
    assert draw([node(f"a{n}") for n in range(1_000)], 80, 5_000) is None


@given(st.lists(st.lists(st.integers(0, 11), max_size=3), min_size=1, max_size=12))
def test_every_graph_without_a_cycle_is_drawn_whole(edges: list[list[int]]) -> None:
    nodes = [node(f"n{place}", *{f"n{other}" for other in after if other < place}) for place, after in enumerate(edges)]
    drawn = draw(nodes, 2_000, 2_000)
    assert drawn is not None
    text = text_of(drawn)
    assert all(item.name in text for item in nodes)
    assert all(line_width(spans) <= 2_000 for spans in drawn)
    targets = sum(bool(item.after) for item in nodes)
    assert text.count("▶") == targets
