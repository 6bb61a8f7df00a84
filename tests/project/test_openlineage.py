"""OpenLineage events: valid whatever was recorded, without secrets, and none lost on the way to a server."""

import datetime as dt
import http.server
import json
import re
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import jsonschema
import openlineage_shape as shape
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_nb.errors import BadInput, NotFound
from mlops_nb.project import Project
from mlops_nb.project.delivery import PAUSES, endpoint, send
from mlops_nb.project.exports import Exports, encoded, read_events, web_address, write_events
from mlops_nb.project.notebooks import run_facts
from mlops_nb.project.openlineage import FACETS, Executed, Link, Place, Session, after, cell_events, run_events
from mlops_nb.records import ArtifactRef, CellRun, ColumnEdge, Edge, Fact, FileUse, RunResult, StepRun, utc_text
from mlops_nb.store.redaction import Redactor

PLACE = Place("flights", "/srv/flights", "https://github.com/ana/flights")
STARTED = "2013-07-04T09:30:00.000000Z"
SESSION = Session(commit="a1b2c3", dirty=True, python="CPython 3.11.7")
TOKEN = "ghp_" + "cAnArY0123456789abcdefghijklmnopqrst"
KNOWN = "canary-env-" + "9f8e7d6c5b"


def cell(number: int = 1, **fields: object) -> CellRun:
    """The cell run with the id 000...`number`."""
    base = CellRun(f"{number:032x}", "s1", number, "nb.ipynb", f"c{number}", number, "x = 1", 7, STARTED, 0.25, "ok")
    return replace(base, **fields)


def events(*runs: CellRun, edges: tuple[Edge, ...] = (), session: Session = SESSION) -> list[dict]:
    """Their events, each checked."""
    found = [json.loads(line) for line in encoded(cell_events(runs, edges, PLACE, {"s1": session}))]
    for event in found:
        shape.check(event)
    return found


def datasets(event: dict, side: str) -> dict[tuple[str, str], dict]:
    return {(d["namespace"], d["name"]): d for d in event[side]}


# --- cells ----------------------------------------------------------------------------------------------------


def test_a_cell_run_starts_and_completes_under_one_id_with_its_source_and_place() -> None:
    start, end = events(cell(tags=("heavy",)))
    assert [start["eventType"], end["eventType"]] == ["START", "COMPLETE"]
    assert start["eventTime"] == STARTED
    assert end["eventTime"] == after(STARTED, 0.25) == "2013-07-04T09:30:00.250000Z"
    assert start["run"]["runId"] == end["run"]["runId"] == str(uuid.UUID(int=1))
    job = end["job"]
    assert (job["namespace"], job["name"]) == ("flights/nb.ipynb", "c1")
    assert job["facets"]["sourceCode"]["sourceCode"] == "x = 1"
    assert job["facets"]["tags"]["tags"] == [{"key": "heavy", "value": "true", "source": "USER"}]
    located = job["facets"]["sourceCodeLocation"]
    assert (located["url"], located["version"]) == ("https://github.com/ana/flights/blob/a1b2c3/nb.ipynb", "a1b2c3-dirty")
    assert end["run"]["facets"]["processing_engine"]["version"] == "3.11.7"


def test_a_failed_cell_fails_with_its_message() -> None:
    _, end = events(cell(status="error", error="ValueError: no rows"))
    assert end["eventType"] == "FAIL"
    assert end["run"]["facets"]["errorMessage"]["message"] == "ValueError: no rows"


def test_files_addresses_and_variables_are_datasets_with_versions_and_sizes() -> None:
    files = (FileUse("in.csv", "read", "d1", 16), FileUse("s3://bucket/a/b.parquet", "read"), FileUse("/data/out.csv", "write", "d2", 12))
    maker = cell(1, writes=("rows",), values={"rows": "v1"})
    user = cell(2, reads=("rows",), writes=("big", "rows"), files=files, values={"big": "v2"}, deletes=("old",))
    *_, end = events(maker, user, edges=(Edge(maker.id, user.id, "rows", "possible"),))
    inputs, outputs = datasets(end, "inputs"), datasets(end, "outputs")
    home = "notebook://flights/nb.ipynb"
    assert set(inputs) == {("file", "/srv/flights/in.csv"), ("s3://bucket", "a/b.parquet"), (home, "rows")}
    assert set(outputs) == {("file", "/data/out.csv"), (home, "big"), (home, "rows"), (home, "old")}
    assert inputs["file", "/srv/flights/in.csv"]["facets"]["version"]["datasetVersion"] == "xxh3-128:d1"
    assert inputs["file", "/srv/flights/in.csv"]["inputFacets"]["inputStatistics"]["size"] == 16
    assert outputs["file", "/data/out.csv"]["outputFacets"]["outputStatistics"]["size"] == 12
    assert "inputFacets" not in inputs["s3://bucket", "a/b.parquet"]  # its size is not known
    assert inputs[home, "rows"]["facets"]["version"]["datasetVersion"] == "v1"
    assert outputs[home, "old"]["facets"]["lifecycleStateChange"]["lifecycleStateChange"] == "DROP"
    (upstream,) = end["run"]["facets"]["jobDependencies"]["upstream"]
    assert (upstream["run"]["runId"], upstream["job"]["name"]) == (str(uuid.UUID(int=1)), "c1")
    assert (upstream["mlopsNb_name"], upstream["mlopsNb_certainty"]) == ("rows", "possible")


def test_a_variable_that_two_runs_may_have_left_has_no_version() -> None:
    first, second = cell(1, writes=("x",), values={"x": "v1"}), cell(2, writes=("x",), values={"x": "v2"})
    reader = cell(3, reads=("x",))
    *_, end = events(first, second, reader, edges=(Edge(first.id, reader.id, "x", "possible"), Edge(second.id, reader.id, "x", "possible")))
    assert "version" not in end["inputs"][0]["facets"]


def test_column_edges_are_column_lineage_and_schema() -> None:
    columns = (
        ColumnEdge("flights", "dep", "late", "delay", "certain"),
        ColumnEdge("flights", "sched", "late", "delay"),
        ColumnEdge("file:w.csv", "wind", "late", "wind"),
    )
    _, end = events(cell(reads=("flights",), writes=("late",), columns=columns))
    fields = end["outputs"][0]["facets"]["columnLineage"]["fields"]
    assert [(f["name"], f["field"], f["transformations"][0]["description"]) for f in fields["delay"]["inputFields"]] == [
        ("flights", "dep", "certain"),
        ("flights", "sched", "possible"),
    ]
    assert (fields["wind"]["inputFields"][0]["namespace"], fields["wind"]["inputFields"][0]["name"]) == ("file", "/srv/flights/w.csv")
    assert end["outputs"][0]["facets"]["schema"]["fields"] == [{"name": "delay"}, {"name": "wind"}]
    assert end["inputs"][0]["facets"]["schema"]["fields"] == [{"name": "dep"}, {"name": "sched"}]


def test_environment_variables_are_told_by_digest_and_likely_secrets_not_even_so() -> None:
    _, end = events(cell(environment={"HOME": "47bf", "DB_PASSWORD": "beef", "GONE": ""}))
    told = {entry["name"]: entry["value"] for entry in end["run"]["facets"]["environmentVariables"]["environmentVariables"]}
    assert told == {"HOME": "47bf", "DB_PASSWORD": "<redacted>", "GONE": "not set"}


def test_edges_from_runs_that_are_not_exported_are_left_out() -> None:
    _, end = events(cell(), edges=(Edge("f" * 32, f"{1:032x}", "x"),))
    assert "jobDependencies" not in end["run"]["facets"]


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("git@github.com:ana/trips.git", "https://github.com/ana/trips"),
        ("https://ana:pw@example.org:8443/ana/trips.git", "https://example.org:8443/ana/trips"),
        ("ssh://git@example.org:2222/ana/trips", "https://example.org/ana/trips"),
        ("ssh://git@example.org:x/ana/trips", "https://example.org/ana/trips"),
        ("../trips", ""),
        ("/srv/trips.git", ""),
        ("file:///srv/trips.git", ""),
        ("", ""),
    ],
)
def test_a_remote_is_told_as_a_web_address_without_credentials(remote: str, address: str) -> None:
    assert web_address(remote) == address


names = st.text(min_size=1, max_size=12)
texts = st.text(max_size=40)
digests = st.text("0123456789abcdef", max_size=32)
instants = st.integers(0, 7_000_000_000_000_000)  # microseconds: up to the year 2191
moments = instants.map(lambda us: utc_text(dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=us)))
certainties = st.sampled_from(("certain", "possible"))
paths = st.one_of(names, st.builds("{}://{}/{}".format, st.sampled_from(("s3", "https", "postgresql")), names, texts))
cell_runs = st.builds(
    CellRun,
    id=st.one_of(st.uuids().map(lambda u: u.hex), names),
    session_id=st.sampled_from(("s1", "s2")),
    seq=st.integers(1, 9),
    notebook=st.one_of(st.just(""), names),
    cell_id=names,
    execution_count=st.integers(0, 9),
    source=texts,
    crc=st.integers(0, 9),
    started=moments,
    seconds=st.floats(0, 1e6),
    status=st.sampled_from(("ok", "error")),
    error=texts,
    tags=st.lists(texts, max_size=2).map(tuple),
    reads=st.lists(names, max_size=3).map(tuple),
    writes=st.lists(names, max_size=3).map(tuple),
    files=st.lists(st.builds(FileUse, path=paths, mode=st.sampled_from(("read", "write")), digest=digests, size=st.integers(-1, 9)), max_size=3).map(
        tuple
    ),
    environment=st.dictionaries(names, digests, max_size=2),
    deletes=st.lists(names, max_size=2).map(tuple),
    values=st.dictionaries(names, digests, max_size=2),
    columns=st.lists(st.builds(ColumnEdge, names, texts, names, texts, certainties), max_size=3).map(tuple),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(cell_runs, min_size=1, max_size=3), names, certainties)
def test_any_cell_runs_give_valid_events(runs: list[CellRun], name: str, certainty: str) -> None:
    edges = [Edge(runs[0].id, run.id, name, certainty) for run in runs]
    session = replace(SESSION, parents=(Link("r1", "flights/nb.ipynb", "nb"),))
    found = [json.loads(line) for line in encoded(cell_events(runs, edges, PLACE, {"s1": session}))]
    assert len(found) == 2 * len({run.id for run in runs})
    for event in found:
        shape.check(event)


# --- pipeline runs --------------------------------------------------------------------------------------------

ROWS = ArtifactRef("a" * 64, "parquet", "pandas.DataFrame", 2497)
STEPS = (
    StepRun("1" * 32, "9" * 32, "load", 0, "k", "skipped", STARTED, 0.0, outputs={"rows": ROWS}),
    StepRun("2" * 32, "9" * 32, "fit", 1, "k", "ran", STARTED, 1.0, inputs={"rows": ROWS}, outputs={"model": ROWS}, files={"in.csv": "d"}),
    StepRun("3" * 32, "9" * 32, "show", 2, "k", "failed", STARTED, 1.0, parameters={"year": 2013}, written={"p.png": "e"}, error="no ink"),
    StepRun("4" * 32, "9" * 32, "send", 3, "k", "not run", STARTED, 0.0),
)
RUN = RunResult("9" * 32, "delays", "v1", "failed", STARTED, 3.0, {"year": 2013}, STEPS, "show: no ink")


def test_a_run_holds_its_steps_and_they_their_cells() -> None:
    run = Executed(
        RUN, "nb.ipynb", sources={"fit": "model = fit(rows)"}, requires={"fit": ("load",), "show": ("fit",)},
        schemas={ROWS.digest: (("a", "int64"),)}, cells={"fit": (cell(1, notebook="pipelines/delays/fit.ipynb"),)}, session=SESSION,
    )  # fmt: skip
    found = list(run_events(run, PLACE))
    for event in found:
        shape.check(event)
    told = [(event["eventType"], event["job"]["name"]) for event in found]
    assert told == [
        ("START", "delays"), ("START", "delays.fit"), ("START", "c1"), ("COMPLETE", "c1"), ("COMPLETE", "delays.fit"),
        ("START", "delays.show"), ("FAIL", "delays.show"), ("FAIL", "delays"),
    ]  # fmt: skip
    parents = {event["job"]["name"]: event["run"]["facets"].get("parent") for event in found}
    assert parents["delays"] is None
    assert parents["delays.fit"]["run"]["runId"] == str(uuid.UUID("9" * 32))
    assert (parents["c1"]["job"]["name"], parents["c1"]["root"]["job"]["name"]) == ("delays.fit", "delays")
    fit, show = found[4], found[6]
    assert fit["inputs"][0]["facets"]["schema"]["fields"] == [{"name": "a", "type": "int64"}]
    assert fit["inputs"][0]["facets"]["version"]["datasetVersion"] == f"sha256:{ROWS.digest}"
    assert "run" not in fit["run"]["facets"]["jobDependencies"]["upstream"][0]  # what was skipped did not run
    assert show["run"]["facets"]["jobDependencies"]["upstream"][0]["run"]["runId"] == str(uuid.UUID("2" * 32))
    assert show["run"]["facets"]["executionParameters"]["parameters"] == [{"key": "year", "name": "year", "value": "2013"}]
    assert ("file", "/srv/flights/p.png") in datasets(show, "outputs")


def test_a_running_and_an_interrupted_run_say_so() -> None:
    running = list(run_events(Executed(replace(RUN, status="running", steps=()), "nb.ipynb"), PLACE))
    assert [event["eventType"] for event in running] == ["START"]
    stopped = list(run_events(Executed(replace(RUN, status="interrupted", steps=()), "nb.ipynb"), PLACE))
    assert [event["eventType"] for event in stopped] == ["START", "ABORT"]


# --- the schemas ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "break_it",
    [
        lambda event: event.pop("producer"),
        lambda event: event["run"].update(runId="7"),
        lambda event: event.update(eventTime="yesterday"),
        lambda event: event["job"]["facets"]["sourceCode"].pop("_schemaURL"),
        lambda event: event["job"]["facets"]["sourceCode"].pop("language"),
        lambda event: event["job"]["facets"].update(sourceCodes={}),
        lambda event: event["inputs"][0].pop("namespace"),
    ],
)
def test_a_broken_event_is_found(break_it) -> None:
    event = events(cell(reads=("x",)))[1]
    break_it(event)
    with pytest.raises(jsonschema.ValidationError):
        shape.check(event)


def test_every_facet_that_can_be_made_is_checked() -> None:
    assert set(FACETS) == {key for kinds in shape.FACETS.values() for key in kinds}


@pytest.mark.skipif(
    not shape.CHECKOUT, reason="OPENLINEAGE_SPEC names no checkout's spec folder; the events are checked by the schemas of these tests"
)
def test_the_schemas_that_facets_name_are_the_specification_s() -> None:
    for version, name in FACETS.values():
        shape.specification().resolver().lookup(f"https://openlineage.io/spec/facets/{version}/{name}.json#/$defs/{name}")
    made = events(cell(reads=("x",), files=(FileUse("a", "read", "d", 1),)))
    assert sum(map(shape.check_by_specification, made)) > 10


# --- to a file, from a real project ---------------------------------------------------------------------------


@pytest.fixture
def project(layout) -> Iterator[Project]:
    with Project(layout, environ={"FLIGHTS_API_TOKEN": KNOWN}) as opened:
        yield opened


def record(project: Project, *runs: CellRun, edges: tuple[Edge, ...] = ()) -> None:
    """Record cell runs of one session as a kernel does, but by a kernel that did not know the secret."""
    session = {"id": "s1", "started": STARTED, "notebook": "nb.ipynb", "kernel_id": "", "pid": 1, "actor": "ana", "run_id": ""}
    facts = [fact for run in runs for fact in run_facts(run, [e for e in edges if e.to_run == run.id], Redactor({}))]
    assert project.registry.record([Fact("session", session), *facts])


def test_recorded_cells_are_exported_and_read_back(project: Project, tmp_path: Path) -> None:
    maker, user = cell(1, writes=("x",)), cell(2, reads=("x",), columns=(ColumnEdge("x", "a", "y", "b"),))
    record(project, maker, user, edges=(Edge(maker.id, user.id, "x"),))
    found = Exports(project).events(str(tmp_path / "nb.ipynb"))
    write_events(tmp_path / "out" / "events.ndjson", encoded(found))
    lines = read_events(tmp_path / "out" / "events.ndjson")
    assert [json.loads(line) for line in lines] == list(found)
    for event in found:
        shape.check(event)
    assert "columnLineage" in found[3]["outputs"][0]["facets"]
    write_events(tmp_path / "out" / "events.ndjson", lines[:1])  # events over events
    assert len(read_events(tmp_path / "out" / "events.ndjson")) == 1


def test_no_secret_is_exported(layout) -> None:
    """Recorded where the environment's secret was not known; the others are known by their shape."""
    with Project(layout, environ={}) as unknowing:
        leaky = cell(
            source=f"x = '{KNOWN}'", error=f"token {KNOWN}", status="error", tags=(KNOWN,), writes=(f"x {KNOWN}",), reads=(KNOWN,),
            files=(FileUse(f"{KNOWN}.csv", "write", "d", 3),), environment={"A_TOKEN": "d"}, columns=(ColumnEdge("a", KNOWN, "b", KNOWN),),
        )  # fmt: skip
        record(unknowing, leaky)
    with Project(layout, environ={"FLIGHTS_API_TOKEN": KNOWN}) as project:
        found = Exports(project).events(str(layout.root / "nb.ipynb"))
    for event in found:
        shape.check(event)
    text = b"".join(encoded(found)).decode()
    assert KNOWN not in text
    assert text.count("<redacted") > 8


def test_a_kept_file_is_redacted_again_before_it_is_sent(project: Project, tmp_path: Path) -> None:
    (tmp_path / "kept.ndjson").write_text(json.dumps({"schemaURL": "x", "said": f"it is {KNOWN}"}) + "\n")
    assert [json.loads(line) for line in Exports(project).kept(tmp_path / "kept.ndjson")] == [{"schemaURL": "x", "said": "it is <redacted>"}]


def test_what_is_no_file_of_events_is_not_overwritten(tmp_path: Path) -> None:
    precious = tmp_path / "data.csv"
    precious.write_text("a,b\n1,2\n")
    for path in (precious, tmp_path):
        with pytest.raises(BadInput):
            write_events(path, (b"{}\n",))
    assert precious.read_text() == "a,b\n1,2\n"
    with pytest.raises(BadInput, match=r"data\.csv:1"):
        read_events(precious)
    with pytest.raises(BadInput, match="cannot be read"):
        read_events(tmp_path / "gone.ndjson")


def test_what_is_not_recorded_is_named_with_what_is(project: Project) -> None:
    record(project, cell())
    with pytest.raises(NotFound, match=r"nb\.ipynb"):
        Exports(project).events("nbb.ipynb")
    with pytest.raises(NotFound):
        Exports(project).events("abc")


# --- to a server ----------------------------------------------------------------------------------------------


@dataclass
class Server:
    """An HTTP server on loopback that answers with `answers` in turn, then with 201; `got` are (path, key, event) of what it took."""

    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    got: list[tuple[str, str, dict]] = field(default_factory=list)
    asked: int = 0
    url: str = ""


@contextmanager
def served(*answers: int | tuple[int, dict[str, str]]) -> Iterator[Server]:
    state = Server([answer if isinstance(answer, tuple) else (answer, {}) for answer in answers])

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            state.asked += 1
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, headers = state.answers.pop(0) if state.answers else (201, {})
            if status < 300:
                state.got.append((self.path, self.headers.get("Authorization", ""), json.loads(body)))
            self.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


LINES = tuple(f'{{"n": {number}}}\n'.encode() for number in range(3))


def test_a_server_takes_each_event_with_the_key() -> None:
    with served() as server:
        delivery = send(LINES, endpoint(server.url), key="k123")
    assert (delivery.sent, delivery.unsent) == (3, ())
    assert server.got == [("/api/v1/lineage", "Bearer k123", {"n": number}) for number in range(3)]


def test_a_server_that_fails_twice_is_asked_again() -> None:
    pauses: list[float] = []
    with served(503, 500) as server:
        delivery = send(LINES, endpoint(server.url), pause=pauses.append)
    assert delivery.sent == 3
    assert pauses == list(PAUSES[:2])
    assert [event["n"] for _, _, event in server.got] == [0, 1, 2]


@pytest.mark.parametrize(("asked", "waited"), [("7", 7.0), ("4000", 30.0), ("Wed, 21 Oct 2015 07:28:00 GMT", PAUSES[0])])
def test_a_server_may_ask_to_wait(asked: str, waited: float) -> None:
    pauses: list[float] = []
    with served((429, {"Retry-After": asked})) as server:
        assert send(LINES, endpoint(server.url), pause=pauses.append).sent == 3
    assert pauses == [waited]


@pytest.mark.parametrize("status", [301, 302, 307, 401, 403, 404])
def test_a_server_that_refuses_or_redirects_is_not_asked_again_and_nothing_is_lost(status: int) -> None:
    with served(201, (status, {"Location": "http://127.0.0.1:9/"})) as server:
        delivery = send(LINES, endpoint(server.url), pause=pytest.fail)
    assert (delivery.sent, delivery.unsent) == (1, LINES[1:])
    assert f"HTTP {status}" in delivery.reason
    assert server.asked == 2


def test_one_event_that_the_server_calls_wrong_does_not_hold_up_the_others() -> None:
    with served(201, 422) as server:
        delivery = send(LINES, endpoint(server.url), pause=pytest.fail)
    assert (delivery.sent, delivery.unsent) == (2, LINES[1:2])
    assert [event["n"] for _, _, event in server.got] == [0, 2]


def test_a_server_that_is_not_there_is_tried_four_times() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        pauses: list[float] = []
        delivery = send(LINES, f"http://127.0.0.1:{taken.getsockname()[1]}/x", pause=pauses.append)
    assert (delivery.sent, delivery.unsent, pauses) == (0, LINES, list(PAUSES))
    assert "no answer" in delivery.reason


def test_a_server_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        delivery = send(LINES[:1], f"http://127.0.0.1:{silent.getsockname()[1]}/x", seconds=0.1, pause=lambda _: None)
    assert delivery.unsent == LINES[:1]
    assert "timed out" in delivery.reason


@pytest.mark.parametrize("url", ["ftp://x/y", "localhost:5000", "http://ana:pw123456@host/", "http:///x", "file:///etc/passwd"])
def test_addresses_that_are_none_or_hold_a_password_are_refused(url: str) -> None:
    with pytest.raises(BadInput):
        endpoint(url)


# --- the command ----------------------------------------------------------------------------------------------


def test_a_notebook_and_a_pipeline_run_are_sent_and_what_is_left_can_be_sent_later(write_notebook, mlops_nb_command, tmp_path: Path) -> None:
    write_notebook(
        ("year = 2013", ("parameters",)),
        "import os\nimport pandas as pd",
        ("pd.DataFrame({'a': [1, 2]}).to_csv('in.csv', index=False)", ("skip",)),
        f"%%step load\nrows = pd.read_csv('in.csv')\ntoken = '{TOKEN}'\nwho = os.environ.get('WHO')",
        "%%step count\nn = len(rows) + year",
    )
    environ = {"FLIGHTS_API_TOKEN": KNOWN, "OPENLINEAGE_API_KEY": "k" * 20, "no_proxy": "127.0.0.1"}
    for command in ("capture", "run"):
        done = mlops_nb_command(command, "nb.ipynb", **environ)
        assert done.returncode == 0, done.stdout + done.stderr
    run = json.loads(mlops_nb_command("runs", "--json", **environ).stdout)[0]["id"]
    for target in ("nb.ipynb", run[:8]):
        done = mlops_nb_command("export", "openlineage", target, "--to", f"{target}.ndjson", "--json", **environ)
        assert done.returncode == 0, done.stdout + done.stderr
        found = [json.loads(line) for line in (tmp_path / f"{target}.ndjson").read_text().splitlines()]
        assert json.loads(done.stdout)["events"] == len(found) > 7
        for event in found:
            shape.check(event)
        assert TOKEN not in str(found)
    assert {"nb.load", "nb.count"} <= {event["job"]["name"] for event in found}
    loaded = next(e for e in found if e["job"]["name"] == "nb.load" and e["eventType"] == "COMPLETE")
    assert loaded["outputs"][0]["facets"]["schema"]["fields"] == [{"name": "a", "type": "int64"}]
    with served(201, 403) as server:
        done = mlops_nb_command("export", "openlineage", "nb.ipynb", "--url", server.url, **environ)
        assert done.returncode == 1, done.stdout
        kept = re.search(r"Kept in (\S+);", done.stdout)[1]
        assert len(server.got) == 1
        again = mlops_nb_command("export", "openlineage", kept, "--url", server.url, "--json", **environ)
        assert again.returncode == 0, again.stdout + again.stderr
    whole = [json.loads(line) for line in (tmp_path / "nb.ipynb.ndjson").read_text().splitlines()]
    assert [event for _, _, event in server.got] == whole
    assert {key for _, key, _ in server.got} == {"Bearer " + "k" * 20}


def test_the_command_says_what_it_needs(mlops_nb_command) -> None:
    done = mlops_nb_command("export", "openlineage", "nb.ipynb")
    assert done.returncode == 2
    assert "--to" in done.stderr
