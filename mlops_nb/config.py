"""Where a project's things are, and its settings: `[tool.mlops_nb]` in pyproject.toml and MLOPS_NB_HOME."""

import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from mlops_nb.errors import BadInput, NotFound

HOME_VARIABLE = "MLOPS_NB_HOME"
STEP_VARIABLE = "MLOPS_NB_STEP"
WITNESS_VARIABLE = "MLOPS_NB_WITNESS"
HOME_NAME = ".mlops_nb"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of `[tool.mlops_nb]`.

    `features` and `pipelines` are folders beside the notebooks' root, `kernel` a kernel's name ('' = the notebook's own),
    `step_timeout` seconds for one cell of a step (0 = none), `warnings` whether a kernel says on stderr which cells ran out of order.
    """

    features: str = "features"
    pipelines: str = "pipelines"
    kernel: str = ""
    step_timeout: float = 0.0
    warnings: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders of one project: `root` holds what is in git, `home` (`.mlops_nb`) what is not."""

    root: Path
    home: Path

    @property
    def registry(self) -> Path:
        """The registry database; its folder holds nothing else but the gate."""
        return self.home / "registry" / "registry.db"

    @property
    def gate(self) -> Path:
        """The file whose flock(2) lets one process write at a time."""
        return self.home / "registry" / "gate.lock"

    @property
    def spool(self) -> Path:
        """Acknowledged records that are not yet committed."""
        return self.home / "spool"

    @property
    def artifacts(self) -> Path:
        """Content-addressed values."""
        return self.home / "artifacts"

    @property
    def runs(self) -> Path:
        """Executed notebooks: runs/<run id>/<component>.ipynb."""
        return self.home / "runs"


def find_layout(start: Path, environ: Mapping[str, str] = os.environ) -> Layout:
    """The project that `start` (a folder or file) belongs to: MLOPS_NB_HOME, else `.mlops_nb` upwards, else the git root, else `start`."""
    folder = start.resolve()
    if not folder.is_dir() and (folder.exists() or folder.suffix):
        folder = folder.parent
    if given := environ.get(HOME_VARIABLE):
        home = Path(given).expanduser().resolve()
        return Layout(root=home.parent, home=home)
    above = (folder, *folder.parents)
    for marker in (HOME_NAME, ".git"):
        for parent in above:
            if (parent / marker).exists():
                return Layout(root=parent, home=parent / HOME_NAME)
    return Layout(root=folder, home=folder / HOME_NAME)


def read_settings(root: Path) -> Settings:
    """The project's settings; raises BadInput naming the file and key, with near names."""
    file = root / "pyproject.toml"
    if not file.is_file():
        return Settings()
    try:
        tool = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"not valid TOML: {error}", where=str(file)) from error
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", where=str(file)) from error
    table = tool.get("mlops_nb", {}) if isinstance(tool, dict) else tool
    if not isinstance(table, dict):
        raise BadInput(f"must be a table, not {table!r}", where=f"{file} [tool.mlops_nb]")
    known = {f.name: f.default for f in fields(Settings)}
    for key, value in table.items():
        if key not in known:
            raise NotFound.named("setting", key, known, where=f"{file} [tool.mlops_nb]")
        wanted = type(known[key])
        if type(value) is not wanted and not (wanted is float and type(value) is int):
            raise BadInput(f"{key} must be {wanted.__name__}, not {value!r}", where=f"{file} [tool.mlops_nb]")
    found = Settings(**table)
    if not 0 <= found.step_timeout < math.inf:
        raise BadInput(f"step_timeout must be seconds, not {found.step_timeout}", where=f"{file} [tool.mlops_nb]")
    return found
