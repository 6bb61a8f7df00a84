"""A headless run of a notebook under witness: the values named beforehand are stored as artifacts right after the cells named.

The driver names a request in MLOPS_NB_WITNESS; `%load_ext mlops_nb` attaches the witness, behind capture, so that a cell's run is recorded
before its values are looked at. What was seen is one line of JSON a value, beside the request.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.config import WITNESS_VARIABLE
from mlops_nb.errors import MlopsError
from mlops_nb.pipeline.files import write_atomically
from mlops_nb.pipeline.step import seed_generators
from mlops_nb.records import ArtifactRef
from mlops_nb.unseen import unseen

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from mlops_nb.project import Project

REQUEST = "witness.json"
SEEN = "witness.seen.jsonl"


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of `name` after the cell `after`: its value as stored, or `error`, why there is none."""

    after: str
    name: str
    ref: ArtifactRef | None = None
    error: str = ""


class Witness:
    """Looks at the values that a request names."""

    def __init__(self, project: "Project", namespace: Mapping[str, Any], request: Path) -> None:
        given = json.loads(request.read_text(encoding="utf-8"))
        self.project = project
        self.namespace = namespace
        self.after: dict[str, list[str]] = given["after"]
        self.seen = request.with_name(SEEN)
        self.made_by = request.parent.name

    def cell_ran(self, result: Any) -> None:
        """IPython's `post_run_cell`: store what was asked for after this cell. A cell that failed left nothing to be compared."""
        cell_id = getattr(result.info, "cell_id", None) or ""
        if result.success and cell_id in self.after:
            with unseen():
                lines = [json.dumps(asdict(self._look(cell_id, name))) for name in self.after[cell_id]]
                self.project.registry.flush()
                with self.seen.open("a", encoding="utf-8") as file:
                    file.write("".join(f"{line}\n" for line in lines))

    def _look(self, cell_id: str, name: str) -> Seen:
        if name not in self.namespace:
            return Seen(cell_id, name, error="the notebook holds no such name there")
        try:
            ref = self.project.artifacts.put(self.namespace[name], name=name, made_by=f"{self.made_by}/{cell_id}")
        except MlopsError as error:
            return Seen(cell_id, name, error=error.message)
        return Seen(cell_id, name, ref)


def attach(project: "Project", shell: "InteractiveShell") -> None:
    """Put a witness into this kernel where its run asks for one; the global generators start as a step's do."""
    path = project.environ.get(WITNESS_VARIABLE)
    if path:
        with unseen():
            witness = Witness(project, shell.user_ns, Path(path))
            seed_generators(0)
        shell.events.register("post_run_cell", witness.cell_ran)


def write_request(folder: Path, after: Mapping[str, tuple[str, ...]]) -> Path:
    """Write which names to look at after which cells; returns the file's path."""
    write_atomically(folder / REQUEST, json.dumps({"after": {cell_id: list(names) for cell_id, names in after.items()}}) + "\n")
    return folder / REQUEST


def read_seen(folder: Path) -> dict[tuple[str, str], Seen]:
    """(cell id, name) -> what was seen in the run of `folder`; what was never written down is not there."""
    try:
        lines = (folder / SEEN).read_text(encoding="utf-8").splitlines()
        found = [Seen(**{**given, "ref": ArtifactRef(**given["ref"]) if given["ref"] else None}) for given in map(json.loads, lines)]
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    return {(one.after, one.name): one for one in found}
