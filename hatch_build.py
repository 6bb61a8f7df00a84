"""Build hook: the JupyterLab panel comes along where it is built or can be built; without Node.js the Python side is built alone."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PANEL = "mlops_nb/labextension"
SHARED = "share/jupyter/labextensions/mlops-nb"
WITHOUT = (
    "built without the JupyterLab panel, which takes Node.js (20.19, or 22.12 and newer) to build. "
    "Install it, then: pip install --force-reinstall --no-deps --no-cache-dir mlops_nb (or in a clone: make setup)"
)


class PanelHook(BuildHookInterface):  # type: ignore[type-arg,unused-ignore]
    """Build the panel unless it is there, and add it to the wheel's shared data."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 (hatchling's signature)
        """Called by hatchling before each target is built."""
        root = Path(self.root)
        if not is_built(root) and not os.environ.get("SKIP_JUPYTER_BUILDER") and has_node():
            build(root / "labextension")
        if not is_built(root):
            self.app.display_warning(f"mlops_nb: {WITHOUT}")
        elif self.target_name == "wheel":
            build_data["shared_data"][str(root / PANEL)] = SHARED
            build_data["shared_data"][str(root / "labextension" / "install.json")] = f"{SHARED}/install.json"


def is_built(root: Path) -> bool:
    """Whether the panel is whole."""
    return (root / PANEL / "package.json").is_file() and (root / PANEL / "static" / "style.js").is_file()


def has_node() -> bool:
    """Whether there is a Node.js that the panel's bundler runs on."""
    node = shutil.which("node")
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout if node else ""  # noqa: S603
    found = re.match(r"v(\d+)\.(\d+)", told)
    version = (int(found[1]), int(found[2])) if found else (0, 0)
    return (20, 19) <= version < (21, 0) or version >= (22, 12)


def build(folder: Path) -> None:
    """Install the locked packages and build; what fails here fails the build."""
    code = "import sys; from jupyter_builder.jlpm import main; main(sys.argv[1:])"
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))  # jupyter-builder's command
    for arguments in (["install", "--immutable"], ["run", "build:prod"]):
        subprocess.run([sys.executable, "-c", code, *arguments], cwd=folder, check=True, env={**os.environ, "PATH": path})  # noqa: S603
