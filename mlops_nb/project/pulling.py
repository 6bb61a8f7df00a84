"""`pull`: edits made in a pipeline's component notebooks go back to the notebook they were promoted from."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.errors import BadInput, MlopsError, NotebookError, NotFound
from mlops_nb.notebook.cells import cell_ids, read_notebook
from mlops_nb.notebook.editing import edited
from mlops_nb.pipeline.files import MANIFEST, OWN_CELLS, OWN_PREFIX, read_manifest, write_atomically
from mlops_nb.pipeline.pulling import Entry, Known, Pull, Side, Theirs, merge
from mlops_nb.project import event
from mlops_nb.store.codec import from_json, row_json
from mlops_nb.store.redaction import Redactor

if TYPE_CHECKING:
    from mlops_nb.project import Project


@dataclass(frozen=True, slots=True)
class PullResult:
    """A pull of `pipeline` into `notebook`. `written`: the notebook's file was changed; `refused` says why it can no longer be promoted."""

    pipeline: str
    notebook: str
    pull: Pull
    written: bool = False
    refused: str = ""


def pull(project: "Project", name: str, *, side: Side = "", delete: bool = False, dry_run: bool = False) -> PullResult:
    """Bring the edits of a pipeline's components back; with an open conflict, or in a dry run, nothing is written.

    Raises NotFound for an unknown pipeline or a notebook that is gone, NotebookError for one that cannot be read.
    """
    manifest, source = _found(project, name)
    text = _text(source)
    ids = entry_ids(source, text)
    ours = _entries(text, ids)
    components = _components(project, name, manifest)
    redact = Redactor(project.environ).value
    found = merge(
        components, ours, read_notebook(source, strict=False), normal=lambda value: from_json(row_json(value, redact)), side=side, delete=delete
    )
    notebook = project.relative(source)
    if dry_run or found.conflicts or not found.edits:
        return PullResult(name, notebook, found)
    _write(source, text, edited(text, found.edits, ids))
    payload = {"notebook": notebook, "cells": [[one.what, one.component, one.cell_id] for one in found.pulled]}
    project.registry.record([event("pulled", f"pipeline:{name}", payload)])
    project.registry.flush()
    return PullResult(name, notebook, found, written=True, refused=_refusal(project, source, name))


def _found(project: "Project", name: str) -> tuple[Mapping[str, Any], Path]:
    """A pipeline's manifest and its source notebook."""
    folder = project.pipelines.folder(name)
    if not name or not (folder / MANIFEST).is_file():
        raise NotFound.named("pipeline", name, project.pipelines.names(), hint="mlops-nb promote NOTEBOOK.ipynb makes one")
    manifest = read_manifest(folder)
    source = project.layout.root / str(manifest.get("notebook", ""))
    if not isinstance(manifest.get("component"), list):
        raise BadInput("no valid pipeline", where=str(folder / MANIFEST), hint="restore it from git, or promote the notebook again")
    if not source.is_file():
        raise NotFound(f"the notebook of pipeline {name} is gone: {manifest.get('notebook')}", hint="restore it from git, or promote it anew")
    return manifest, source


def _text(path: Path) -> str:
    """The file as it stands, line ends and a byte order mark included."""
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotebookError(f"cannot be read: {error}", where=str(path)) from error


def _write(path: Path, before: str, after: str) -> None:
    if _text(path) != before:
        raise MlopsError("was changed meanwhile, and is left as it is", where=str(path), hint="pull again")
    mode = path.stat().st_mode
    write_atomically(path, after)
    path.chmod(mode)


def _refusal(project: "Project", source: Path, name: str) -> str:
    """Why the notebook with the edits in it can no longer be promoted; '' where it can."""
    try:
        project.pipelines.build(source, name=name)
    except BadInput as error:
        return str(error)
    return ""


# --- what is read ---------------------------------------------------------------------------------------------


def entry_ids(path: Path, text: str) -> list[str]:
    """The ids of all cells: code cells' as everywhere here, others' own ('' where they have none, or one that is taken)."""
    code = iter(cell_ids(path))
    taken = set(cell_ids(path))
    found = []
    for cell in json.loads(text.removeprefix("\ufeff")).get("cells", ()):
        own = cell.get("id", "")
        name = next(code, "") if cell.get("cell_type") == "code" else own if isinstance(own, str) and own not in taken else ""
        taken.add(name)
        found.append(name)
    return found


def _entries(text: str, ids: Sequence[str]) -> tuple[Entry, ...]:
    cells = json.loads(text.removeprefix("\ufeff")).get("cells", ())
    return tuple(_entry(cell, name) for name, cell in zip(ids, cells, strict=True))


def _entry(cell: Mapping[str, Any], name: str) -> Entry:
    source, metadata = cell.get("source", ""), cell.get("metadata")
    tags = metadata.get("tags", ()) if isinstance(metadata, dict) else ()
    words = tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ()
    return Entry(name, source if isinstance(source, str) else "".join(source), words, str(cell.get("cell_type", "")))


def _components(project: "Project", name: str, manifest: Mapping[str, Any]) -> tuple[Theirs, ...]:
    promoted = project.pipelines.promoted_components(name, str(manifest.get("version", "")))
    return tuple(_component(project.pipelines.folder(name), table, promoted) for table in manifest["component"])


def _component(folder: Path, table: Mapping[str, Any], promoted: Mapping[str, Any]) -> Theirs:
    name = str(table["name"])
    path = folder / f"{name}.ipynb"
    text = _text(path)
    entries = _entries(text, _checked_ids(path, text))
    own = {entry.id.removeprefix(OWN_PREFIX): entry for entry in entries if entry.id in OWN_CELLS}
    return Theirs(name, tuple(entry for entry in entries if entry.id not in OWN_CELLS), own, _known(table, promoted.get(name)))


def _checked_ids(path: Path, text: str) -> list[str]:
    """Ids for cells that have none too: a markdown cell of an old format is known by its place."""
    return [name or f"cell-{place}" for place, name in enumerate(entry_ids(path, text))]


def _known(table: Mapping[str, Any], recorded: Mapping[str, Any] | None) -> Known:
    ids = tuple(table.get("cells", ()))
    if recorded is None:
        return Known(ids)
    cells = {cell["id"]: (cell["source"], tuple(cell["tags"])) for cell in _with_tags(recorded["code"])}
    return Known(ids, cells, recorded["parameters"], recorded.get("support"))


def _with_tags(code: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The cells of which all is recorded: earlier versions kept no tags."""
    return (cell for cell in code if "tags" in cell)
