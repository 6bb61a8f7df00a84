"""Manifests, version ids, metrics and references of model versions."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_nb.errors import BadInput, MlopsError, NotFound
from mlops_nb.models.versions import (
    CodeCell,
    ModelLine,
    Origin,
    checked_metrics,
    evaluate_metrics,
    manifest,
    parse_model_line,
    resolve,
    seeds_of,
    signature_of,
    version_id,
)
from mlops_nb.records import ArtifactRef, ModelVersion

ARTIFACT = ArtifactRef("ab" * 32, "skops", "sklearn.linear_model.LogisticRegression", 100)
ORIGIN = Origin(
    cells=(CodeCell("nb.ipynb", "c1", "11" * 32), CodeCell("nb.ipynb", "c2", "22" * 32)),
    commit="c0ffee",
    diff="dd" * 32,
    inputs={"train": "33" * 32, "labels": "44" * 32},
    files={"data/a.csv": "55", "data/b.csv": "66"},
    parameters={"year": 2013, "rate": 0.1},
    lock="77" * 32,
    seed=7,
    tests=(("sound", "v1", "error"), ("fair", "v2", "warn")),
)


class Plain:
    """A model that says nothing about itself."""


def id_of(origin: Origin = ORIGIN, *, name: str = "late", artifact: ArtifactRef = ARTIFACT, value: Any = None) -> str:
    return version_id(manifest(name, "model", origin, artifact=artifact, value=value or Plain()))


def test_the_order_in_which_things_were_seen_does_not_matter() -> None:
    turned = replace(
        ORIGIN,
        inputs=dict(reversed(ORIGIN.inputs.items())),
        files=dict(reversed(ORIGIN.files.items())),
        parameters=dict(reversed(ORIGIN.parameters.items())),
        tests=ORIGIN.tests[::-1],
    )
    assert id_of(turned) == id_of()


CHANGES = {
    "a cell": {"cells": (CodeCell("nb.ipynb", "c1", "12" * 32), ORIGIN.cells[1])},
    "the order of cells": {"cells": ORIGIN.cells[::-1]},
    "the commit": {"commit": "beef"},
    "uncommitted code": {"diff": "de" * 32},
    "untracked files": {"untracked": "01" * 32},
    "an input": {"inputs": {**ORIGIN.inputs, "train": "34" * 32}},
    "a file": {"files": {"data/a.csv": "56"}},
    "a parameter": {"parameters": {"year": 2012, "rate": 0.1}},
    "the environment": {"lock": "78" * 32},
    "the seed": {"seed": 8},
    "what came before": {"upstream": {"load": "99" * 32}},
    "a required test": {"tests": (("sound", "v2", "error"), ("fair", "v2", "warn"))},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_another_version_comes_from(change: dict[str, Any]) -> None:
    assert id_of(replace(ORIGIN, **change)) != id_of()


def test_name_and_artifact_make_another_version() -> None:
    assert len({id_of(), id_of(name="early"), id_of(artifact=replace(ARTIFACT, digest="cd" * 32))}) == 3


@given(st.dictionaries(st.text(), st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.floats())), max_size=5))
def test_any_parameters_have_a_manifest_that_hashes(parameters: dict[str, Any]) -> None:
    origin = replace(ORIGIN, parameters=parameters)
    assert id_of(origin) == id_of(replace(origin, parameters=dict(reversed(parameters.items()))))


def test_what_scikit_learn_models_say_of_themselves() -> None:
    import pandas as pd
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    frame = pd.DataFrame({"dep": [1.0, 2.0, 3.0, 4.0], "wind": [0.0, 1.0, 0.0, 1.0]})
    model = make_pipeline(StandardScaler(), RandomForestClassifier(2, random_state=5)).fit(frame, [0, 1, 0, 1])
    assert signature_of(model) == {"n_features": 2, "features": ["dep", "wind"], "classes": ["0", "1"]}
    assert seeds_of(model) == {"randomforestclassifier__random_state": 5}
    assert seeds_of(RandomForestClassifier(random_state=np.random.RandomState(1))) == {"random_state": "RandomState"}
    assert seeds_of(RandomForestClassifier()) == {"random_state": None}
    assert seeds_of(RandomForestClassifier(random_state=np.int64(4))) == {"random_state": 4}


def test_other_values_say_nothing() -> None:
    assert signature_of({"weights": [1]}) == {}
    assert seeds_of({"weights": [1]}) == {}


# --- the line ---


def test_a_line_is_read() -> None:
    assert parse_model_line("late model") == ModelLine("late", "model")
    assert parse_model_line("late model --metrics auc=a,brier=b['x, y']").metrics == (("auc", "a"), ("brier", "b['x, y']"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "NAME is missing"),
        ("late", "VARIABLE is missing"),
        ("late-1 model", "no Python name; write late_1"),
        ("late model --metric a", "did you mean '--metrics'"),
        ("late model more", "'more' is one word too many"),
        ("late model --metrics auc=(", "cannot read 'auc=('"),
    ],
)
def test_a_wrong_line_says_what_is_wrong(line: str, words: str) -> None:
    with pytest.raises(BadInput) as raised:
        parse_model_line(line)
    assert words in str(raised.value)
    assert "%model NAME VARIABLE" in str(raised.value)


NAMESPACE = {
    "auc": 0.75,
    "scores": {"auc": 0.7, "brier": np.float32(0.25)},
    "text": "0.7",
    "array": np.array(3),
    "rows": np.array([1, 2]),
    "nan": float("nan"),
}


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ("scores", {"auc": 0.7, "brier": 0.25}),
        ("auc", {"auc": 0.75}),
        ("auc=scores['auc'], brier=scores['brier']", {"auc": 0.7, "brier": 0.25}),
        ("n=len(rows) scores", {"n": 2.0, "auc": 0.7, "brier": 0.25}),
        ("count=array", {"count": 3.0}),
    ],
)
def test_metrics_are_evaluated(metrics: str, expected: dict[str, float]) -> None:
    found = evaluate_metrics(parse_model_line(f"late model --metrics {metrics}"), NAMESPACE)
    assert found == expected
    assert all(type(value) is float for value in found.values())


@pytest.mark.parametrize(
    ("metrics", "kind", "words"),
    [
        ("auk", NotFound, "no variable named 'auk'; did you mean 'auc'?"),
        ("a=nan", BadInput, "metric a is nan"),
        ("a=text", BadInput, "metric a is a str, not a number"),
        ("a=rows", BadInput, "metric a is a ndarray, not a number"),
        ("a=(auc>0)", BadInput, "metric a is True, not a number"),
        ("auc/2", BadInput, "write NAME=auc/2"),
        ("a=scores", BadInput, "metric a is a dict, not a number"),
    ],
)
def test_a_metric_that_is_no_number_is_named(metrics: str, kind: type[MlopsError], words: str) -> None:
    with pytest.raises(kind) as raised:
        evaluate_metrics(parse_model_line(f"late model --metrics {metrics}"), NAMESPACE)
    assert words in str(raised.value)


def test_a_metrics_name_is_text() -> None:
    with pytest.raises(BadInput, match="a metric's name is text, not 1"):
        checked_metrics({1: 0.5})


# --- references ---


def version(name: str, number: int, start: str) -> ModelVersion:
    return ModelVersion(start.ljust(64, "0"), name, number, ARTIFACT, {}, {}, f"2013-01-0{number}")


VERSIONS = (version("late", 1, "abcd1"), version("late", 2, "abcd2"), version("late", 3, "1234"), version("early", 1, "ffff"))


@dataclass(frozen=True)
class Reference:
    text: str
    number: int = 0
    words: str = ""


@pytest.mark.parametrize(
    "reference",
    [
        Reference("late", 3),
        Reference("late@1", 1),
        Reference("late@abcd2", 2),
        Reference("late@1234", 3),
        Reference("late@abcd", words="2 versions start with 'late@abcd'"),
        Reference("late@ab", words="no version 'late@ab'; there are: @1 (abcd1000), @2 (abcd2000), @3 (12340000)"),
        Reference("late@9", words="no version 'late@9'"),
        Reference("lat", words="no model named 'lat'; did you mean 'late'?"),
        Reference("late@", words="names no model version"),
        Reference("late@ABC", words="names no model version"),
    ],
    ids=lambda r: r.text,
)
def test_a_reference_names_one_version(reference: Reference) -> None:
    if reference.number:
        assert resolve(reference.text, VERSIONS).number == reference.number
    else:
        with pytest.raises(MlopsError) as raised:
            resolve(reference.text, VERSIONS)
        assert reference.words in str(raised.value)
