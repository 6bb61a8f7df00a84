"""Feature views of a project: run their cells, register and search them."""

import difflib
import linecache
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.errors import BadInput, NotFound, RecordingOff, RegistryError
from mlops_nb.features.define import attributes, definition, function
from mlops_nb.features.offline import ATTRIBUTE, check_frame
from mlops_nb.project import event, new_id, unknown_variable
from mlops_nb.records import ArtifactRef, Cell, Fact, FeatureView, now_text, utc_text
from mlops_nb.store.codec import from_json
from mlops_nb.store.redaction import Redactor

if TYPE_CHECKING:
    import pandas as pd

    from mlops_nb.pipeline.step import StepSpec
    from mlops_nb.project import Project

VIEWS = """
select view.*, coalesce(made.rows, 0) as rows, coalesce(made.keys, 0) as keys, coalesce(made.first_ts, '') as first_ts,
       coalesce(made.last_ts, '') as last_ts, coalesce(made.created, '') as materialized
from current_feature_view as view
left join (select *, row_number() over (partition by view order by created desc, rowid desc) as place from materialization) as made
       on made.view = view.name and made.place = 1
"""
# A hit in the name counts most; columns: name, description, tags, owner, entity.
MATCHING = """
select view.name from feature_search join current_feature_view as view on view.id = feature_search.view_id
where feature_search match ? order by bm25(feature_search, 10, 4, 4, 2, 2), view.name
"""
CURRENT = "select version, notebook from current_feature_view where name = ?"
HISTORY = "select version, created, notebook, path from feature_view where name = ? order by created desc, rowid desc"


@dataclass(frozen=True, slots=True)
class FeatureSummary:
    """A registered view with its newest frame: `rows`, distinct `keys`, first and last time, and when it was `materialized`."""

    view: FeatureView
    path: str
    created: str
    rows: int = 0
    keys: int = 0
    first_ts: str = ""
    last_ts: str = ""
    materialized: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, best first; `near` are names like the text where it found nothing."""

    features: tuple[FeatureSummary, ...]
    near: tuple[str, ...] = ()


class Features:
    """`project.features`."""

    def __init__(self, project: "Project") -> None:
        self.project = project

    def run_cell(
        self,
        namespace: dict[str, Any],
        cell: Cell,
        *,
        sources: Sequence[str],
        session_id: str = "",
        step: "StepSpec | None" = None,
        record: bool = True,
    ) -> "pd.DataFrame":
        """Compute the view that a %%feature cell defines, check it, record it and give its frame; it carries its view in `attrs`.

        `sources` is the plain Python of the notebook's cells so far. Outside a headless step the definition file is written where it
        changed; without `record` neither file nor registry is touched. Raises BadInput or NotFound naming the cell; what the cell's own
        code raises passes through.
        """
        __tracebackhide__ = True
        view, text = definition(cell, sources=sources)
        if step is not None:
            view = replace(view, notebook=step.notebook)
        elif record:
            self._refuse_conflict(view)
        frame = computed(cell, view, namespace)
        check_frame(frame, view, where=cell.where)
        result: pd.DataFrame = frame.copy(deep=False)
        result.attrs = {**frame.attrs, ATTRIBUTE: {"view": Redactor(self.project.environ).value(attributes(view))}}
        if not record:
            return result
        try:
            if step is None:
                self._write_file(view, text)
            self.register(view, result, session_id=session_id, run_id=step.run_id if step else "")
        except (OSError, RecordingOff, RegistryError) as error:  # a full disk or a read-only folder does not take the user's frame away
            sys.stderr.write(f"mlops_nb: the feature {view.name} is computed, but not recorded: {error}\n")
        return result

    def register(self, view: FeatureView, frame: "pd.DataFrame", *, session_id: str = "", run_id: str = "") -> None:
        """Record `frame` as the newest values of `view`, and `view` itself where its version is not the registered one.

        Raises NotStorable where the frame cannot be stored; OSError, RecordingOff or RegistryError where nothing can be.
        """
        project = self.project
        ref = project.artifacts.put(frame, name=view.name, made_by=run_id or session_id)
        facts = [Fact("materialization", _materialization(view, frame, ref) | {"run_id": run_id, "session_id": session_id})]
        if self._registered(view.name).get("version") != view.version:
            facts.insert(0, Fact("feature_view", _row(view, path=project.relative(self.file(view.name)))))
            facts.append(event("register feature", view.name, {"version": view.version}, cause=view.cell_id, human=not run_id))
        project.registry.record(facts)

    def list(self) -> tuple[FeatureSummary, ...]:
        """All views by name."""
        return tuple(map(_summary, self.project.registry.rows(VIEWS + " order by view.name")))

    def show(self, name: str) -> FeatureSummary:
        """One view; raises NotFound with near names."""
        for summary in self.list():
            if summary.view.name == name:
                return summary
        raise NotFound.named("feature view", name, self._names(), hint="mlops-nb feature search TEXT looks in descriptions, tags and owners too")

    def history(self, name: str) -> tuple[Mapping[str, str], ...]:
        """The versions of a view that were registered, newest first: version, created, notebook, path."""
        return tuple(self.project.registry.rows(HISTORY, (name,)))

    def search(self, text: str) -> Found:
        """The views that hold every word of `text` (or its beginning) in name, description, tags, owner or entity, best first."""
        summaries = {summary.view.name: summary for summary in self.list()}
        ranked = dict.fromkeys([*self._matching(text), *(name for name, summary in summaries.items() if _holds(summary.view, text))])
        found = tuple(summaries[name] for name in ranked if name in summaries)
        return Found(found, () if found else _near(text, summaries))

    def file(self, name: str) -> Path:
        """The definition file of a view."""
        return self.project.layout.root / self.project.settings.features / f"{name}.py"

    def _matching(self, text: str) -> Sequence[str]:
        """Names of current views in the order the full-text index ranks them."""
        query = " ".join(f'"{word}"*' for word in _words(text))
        if not query:
            return ()
        return [row["name"] for row in self.project.registry.rows(MATCHING, (query,))]

    def _names(self) -> Sequence[str]:
        return [row["name"] for row in self.project.registry.rows("select name from current_feature_view")]

    def _registered(self, name: str) -> Mapping[str, str]:
        """Version and notebook of the registered view; nothing where there is none, or no registry that can be read (its status says so)."""
        try:
            rows = self.project.registry.rows(CURRENT, (name,))
        except (RecordingOff, RegistryError):
            return {}
        return rows[0] if rows else {}

    def _refuse_conflict(self, view: FeatureView) -> None:
        """A name belongs to one notebook, as long as that notebook is there; the same definition may stand in several."""
        known = self._registered(view.name)
        other = known.get("notebook", "")
        if not view.notebook or other in ("", view.notebook) or known["version"] == view.version:
            return
        if (self.project.layout.root / other).is_file():
            raise BadInput(
                f"the feature {view.name} is defined otherwise in {other}",
                where=f"{view.notebook} (cell {view.cell_id})",
                hint=f"choose another name, or take {view.name} out of {other}",
            )

    def _write_file(self, view: FeatureView, text: str) -> None:
        """Write the definition file where its text changed, whole or not at all."""
        file = self.file(view.name)
        if file.is_file() and file.read_bytes() == text.encode():
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_name(f".{file.name}.{os.getpid()}")
        fresh.write_bytes(text.encode())
        fresh.replace(file)


def computed(cell: Cell, view: FeatureView, namespace: dict[str, Any]) -> Any:
    """What the cell's function gives for the namespace's data; tracebacks show the cell's own lines."""
    __tracebackhide__ = True
    missing = [name for name in view.inputs if name not in namespace]
    if missing:
        raise unknown_variable(missing[0], namespace, where=cell.where, hint=f"run the cell that makes {missing[0]} first")
    filename = f"<%%feature {cell.name} of {cell.where}>"
    linecache.cache[filename] = (len(cell.source), None, cell.source.splitlines(keepends=True), filename)
    scope: dict[str, Any] = {}
    exec(compile(function(cell, view.inputs), filename, "exec", dont_inherit=True), namespace, scope)  # noqa: S102 (the user's own cell)
    return scope[cell.name](**{name: namespace[name] for name in view.inputs})


def _row(view: FeatureView, *, path: str) -> dict[str, Any]:
    return {
        "id": new_id(),
        "name": view.name,
        "version": view.version,
        "entity": view.entity,
        "timestamp": view.timestamp,
        "ttl_seconds": view.ttl_seconds,
        "owner": view.owner,
        "tags": view.tags,
        "description": view.description,
        "inputs": view.inputs,
        "source": view.source,
        "path": path,
        "notebook": view.notebook,
        "cell_id": view.cell_id,
        "created": now_text(),
    }


def _materialization(view: FeatureView, frame: "pd.DataFrame", ref: ArtifactRef) -> dict[str, Any]:
    times = frame[view.timestamp]
    return {
        "id": new_id(),
        "view": view.name,
        "version": view.version,
        "artifact": ref.digest,
        "kind": ref.kind,
        "rows": len(frame),
        "keys": len(frame.loc[:, list(view.entity)].drop_duplicates()),
        "first_ts": _moment(times.min()) if len(frame) else "",
        "last_ts": _moment(times.max()) if len(frame) else "",
        "created": now_text(),
    }


def _moment(time: "pd.Timestamp") -> str:
    """A time as record text; a naive one without the Z of UTC."""
    return utc_text(time.to_pydatetime(warn=False)) if time.tzinfo else time.isoformat(timespec="microseconds")


def _summary(row: Mapping[str, Any]) -> FeatureSummary:
    view = FeatureView(
        name=row["name"],
        entity=tuple(from_json(row["entity"])),
        timestamp=row["timestamp"],
        ttl_seconds=row["ttl_seconds"],
        owner=row["owner"],
        tags=tuple(from_json(row["tags"])),
        description=row["description"],
        inputs=tuple(from_json(row["inputs"])),
        source=row["source"],
        version=row["version"],
        notebook=row["notebook"],
        cell_id=row["cell_id"],
    )
    return FeatureSummary(view=view, **{key: row[key] for key in ("path", "created", "rows", "keys", "first_ts", "last_ts", "materialized")})


def _words(text: str) -> Sequence[str]:
    return re.findall(r"\w+", text)


def _holds(view: FeatureView, text: str) -> bool:
    """Every word of `text` stands somewhere in what describes the view, in the middle of a word too."""
    haystack = " ".join([view.name, view.description, *view.tags, view.owner, *view.entity]).lower()
    words = _words(text.lower())
    return bool(words) and all(word in haystack for word in words)


def _near(text: str, known: Mapping[str, object]) -> tuple[str, ...]:
    words = {word for name in known for word in name.split("_")}
    close = set(difflib.get_close_matches("_".join(_words(text.lower())), known, n=3, cutoff=0.5))
    similar = {w for word in _words(text.lower()) for w in difflib.get_close_matches(word, words, n=3, cutoff=0.7)}
    return tuple(name for name in sorted(known) if name in close or similar & set(name.split("_")))
