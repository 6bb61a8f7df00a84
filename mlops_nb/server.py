"""The Jupyter server's extension: what the side panel asks for. Every route needs a token or a logged-in user, and only reads."""

import asyncio
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.serverapp import ServerApp
from jupyter_server.utils import url_path_join
from tornado import web

from mlops_nb.config import Layout, find_layout
from mlops_nb.errors import BadInput, MlopsError
from mlops_nb.project import Project, panel

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """One request: the notebook it is about, as a file below the server's root folder, and its words."""

    file: Path
    query: str = ""


def notebook(project: Project | None, question: Question) -> Json:
    """GET notebook?path=: all that is known of a notebook."""
    return panel.snapshot(project, question.file) if project else panel.nothing(question.file.name)


def features(project: Project | None, question: Question) -> Json:
    """GET features?path=&q=: the project's feature views that match."""
    return {"features": panel.features(project, question.file, question.query) if project else []}


def status(project: Project | None, _: Question) -> Json:
    """GET status?path=: whether facts are kept, and if not, why (null: there is no registry yet)."""
    return {"recording": panel.recording_json(project.registry.status()) if project else None}


ROUTES: Mapping[str, Callable[[Project | None, Question], Json]] = {"notebook": notebook, "features": features, "status": status}


class Projects:
    """The projects in use, each opened once and asked in one thread of their own, so that the server's loop stays free."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mlops_nb")
        self._open: dict[Path, tuple[int, Project]] = {}

    async def ask(self, answer: Callable[[Project | None, Question], Json], question: Question) -> Json:
        """The answer for the project that the notebook belongs to; a project without a registry is not made by asking."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: answer(self._project(find_layout(question.file)), question))

    def _project(self, layout: Layout) -> Project | None:
        inode = layout.registry.stat().st_ino if layout.registry.exists() else 0
        known, project = self._open.get(layout.home, (0, None))
        if project and known != inode:  # removed, or put back from a copy
            self._open.pop(layout.home)
            project.close()
            project = None
        if inode and not project:
            project = Project(layout)
            self._open[layout.home] = (inode, project)
        return project


class RouteHandler(APIHandler):
    """All routes: checks who asks, finds the notebook's file, and turns errors into JSON with a message, a place and a hint."""

    auth_resource = "mlops_nb"

    def initialize(self, answer: Callable[[Project | None, Question], Json], projects: Projects) -> None:
        """Tornado's constructor: what this route answers with, and from what."""
        self.answer = answer
        self.projects = projects

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer the route's question."""
        try:
            root = getattr(self.contents_manager, "root_dir", "")
            question = Question(file_of(root, self.get_query_argument("path", "")), self.get_query_argument("q", ""))
            body = json.dumps(await self.projects.ask(self.answer, question), allow_nan=False)
        except web.HTTPError:
            raise
        except MlopsError as error:
            self.refuse(error)
        except Exception as error:  # what we did not foresee is logged whole, and told without its inside
            self.log.exception("mlops_nb: %s", self.request.path)
            self.refuse(MlopsError(f"{type(error).__name__} in the server", hint="the server's log has the traceback"))
        else:
            self.finish(body)

    def refuse(self, error: MlopsError) -> None:
        """Answer with an error."""
        self.set_status(error.status)
        self.finish(json.dumps({"message": error.message, "where": error.where, "hint": error.hint}))


def file_of(root: str, path: str) -> Path:
    """The file that a contents path names; raises BadInput unless it lies below `root`, symbolic links followed."""
    if not root:
        raise BadInput("this server's notebooks are no files", hint="mlops_nb needs a contents manager with a root_dir")
    if not path:
        raise BadInput("no notebook named", hint="?path=folder/notebook.ipynb")
    base = Path(root).resolve()
    file = (base / path.lstrip("/")).resolve()
    if not file.is_relative_to(base):
        raise BadInput("outside the server's root folder", where=path)
    return file


def _load_jupyter_server_extension(app: ServerApp) -> None:
    """Add the routes to a Jupyter server."""
    projects = Projects()
    base = app.web_app.settings["base_url"]
    routes = [(url_path_join(base, "mlops-nb", name), RouteHandler, {"answer": answer, "projects": projects}) for name, answer in ROUTES.items()]
    app.web_app.add_handlers(".*$", routes)  # type: ignore[no-untyped-call]
