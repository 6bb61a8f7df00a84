"""RO-Crates: whole (every reference leads somewhere, every file is there), true to what was recorded, without secrets."""

import hashlib
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_nb.errors import BadInput, NotFound
from mlops_nb.hashing import quick_hex
from mlops_nb.project import Project
from mlops_nb.project.crate import CONTEXT, METADATA, PROFILES, metadata
from mlops_nb.project.crate_story import DIFF, LOCK, WORKFLOW, Story, story_of_cells, story_of_run, texts_of
from mlops_nb.project.crates import Crates, behind, license_address, stated_license
from mlops_nb.project.notebooks import run_facts
from mlops_nb.records import ArtifactRef, CellRun, Edge, Fact, FileUse, RunResult, StepRun
from mlops_nb.store.redaction import Redactor

STARTED = "2013-07-04T09:30:00.000000Z"
KNOWN = "canary-env-" + "9f8e7d6c5b"
OUTSIDE = {"https://w3id.org/ro/crate/1.1", "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"}
OUTSIDE |= {"https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"}  # what may be named without being described
REFERENCE = re.compile(r"[\w./#%:@!$&'()*+,;=~?-]+", re.ASCII)  # the characters of a URI reference
COMPLETED, FAILED = "http://schema.org/CompletedActionStatus", "http://schema.org/FailedActionStatus"


def cell(number: int = 1, **fields: object) -> CellRun:
    base = CellRun(f"{number:032x}", "s1", number, "nb.ipynb", f"c{number}", number, f"x = {number}", 7, STARTED, 0.25, "ok")
    return replace(base, **fields)


def graph(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The entities by id, each once, all references checked."""
    entities = {entity["@id"]: entity for entity in document["@graph"]}
    assert len(entities) == len(document["@graph"])
    for entity in entities.values():
        assert REFERENCE.fullmatch(entity["@id"]), entity["@id"]
        for key, value in entity.items():
            assert value not in ([], None), (entity["@id"], key)
            assert {one for one in ids(value) if one not in entities} <= OUTSIDE, (entity["@id"], key)
    return entities


def ids(value: Any) -> list[str]:
    """What a property refers to."""
    values = value if isinstance(value, list) else [value]
    return [one["@id"] for one in values if isinstance(one, dict)]


def of_type(entities: dict[str, dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [entity for entity in entities.values() if kind in (entity["@type"] if isinstance(entity["@type"], list) else [entity["@type"]])]


def check_profile(entities: dict[str, dict[str, Any]]) -> None:
    """What the Provenance Run Crate profile and those below it ask for."""
    root, workflow = entities["./"], entities[WORKFLOW]
    assert ids(entities[METADATA]["about"]) == ["./"]
    assert "https://w3id.org/ro/crate/1.1" in ids(entities[METADATA]["conformsTo"])
    assert ids(root["conformsTo"]) == list(PROFILES)
    assert {"name", "description", "datePublished", "license"} <= set(root)
    assert ids(root["mainEntity"]) == [WORKFLOW]
    assert set(workflow["@type"]) >= {"File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"}
    assert workflow["programmingLanguage"]
    parts = set(ids(root["hasPart"]))
    assert {file["@id"] for file in of_type(entities, "File")} == parts
    created, steps, controls = (of_type(entities, kind) for kind in ("CreateAction", "HowToStep", "ControlAction"))
    instruments = {one for action in created for one in ids(action["instrument"])}
    assert instruments == {WORKFLOW, *ids(workflow["hasPart"])}
    assert sorted(ids(workflow["step"])) == sorted(step["@id"] for step in steps)
    for step in steps:
        assert set(ids(step["workExample"])) <= set(ids(workflow["hasPart"]))
    (organizer,) = of_type(entities, "OrganizeAction")
    assert sorted(ids(organizer["object"])) == sorted(control["@id"] for control in controls)
    assert ids(entities[ids(organizer["result"])[0]]["instrument"]) == [WORKFLOW]
    for control in controls:
        assert "HowToStep" in entities[ids(control["instrument"])[0]]["@type"]
        assert "CreateAction" in entities[ids(control["object"])[0]]["@type"]
    for action in created:
        assert action["@id"] in ids(root["mentions"])
        assert action["startTime"] <= action["endTime"]
        assert ("error" in action) is (action["actionStatus"] == FAILED)
        assert "Person" in entities[ids(action["agent"])[0]]["@type"]
    for formal in of_type(entities, "FormalParameter"):
        (example,) = ids(formal["workExample"])
        assert formal["additionalType"]
        assert ids(entities[example]["exampleOfWork"]) == [formal["@id"]]


def told(story: Story) -> dict[str, dict[str, Any]]:
    """The entities of a story's crate without data, checked."""
    entities = graph(metadata(story, {}, license_id="", created=STARTED))
    check_profile(entities)
    return entities


# --- runs of pipelines ----------------------------------------------------------------------------------------

ROWS = ArtifactRef("a" * 64, "parquet", "pandas.DataFrame", 2497)
MODEL = ArtifactRef("b" * 64, "skops", "sklearn.Pipeline", 7)
LOAD = StepRun("1" * 32, "9" * 32, "load", 0, "k", "skipped", STARTED, 0.0, outputs={"rows": ROWS})
FIT = StepRun(
    "2" * 32, "9" * 32, "fit", 1, "k", "ran", STARTED, 1.5, {"rows": ROWS}, {"model": MODEL}, files={"in 1.csv": "d1"}, parameters={"year": 2013}
)
SHOW = StepRun("3" * 32, "9" * 32, "show", 2, "k", "failed", STARTED, 1.0, {"model": MODEL}, error="no ink", written={"p.png": "e1"})
SEND = StepRun("4" * 32, "9" * 32, "send", 3, "k", "not run", STARTED, 0.0)
RUN = RunResult("9" * 32, "delays", "v1", "failed", STARTED, 3.0, {"year": 2013, "dry": True}, (LOAD, FIT, SHOW, SEND), "show: no ink")
EARLIER = replace(LOAD, id="5" * 32, run_id="8" * 32, status="ran", started="2013-07-03T09:30:00.000000Z", files={"s3://bucket/raw x.csv": ""})
COMPONENTS = [{"name": name, "code": [{"id": f"c-{name}", "source": f"{name}()"}]} for name in ("load", "fit", "show", "send")]


def run_story() -> Story:
    story = story_of_run(RUN, COMPONENTS, {"fit": "{}\n"}, {"load": EARLIER})
    return replace(story, agent="ana maria", python="CPython 3.11.7", lock="pandas==3.0.0\n", diff="- a\n+ b\n", commit_url="https://example.org/x")


def test_a_run_of_a_pipeline_is_a_provenance_run_crate() -> None:
    entities = told(run_story())
    actions = {action["name"]: action for action in of_type(entities, "CreateAction")}
    assert set(actions) == {"Run of delays 99999999", "load", "fit", "show"}  # what never ran has no action
    assert actions["fit"]["endTime"] == "2013-07-04T09:30:01.500+00:00"
    assert actions["load"]["startTime"].startswith("2013-07-03")
    assert "8" * 32 in actions["load"]["description"]
    assert [actions[name]["actionStatus"] for name in ("load", "fit", "show")] == [COMPLETED, COMPLETED, FAILED]
    assert actions["show"]["error"] == "no ink"
    (rows,) = ids(actions["load"]["result"])
    assert rows in ids(actions["fit"]["object"])
    assert (entities[rows]["sha256"], entities[rows]["contentSize"]) == (ROWS.digest, "2497")
    assert entities[rows]["encodingFormat"] == "application/vnd.apache.parquet"
    taken = {entities[one]["name"]: entities[one] for one in ids(actions["fit"]["object"])}
    assert taken["in 1.csv"]["identifier"] == {"@id": "#xxh3-d1"}
    assert taken["year"]["value"] == "2013"
    assert "s3://bucket/raw%20x.csv" in entities


def test_the_workflow_s_ends_are_what_comes_from_outside_and_what_no_step_takes() -> None:
    entities = told(run_story())
    workflow = entities[WORKFLOW]
    assert {entities[one]["name"] for one in ids(workflow["input"])} == {"year", "dry", "in 1.csv", "s3://bucket/raw x.csv"}
    assert {entities[one]["name"] for one in ids(workflow["output"])} == {"p.png"}
    kinds = {entities[one]["name"]: entities[one]["additionalType"] for one in ids(workflow["input"])}
    assert (kinds["year"], kinds["dry"], kinds["in 1.csv"]) == ("Integer", "Boolean", "File")


def test_the_code_the_environment_and_what_was_not_committed_are_files() -> None:
    story = run_story()
    texts = texts_of(story)
    sources = [part["source"] for part in json.loads(texts[WORKFLOW])["cells"]]
    assert sources == ["load()", "fit()", "show()", "send()"]
    assert texts["components/fit.ipynb"] == "{}\n"  # as executed
    assert json.loads(texts["components/load.ipynb"])["cells"][0]["source"] == "load()"  # its executed notebook is gone
    assert (texts[LOCK], texts[DIFF]) == ("pandas==3.0.0\n", "- a\n+ b\n")
    entities = told(story)
    assert {one["@id"] for one in of_type(entities, "File")} >= set(texts)
    assert ids(entities[WORKFLOW]["buildInstructions"]) == [LOCK]
    assert entities["./"]["isBasedOn"] == "https://example.org/x"
    assert {"@id": "#agent-ana%20maria", "@type": "Person", "name": "ana maria"} in entities.values()


# --- cell runs ------------------------------------------------------------------------------------------------


def test_cell_runs_hand_on_variables_that_are_not_stored() -> None:
    maker = cell(1, writes=("rows",), values={"rows": "v1"}, files=(FileUse("in.csv", "read", "d1", 16),))
    user = cell(2, reads=("rows",), writes=("n",), status="error", error="ValueError: none")
    again = replace(maker, id=f"{3:032x}", seq=3)
    edges = [Edge(maker.id, user.id, "rows"), Edge("f" * 32, user.id, "rows")]
    entities = told(story_of_cells((maker, user, again), edges, name="n of nb.ipynb", version="v"))
    first, second, third = (entities[f"#action-{run.id}"] for run in (maker, user, again))
    (rows, in_csv), taken = (first["result"]["@id"], first["object"]["@id"]), ids(second["object"])
    assert rows in taken
    assert (entities[rows]["name"], entities[rows]["value"]) == ("rows", "v1")
    assert entities[in_csv]["contentSize"] == "16"
    assert (second["actionStatus"], second["error"]) == (FAILED, "ValueError: none")
    assert first["instrument"] == third["instrument"] == {"@id": "cells/001.py"}  # one source, two runs
    assert third["result"]["@id"] != rows


def test_the_slice_behind_a_name_ends_with_who_wrote_it_last() -> None:
    first, change, other, over = (
        cell(1, writes=("x",)),
        cell(2, reads=("x",), writes=("x",), possible=("x",)),
        cell(3, writes=("y",)),
        cell(4, writes=("x",)),
    )
    edges = [Edge(first.id, change.id, "x"), Edge("f" * 32, first.id, "z")]
    assert behind((first, change, other), edges, "x") == (first, change)
    assert behind((first, change, other, over), edges, "x") == (over,)
    assert behind((first, replace(over, kept=("x",))), [], "x") == (first, replace(over, kept=("x",)))
    with pytest.raises(NotFound, match="deleted"):
        behind((first, cell(5, deletes=("x",))), edges, "x")


names = st.text(min_size=1, max_size=8)
texts = st.text(max_size=20)
digests = st.text("0123456789abcdef", max_size=32)
runs = st.builds(
    cell,
    st.integers(1, 9),
    cell_id=names,
    source=texts,
    status=st.sampled_from(("ok", "error")),
    error=texts,
    seconds=st.floats(0, 1e6),
    reads=st.lists(names, max_size=3).map(tuple),
    writes=st.lists(names, max_size=3).map(tuple),
    files=st.lists(st.builds(FileUse, names, st.sampled_from(("read", "write")), digests, st.integers(-1, 9)), max_size=3).map(tuple),
    values=st.dictionaries(names, digests, max_size=2),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(runs, min_size=1, max_size=4, unique_by=lambda run: run.id), names, names)
def test_any_cell_runs_give_a_whole_crate(found: list[CellRun], name: str, agent: str) -> None:
    edges = [Edge(found[0].id, run.id, read) for run in found for read in (*run.reads, name)]
    told(replace(story_of_cells(found, edges, name=name, version="v"), agent=agent, parameters={name: 1}))


# --- written, with data ---------------------------------------------------------------------------------------


@pytest.fixture
def project(layout) -> Iterator[Project]:
    with Project(layout, environ={"FLIGHTS_API_TOKEN": KNOWN}) as opened:
        yield opened


def record(project: Project, *found: CellRun, edges: tuple[Edge, ...] = ()) -> str:
    """Record cell runs of one session as a kernel that knew no secret; returns the notebook's path."""
    session = {"id": "s1", "started": STARTED, "notebook": "nb.ipynb", "kernel_id": "", "pid": 1, "actor": "ana", "run_id": ""}
    facts = [fact for run in found for fact in run_facts(run, [e for e in edges if e.to_run == run.id], Redactor({}))]
    assert project.registry.record([Fact("session", session), *facts])
    return str(project.layout.root / "nb.ipynb")


def opened(folder: Path) -> dict[str, dict[str, Any]]:
    """A written crate's entities: whole, and each file that is said to be in it is."""
    document = json.loads((folder / METADATA).read_text())
    assert document["@context"] == CONTEXT
    entities = graph(document)
    check_profile(entities)
    local = [file for file in of_type(entities, "File") if "#" not in file["@id"] and "://" not in file["@id"]]
    for file in local:
        data = (folder / unquote(file["@id"])).read_bytes()
        assert file["contentSize"] == str(len(data))
        assert file.get("sha256", hashlib.sha256(data).hexdigest()) == hashlib.sha256(data).hexdigest()
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert there == {METADATA, *(unquote(file["@id"]) for file in local)}
    return entities


def test_data_as_they_were_are_copied_and_the_others_are_named_with_the_reason(project: Project, tmp_path: Path) -> None:
    root = project.layout.root
    contents = {"data/in ä.csv": b"a,b\n1,2\n", "changed.csv": b"old", "leaky.txt": f"a\nkey {KNOWN}\n".encode(), "gone.csv": b"x"}
    for name, data in contents.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(data)
    uses = [FileUse(name, "read", quick_hex(data), len(data)) for name, data in contents.items()]
    uses += [FileUse("/etc/hostname", "read", "d"), FileUse("https://example.org/x.csv", "read")]
    notebook = record(project, cell(1, writes=("x",), files=tuple(uses)))
    (root / "changed.csv").write_bytes(b"new")
    (root / "gone.csv").unlink()
    written = Crates(project).write(notebook, tmp_path / "crate", data=True, license_id="Apache-2.0")
    entities = opened(tmp_path / "crate")
    kept = f"data/{quick_hex(b'a,b' + bytes([10]) + b'1,2' + bytes([10]))[:8]}/data/in ä.csv"
    assert [place.path for place in written.placed.values()] == [kept]
    assert (tmp_path / "crate" / kept).read_bytes() == b"a,b\n1,2\n"
    reasons = dict(reason.split(": ", 1) for reason in written.left_out)
    assert reasons == {
        "changed.csv": "is not as it was",
        "leaky.txt": "holds what looks like a secret",
        "gone.csv": "is gone",
        "/etc/hostname": "is outside the project",
    }
    assert "https://example.org/x.csv" in entities
    assert entities["./"]["license"] == {"@id": "https://spdx.org/licenses/Apache-2.0"}
    opened_again = Crates(project).write(notebook, tmp_path / "plain")
    assert opened_again.placed == {}
    opened(tmp_path / "plain")


def test_no_secret_is_in_a_crate(layout, tmp_path: Path) -> None:
    (tmp_path / f"{KNOWN}.csv").write_text("a\n")
    with Project(layout, environ={}) as unknowing:
        use = FileUse(f"{KNOWN}.csv", "read", quick_hex(b"a\n"), 2)
        leaky = cell(1, source=f"x = '{KNOWN}'", error=KNOWN, status="error", writes=(KNOWN,), reads=(KNOWN,), files=(use,), cell_id=KNOWN)
        notebook = record(unknowing, leaky)
    with Project(layout, environ={"FLIGHTS_API_TOKEN": KNOWN}) as project:
        Crates(project).write(notebook, tmp_path / "crate", data=True)
    opened(tmp_path / "crate")
    assert list((tmp_path / "crate" / "data").rglob("redacted.csv"))
    for path in (tmp_path / "crate").rglob("*"):
        assert KNOWN not in str(path.relative_to(tmp_path))
        assert path.is_dir() or KNOWN.encode() not in path.read_bytes()


def record_run(project: Project, *steps: StepRun, status: str = "passed") -> None:
    row = {"id": "9" * 32, "pipeline": "delays", "version": "v1", "kind": "pipeline", "notebook": "nb.ipynb", "parameters": {"api_key": KNOWN}}
    end = {"run_id": "9" * 32, "finished": STARTED, "status": status, "seconds": 1.0, "error": ""}
    told = [Fact("run", {**row, "actor": "ana", "started": STARTED}), Fact("run_end", end)]
    for step in steps:
        files = [[path, digest] for path, digest in step.files.items()] + [[path, digest, "write"] for path, digest in step.written.items()]
        fields = {name: getattr(step, name) for name in StepRun.__slots__ if name not in {"written", "files", "environment"}}
        told.append(Fact("step_run", {**fields, "files": files, "environment": []}))
    assert project.registry.record(told)


def test_an_artifact_that_holds_a_secret_or_is_gone_is_left_out(project: Project, tmp_path: Path) -> None:
    store = project.artifacts
    kept, secret = (store.put(value, name="x", made_by="r") for value in ([1, 2], [KNOWN]))
    step = replace(FIT, inputs={"kept": kept, "secret": secret}, outputs={"model": MODEL}, files={}, parameters={})
    record_run(project, step)
    written = Crates(project).write("999", tmp_path / "crate", data=True)
    entities = opened(tmp_path / "crate")
    assert [place.sha256 for place in written.placed.values()] == [kept.digest]
    assert sorted(written.left_out) == ["model: is gone", "secret: holds what looks like a secret"]
    assert KNOWN not in json.dumps(list(entities.values()))
    assert {entity["value"] for entity in of_type(entities, "PropertyValue")} == {"<redacted>"}  # api_key


def test_a_run_that_executed_nothing_has_no_crate(project: Project, tmp_path: Path) -> None:
    record_run(project, SEND, status="failed")
    with pytest.raises(NotFound, match="executed no step"):
        Crates(project).write("999", tmp_path / "crate")


def test_what_stands_there_already_is_left_alone(project: Project, tmp_path: Path) -> None:
    notebook = record(project, cell(1, writes=("x",)))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "mine.zip").write_text("mine")
    for name in ("full", "mine.zip"):
        with pytest.raises(BadInput, match="already"):
            Crates(project).write(notebook, tmp_path / name)
    assert (tmp_path / "mine.zip").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    Crates(project).write(notebook, tmp_path / "empty")
    opened(tmp_path / "empty")


def test_unknown_variables_runs_and_licences_are_named(project: Project, tmp_path: Path) -> None:
    notebook = record(project, cell(1, writes=("flights",)))
    crates = Crates(project)
    with pytest.raises(NotFound, match="did you mean 'flights'"):
        crates.write(notebook, tmp_path / "a", name="flihgts")
    with pytest.raises(NotFound):
        crates.write("abc", tmp_path / "a")
    with pytest.raises(BadInput, match="--name"):
        crates.write("abc", tmp_path / "a", name="x")
    with pytest.raises(BadInput, match="--license"):
        crates.write(notebook, tmp_path / "a", license_id="do what you like")
    assert not (tmp_path / "a").exists()


def test_the_licence_is_the_project_s_unless_another_is_given(tmp_path: Path) -> None:
    assert stated_license(tmp_path) == ""
    (tmp_path / "pyproject.toml").write_text('[project]\nlicense = "MIT"\n')
    assert stated_license(tmp_path) == "https://spdx.org/licenses/MIT"
    (tmp_path / "pyproject.toml").write_text('[project]\nlicense = {text = "My own"}\n')
    assert stated_license(tmp_path) == ""
    assert license_address("https://example.org/l") == "https://example.org/l"


def test_the_command_writes_runs_and_slices(write_notebook, mlops_nb_command, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("a\n1\n2\n")
    write_notebook(
        ("year = 2013", ("parameters",)),
        "import pandas as pd",
        "%%step load\nrows = pd.read_csv('in.csv')",
        "%%step count\nn = len(rows) + year",
        "%%step other\nm = year + 1",
    )
    for command in (("capture", "nb.ipynb"), ("run", "nb.ipynb"), ("run", "nb.ipynb", "-p", "year=2014")):
        done = mlops_nb_command(*command)
        assert done.returncode == 0, done.stdout + done.stderr
    run, capture = (json.loads(mlops_nb_command("runs", "--json").stdout)[place]["id"] for place in (0, 2))
    for target, *more in ((run, "--data"), (capture,), ("nb.ipynb", "--name", "n", "--data")):
        done = mlops_nb_command("export", "crate", target, "--to", f"crate-{target[:4]}", "--json", *more)
        assert done.returncode == 0, done.stdout + done.stderr
        entities = opened(tmp_path / f"crate-{target[:4]}")
        answer = json.loads(done.stdout)
        assert answer["entities"] == len(entities)
        assert entities[LOCK]["contentSize"] != "0"
        if target == run:
            assert answer["steps"] == ["load", "count", "other"]  # the first taken over from the run before
            assert {Path(path).suffix for path in answer["data"]} == {".csv", ".parquet"}
            assert json.loads((tmp_path / f"crate-{run[:4]}" / "components" / "count.ipynb").read_text())["cells"]
        if target == "nb.ipynb":
            assert len(answer["steps"]) == 4  # not the cell that makes m
            assert len(answer["data"]) == 1
    done = mlops_nb_command("export", "crate", run, "--to", "crate.zip")
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(tmp_path / "crate.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    opened(tmp_path / "unpacked")
