"""Draws a small directed graph in a terminal: layers from left to right, edges as lines with arrows.

The layers are the topological generations of the graph, by graphlib of the standard library: networkx would take
longer to import than the whole console takes to start. The order within a layer is found by barycentres, with a
place held for edges that pass a layer (Sugiyama, Tagawa and Toda, 1981).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from .frame import GLYPHS
from .spans import Line, Span, cut_line, line_width

_NORTH, _EAST, _SOUTH, _WEST = 1, 2, 4, 8
MOST_NODES = 40
_SWEEPS = 4
GAPS = (5, 4, 3)
"""Cells between two layers, the most pleasing first: `` ──▶ ``, `` ─▶ ``, `` ▶ ``."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node: its name, what stands in its place (the first line is where edges end), and what comes before it."""

    name: str
    lines: tuple[Line, ...]
    after: tuple[str, ...] = ()
    layer: int = 0
    """It stands no further left than this."""


def find_cycle(nodes: Sequence[Node]) -> tuple[str, ...]:
    """Return the names along a cycle, the first one again at its end; empty where there is none."""
    names = {node.name for node in nodes}
    sorter = TopologicalSorter({node.name: [name for name in node.after if name in names] for node in nodes})
    try:
        sorter.prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return tuple(found)
    return ()


def layers_of(nodes: Sequence[Node]) -> dict[str, int]:
    """Return each node's layer: right of all that it comes after. The nodes must have no cycle."""
    by_name = {node.name: node for node in nodes}
    sorter = TopologicalSorter({node.name: [name for name in node.after if name in by_name] for node in nodes})
    layers: dict[str, int] = {}
    for name in sorter.static_order():
        node = by_name[name]
        layers[name] = max([node.layer, *(layers[other] + 1 for other in node.after if other in by_name)])
    used = {layer: place for place, layer in enumerate(sorted(set(layers.values())))}
    return {name: used[layer] for name, layer in layers.items()}


def draw(nodes: Sequence[Node], width: int, height: int, gap: int = GAPS[0]) -> list[Line] | None:
    """Return the graph as lines of at most ``width`` cells, at most ``height`` of them; None where it does not fit.

    Between layers with straight edges only there are ``gap`` cells.

    The nodes must have no cycle.
    """
    if not nodes or len(nodes) > MOST_NODES:
        return None
    by_name = {node.name: node for node in nodes}
    layers = layers_of(nodes)
    columns, edges = _place(nodes, layers)
    tall = max(len(node.lines) for node in nodes)
    pitch = tall + 1 if max(len(column) for column in columns) > 1 else tall
    rows = {name: place * pitch for column in columns for place, name in enumerate(column)}
    lines_needed = max(len(column) for column in columns) * pitch - (pitch - tall)
    if lines_needed > height:
        return None

    # Each source whose edges bend in a gap has a track of its own there, so that lines never run into each other.
    tracks: list[dict[str, int]] = []
    for place in range(len(columns) - 1):
        sources = columns[place]
        bending = [name for name in sources if any(rows[a] != rows[b] for a, b in edges if a == name)]
        tracks.append({name: track for track, name in enumerate(bending)})
    widths = [max((_node_width(by_name[name]) if name in by_name else 1) for name in column) for column in columns]
    gaps = [5 + (len(track) - 1) * 2 if track else gap for track in tracks]
    starts = [sum(widths[:place]) + sum(gaps[:place]) for place in range(len(columns))]
    if starts[-1] + widths[-1] > width:
        return None

    masks: dict[tuple[int, int], int] = {}
    arrows: list[tuple[int, int]] = []
    column_of = {name: place for place, column in enumerate(columns) for name in column}
    for source, target in edges:
        place = column_of[source]
        start = starts[place] + (line_width(by_name[source].lines[0]) + 1 if source in by_name else 0)
        real = target in by_name
        end = starts[place + 1] - (2 if real else 0)
        y1, y2 = rows[source], rows[target]
        if y1 == y2:
            _across(masks, start, end, y1)
        else:
            bend = starts[place] + widths[place] + 2 + tracks[place][source] * 2
            _across(masks, start, bend, y1)
            _down(masks, bend, y1, y2)
            _across(masks, bend, end, y2)
        if real:
            arrows.append((end, y2))
        else:  # the edge passes this layer
            _across(masks, starts[place + 1], starts[place + 1] + widths[place + 1], y2)
    return _paint(by_name, columns, starts, rows, masks, arrows, lines_needed)


def _node_width(node: Node) -> int:
    return max(line_width(line) for line in node.lines)


def _place(nodes: Sequence[Node], layers: Mapping[str, int]) -> tuple[list[list[str]], list[tuple[str, str]]]:
    """Return the layers in drawing order, with placeholders, and the edges between neighbouring layers."""
    columns: list[list[str]] = [[] for _ in range(max(layers.values()) + 1)]
    for node in nodes:
        columns[layers[node.name]].append(node.name)
    edges: list[tuple[str, str]] = []
    for node in nodes:
        for name in node.after:
            if name not in layers:
                continue
            last = name
            for layer in range(layers[name] + 1, layers[node.name]):
                through = f"{name}\n{layer}"  # edges of one source share their way; no agent has a line end in its name
                if through not in columns[layer]:
                    columns[layer].append(through)
                    edges.append((last, through))
                last = through
            edges.append((last, node.name))
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        order = range(1, len(columns)) if forward else range(len(columns) - 2, -1, -1)
        for place in order:
            neighbour = columns[place - 1] if forward else columns[place + 1]
            spots = {name: spot for spot, name in enumerate(neighbour)}

            def barycentre(name: str, spots: dict[str, int] = spots, forward: bool = forward) -> float:
                linked = [spots[a] for a, b in edges if b == name and a in spots] if forward else []
                linked = linked or [spots[b] for a, b in edges if a == name and b in spots]
                return sum(linked) / len(linked) if linked else float(len(spots))

            columns[place].sort(key=barycentre)
    return columns, edges


def _across(masks: dict[tuple[int, int], int], start: int, end: int, y: int) -> None:
    for x in range(start, end):
        masks[x, y] = masks.get((x, y), 0) | _EAST
        masks[x + 1, y] = masks.get((x + 1, y), 0) | _WEST


def _down(masks: dict[tuple[int, int], int], x: int, y1: int, y2: int) -> None:
    for y in range(min(y1, y2), max(y1, y2)):
        masks[x, y] = masks.get((x, y), 0) | _SOUTH
        masks[x, y + 1] = masks.get((x, y + 1), 0) | _NORTH


def _paint(
    by_name: Mapping[str, Node],
    columns: Sequence[Sequence[str]],
    starts: Sequence[int],
    rows: Mapping[str, int],
    masks: Mapping[tuple[int, int], int],
    arrows: Sequence[tuple[int, int]],
    height: int,
) -> list[Line]:
    texts: dict[int, list[tuple[int, Line]]] = {}
    for place, column in enumerate(columns):
        for name in column:
            for offset, text in enumerate(by_name[name].lines if name in by_name else ()):
                texts.setdefault(rows[name] + offset, []).append((starts[place], text))
    cells = {spot: _glyph(mask) for spot, mask in masks.items()} | dict.fromkeys(arrows, "▶")
    lines: list[Line] = []
    for y in range(height):
        spans: list[Span] = []
        x = 0
        drawn = sorted((spot[0], (Span(cell, "muted"),)) for spot, cell in cells.items() if spot[1] == y)
        for start, piece in sorted([*drawn, *texts.get(y, ())], key=lambda item: item[0]):
            if start < x:
                continue  # a line never writes over a name
            spans.append(Span(" " * (start - x)))
            spans += piece
            x = start + line_width(piece)
        lines.append(_merged(spans))
    while lines and not lines[-1]:  # an edge that passes a layer takes one line of the room of a node
        lines.pop()
    return lines


def _glyph(mask: int) -> str:
    """Return the character of a crossing; an end looks like the whole line that it belongs to."""
    if mask in {_EAST, _WEST}:
        return "─"
    if mask in {_NORTH, _SOUTH}:
        return "│"
    return GLYPHS[mask]


def _merged(spans: Sequence[Span]) -> Line:
    merged: list[Span] = []
    for span in spans:
        if not span.text:
            continue
        if merged and merged[-1].style == span.style:
            merged[-1] = Span(merged[-1].text + span.text, span.style)
        else:
            merged.append(span)
    return tuple(merged)


def cut_node(lines: Sequence[Line], cells: int) -> tuple[Line, ...]:
    """Return a node's lines in at most ``cells`` cells each."""
    return tuple(cut_line(line, cells) for line in lines)
