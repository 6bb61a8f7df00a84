"""The server extension in a real Jupyter server: who may ask, for which files, and what is answered."""

import json
import shutil

import pytest
from jupyter_server.auth.authorizer import Authorizer
from tornado.httpclient import HTTPClientError

from mlops_nb.server import ROUTES

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


class NobodyMay(Authorizer):
    def is_authorized(self, handler, user, action, resource):  # noqa: ARG002
        return resource != "mlops_nb"


@pytest.fixture
def jp_server_config(request):
    return {"ServerApp": {"jpserver_extensions": {"mlops_nb": True}, **getattr(request, "param", {})}}


@pytest.fixture
def ask(jp_fetch):
    """Status and JSON of a GET with the token."""

    async def ask(route, **query):
        try:
            answer = await jp_fetch("mlops-nb", route, params=query)
        except HTTPClientError as error:
            return error.code, json.loads(error.response.body)
        return answer.code, json.loads(answer.body)

    return ask


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("route", ROUTES)
async def test_every_route_wants_a_token(http_server_client, jp_base_url, jp_auth_header, route, method):
    url, body = f"{jp_base_url}mlops-nb/{route}?path=nb.ipynb", "{}" if method in ("POST", "PUT", "PATCH") else None
    with pytest.raises(HTTPClientError) as refused:
        await http_server_client.fetch(url, method=method, body=body, follow_redirects=False)
    assert refused.value.code in ({403} if method == "GET" else {403, 405})  # no route has another method
    try:
        answer = await http_server_client.fetch(url, method=method, body=body, headers=jp_auth_header, follow_redirects=False)
    except HTTPClientError as error:
        answer = error.response
    assert answer.code == (200 if method == "GET" else 405)


@pytest.mark.parametrize("jp_server_config", [{"authorizer_class": NobodyMay}], indirect=True)
@pytest.mark.parametrize("route", ROUTES)
async def test_every_route_asks_the_authorizer(ask, route, jp_server_config):  # noqa: ARG001
    assert (await ask(route, path="nb.ipynb"))[0] == 403


@pytest.mark.parametrize("path", ["", "../nb.ipynb", "a/../../nb.ipynb", "../root_dir-secret/nb.ipynb", "link/nb.ipynb", "link.ipynb"])
async def test_no_path_leads_out_of_the_root_folder(ask, jp_root_dir, tmp_path, path):
    outside = tmp_path / "root_dir-secret"
    outside.mkdir()
    (outside / "nb.ipynb").write_text("{}")
    (jp_root_dir / "link").symlink_to(outside)
    (jp_root_dir / "link.ipynb").symlink_to(outside / "nb.ipynb")
    code, answer = await ask("notebook", path=path)
    assert code == 400
    assert set(answer) == {"message", "where", "hint"}
    assert answer["message"]


async def test_asking_makes_no_project(ask, jp_root_dir):
    code, answer = await ask("notebook", path="sub/nb.ipynb")
    assert (code, answer["cells"], answer["recording"]) == (200, [], None)
    assert list(jp_root_dir.iterdir()) == []


@pytest.fixture
def recorded(jp_root_dir, start_kernel, write_notebook):
    """A notebook in the server's root folder with two cells that ran in a real kernel."""

    def record(first="x = 1"):
        path = write_notebook("%load_ext mlops_nb", first, "y = x + 1", folder=jp_root_dir)
        kernel = start_kernel(jp_root_dir, JPY_SESSION_NAME=str(path))
        for cell, source in (("c0", "%load_ext mlops_nb"), ("c1", first), ("c2", "y = x + 1"), ("c3", "%unload_ext mlops_nb")):
            assert kernel.run(source, cell).status == "ok"
        return path

    return record


async def test_the_snapshot_tells_what_ran(ask, recorded):
    recorded()
    code, answer = await ask("notebook", path="nb.ipynb")
    states = {cell["cell_id"]: cell["state"] for cell in answer["cells"]}
    assert code == 200
    assert (states["c1"], states["c2"]) == ("fresh", "fresh")
    assert next(cell for cell in answer["cells"] if cell["cell_id"] == "c2")["reads"] == ["x"]
    assert answer["recording"] == {"on": True, "reason": ""}
    assert answer["session"]["pid"] > 0


async def test_a_registry_put_in_anothers_place_is_opened_anew(ask, recorded, jp_root_dir):
    recorded()
    before = (await ask("notebook", path="nb.ipynb"))[1]["session"]
    shutil.rmtree(jp_root_dir / ".mlops_nb")
    assert (await ask("notebook", path="nb.ipynb"))[1]["cells"] == []
    recorded("x = 2")
    assert (await ask("notebook", path="nb.ipynb"))[1]["session"]["pid"] != before["pid"]


async def test_a_registry_that_is_none_is_an_error_with_a_message(ask, jp_root_dir):
    folder = jp_root_dir / ".mlops_nb" / "registry"
    folder.mkdir(parents=True)
    (folder / "registry.db").write_bytes(b"not a database" * 1000)
    code, answer = await ask("notebook", path="nb.ipynb")
    assert code >= 500
    assert set(answer) == {"message", "where", "hint"}
    assert "Traceback" not in json.dumps(answer)
