"""A notebook's lineage as a graph of cells and files: the model, and it as text and as Mermaid. Pure but for what `Lineage` reads."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from mlops_nb.display import counted, shorten
from mlops_nb.records import CellRun, CellView, Certainty

if TYPE_CHECKING:
    from mlops_nb.project.lineage import Dependency, Lineage

NodeKind = Literal["cell", "file", "elsewhere", "others"]

MOST = 60  # cells drawn; of more, the ones that ran last
FILE = "file:"
OTHERS = "others"
_FIRST_LINE = 48
_UNSAFE = re.compile(r"[^A-Za-z0-9 _.,:;/=+\-()\[\]]")
_NAMES_ON_A_LINK = 60


@dataclass(frozen=True, slots=True)
class Node:
    """A cell by its latest run, a file, a cell of another notebook, or all cells that are not drawn one by one."""

    key: str
    title: str
    kind: NodeKind = "cell"
    state: str = ""
    reason: str = ""

    @property
    def wrong(self) -> bool:
        """Whether it is a cell whose result does not stand."""
        return self.state in ("stale", "failed", "edited")


@dataclass(frozen=True, slots=True)
class Use:
    """One name that was read, as execution `count` had left it."""

    name: str
    certainty: Certainty = "certain"
    count: int = 0

    def __str__(self) -> str:
        return f"{self.name}{'?' * (self.certainty == 'possible')}"


@dataclass(frozen=True, slots=True)
class Link:
    """`target` read from `source`; for a file, which was read or written, `uses` are empty and `certainty` says how sure that is."""

    source: str
    target: str
    uses: tuple[Use, ...] = ()
    certainty: Certainty = "certain"

    @property
    def label(self) -> str:
        """The names, those that are possible with a question mark."""
        return shorten(", ".join(map(str, self.uses)), _NAMES_ON_A_LINK)


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in the order in which they are told, cells as in the notebook, and the links among them."""

    title: str
    nodes: tuple[Node, ...] = ()
    links: tuple[Link, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def into(self, key: str) -> list[Link]:
        """The links into a node."""
        return [link for link in self.links if link.target == key]


def first_line(source: str, width: int = _FIRST_LINE) -> str:
    """The first line of a cell that says something, on one line.

    >>> first_line("\\n# prices\\n%load_ext mlops_nb\\ntotal = 3")
    'total = 3'
    """
    lines = [line.strip() for line in source.split("\n") if line.strip()]
    return shorten(next((line for line in lines if not line.startswith(("#", "%load_ext"))), lines[0] if lines else ""), width)


def graph_of(lineage: "Lineage", *, most: int = MOST) -> Graph:
    """The graph of a notebook's cells by their latest runs. Cells that read and made nothing are left out, of many the earliest are one node."""
    latest = {run.cell_id: run for run in lineage.runs()}
    views = lineage.cells()
    telling = [view for view in views if view.reads or view.writes or latest[view.cell_id].files or view.state == "failed"]
    newest = sorted(telling, key=lambda view: latest[view.cell_id].seq)[-most:]
    deps = {view.cell_id: lineage.deps(view.cell_id) for view in newest}
    used = {dep.cell_id for found in deps.values() for dep in found if not dep.notebook}
    inside = {view.cell_id for view in newest} | {view.cell_id for view in views if view not in telling and view.cell_id in used}
    drawn = [view for view in views if view.cell_id in inside]
    links = _links(deps, latest, inside)
    nodes = [*_elsewhere(deps), *_others(links, len(telling) - len(newest)), *_cells_and_files(drawn, latest)]
    silent = len(views) - len(telling) - (len(inside) - len(newest))
    return Graph(_title(lineage.notebook, views), tuple(nodes), tuple(links), tuple(_notes(len(telling) - len(newest), silent, links)))


def as_text(graph: Graph) -> str:
    """The graph in lines: each cell with its state, below it what it read from where, and the files it touched."""
    titles = {node.key: node for node in graph.nodes}
    cells = [node for node in graph.nodes if node.kind == "cell"]
    pad = max((len(node.title) for node in cells), default=0)
    return "\n".join(line for node in cells for line in _node_lines(node, pad, graph, titles))


def as_mermaid(graph: Graph) -> str:
    """The graph as a Mermaid flowchart; possible links are dashed, cells whose result does not stand have a dashed border."""
    keys = {node.key: f"n{number}" for number, node in enumerate(graph.nodes)}
    lines = ["flowchart TD"]
    for node in graph.nodes:
        left, right = ("[", "]") if node.kind in ("cell", "others") else ("[(", ")]") if node.kind == "file" else ("[[", "]]")
        state = f" ({node.state})" if node.wrong else ""
        lines.append(f'    {keys[node.key]}{left}"{_mermaid(node.title + state)}"{right}{":::wrong" if node.wrong else ""}')
    for link in graph.links:
        arrow = "-->" if link.certainty == "certain" else "-.->"
        label = f'|"{_mermaid(link.label)}"|' if link.uses else ""
        lines.append(f"    {keys[link.source]} {arrow}{label} {keys[link.target]}")
    return "\n".join([*lines, "    classDef wrong stroke-dasharray: 5 3,stroke-width: 2px"])


# --- building -------------------------------------------------------------------------------------------------


def _title(notebook: str, views: Sequence[CellView]) -> str:
    counts: dict[str, int] = {}
    for view in views:
        counts[view.state] = counts.get(view.state, 0) + 1
    states = ", ".join(f"{number} {state}" for state, number in counts.items())
    return f"{notebook or 'This session'}: {counted(len(views), 'cell')}{f' ({states})' if states else ''}"


def _notes(earlier: int, silent: int, links: Iterable[Link]) -> list[str]:
    notes = ["? and a dashed line: possible, not certain"] if any(use.certainty == "possible" for link in links for use in link.uses) else []
    notes += [f"{counted(earlier, 'cell')} that ran before these {'is' if earlier == 1 else 'are'} not drawn one by one"] if earlier else []
    return [*notes, *([f"{counted(silent, 'cell')} that read and made nothing: left out"] if silent else [])]


def _links(deps: Mapping[str, Sequence["Dependency"]], latest: Mapping[str, CellRun], inside: set[str]) -> list[Link]:
    uses: dict[tuple[str, str], dict[Use, None]] = {}
    through: list[Link] = []
    for target, found in deps.items():
        touched = {use.path for use in latest[target].files if use.mode == "read"}
        for dep in found:
            path = dep.name.removeprefix(FILE) if dep.name.startswith(FILE) else ""
            if dep.notebook:
                through.append(Link(_elsewhere_key(dep), dep.name))
            elif path in touched and dep.cell_id not in inside:
                through.append(Link(OTHERS, dep.name))
            elif path not in touched or not _writes(latest[dep.cell_id], path):
                source = dep.cell_id if dep.cell_id in inside else OTHERS
                uses.setdefault((source, target), {})[Use(dep.name, dep.certainty, dep.execution_count)] = None
    found_links = [Link(*ends, tuple(named), _sure(named)) for ends, named in uses.items()]
    return [*found_links, *dict.fromkeys([*through, *_file_links(latest[cell_id] for cell_id in deps)])]


def _writes(run: CellRun, path: str) -> bool:
    return any(use.mode == "write" and use.path == path for use in run.files)


def _sure(uses: Iterable[Use]) -> Certainty:
    return "certain" if any(use.certainty == "certain" for use in uses) else "possible"


def _file_links(runs: Iterable[CellRun]) -> list[Link]:
    return [Link(run.cell_id, FILE + use.path) if use.mode == "write" else Link(FILE + use.path, run.cell_id) for run in runs for use in run.files]


def _elsewhere_key(dep: "Dependency") -> str:
    return f"{dep.notebook}:{dep.cell_id}"


def _elsewhere(deps: Mapping[str, Sequence["Dependency"]]) -> list[Node]:
    found = [dep for each in deps.values() for dep in each if dep.notebook]
    nodes = {_elsewhere_key(dep): Node(_elsewhere_key(dep), f"{dep.notebook} [{dep.execution_count}]", "elsewhere") for dep in found}
    return list(nodes.values())


def _others(links: Iterable[Link], count: int) -> list[Node]:
    return [Node(OTHERS, f"{counted(count, 'earlier cell')}", "others")] if any(link.source == OTHERS for link in links) else []


def _cells_and_files(views: Iterable[CellView], latest: Mapping[str, CellRun]) -> list[Node]:
    """Cells in the notebook's order; a file stands before the first cell that reads it, or after the one that wrote it."""
    nodes: dict[str, Node] = {}
    for view in views:
        run = latest[view.cell_id]
        reads = [use.path for use in run.files if use.mode == "read"]
        nodes |= {FILE + path: Node(FILE + path, path, "file") for path in reads if FILE + path not in nodes}
        nodes[view.cell_id] = Node(view.cell_id, f"[{run.execution_count}] {first_line(run.source)}", "cell", view.state, view.reason)
        nodes |= {FILE + use.path: Node(FILE + use.path, use.path, "file") for use in run.files if FILE + use.path not in nodes}
    return list(nodes.values())


# --- text -----------------------------------------------------------------------------------------------------


def _node_lines(node: Node, pad: int, graph: Graph, titles: Mapping[str, Node]) -> list[str]:
    lines = [f"{node.title:<{pad}}  {node.state}", *([f"      {node.reason}"] if node.reason else [])]
    reads = []
    for link in graph.into(node.key):
        if link.source.startswith(FILE):
            reads.append(titles[link.source].title + _written_by(link.source, graph, titles))
        else:
            lines += [f"      <- {_origin(link, count, titles)} {_named(link, count)}" for count in dict.fromkeys(use.count for use in link.uses)]
    writes = [titles[link.target].title for link in graph.links if link.source == node.key and link.target.startswith(FILE)]
    lines += [f"      <- file {name}" for name in reads]
    return [*lines, *(f"      -> file {name}" for name in writes)]


def _named(link: Link, count: int) -> str:
    return ", ".join(str(use) for use in link.uses if use.count == count)


def _origin(link: Link, count: int, titles: Mapping[str, Node]) -> str:
    if link.source == link.target:
        return f"[{count}] (its own earlier run)"
    source = titles[link.source]
    again = source.kind == "cell" and not source.title.startswith(f"[{count}]")
    return f"[{count}]" + (f" (has run again as {source.title.split(' ', 1)[0]})" if again else "")


def _written_by(key: str, graph: Graph, titles: Mapping[str, Node]) -> str:
    writers = [titles[link.source] for link in graph.into(key)]
    names = [writer.title if writer.kind != "cell" else writer.title.split(" ", 1)[0] for writer in writers]
    return f", written by {', '.join(names)}" if names else ""


def _mermaid(text: str) -> str:
    """`text` inside a quoted Mermaid label: all that might mean something there as a character code.

    >>> _mermaid('a["x"] `b`')
    'a[#34;x#34;] #96;b#96;'
    """
    return _UNSAFE.sub(lambda found: f"#{ord(found[0])};", text)
