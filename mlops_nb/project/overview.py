"""What a project holds so far, in one look: the newest capture, run, features, tests and models."""

from typing import TYPE_CHECKING, Any

from mlops_nb.display import Report, Table, moment
from mlops_nb.store.codec import from_json

if TYPE_CHECKING:
    from mlops_nb.project import Project

NOTEBOOKS = """
select notebook, count(distinct cell_id) as cells, count(*) as runs, max(started) as last from cell_run
where session_id in (select id from session where run_id = '' or run_id in (select id from run where kind = 'notebook'))
group by notebook order by last desc
"""
RUNS = "select id, pipeline, status, seconds, started, error from run_status where kind = 'pipeline' order by started desc, rowid desc limit 1"
STEPS = "select component, status, seconds, reason, cell_id, error from step_run where run_id = ? order by position"
FEATURES = """
select view.name, view.entity, view.owner, view.description,
       (select rows from materialization where view = view.name order by created desc limit 1) as rows
from current_feature_view as view order by view.name
"""
MODELS = """
select name, number, metrics, created, id from numbered_model_version
where number = (select count(*) from model_version where model_version.name = numbered_model_version.name) order by name
"""


def overview(project: "Project") -> Report:
    """The state of the project, and what to type next."""
    read = project.registry.rows
    notebooks, runs = read(NOTEBOOKS), read(RUNS)
    steps = read(STEPS, (runs[0]["id"],)) if runs else []
    features, tests, models = read(FEATURES), _tests(project), read(MODELS)
    recording = project.registry.status()
    return Report(
        title=f"mlops_nb: {project.layout.root.name}",
        values={"recording": "on" if recording.on else f"off: {recording.reason}", **_run_line(runs), **_test_line(tests)},
        tables=(
            Table(
                ("notebook", "cells captured", "cell runs", "last"),
                tuple((n["notebook"] or "(no file)", n["cells"], n["runs"], moment(n["last"])) for n in notebooks),
                "Notebooks",
            ),
            Table(
                ("step", "status", "seconds", "why"),
                tuple((s["component"], s["status"], f"{s['seconds']:.2f}", s["error"] or s["reason"]) for s in steps),
                "Last run",
            ),
            Table(
                ("feature view", "description", "entity", "rows", "owner"),
                tuple((f["name"], f["description"], from_json(f["entity"]), f"{f['rows'] or 0:,}", f["owner"]) for f in features),
                "Features",
            ),
            Table(
                ("test", "kind", "severity", "last outcome"),
                tuple((t["name"], t["kind"], t["severity"], t["outcome"] or "never run") for t in tests),
                "Tests",
            ),
            Table(
                ("model", "version", "made", "metrics"),
                tuple((m["name"], f"@{m['number']} {m['id'][:8]}", moment(m["created"]), _metrics(m["metrics"])) for m in models),
                "Models",
            ),
        ),
        notes=("Next: " + next_command(notebooks, runs, models),),
        data={
            "recording": {"on": recording.on, "reason": recording.reason},
            "notebooks": notebooks,
            "last_run": {**runs[0], "steps": steps} if runs else None,
            "features": [{**f, "entity": from_json(f["entity"])} for f in features],
            "tests": tests,
            "models": [{**m, "metrics": from_json(m["metrics"])} for m in models],
        },
    )


def next_command(notebooks: list[dict[str, Any]], runs: list[dict[str, Any]], models: list[dict[str, Any]]) -> str:
    """The command that leads on from here."""
    if not notebooks:
        return "%load_ext mlops_nb in a notebook, or mlops-nb capture NOTEBOOK.ipynb"
    if not runs:
        return f"mlops-nb run {notebooks[0]['notebook']}"
    if runs[0]["status"] != "passed":
        return f"mlops-nb show {runs[0]['id'][:8]}"
    return f"mlops-nb model trace {models[0]['name']}" if models else f"mlops-nb plan {runs[0]['pipeline']}"


def _run_line(runs: list[dict[str, Any]]) -> dict[str, str]:
    return {"last run": f"{runs[0]['pipeline']} {runs[0]['id'][:8]}: {runs[0]['status']} in {runs[0]['seconds']:.1f} s"} if runs else {}


def _tests(project: "Project") -> list[dict[str, Any]]:
    """The tests that still stand in their notebooks, by kind."""
    found = [
        {
            "name": checked.case.name,
            "kind": checked.case.kind,
            "severity": checked.case.severity,
            "notebook": checked.case.notebook,
            "outcome": checked.result.outcome if checked.result else None,
        }
        for checked in project.tests.list()
    ]
    return sorted(found, key=lambda test: (test["kind"], test["name"]))


def _test_line(tests: list[dict[str, Any]]) -> dict[str, str]:
    passed = sum(t["outcome"] == "passed" for t in tests)
    failed = sum(t["outcome"] in ("failed", "error") for t in tests)
    never = len(tests) - passed - failed
    return {"tests": f"{passed} passed, {failed} failed" + (f", {never} never run" if never else "")} if tests else {}


def _metrics(text: str) -> str:
    return ", ".join(f"{name}={value:.4g}" for name, value in from_json(text).items())
