"""A pipeline as files in git: one notebook a component and pipeline.toml, deterministic and diffable.

A component notebook is: parameters cell, load cell, support cell (imports, functions, constants; before the load cell where it defines
classes), the user's cells verbatim with their ids and tags, save cell. Rendering is pure; `write_pipeline` touches only files whose text differs.
"""

import contextlib
import json
import os
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlops_nb.errors import BadInput, MlopsError
from mlops_nb.notebook.cells import read_notebook
from mlops_nb.notebook.grammar import identifier
from mlops_nb.notebook.support import is_class_statement
from mlops_nb.pipeline.component import digest_of, literals, version_of
from mlops_nb.pipeline.wiring import statements
from mlops_nb.records import Cell, Component, Pipeline

MANIFEST = "pipeline.toml"
LOAD_SOURCE = "%load_ext mlops_nb\n%step load"
BEGIN_SOURCE = "%load_ext mlops_nb\n%step begin"
SAVE_SOURCE = "%step save"
OWN_PREFIX = "mlops-nb-"  # of the ids of cells that are not the user's
OWN_CELLS = frozenset(OWN_PREFIX + name for name in ("parameters", "injected-parameters", "begin", "load", "support", "save"))
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def notebook_text(notebook: Mapping[str, Any]) -> str:
    """A notebook's JSON as it is written everywhere here: sorted keys, one space, a final newline."""
    return json.dumps(notebook, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def component_notebook(component: Component) -> dict[str, Any]:
    """The notebook (nbformat 4.5) that runs `component` alone."""
    cells = [_own_cell("parameters", parameters_source(component.parameters), "parameters")] if component.parameters else []
    load = [_own_cell("load", LOAD_SOURCE)]
    support = [_own_cell("support", component.support.strip("\n"))] if component.support else []
    # Instances cannot be loaded before their classes are there; the generators are seeded before all code in any case.
    cells += [_own_cell("begin", BEGIN_SOURCE), *support, *load] if component.inputs and _defines_class(component.support) else [*load, *support]
    cells += [_code_cell(cell.id, cell.source, cell.tags) for cell in component.cells]
    cells.append(_own_cell("save", SAVE_SOURCE))
    return {"cells": cells, "metadata": {"kernelspec": KERNELSPEC, "mlops_nb": {"component": component.name}}, "nbformat": 4, "nbformat_minor": 5}


def parameters_source(parameters: Mapping[str, Any]) -> str:
    """Assignments of the defaults, one a line.

    >>> print(parameters_source({"year": 2013, "origin": "JFK"}))
    year = 2013
    origin = 'JFK'
    """
    return "\n".join(f"{name} = {value!r}" for name, value in parameters.items())


def manifest_text(pipeline: Pipeline) -> str:
    """pipeline.toml: where the pipeline comes from, its parameters, and its components in order."""
    import tomli_w

    document = {
        "name": pipeline.name,
        "notebook": pipeline.notebook,
        "version": pipeline.version,
        "parameters": {name: _toml(value) for name, value in all_parameters(pipeline).items()},
        "component": [_component_table(component) for component in pipeline.components],
    }
    return tomli_w.dumps(document)


def all_parameters(pipeline: Pipeline) -> dict[str, Any]:
    """Every parameter that some component uses, with its default."""
    return {name: value for component in pipeline.components for name, value in component.parameters.items()}


def write_pipeline(pipeline: Pipeline, folder: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Write `pipeline` into `folder`; returns the files written and the notebooks removed because their component is gone.

    Only notebooks made here are replaced and removed. Raises BadInput where another stands in a component's place, MlopsError where
    nothing can be written.
    """
    texts = _texts(pipeline, folder)
    known = known_components(folder)
    for path in texts.keys() - {folder / MANIFEST}:
        if path.exists() and path.stem not in known and not _is_component(path):
            raise BadInput("is no component's notebook and would be overwritten", where=str(path), hint="move it, or give the step another name")
    gone = tuple(sorted(path for path in folder.glob("*.ipynb") if path not in texts and _is_component(path)))
    for path in gone:
        path.unlink()
    return tuple(path for path, text in texts.items() if write_if_changed(path, text)), gone


def changed_files(pipeline: Pipeline, folder: Path) -> tuple[Path, ...]:
    """The files that `write_pipeline` would write."""
    return tuple(path for path, text in _texts(pipeline, folder).items() if not _says(path, text))


def _texts(pipeline: Pipeline, folder: Path) -> dict[Path, str]:
    texts = {folder / f"{component.name}.ipynb": notebook_text(component_notebook(component)) for component in pipeline.components}
    return {**texts, folder / MANIFEST: manifest_text(pipeline)}


def read_manifest(folder: Path) -> dict[str, Any]:
    """pipeline.toml as it stands; {} where there is none that can be read."""
    try:
        return tomllib.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def known_components(folder: Path) -> frozenset[str]:
    """The components that pipeline.toml names."""
    tables = read_manifest(folder).get("component")
    named = (table.get("name") for table in tables if isinstance(table, dict)) if isinstance(tables, list) else ()
    return frozenset(name for name in named if isinstance(name, str))


def _is_component(path: Path) -> bool:
    """Whether a notebook says that it was made here."""
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))["metadata"]
        return isinstance(metadata["mlops_nb"]["component"], str)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def read_pipeline(folder: Path, modules: Mapping[str, str]) -> Pipeline:
    """The pipeline that the files in `folder` say, edits by hand included.

    Raises BadInput where pipeline.toml is not valid, NotebookError for a component's notebook.
    """
    path = folder / MANIFEST
    try:
        manifest = tomllib.loads(path.read_text(encoding="utf-8"))
        components = tuple(_read_component(folder, table, modules) for table in manifest.get("component", ()))
        name, notebook = str(manifest["name"]), str(manifest["notebook"])
    except KeyError as error:
        raise _invalid(path, f"{error} is missing") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise _invalid(path, str(error)) from error
    if wrong := _contradiction(name, components, folder):
        raise _invalid(path, wrong)
    return Pipeline(name=name, notebook=notebook, components=components, version=version_of(name, components))


def _invalid(path: Path, why: str) -> BadInput:
    return BadInput(f"no valid pipeline: {why}", where=str(path), hint="promote the notebook again")


def _contradiction(name: str, components: tuple[Component, ...], folder: Path) -> str:
    """What of a pipeline's table cannot be; '' for a good one."""
    if name != folder.name:
        return f"its name is {name!r}, its folder's {folder.name!r}"
    given: dict[str, tuple[str, ...]] = {}
    for component in components:
        if component.name in given:
            return f"two components are named {component.name}"
        for wanted, maker in component.inputs.items():
            if wanted not in given.get(maker, ()):
                return f"component {component.name} takes `{wanted}` from {maker}, and no component of that name before it gives it out"
        given[component.name] = component.outputs
    return ""


def _read_component(folder: Path, table: Mapping[str, Any], modules: Mapping[str, str]) -> Component:
    name, inputs, outputs = identifier(str(table["name"])), dict(table["inputs"]), table["outputs"]
    if not isinstance(outputs, list) or not all(isinstance(text, str) for text in (*outputs, *inputs.values())):
        raise TypeError(f"inputs and outputs of {name} must be names")
    cells = read_notebook(folder / f"{name}.ipynb")
    own = {cell.id.removeprefix(OWN_PREFIX): cell for cell in cells if cell.id in OWN_CELLS}
    component = Component(
        name=name,
        cells=tuple(_featured(cell) for cell in cells if cell.id not in OWN_CELLS),
        support=f"{own['support'].source}\n" if "support" in own else "",
        inputs=inputs,
        outputs=tuple(outputs),
        parameters=literals(own["parameters"]) if "parameters" in own else {},
    )
    return replace(component, digest=digest_of(component, modules))


def _featured(cell: Cell) -> Cell:
    return replace(cell, step=cell.name) if cell.kind == "feature" and not cell.step else cell


def write_if_changed(path: Path, text: str) -> bool:
    """Write `text` unless the file says it already; was it written?"""
    if _says(path, text):
        return False
    write_atomically(path, text)
    return True


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` as a whole: a reader, or a crash, sees the old text or the new one. Raises MlopsError where that cannot be."""
    try:
        _replace(path, text)
    except OSError as error:
        raise MlopsError(f"cannot be written: {error.strerror or error}", where=str(path)) from error


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogatepass", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise


def _says(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode("utf-8", "surrogatepass")
    except OSError:
        return False


def _defines_class(source: str) -> bool:
    return any(is_class_statement(statement) for statement in statements(source))


def _own_cell(name: str, source: str, *tags: str) -> dict[str, Any]:
    return _code_cell(OWN_PREFIX + name, source, tags)


def _code_cell(cell_id: str, source: str, tags: tuple[str, ...]) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": cell_id,
        "metadata": {"tags": list(tags)} if tags else {},
        "outputs": [],
        "source": source.splitlines(keepends=True),
    }


def _component_table(component: Component) -> dict[str, Any]:
    return {
        "name": component.name,
        "notebook": f"{component.name}.ipynb",
        "cells": [cell.id for cell in component.cells],
        "inputs": dict(sorted(component.inputs.items())),
        "outputs": list(component.outputs),
        "parameters": sorted(component.parameters),
        "digest": component.digest,
    }


def _toml(value: Any) -> Any:
    """TOML knows no None; a parameter's text says it."""
    return "None" if value is None else value
