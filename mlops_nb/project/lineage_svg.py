"""A lineage graph as SVG: rows from top to bottom, sources above, the same picture each time. Pure.

Lines and letters have the page's own colour (`currentColor`), so the picture is legible on light and dark alike; every text is escaped.
"""

import html
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mlops_nb.display import shorten
from mlops_nb.hashing import text_digest
from mlops_nb.project.lineage_graph import Graph, Link, Node

WIDTH, HEIGHT = 232, 40
GAP, BETWEEN = 28, 64  # between nodes of a row, between rows
PASSING = 14  # width of a link that passes a row
MARGIN = 14
PER_ROW = 4
SWEEPS = 6
_TITLE, _LABEL = 33, 22  # characters that fit into a node, and on a link
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Slot = tuple[str, int]  # a node's key and -1, or a link's number as text and the row that it passes
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:currentColor}.code{font:11px ui-monospace,monospace}.small{font-size:10px}"
    ".node{fill:var(--jp-layout-color1,Canvas);stroke:currentColor;stroke-opacity:.55}.wrong{stroke-dasharray:5 3;stroke-width:2;stroke-opacity:1}"
    ".link{fill:none;stroke:currentColor;stroke-opacity:.6}.possible{stroke-dasharray:4 3}"
    ".label{paint-order:stroke;stroke:var(--jp-layout-color1,Canvas);stroke-width:4px;stroke-linejoin:round}"
)


def as_svg(graph: Graph, *, described: str = "") -> str:
    """The graph as one `<svg>` element, with a title and a description (default: of a lineage) for those who cannot see it."""
    placed = _place(graph)
    name = f"lineage-{text_digest(graph.title, *(node.title for node in graph.nodes))[:12]}"
    wrong = [f"{node.title}: {node.state}" for node in graph.nodes if node.wrong]
    told = described or f"{len(graph.nodes)} cells and files, {len(graph.links)} links. {'; '.join(wrong) or 'No cell is stale'}."
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="{name}-title {name}-desc" class="{name}" '
        f'viewBox="0 0 {placed.width} {placed.height}" width="{placed.width}" height="{placed.height}" style="max-width:100%;height:auto">'
        f'<title id="{name}-title">{safe(graph.title)}</title><desc id="{name}-desc">{safe(told)}</desc>'
        f"<style>{_scoped(STYLE, name)}</style>"
        f'<defs><marker id="{name}-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse">'
        f'<path d="M0 0L8 4L0 8z" fill="currentColor"/></marker></defs>'
    )
    links = [_link(link, number, placed, f"{name}-arrow") for number, link in enumerate(graph.links)]
    nodes = [_node(node, placed.corner(node.key)) for node in graph.nodes]
    return head + "".join([*links, *nodes]) + "</svg>"


# --- layout ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Placed:
    """Where the slots of the rows are: left edges by slot, rows by node, and the size of it all."""

    rows: Mapping[str, int]
    lefts: Mapping[Slot, float]
    leaving: Mapping[int, float]  # link -> where on its source's edge it leaves, 0 to 1
    arriving: Mapping[int, float]
    width: int
    height: int

    def corner(self, key: str) -> tuple[float, float]:
        """The upper left corner of a node."""
        return self.lefts[key, -1], _top(self.rows[key])


def _top(row: int) -> float:
    return MARGIN + row * (HEIGHT + BETWEEN)


def _place(graph: Graph) -> _Placed:
    order = {node.key: place for place, node in enumerate(graph.nodes)}
    spans = [_downwards(link, order) for link in graph.links]
    rows = _rows(graph, spans)
    table, near = _slots(graph, spans, rows)
    _untangle(table, near)
    widths = [sum(_width(slot) for slot in row) + GAP * (len(row) - 1) for row in table]
    room = max(widths, default=WIDTH)
    lefts: dict[Slot, float] = {}
    for row, width in zip(table, widths, strict=True):
        at = MARGIN + (room - width) / 2
        for slot in row:
            lefts[slot] = at
            at += _width(slot) + GAP
    leaving, arriving = _ports(spans, rows, lefts)
    return _Placed(rows, lefts, leaving, arriving, int(room + 2 * MARGIN + GAP), int(_top(len(table)) - BETWEEN + MARGIN))


def _downwards(link: Link, order: Mapping[str, int]) -> tuple[str, str]:
    """The ends of a link, the one that is told first above: what was read from a cell below is drawn upwards."""
    return (link.source, link.target) if order[link.source] <= order[link.target] else (link.target, link.source)


def _rows(graph: Graph, spans: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Each node below all it reads from, those that read nothing right above their first reader; at most PER_ROW in a row."""
    depth: dict[str, int] = {}
    for node in graph.nodes:
        depth[node.key] = 1 + max((depth[above] for above, below in spans if below == node.key != above), default=-1)
    lower = {below for above, below in spans if above != below}
    for node in graph.nodes:
        readers = [depth[below] for above, below in spans if above == node.key != below]
        if node.key not in lower and readers:
            depth[node.key] = min(readers) - 1
    rows: dict[str, int] = {}
    first = 0
    for level in sorted(set(depth.values())):
        members = [node.key for node in graph.nodes if depth[node.key] == level]
        rows |= {key: first + place // PER_ROW for place, key in enumerate(members)}
        first += -(-len(members) // PER_ROW)
    return rows


def _slots(graph: Graph, spans: Sequence[tuple[str, str]], rows: Mapping[str, int]) -> tuple[list[list[Slot]], dict[Slot, list[Slot]]]:
    """The rows with their nodes and the links that pass them, and which slots of neighbouring rows are joined."""
    table: list[list[Slot]] = [[] for _ in range(max(rows.values(), default=-1) + 1)]
    near: dict[Slot, list[Slot]] = {(node.key, -1): [] for node in graph.nodes}
    for node in graph.nodes:
        table[rows[node.key]].append((node.key, -1))
    for number, (above, below) in enumerate(spans):
        chain: list[Slot] = [(above, -1), *((str(number), row) for row in range(rows[above] + 1, rows[below])), (below, -1)]
        for slot in chain[1:-1]:
            table[slot[1]].append(slot)
        for one, other in itertools.pairwise(chain):
            near.setdefault(one, []).append(other)
            near.setdefault(other, []).append(one)
    return table, near


def _untangle(table: list[list[Slot]], near: Mapping[Slot, list[Slot]]) -> None:
    """Order each row by where its neighbours stand, down and up in turn."""
    places = {slot: place - len(row) / 2 for row in table for place, slot in enumerate(row)}
    for sweep in range(SWEEPS):
        for row in table if sweep % 2 == 0 else reversed(table):
            centre = {slot: sum(places[other] for other in near[slot]) / len(near[slot]) if near[slot] else places[slot] for slot in row}
            row.sort(key=lambda slot: (centre[slot], slot))
            places |= {slot: place - len(row) / 2 for place, slot in enumerate(row)}


def _width(slot: Slot) -> int:
    return WIDTH if slot[1] < 0 else PASSING


def _ports(spans: Sequence[tuple[str, str]], rows: Mapping[str, int], lefts: Mapping[Slot, float]) -> tuple[dict[int, float], dict[int, float]]:
    """Links leave and arrive spread over a node's edge, in the order of where they come from."""
    lower: dict[str, list[tuple[float, int]]] = {}
    upper: dict[str, list[tuple[float, int]]] = {}
    for number, (above, below) in enumerate(spans):
        passes = rows[below] - rows[above] > 1
        lower.setdefault(above, []).append((lefts[(str(number), rows[above] + 1) if passes else (below, -1)], number))
        upper.setdefault(below, []).append((lefts[(str(number), rows[below] - 1) if passes else (above, -1)], number))
    spread = [
        {number: (place + 1) / (len(ends) + 1) for ends in side.values() for place, (_, number) in enumerate(sorted(ends))} for side in (lower, upper)
    ]
    return spread[0], spread[1]


# --- drawing --------------------------------------------------------------------------------------------------


def _node(node: Node, corner: tuple[float, float]) -> str:
    left, top = corner
    radius = {"cell": 4, "others": 4, "elsewhere": 4}.get(node.kind, HEIGHT // 2)
    kind = "file" if node.kind == "file" else node.state
    told = f"{node.title}\n{node.state}{': ' + node.reason if node.reason else ''}" if node.state else node.title
    middle = left + WIDTH / 2
    lower = f'<text x="{middle:.1f}" y="{top + 31:.1f}" text-anchor="middle" class="small">{safe(kind)}</text>' if kind else ""
    title = (
        f'<text x="{middle:.1f}" y="{top + (17 if kind else 24):.1f}" text-anchor="middle" class="code">{safe(shorten(node.title, _TITLE))}</text>'
    )
    return (
        f'<g><title>{safe(told)}</title><rect x="{left:.1f}" y="{top:.1f}" width="{WIDTH}" height="{HEIGHT}" rx="{radius}" '
        f'class="node{" wrong" if node.wrong else ""}"/>'
        f"{title}{lower}</g>"
    )


def _link(link: Link, number: int, placed: _Placed, arrow: str) -> str:
    if link.source == link.target:
        return _loop(link, placed, arrow)
    upwards = placed.rows[link.source] > placed.rows[link.target]
    above, below = (link.target, link.source) if upwards else (link.source, link.target)
    points = _points(number, (above, below), placed)
    parts = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for (x, y), (to_x, to_y) in itertools.pairwise(points):
        parts.append(f"C{x:.1f} {(y + to_y) / 2:.1f} {to_x:.1f} {(y + to_y) / 2:.1f} {to_x:.1f} {to_y:.1f}")
    ends = f'marker-{"start" if upwards else "end"}="url(#{arrow})"'
    (x, y), (to_x, to_y) = points[-2:]
    share = (0.5, 0.68, 0.34)[number % 3]  # so that neighbours' names do not cover each other
    return _drawn(link, "".join(parts), ends, (x + (to_x - x) * share, y + (to_y - y) * share))


def _points(number: int, ends: tuple[str, str], placed: _Placed) -> list[tuple[float, float]]:
    above, below = ends
    left, top = placed.corner(above)
    points = [(left + WIDTH * placed.leaving[number], top + HEIGHT)]
    for row in range(placed.rows[above] + 1, placed.rows[below]):
        x = placed.lefts[str(number), row] + PASSING / 2
        points += [(x, _top(row)), (x, _top(row) + HEIGHT)]
    left, top = placed.corner(below)
    return [*points, (left + WIDTH * placed.arriving[number], top)]


def _loop(link: Link, placed: _Placed, arrow: str) -> str:
    left, top = placed.corner(link.source)
    x = left + WIDTH
    path = f"M{x:.1f} {top + 10:.1f}C{x + 26:.1f} {top:.1f} {x + 26:.1f} {top + HEIGHT:.1f} {x:.1f} {top + HEIGHT - 10:.1f}"
    return _drawn(link, path, f'marker-end="url(#{arrow})"', (x + 14, top - 4))


def _drawn(link: Link, path: str, ends: str, middle: tuple[float, float]) -> str:
    told = f"<title>{safe(link.label)}</title>" if link.uses else ""
    kind = " possible" if link.certainty == "possible" else ""
    label = ""
    if link.uses:
        shown = safe(shorten(link.label, _LABEL))
        label = f'<text x="{middle[0]:.1f}" y="{middle[1] + 3:.1f}" text-anchor="middle" class="label small">{shown}</text>'
    return f'<g>{told}<path d="{path}" class="link{kind}" {ends}/>{label}</g>'


def _scoped(style: str, name: str) -> str:
    """The rules for this picture alone: a notebook holds many."""
    rules: Iterable[str] = style.replace("}", "}\n").split("\n")
    return "".join(f".{name} {rule}" for rule in rules if rule)


def safe(text: str) -> str:
    """`text` as it may stand in XML and HTML, whatever a cell holds.

    >>> safe("<b>\\x00&")
    '&lt;b&gt;?&amp;'
    """
    return html.escape(_NOT_XML.sub("?", text))
