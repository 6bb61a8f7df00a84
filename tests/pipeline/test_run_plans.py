"""What a plan decides, and the reasons it gives."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_nb.errors import NotFound
from mlops_nb.pipeline.plan import ALL, Current, Selection, decide, plan, run_key, used_parameters
from mlops_nb.records import ArtifactRef, Component, Pipeline, StepRun

REF = ArtifactRef("d1", "json", "builtins.list", 3)
OTHER = ArtifactRef("d2", "json", "builtins.list", 3)
COMPONENT = Component("train", (), inputs={"rows": "load"}, outputs=("model",), parameters={"year": 2013, "password": "old"}, digest="code")
WHOLE = Current(file=lambda path: f"digest of {path}", variable=lambda name: f"digest of {name}", holds=lambda _: True)


def key(component=COMPONENT, *, parameters=None, inputs=None, lock="lock", seed=0):
    given = used_parameters(component, parameters or {})
    return run_key("p", component, parameters=given, inputs=inputs or {"rows": REF}, lock=lock, seed=seed)


def ran(run="1111111111", **changed):
    known = StepRun("s", run, "train", 1, key(), "ran", "", 1.0, inputs={"rows": REF}, outputs={"model": REF}, parameters=dict(COMPONENT.parameters))
    return replace(known, **changed)


def decided(*history, component=COMPONENT, parameters=None, inputs=None, lock="lock", current=WHOLE, seed=0):
    return decide(
        "p",
        component,
        parameters=used_parameters(component, parameters or {}),
        inputs=inputs or {"rows": REF},
        lock=lock,
        history=history,
        current=current,
        seed=seed,
    )


CASES = [
    ("nothing before", (), {}, "run", "first run"),
    ("all the same", (ran(),), {}, "skip", "unchanged since run 11111111"),
    ("an older run is the same", (ran("2222", key="other"), ran()), {}, "skip", "unchanged since run 11111111"),
    ("other code", (ran(),), {"component": replace(COMPONENT, digest="new")}, "run", "code changed"),
    ("another parameter", (ran(),), {"parameters": {"year": 2014}}, "run", "parameter year changed: 2013 -> 2014"),
    ("a secret parameter", (ran(),), {"parameters": {"password": "hunter22"}}, "run", r"parameter password changed: 'old' -> '<redacted>'"),
    ("another input", (ran(),), {"inputs": {"rows": OTHER}}, "run", "input `rows` changed"),
    ("another environment", (ran(),), {"lock": "new"}, "run", "environment lock changed"),
    ("another seed", (ran(),), {"seed": 1}, "run", "seed changed"),
    ("several reasons", (ran(),), {"component": replace(COMPONENT, digest="new"), "lock": "new"}, "run", "code changed; environment lock changed"),
    ("the same files", (ran(files={"a.csv": "digest of a.csv"}),), {}, "skip", "unchanged since run 11111111"),
    ("another file", (ran(files={"a.csv": "old"}),), {}, "run", "file a.csv changed"),
    ("a file that is gone", (ran(files={"a.csv": "old"}),), {"current": replace(WHOLE, file=lambda _: "")}, "run", "file a.csv is gone"),
    ("another variable", (ran(environment={"CITY": "old"}),), {}, "run", "environment variable CITY changed"),
    ("a missing output", (ran(),), {"current": replace(WHOLE, holds=lambda _: False)}, "run", "output `model` is missing or damaged"),
    ("an output not recorded", (ran(outputs={}),), {}, "run", "output `model` is missing or damaged"),
    ("failed before", (ran("3333", status="failed"),), {}, "run", "failed in run 3333"),
    ("failed after it passed", (ran("3333", status="failed", key="x"), ran()), {}, "skip", "unchanged since run 11111111"),
    (
        "an older run's files are as now",
        (ran("2222", files={"a": "old"}), ran(files={"a": "digest of a"})),
        {},
        "skip",
        "unchanged since run 11111111",
    ),
    ("another component's run", (ran(component="other"),), {}, "run", "first run"),
]


@pytest.mark.parametrize(("history", "given_now", "action", "reason"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_a_step_runs_for_a_reason(history, given_now, action, reason):
    found = decided(*history, **given_now)
    assert (found.action, found.reason) == (action, reason)
    assert (found.reuse is not None) == (action == "skip")
    assert re.fullmatch("[0-9a-f]{24}(-[0-9a-f]{24}){4}", found.key)


LOAD = Component("load", (), outputs=("rows",), parameters={"year": 2013}, digest="load")
REPORT = Component("report", (), inputs={"model": "train"}, digest="report")
PIPELINE = Pipeline("p", "nb.ipynb", (LOAD, COMPONENT, REPORT))


def test_behind_a_step_that_runs_all_run():
    steps = plan(PIPELINE, parameters={}, lock="lock", history=(ran(),), current=WHOLE)
    assert [(s.component, s.action, s.reason) for s in steps] == [
        ("load", "run", "first run"),
        ("train", "run", "step load will run before it"),
        ("report", "run", "step train will run before it"),
    ]


def test_a_plan_follows_the_outputs_of_skipped_steps():
    load = StepRun("l", "1111", "load", 0, key(LOAD, inputs={}) if LOAD.inputs else "", "ran", "", 1.0, outputs={"rows": REF})
    load = replace(load, key=run_key("p", LOAD, parameters={"year": 2013}, inputs={}, lock="lock", seed=0))
    steps = plan(PIPELINE, parameters={}, lock="lock", history=(load, ran()), current=WHOLE)
    assert [s.action for s in steps] == ["skip", "skip", "run"]


def test_an_unknown_parameter_is_named_with_near_ones():
    with pytest.raises(NotFound, match="no parameter named 'yaer'; did you mean 'year'"):
        plan(PIPELINE, parameters={"yaer": 1}, lock="", history=(), current=WHOLE)


@given(st.dictionaries(st.sampled_from(["year", "password"]), st.one_of(st.integers(), st.text(), st.none(), st.floats(allow_nan=False))))
def test_equal_parameters_give_equal_keys_whatever_their_order(parameters):
    backwards = dict(reversed(list(parameters.items())))
    assert key(parameters=parameters) == key(parameters=backwards)
    assert (key(parameters=parameters) == key()) == (used_parameters(COMPONENT, parameters) == dict(COMPONENT.parameters))


CHAIN = Pipeline(
    "p",
    "nb.ipynb",
    (
        Component("load", (), outputs=("rows",)),
        Component("look", (), inputs={"rows": "load"}),
        Component("train", (), inputs={"rows": "load"}, outputs=("model",)),
        Component("score", (), inputs={"model": "train"}),
    ),
)
SELECTIONS = [
    (ALL, ["load", "look", "train", "score"], set()),
    (Selection(only="train"), ["load", "train"], {"train"}),
    (Selection(only="load"), ["load"], {"load"}),
    (Selection(start="train"), ["load", "look", "train", "score"], {"train", "score"}),
    (Selection(start="load"), ["load", "look", "train", "score"], {"load", "look", "train", "score"}),
    (Selection(until="train"), ["load", "look", "train"], set()),
    (Selection(start="load", until="look"), ["load", "look"], {"load", "look", "train", "score"}),
    (Selection(until="look", force=True), ["load", "look"], {"load", "look", "train", "score"}),
]


@pytest.mark.parametrize(("selection", "asked", "forced"), SELECTIONS, ids=[str(s[0]) for s in SELECTIONS])
def test_a_part_of_a_pipeline_may_be_asked_for(selection, asked, forced):
    assert [component.name for component in selection.asked(CHAIN)] == asked
    assert selection.forced(CHAIN) == forced
    planned = plan(CHAIN, parameters={}, lock="lock", history=(), current=WHOLE, selection=selection)
    assert [step.component for step in planned] == asked


@pytest.mark.parametrize("option", ["only", "start", "until"])
def test_a_step_that_is_not_there_is_named_with_near_ones(option):
    with pytest.raises(NotFound, match=r"step .*trian(.|\n)*train"):
        Selection(**{option: "trian"}).check(CHAIN)
