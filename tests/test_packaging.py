"""What is built and shipped: versions agree, the wheel is whole and installs without Node, tracked text names no registry and no machine."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import mlops_nb

ROOT = Path(__file__).parent.parent
PANEL = "share/jupyter/labextensions/mlops-nb"
REGISTRY = re.compile(r"(pypi|files\.pythonhosted|registry\.npmjs|registry\.yarnpkg|deb\.debian|conda\.anaconda|proxy\.golang)\.(org|com)\b")
MACHINE = re.compile(r"(?<![\w.~$}])/(root|home|Users|work)/\w")
UNPINNED = re.compile(r"^(?=\S)(?!#|\S+==)", re.MULTILINE)


def tracked():
    """The repository's text files as (path, text)."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        data = path.read_bytes() if path.is_file() else b"\0"
        if b"\0" not in data:
            yield name, data.decode("utf-8")


def test_tracked_text_names_no_registry():
    assert [f"{name}: {match[0]}" for name, text in tracked() if (match := REGISTRY.search(text))] == []


def test_tracked_text_names_no_machines_path():
    texts = [(name, text) for name, text in tracked() if not name.startswith("tests/")]  # tests make paths up
    assert [f"{name}: {match[0]}" for name, text in texts if (match := MACHINE.search(text))] == []


@pytest.mark.parametrize(
    ("pattern", "text"),
    [(REGISTRY, "--index-url https://py" + "pi.org/simple"), (MACHINE, "# uv pip compile /" + "root/project"), (UNPINNED, "numpy>=2\n")],
)
def test_the_checks_see_what_they_look_for(pattern, text):
    assert pattern.search(text)


def test_versions_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    panel = json.loads((ROOT / "labextension" / "package.json").read_text())["version"]
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert project == mlops_nb.__version__ == panel == newest[1]


def test_every_locked_package_is_pinned_and_hashed():
    lock = (ROOT / "requirements" / "lock.txt").read_text()
    entries = re.split(r"\n(?=\w)", lock.split("\n", 1)[1])
    assert not UNPINNED.search(lock)
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_lock_covers_every_requirement():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    wanted = [*project["build-system"]["requires"], *project["project"]["dependencies"], *(name for extra in extras.values() for name in extra)]
    names = {re.match(r"[\w-]+", entry)[0].lower().replace("_", "-") for entry in wanted}
    assert names - set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements" / "lock.txt").read_text(), re.MULTILINE)) == set()


# --- what is built --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what is tracked, with the panel if it is built: building leaves nothing in the work tree."""
    folder = tmp_path_factory.mktemp("source")
    for name, _ in tracked():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    if (ROOT / "mlops_nb" / "labextension").is_dir():
        shutil.copytree(ROOT / "mlops_nb" / "labextension", folder / "mlops_nb" / "labextension")
    return folder


@pytest.fixture(scope="module")
def panel_built():
    built = (ROOT / "mlops_nb" / "labextension" / "static" / "style.js").is_file()
    if not built and (os.environ.get("MLOPS_NB_CI") or shutil.which("node")):
        pytest.fail("Node is here but the panel is not built: run make setup")
    return built


@pytest.fixture(scope="module")
def no_node(tmp_path_factory):
    """The environment variables of a machine without Node."""
    folder = tmp_path_factory.mktemp("bin")
    for tool in ("git", "sh", "env"):
        (folder / tool).symlink_to(shutil.which(tool))
    return {**{k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}, "PATH": str(folder)}


def build(kind, source, target, environ):
    """Build an sdist or a wheel of `source` with the locked build tools of this environment."""
    code = f"from hatchling.build import build_{kind}; print(build_{kind}({str(target)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return target / done.stdout.split()[-1], done.stdout + done.stderr


@pytest.fixture(scope="module")
def sdist(source, tmp_path_factory, no_node):
    return build("sdist", source, tmp_path_factory.mktemp("sdist"), no_node)[0]


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory, no_node):
    """The wheel as a user's pip makes it from the sdist, without Node."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return build("wheel", next(folder.iterdir()), tmp_path_factory.mktemp("wheel"), no_node)[0]


def test_the_wheel_is_whole(wheel, panel_built):
    names = zipfile.ZipFile(wheel).namelist()
    inside = [n.split(".data/data/")[-1] for n in names]
    assert {"mlops_nb/project/__init__.py", "etc/jupyter/jupyter_server_config.d/mlops_nb.json"} <= set(inside)
    assert any(n.endswith("licenses/LICENSE") for n in inside)
    assert not [n for n in inside if re.search(r"(^|/)(tests?/test_|node_modules|\.mlops_nb|\.venv)", n)]
    assert ([n for n in inside if n == f"{PANEL}/package.json"] != []) == panel_built
    assert (any(n.startswith(f"{PANEL}/static/remoteEntry") for n in inside)) == panel_built
    assert not [n for n in names if n.startswith("mlops_nb/labextension/")], "the panel is in the wheel twice"


def test_a_clone_without_node_gives_the_python_side_and_says_how_to_get_the_panel(source, tmp_path, no_node):
    shutil.copytree(source, tmp_path / "clone", ignore=shutil.ignore_patterns("static"))
    wheel, said = build("wheel", tmp_path / "clone", tmp_path / "dist", no_node)
    assert re.search(r"without the JupyterLab panel.*Node\.js.*pip install", said, re.DOTALL)
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if PANEL in name]


def test_the_sdist_holds_the_panels_sources(sdist):
    with tarfile.open(sdist) as archive:
        names = [name.split("/", 1)[-1] for name in archive.getnames()]
    assert {"LICENSE", "README.md", "labextension/package.json", "labextension/yarn.lock", "labextension/src/index.ts"} <= set(names)
    assert not [n for n in names if "node_modules" in n or n.startswith((".mlops_nb", ".venv"))]


@pytest.mark.slow
def test_the_wheel_installs_into_an_empty_environment_without_node(wheel, tmp_path, no_node, panel_built):
    lock = (ROOT / "requirements" / "lock.txt").read_text()
    pins = tmp_path / "pins.txt"
    pins.write_text("\n".join(re.findall(r"^\S+==[^\\\n]*", lock, re.MULTILINE)))
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    command = python.with_name("mlops-nb")
    environ = {**no_node, "JUPYTER_CONFIG_DIR": str(tmp_path / "config"), "JUPYTER_DATA_DIR": str(tmp_path / "data")}

    def run(*arguments):
        done = subprocess.run(arguments, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    run(python, "-m", "pip", "install", "-qq", "--constraint", pins, wheel)
    assert mlops_nb.__version__ in run(command, "--version")
    assert re.search(r"mlops_nb .*OK", run(python, "-m", "jupyter", "server", "extension", "list"))
    if panel_built:
        assert re.search(r"mlops-nb v\S+ .*enabled.*OK", run(python, "-m", "jupyter", "labextension", "list"))
    doctor = json.loads(run(command, "doctor", "--json"))
    assert [check for check in doctor if check["level"] == "wrong"] == []
    assert {check["what"]: check["level"] for check in doctor}["panel"] == ("ok" if panel_built else "warning")
