"""What is said of a notebook's lineage: one report for each question, and slices and graphs as files."""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.display import Report, Table, counted, shorten
from mlops_nb.errors import BadInput, NotFound
from mlops_nb.project.lineage import Lineage, Slice
from mlops_nb.project.lineage_graph import FILE, Graph, as_mermaid, as_text, first_line, graph_of
from mlops_nb.project.lineage_svg import as_svg
from mlops_nb.records import CellRun
from mlops_nb.store.redaction import MARK

if TYPE_CHECKING:
    from mlops_nb.project import Project

GRAPH_FORMS = (".svg", ".mmd", ".txt")
SLICE_FORMS = (".ipynb", ".py")
_DIGEST = 16


@dataclass(frozen=True, slots=True, repr=False)  # IPython would show a __repr__ of its own
class Drawn(Report):
    """A report with a picture (`drawing`, SVG made of escaped text) and lines that keep their form (`block`)."""

    block: str = ""
    drawing: str = ""

    def text(self, width: int = 0) -> str:
        """The block stands below the heading; the picture is for notebooks."""
        parts = (Report.text(self._head, width), self.block, Report.text(self._rest, width))
        return "\n".join(part for part in parts if part)

    def _repr_html_(self) -> str:
        lines = f'<pre style="white-space:pre-wrap">{html.escape(self.block)}</pre>' if self.block else ""
        if self.drawing:
            lines = f"{self.drawing}<details><summary>The same as text</summary>{lines}</details>"
        return f"<div>{Report._repr_html_(self._head)}{lines}{Report._repr_html_(self._rest)}</div>"

    @property
    def _head(self) -> Report:
        return Report(self.title, self.values)

    @property
    def _rest(self) -> Report:
        return Report(tables=self.tables, notes=self.notes)


# --- the notebook ---------------------------------------------------------------------------------------------


def graph_report(lineage: Lineage, *, mermaid: bool = False) -> Drawn:
    """The graph: a picture in a notebook, lines in a terminal; as Mermaid alone where that is asked for."""
    graph = graph_of(lineage)
    data = {
        "notebook": lineage.notebook,
        "nodes": [asdict(node) for node in graph.nodes],
        "links": [{**asdict(link), "uses": [asdict(use) for use in link.uses]} for link in graph.links],
        "notes": list(graph.notes),
    }
    if mermaid:
        return Drawn(block=as_mermaid(graph), data={**data, "mermaid": as_mermaid(graph)})
    if not graph.nodes:
        return Drawn(graph.title, notes=("No cell has read or made anything yet.",), data=data)
    return Drawn(graph.title, notes=graph.notes, data=data, block=as_text(graph), drawing=as_svg(graph))


def stale_report(lineage: Lineage, *, anywhere: bool = False, rerun: str = "") -> Report:
    """The stale cells with their reasons; `rerun` is the command that says what to run again."""
    found = lineage.stale(order="any" if anywhere else "notebook")
    runs = {run.cell_id: run for run in lineage.runs()}
    rows = tuple((f"[{runs[cell_id].execution_count}]", cell_id, first_line(runs[cell_id].source), reason) for cell_id, reason in found)
    table = Table(("ran", "cell", "first line", "why"), rows, cut=("first line",))
    return Report(
        f"{lineage.notebook or 'This session'}: {counted(len(found), 'stale cell')}",
        tables=(table,) if rows else (),
        notes=(f"What to run: {rerun} {' '.join(str(runs[cell_id].execution_count) for cell_id, _ in found)}",) if rows and rerun else (),
        data=[{"cell_id": cell_id, "execution_count": runs[cell_id].execution_count, "reason": reason} for cell_id, reason in found],
    )


def files_report(lineage: Lineage) -> Report:
    """Which cell read or wrote which file with which content."""
    files = lineage.files()
    rows = tuple((use.path, use.mode, f"[{use.execution_count}]", use.cell_id, use.digest[:_DIGEST]) for use in files)
    table = Table(("file", "use", "ran", "cell", "hash (xxh3)"), rows, empty="no cell has read or written a file")
    return Report(f"{lineage.notebook or 'This session'}: files", tables=(table,), data=[asdict(use) for use in files])


# --- one name -------------------------------------------------------------------------------------------------


def why_report(lineage: Lineage, name: str) -> Drawn:
    """What made `name`, in words. Raises NotFound."""
    said = lineage.why(name)
    return Drawn(block=said, notes=("? : possible, not certain",) if "]?" in said else (), data={"name": name, "why": said.split("\n")})


def slice_report(lineage: Lineage, found: Slice, *, code: bool = False, notes: Iterable[str] = ()) -> Drawn:
    """The executions behind a value, the files they read, and what about that is not certain; with `code` their code alone."""
    ran = {run.id: run for run in lineage.runs()}
    data = {
        "names": list(found.names),
        "certain": found.certain,
        "cells": [{"cell_id": run.cell_id, "execution_count": run.execution_count, "run": run.id, "source": run.source} for run in found.cells],
        "files": [asdict(use) for use in found.files],
        "edges": [asdict(edge) for edge in found.edges],
        "environment": {name: value for name, value in found.environment.items() if name in ("commit_id", "dirty", "python")},
        "code": found.code,
        "notes": list(notes),
    }
    if code:
        return Drawn(block=found.code.rstrip("\n"), data=data)
    cells = tuple((f"[{run.execution_count}]", run.cell_id, first_line(run.source), _made(run)) for run in found.cells)
    files = tuple((use.path, use.digest[:_DIGEST] or "no hash", f"{use.size:,}" if use.size >= 0 else "") for use in found.files)
    told = sum(bool(run.reads or run.writes or run.files) for run in ran.values())
    unsure = [edge for edge in found.edges if edge.certainty == "possible"]
    guesses = tuple((f"[{ran[edge.to_run].execution_count}]", edge.name, f"[{ran[edge.from_run].execution_count}]") for edge in unsure)
    tables = [Table(("ran", "cell", "first line", "makes"), cells, "Cells", cut=("first line",))]
    tables += [Table(("file", "hash (xxh3)", "bytes"), files, "Files read from outside")] if files else []
    tables += [Table(("cell", "may have read", "of"), guesses, "Possible, not certain")] if guesses else []
    return Drawn(
        f"{', '.join(found.names)}: {len(found.cells)} of {counted(told, 'cell run')}, {_certainty(found, unsure)}",
        values={
            name: value for name, value in {"commit": _commit(found.environment), "python": found.environment.get("python", "")}.items() if value
        },
        tables=tuple(tables),
        notes=tuple(notes),
        data=data,
    )


def columns_report(lineage: Lineage, name: str, column: str = "") -> Report:
    """What the columns of a frame were made from. Raises NotFound with near names."""
    found = lineage.columns(name, column)
    known = {edge.to_name: None for run in lineage.runs() for edge in run.columns}
    if not found and name not in known:
        hint = "" if name not in lineage.names() else f"%lineage why {name} says which cells made it"
        raise NotFound.named("frame with known columns", name, known, where=lineage.notebook, hint=hint)
    if not found:
        raise NotFound.named("column", column, {edge.to_column for edge in lineage.columns(name)}, where=f"frame {name}")
    rows = tuple((edge.to_column, f"{edge.from_name}.{edge.from_column}", edge.certainty) for edge in found)
    return Report(f"{name}: columns", tables=(Table(("column", "from", "certainty"), rows),), data=[asdict(edge) for edge in found])


# --- one cell -------------------------------------------------------------------------------------------------


def named_run(lineage: Lineage, word: str) -> CellRun:
    """The execution that `word` names: `3` or `[3]`, or the latest of the cell with that id. Raises NotFound with near names."""
    runs = lineage.runs()
    number = word.strip("[]")
    counts = {str(run.execution_count): run for run in runs}
    ids = {run.cell_id: run for run in runs}
    if found := counts.get(number) or ids.get(word):
        return found
    if number.isdigit() and runs:
        raise NotFound(
            f"no cell ran as [{number}]", where=lineage.notebook, hint=f"cells ran as [{runs[0].execution_count}] to [{runs[-1].execution_count}]"
        )
    raise NotFound.named("cell", word, ids, where=lineage.notebook, hint="a cell is named by its number, 3 or [3], or by its id")


def deps_report(lineage: Lineage, word: str) -> Report:
    """What a cell stands on, and how sure that is."""
    run = named_run(lineage, word)
    found = lineage.deps(run.execution_count)
    sources = {(other.cell_id, other.execution_count): other for other in lineage.runs()}
    rows = []
    for dep in found:
        source = None if dep.notebook else sources.get((dep.cell_id, dep.execution_count))
        line = first_line(source.source) if source else dep.notebook
        rows.append((dep.name, f"[{dep.execution_count}]", dep.cell_id, line, dep.certainty))
    table = Table(("reads", "of", "cell", "first line", "certainty"), tuple(rows), empty="nothing that another cell made", cut=("first line",))
    return Report(f"[{run.execution_count}] {first_line(run.source)}", tables=(table,), data=[asdict(dep) for dep in found])


def rerun_report(lineage: Lineage, words: Sequence[str], saved: Mapping[str, str]) -> Report:
    """What to run after an edit of the cells `words`; `saved`: cell id -> source of the cells that the notebook file has otherwise than they ran.

    Without words the edits in the file are meant. Raises NotFound.
    """
    named = [named_run(lineage, word) for word in words]
    edits = {run.cell_id: saved.get(run.cell_id, run.source) for run in named} or dict(saved)
    if not edits:
        said = "no cell was edited since it ran, as far as the saved notebook shows"
        return Report(said, data={"edited": [], "rerun": []})
    runs = {run.cell_id: run for run in lineage.runs()}
    found = lineage.rerun_set(edits)
    rows = tuple(
        (f"[{runs[cell_id].execution_count}]", cell_id, first_line(runs[cell_id].source), _because(cell_id, found, edits)) for cell_id in found
    )
    return Report(
        f"{counted(len(found), 'cell')} to run, in this order",
        tables=(Table(("ran", "cell", "first line", "why"), rows, cut=("first line",)),),
        data={"edited": [*edits], "rerun": found},
    )


def edited_cells(project: "Project", path: Path) -> dict[str, str]:
    """Cell id -> source of the cells that the notebook file has otherwise than they ran."""
    if not path.is_file():
        return {}
    view = project.notebooks.view(path)
    states = {cell.cell_id: cell.state for cell in view.cells}
    return {cell.id: cell.source for cell in view.file_cells if states.get(cell.id) == "edited"}


# --- as files -------------------------------------------------------------------------------------------------


def write_graph(graph: Graph, path: Path, *, force: bool = False) -> None:
    """Write the graph as `.svg`, `.mmd` (Mermaid) or `.txt`. Raises BadInput where the file is there already."""
    forms = dict(zip(GRAPH_FORMS, (as_svg, as_mermaid, as_text), strict=True))
    _write(path, forms[_form(path, GRAPH_FORMS)](graph) + "\n", force=force)


def write_slice(found: Slice, path: Path, *, original: Path | None = None, kernel: str = "", force: bool = False) -> None:
    """Write a slice as a notebook or a script, by the name's ending. Raises BadInput where the file is there, or is the `original` itself."""
    from mlops_nb.pipeline.files import notebook_text

    form = _form(path, SLICE_FORMS)
    if original is not None and path.resolve() == original.resolve():
        raise BadInput("that is the notebook the slice is of", where=str(path), hint="give another name")
    text = notebook_text(found.notebook(kernel or "python3")) if form == ".ipynb" else found.script
    _write(path, text, force=force)


def secrets_taken_out(found: Slice) -> list[str]:
    """A note for each cell of which a secret was not recorded."""
    cells = [f"[{run.execution_count}]" for run in found.cells if MARK in run.source]
    return [f"A secret was taken out of {', '.join(cells)} before it was recorded; put it in again, or read it from os.environ."] if cells else []


def _form(path: Path, forms: Sequence[str]) -> str:
    if path.suffix not in forms:
        raise BadInput(f"{path.suffix or 'a name without an ending'} is none of {', '.join(forms)}", where=str(path))
    return path.suffix


def _write(path: Path, text: str, *, force: bool) -> None:
    from mlops_nb.pipeline.files import write_atomically

    if path.is_dir() or (path.exists() and not force):
        raise BadInput("is there already", where=str(path), hint="give another name, or --force to replace it")
    write_atomically(path, text)


# --- words ----------------------------------------------------------------------------------------------------


def _because(cell_id: str, found: Sequence[str], edits: Mapping[str, str]) -> str:
    if cell_id in edits:
        return "edited"
    above = found.index(cell_id) < min(found.index(edited) for edited in edits)
    return "makes again what was changed since" if above else "stands on what changes"


def _made(run: CellRun) -> str:
    files = [f"{FILE}{use.path}" for use in run.files if use.mode == "write"]
    return shorten(", ".join([*run.writes, *files]), 60)


def _certainty(found: Slice, unsure: Sequence[Any]) -> str:
    if found.certain:
        return "certain"
    return f"with {counted(len(unsure), 'possible edge')}" if unsure else "possibly changed last by a cell that is among them"


def _commit(environment: Mapping[str, Any]) -> str:
    commit = str(environment.get("commit_id", ""))
    return f"{commit[:12]}{' with uncommitted changes' if environment.get('dirty') else ''}" if commit else ""
