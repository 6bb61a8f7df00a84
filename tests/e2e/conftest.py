"""A real JupyterLab on a free port, driven in a headless Chromium. Its own pytest process: Playwright leaves an event loop behind."""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).parent.parent.parent
PANEL = ROOT / "mlops_nb" / "labextension"
REQUIRED = bool(os.environ.get("MLOPS_NB_CI") or os.environ.get("CI"))
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
NO_BROWSER = "no Chromium for the panel's tests; get it with: apt-get install chromium (or name one: CHROMIUM=/path/to/chrome)"
NO_PANEL = "the panel is not built; with Node.js 20.19 or newer: make setup (or: cd labextension && jlpm install && jlpm build:prod)"
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
READY = """name => {
  const front = window.jupyterapp?.shell.currentWidget;
  return front?.context?.path === name && front.context.isReady && front.content.widgets.length > 0;
}"""
IDLE = "() => window.jupyterapp.shell.currentWidget.sessionContext?.session?.kernel?.status === 'idle'"
# Errors of the page itself, not of what we add: Lab asks for things that a bare installation has not got.
NOT_OURS = ("favicon", "ResizeObserver loop")


def missing(reason: str) -> None:
    """Skip, saying how to get what is missing; where the tests must run it is a failure."""
    if REQUIRED:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@dataclass
class Lab:
    """A running server: `root` holds the notebooks."""

    url: str
    token: str
    root: Path


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """JupyterLab with its own config, data, runtime and workspace folders, and the panel as it is built in this tree."""
    if not (PANEL / "static" / "style.js").is_file():
        missing(NO_PANEL)
    home = tmp_path_factory.mktemp("jupyter")
    root = home / "root"
    root.mkdir()
    prepare(home)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    log = (home / "server.log").open("w")
    process = subprocess.Popen(command(port, token, root), env=environ(home), stdout=log, stderr=subprocess.STDOUT, cwd=root)
    lab = Lab(f"http://127.0.0.1:{port}", token, root)
    wait_for(lab, process, home / "server.log")
    yield lab
    process.terminate()
    process.wait(30)
    log.close()


def prepare(home: Path) -> None:
    """The configuration that an installation brings, and no news popup over the panel."""
    config = home / "config" / "jupyter_server_config.d"
    config.mkdir(parents=True)
    shutil.copy(ROOT / "jupyter-config" / "server-config" / "mlops_nb.json", config)
    page = home / "config" / "labconfig" / "page_config.json"
    page.parent.mkdir()
    page.write_text(json.dumps({"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}))
    extensions = home / "share" / "labextensions"
    extensions.mkdir(parents=True)
    (extensions / "mlops-nb").symlink_to(PANEL)


def environ(home: Path) -> dict[str, str]:
    own = {"CONFIG_DIR": "config", "DATA_DIR": "data", "RUNTIME_DIR": "run", "PATH": "share"}
    lab = {"WORKSPACES_DIR": "workspaces", "SETTINGS_DIR": "settings"}
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER_", "MLOPS_NB_"))},
        **{f"JUPYTER_{name}": str(home / folder) for name, folder in own.items()},
        **{f"JUPYTERLAB_{name}": str(home / folder) for name, folder in lab.items()},
        "IPYTHONDIR": str(home / "ipython"),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", "")))),
    }


def command(port: int, token: str, root: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"),
        *("--ServerApp.port_retries=0", f"--ServerApp.root_dir={root}", f"--IdentityProvider.token={token}"),
        *("--LabApp.expose_app_in_browser=True", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"),
    ]


def wait_for(lab: Lab, process: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{lab.url}/api", timeout=1)
        except OSError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()}")


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium; its pages share a cache, so that JupyterLab is loaded once."""
    chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if not chromium:
        missing(NO_BROWSER)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        yield browser.new_context(viewport={"width": 1400, "height": 1000})
        browser.close()


@dataclass
class Notebook:
    """An open notebook in its page; cells are named by their ids c0, c1, ..."""

    page: Any
    lab: Lab
    path: str
    workspace: str
    errors: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return (self.lab.root / self.path).parent

    def open(self) -> None:
        """Load the page anew and wait for the kernel."""
        self.load()
        self.page.wait_for_function(IDLE, timeout=60000)

    def load(self) -> None:
        """Load the page anew, with the notebook in front and the panel shown."""
        self.page.goto(f"{self.lab.url}/lab/workspaces/{self.workspace}/tree/{self.path}?token={self.lab.token}")
        self.page.wait_for_function(READY, arg=self.path, timeout=60000)
        self.command("mlops-nb:show-panel")
        self.page.wait_for_selector("#mlops-nb-panel:visible")

    def command(self, name: str, **arguments: Any) -> None:
        self.page.evaluate("([c, a]) => window.jupyterapp.commands.execute(c, a).then(() => null)", [name, arguments])

    def run(self, *cells: str) -> None:
        """Run cells as a user does, one after the other, whatever comes of them."""
        for cell in cells:
            self.activate(cell)
            self.command("notebook:run-cell")

    def start(self, cell: str) -> None:
        """Have a cell run, and do not wait for its end."""
        self.activate(cell)
        self.page.evaluate("() => { void window.jupyterapp.commands.execute('notebook:run-cell'); }")

    def activate(self, cell: str) -> None:
        self.page.evaluate(
            """id => { const nb = window.jupyterapp.shell.currentWidget.content;
                       nb.activeCellIndex = nb.widgets.findIndex(w => w.model.id === id); }""",
            cell,
        )

    def write(self, cell: str, source: str) -> None:
        self.page.evaluate(
            """([id, source]) => window.jupyterapp.shell.currentWidget.content.widgets
                 .find(w => w.model.id === id).model.sharedModel.setSource(source)""",
            [cell, source],
        )

    def restart(self) -> None:
        self.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
        self.page.wait_for_function(IDLE, timeout=60000)

    def row(self, cell: str) -> Any:
        return self.page.locator(f"#jp-mlops-cell-{cell}")

    def section(self, name: str) -> Any:
        return self.page.locator(f"#mlops-nb-panel [data-section={name}]")

    def expect_states(self, **states: str) -> None:
        """Wait until the panel and the notebook's prompts show these states."""
        from playwright.sync_api import expect

        for cell, state in states.items():
            expect(self.row(cell)).to_have_attribute("data-state", state, timeout=15000)

    def badge(self, cell: str) -> str | None:
        return self.page.evaluate(
            "id => window.jupyterapp.shell.currentWidget.content.widgets.find(w => w.model.id === id).node.dataset.mlopsState ?? null", cell
        )


@pytest.fixture
def notebook(lab, browser, request):
    """Call with sources or (source, tags) pairs: an open notebook with these cells, in a folder of its own."""
    workspace = re.sub(r"\W+", "-", request.node.name).strip("-")
    opened: list[Notebook] = []

    def open_(*cells, name="nb.ipynb"):
        page = browser.new_page()
        folder = lab.root / workspace
        folder.mkdir()
        made = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}})
        for number, cell in enumerate(cells):
            source, tags = (cell, []) if isinstance(cell, str) else cell
            made.cells.append(nbformat.v4.new_code_cell(source, id=f"c{number}", metadata={"tags": list(tags)} if tags else {}))
        nbformat.write(made, folder / name)
        book = Notebook(page, lab, f"{workspace}/{name}", workspace)
        page.on("pageerror", lambda error: book.errors.append(str(error)))
        page.on("console", lambda message: book.errors.append(message.text) if message.type == "error" else None)
        opened.append(book)
        book.open()
        return book

    yield open_
    errors = [error for book in opened for error in book.errors if not any(known in error for known in NOT_OURS)]
    for book in opened:
        book.command("docmanager:save")
        book.page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")
        book.page.close()
    assert errors == []
