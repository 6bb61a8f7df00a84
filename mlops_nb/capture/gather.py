"""What a run did, out of all that was seen of it: names, state, files, places, results, columns."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlops_nb.capture import places, state
from mlops_nb.capture.environment import variables_read
from mlops_nb.capture.kinds import module_of
from mlops_nb.capture.lineage import Effect
from mlops_nb.capture.observe import Look, Observed
from mlops_nb.capture.resolve import Resolved
from mlops_nb.notebook.cells import plain_python
from mlops_nb.notebook.columns import column_edges
from mlops_nb.notebook.flow import Facts
from mlops_nb.records import Certainty, ColumnEdge, FileUse

MAX_COLUMNS = 1000
_RESULTS = frozenset({"_", "__", "___"})

Names = dict[str, Certainty]


@dataclass(frozen=True, slots=True)
class Scene:
    """One run as it was seen: its code, the look before it, what it made of the namespace, the files and places it touched.

    `known`: the files, folders and states that the session's cells wrote so far; `shows`: it ended in a value.
    """

    source: str
    facts: Facts
    resolved: Resolved
    look: Look
    seen: Observed
    used: Sequence[tuple[FileUse, str]]
    noted: places.Notes
    known: frozenset[str]
    root: Path
    shows: bool = False

    @property
    def attributes(self) -> set[str]:
        """The names that its code, and the code behind it, look up on objects."""
        return self.resolved.attributes | self.facts.effects.attributes


def effect_of(scene: Scene, namespace: Mapping[str, Any]) -> Effect:
    """What the run did, with how sure each name is."""
    seen, facts = scene.seen, scene.facts
    reads, writes = state.followed(_use(scene), _states_changed(scene, namespace), scene.known)
    held = _held(scene)
    return Effect(
        reads={**state.files_looked_at(scene.attributes, scene.source, scene.known), **held, **seen.reads, **reads, **_places_read(scene)},
        writes={**held, **seen.writes, **writes, **_places_made(scene)},
        deleted=seen.deleted,
        kept=seen.kept,
        same=seen.same,
        absent=seen.absent,
        outputs=(*sorted(facts.effects.outputs | (facts.analysis.uses & _RESULTS)), *(f"_i{number}" for number in facts.effects.inputs)),
        shows=scene.shows,
        parts_read=scene.look.parts,
        parts_written=seen.parts,
    )


def variables_of(source: str, resolved: Resolved) -> frozenset[str]:
    """The environment variables that a cell and the functions it uses name."""
    return frozenset(resolved.variables | variables_read(plain_python(source) if "env" in source else ""))


def _states_changed(scene: Scene, namespace: Mapping[str, Any]) -> Names:
    return state.changed(scene.look.states, scene.facts, namespace, moved=places.is_elsewhere(scene.noted))


def _use(scene: Scene) -> state.Use:
    use = state.use_of(
        scene.facts,
        attributes=scene.resolved.attributes,
        variables=variables_of(scene.source, scene.resolved),
        packages=scene.look.packages | ({"builtins"} if scene.seen.absent else set()),
        opens=bool(scene.used) or "cwd" in scene.source,
    )
    modules = (scene.look.names.get(name) for name in scene.facts.effects.seeds_first)
    return replace(use, seeds_first=use.seeds_first | frozenset(map(state.package_of, modules)))


def _held(scene: Scene) -> Names:
    """Files that earlier cells opened for writing, whose handles this one uses."""
    return dict.fromkeys(places.named(map(os.path.realpath, scene.look.handles), scene.root), "possible")


def _places_read(scene: Scene) -> Names:
    """Files read or removed, the folders that touched ones lie in, and source files of modules that were imported."""
    read = {f"file:{use.path}" for use, _ in scene.used if use.mode == "read" or use.size < 0}
    made = places.named(scene.noted.made, scene.root)
    read |= places.folders_of([*(use.path for use, _ in scene.used), *(name[5:] for name in made)], scene.known) - made
    read |= places.named(scene.noted.read, scene.root)
    if scene.facts.analysis.imports or "reload" in scene.attributes:
        read |= places.sources_read(scene.known, scene.root)
    return dict.fromkeys(sorted(read), "certain")


def _places_made(scene: Scene) -> Names:
    made = {f"file:{use.path}" for use, _ in scene.used if use.mode == "write"}
    return dict.fromkeys(sorted(made | places.named(scene.noted.made, scene.root)), "certain")


# --- columns ---------------------------------------------------------------------------------------------------


def columns_of(namespace: Mapping[str, Any], names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The columns of those names that are bound to frames of pandas or polars; a Series has one, of its own name."""
    if not {"pandas", "polars"} & sys.modules.keys():
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for name in names:
        columns = _columns(namespace.get(name))
        if columns is not None:
            found[name] = tuple(column for column in columns[:MAX_COLUMNS] if type(column) is str)
    return found


def _columns(value: Any) -> list[Any] | None:
    kind = type(value)
    library = module_of(kind).partition(".")[0]
    loaded = sys.modules.get(library) if library in ("pandas", "polars") else None
    if loaded is None:
        return None
    if kind is getattr(loaded, "DataFrame", None):
        return list(value.columns)
    if kind is getattr(loaded, "Series", None):
        return [value.name or ""]
    return None


def columns_made(source: str, before: Mapping[str, tuple[str, ...]], namespace: Mapping[str, Any], writes: Iterable[str]) -> tuple[ColumnEdge, ...]:
    """What the columns of the frames that a run wrote were made from; columns that stayed as they were are left out."""
    wrote = set(writes)
    made = columns_of(namespace, wrote)
    if not made:
        return ()
    after = columns_of(namespace, before) | made
    edges = column_edges(plain_python(source), before, after)
    return tuple(e for e in edges if e.to_name in wrote and (e.from_name, e.from_column) != (e.to_name, e.to_column))
