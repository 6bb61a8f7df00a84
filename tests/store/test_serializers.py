import datetime as dt
import decimal
import io
import json
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from mlops_nb.errors import DamagedArtifact, Untrusted
from mlops_nb.hashing import sha256_hex
from mlops_nb.records import FeatureView
from mlops_nb.store import serializers
from mlops_nb.store.serializers import estimators, figures, frames


def through(value, kind: str):
    dumped = serializers.dump(value, name="value")
    assert dumped.kind == kind, dumped.kind
    assert serializers.dump(value, name="value").data == dumped.data
    return serializers.serializer(kind).load(dumped.data)


indexed = pd.date_range("2013-01-01", periods=3, freq="h")
FRAMES = {
    "numbers": pd.DataFrame({"i": np.array([1, 2], "i1"), "u": np.array([1, 2**63], "u8"), "f": np.array([0.1, np.nan], "f4"), "b": [True, False]}),
    "nullable": pd.DataFrame(
        {"i": pd.array([1, None], dtype="Int16"), "b": pd.array([True, None], dtype="boolean"), "a": pd.array([1, None], "int64[pyarrow]")}
    ),
    "text": pd.DataFrame({"s": ["ü", None, ""], "o": pd.Series(["x", None, "z"], dtype=object), "n": pd.Series(["x", np.nan, "z"], dtype=object)}),
    "times": pd.DataFrame(
        {"n": pd.to_datetime(["2013-07-04", None]), "s": pd.to_datetime(["2013", "2014"]).as_unit("s"), "d": pd.to_timedelta([1, None], unit="D")}
    ),
    "zones": pd.DataFrame({"z": pd.date_range("2013-10-26", periods=2, tz="Europe/Paris"), "u": pd.date_range("2013", periods=2, tz="UTC")}),
    "objects": pd.DataFrame({"d": [dt.date(2013, 7, 4), None], "m": [decimal.Decimal("1.50"), None], "b": [b"x", b""], "l": [[1], [2, 3]]}),
    "integer objects": pd.DataFrame({"a": pd.Series([1, 2], dtype=object)}),
    "categories": pd.DataFrame(
        {
            "c": pd.Categorical(["b", "a", None], categories=["c", "b", "a"], ordered=True),
            "n": pd.Categorical([10, 20, None], categories=[30, 20, 10]),
        }
    ),
    "column order": pd.DataFrame({"z": [1], "a": [2], "m": [3]}),
    "number columns": pd.DataFrame(np.eye(2)),
    "columns of two levels": pd.DataFrame({"a": [1, 1, 2], "b": [1.0, 2.0, 3.0]}).groupby("a").agg({"b": ["mean", "count"]}),
    "named columns": pd.DataFrame({"a": [1]}).rename_axis(columns="what"),
    "filtered": pd.DataFrame({"a": range(9)}).query("a % 2"),
    "index of text": pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="key")),
    "index of two levels": pd.DataFrame({"a": range(4), "g": [1, 1, 2, 2], "h": list("xyxy")}).set_index(["g", "h"]).iloc[:2],
    "index of times": pd.DataFrame({"a": [1, 2, 3]}, index=indexed),
    "index of periods": pd.DataFrame({"a": [1]}, index=pd.period_range("2013", periods=1, freq="M")),
    "no rows": pd.DataFrame({"a": pd.Series([], dtype="int64"), "s": pd.Series([], dtype="str")}),
    "infinity": pd.DataFrame({"a": [np.inf, -np.inf, -0.0]}),
}


@pytest.mark.parametrize("name", FRAMES)
def test_frames_come_back_the_same(name: str) -> None:
    back = through(FRAMES[name], "parquet")
    pd.testing.assert_frame_equal(back, FRAMES[name], check_column_type=True)
    assert getattr(back.index, "freq", None) == getattr(FRAMES[name].index, "freq", None)


SERIES = {
    "plain": pd.Series([1.5, None]),
    "named": pd.Series([1, 2], name="delay"),
    "name of a kind of its own": pd.Series([1], name=("a", 1)),
    "of times": pd.Series([1, 2, 3], index=indexed, name="n"),
    "categories": pd.Series(list("aba"), dtype="category"),
}


@pytest.mark.parametrize("name", SERIES)
def test_series_come_back_the_same(name: str) -> None:
    pd.testing.assert_series_equal(through(SERIES[name], "parquet"), SERIES[name])


def test_a_frame_keeps_its_attrs() -> None:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs = {"mlops_nb": FeatureView("weather", ("origin",), "time_hour"), "note": ("x", 1, np.float64("nan"))}
    back = through(frame, "parquet")
    assert back.attrs["mlops_nb"] == frame.attrs["mlops_nb"]
    assert back.attrs["note"][:2] == ("x", 1)
    assert frame.attrs["note"][:2] == ("x", 1)


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"a": [1, "x"]}),
        pd.DataFrame({"a": [{"k": 1}, {"l": 2}]}),
        pd.DataFrame({"a": [(1, 2), (3, 4)]}),
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame([[1, 2]], columns=["a", 1]),
        pd.DataFrame({"a": [1 + 2j]}),
        pd.DataFrame({"a": pd.arrays.SparseArray([0, 1])}),
        pd.DataFrame({"a": pd.cut([1, 2, 3], 2)}),
    ],
)
def test_a_frame_that_parquet_would_change_is_pickled(frame: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(through(frame, "pickle"), frame)


class Special(pd.DataFrame):
    """A subclass, as geopandas has."""


def test_a_subclass_keeps_its_class() -> None:
    assert type(through(Special({"a": [1]}), "pickle")) is Special
    assert type(through(np.ma.masked_array([1, 2], [True, False]), "pickle")) is np.ma.MaskedArray


def test_equal_frames_have_equal_bytes_however_they_were_made() -> None:
    frame = pd.DataFrame({"a": np.arange(10.0), "s": [str(n) for n in range(10)], "c": pd.Categorical(list("ab") * 5)})
    made = [
        frame.copy(),
        pd.concat([frame.iloc[:3], frame.iloc[3:]]),
        frame.iloc[::-1].iloc[::-1],
        frame[["c", "a", "s"]][["a", "s", "c"]],
        frame.assign(a=frame["a"].to_numpy().copy()),
    ]
    assert {serializers.dump(other, name="x").data for other in made} == {serializers.dump(frame, name="x").data}


cells = st.one_of(st.none(), st.integers(-(2**40), 2**40), st.floats(), st.text(max_size=5), st.booleans(), st.dates())


@given(st.dictionaries(st.text(max_size=3), st.lists(cells, min_size=3, max_size=3), max_size=4))
def test_any_frame_comes_back_the_same_or_is_pickled(columns) -> None:
    frame = pd.DataFrame(columns)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dumped = serializers.dump(frame, name="frame")
    assert dumped.kind in {"parquet", "pickle"}
    pd.testing.assert_frame_equal(serializers.serializer(dumped.kind).load(dumped.data), frame)


ARRAYS = [
    np.arange(6).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.array(5),
    np.array(["a", "ü"]),
    np.array(["2013-07-04"], dtype="M8[ns]"),
    np.array([1, 2, 3])[::2],
    np.zeros((0, 3), dtype="f4"),
    np.array([(1, 2.5)], dtype=[("a", "i1"), ("b", "f8")]),
]


@pytest.mark.parametrize("array", ARRAYS)
def test_arrays_come_back_the_same(array: np.ndarray) -> None:
    back = through(array, "npy")
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)
    assert back.flags.f_contiguous == np.ascontiguousarray(array).flags.f_contiguous or array.flags.f_contiguous


def test_what_lies_between_the_fields_of_an_array_does_not_count() -> None:
    kind = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    one, other = (np.frombuffer(bytearray(filler * kind.itemsize), dtype=kind) for filler in (b"\0", b"\xff"))
    other["a"], other["b"] = one["a"], one["b"]
    assert one.tobytes() != other.tobytes()
    assert serializers.dump(one, name="x").data == serializers.dump(other, name="x").data


def test_arrays_of_objects_are_pickled() -> None:
    assert through(np.array([{"a": 1}, None], dtype=object), "pickle").tolist() == [{"a": 1}, None]


@pytest.mark.parametrize(
    "value", [{"a": [1, (2, 3.5)], "b": None}, "text", 7, 2**80, (), {1, 2}, b"x", np.float64(1.5), dt.date(2013, 7, 4), float("inf")]
)
def test_values_of_json_come_back_the_same(value) -> None:
    back = through(value, "json")
    assert back == value
    assert type(back) is type(value)


def test_containers_of_other_things_are_pickled() -> None:
    back = through({"frame": pd.DataFrame({"a": [1]}), "n": 1}, "pickle")
    assert back["frame"].equals(pd.DataFrame({"a": [1]}))


def test_figures_become_pictures_of_equal_bytes() -> None:
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is in the extra `demo`")
    from matplotlib.figure import Figure

    def drawn() -> Figure:
        figure = Figure()
        figure.add_subplot().plot([1, 2, 3])
        return figure

    picture = through(drawn(), "png")
    assert isinstance(picture, figures.Picture)
    assert picture._repr_png_().startswith(b"\x89PNG")
    assert serializers.dump(drawn(), name="f").data == picture.png == serializers.dump(picture, name="f").data
    assert matplotlib.__version__.encode() not in picture.png


MODELS = """
import hashlib, json, sys, warnings
import numpy as np, pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, HistGradientBoostingRegressor, IsolationForest
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC

warnings.simplefilter("ignore")
chance = np.random.default_rng(0)
frame = pd.DataFrame({"a": chance.normal(size=200), "b": chance.normal(size=200), "c": chance.choice(list("xyz"), 200)})
numbers, y = frame[["a", "b"]], (frame["a"] + chance.normal(size=200) > 0).astype(int)
categories = frame.assign(c=frame["c"].astype("category"))
columns = lambda: ColumnTransformer([("n", StandardScaler(), ["a", "b"]), ("c", OneHotEncoder(handle_unknown="ignore"), ["c"])])
MODELS = {
    "logistic": (LogisticRegression(), numbers), "ridge": (Ridge(), numbers), "sgd": (SGDClassifier(random_state=0), numbers),
    "forest": (RandomForestClassifier(5, random_state=0), numbers), "regressor": (RandomForestRegressor(3, random_state=0), numbers),
    "gb": (GradientBoostingClassifier(n_estimators=3, random_state=0), numbers),
    "isolation": (IsolationForest(n_estimators=3, random_state=0), numbers),
    "hist": (HistGradientBoostingClassifier(max_iter=5, random_state=0), numbers),
    "hist2": (HistGradientBoostingRegressor(max_iter=5, random_state=0), numbers),
    "hist3": (HistGradientBoostingClassifier(max_iter=5, random_state=0, categorical_features=["c"]), categories),
    "pipeline": (make_pipeline(columns(), LogisticRegression()), frame),
    "pipeline2": (make_pipeline(columns(), RandomForestClassifier(3, random_state=0)), frame),
    "knn": (KNeighborsClassifier(), numbers), "svc": (SVC(), numbers),
    "mlp": (MLPClassifier((3,), max_iter=5, random_state=0), numbers),
    "kmeans": (KMeans(2, random_state=0, n_init=1), numbers), "pca": (PCA(), numbers),
    "calibrated": (CalibratedClassifierCV(LogisticRegression(), cv=2), numbers),
    "best": (SelectKBest(k=1), numbers), "function": (FunctionTransformer(np.log1p), numbers.abs()),
}
fitted = {name: (model.fit(data, y), data) for name, (model, data) in MODELS.items()}
fitted["text"] = (TfidfVectorizer().fit(["a late flight", "an early flight"]), None)
fitted["not fitted"] = (LogisticRegression(C=0.5), None)
"""


@pytest.fixture(scope="module")
def models() -> dict:
    scope: dict = {}
    exec(MODELS, scope)
    # dumped before they are used: a k-d tree counts its queries
    return {name: (model, data, serializers.dump(model, name=name)) for name, (model, data) in scope["fitted"].items()}


def test_estimators_come_back_through_skops_and_predict_the_same(models) -> None:
    for name, (model, data, dumped) in models.items():
        assert dumped.kind == "skops", name
        back = serializers.serializer("skops").load(dumped.data)
        assert type(back) is type(model)
        assert serializers.dump(back, name=name).data == dumped.data, name
        method = "predict" if hasattr(model, "predict") else "transform"
        if data is not None:
            assert np.array_equal(getattr(back, method)(data), getattr(model, method)(data)), name


def test_equal_models_have_equal_bytes_in_another_process(models) -> None:
    code = (
        MODELS
        + """
from mlops_nb.store import serializers
junk = [object() for _ in range(12_345)]
print(json.dumps({name: hashlib.sha256(serializers.dump(model, name=name).data).hexdigest() for name, (model, _) in fitted.items()}))
"""
    )
    environ = {"PYTHONHASHSEED": "5", "MALLOC_PERTURB_": "77", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    here = {name: sha256_hex(dumped.data) for name, (_, _, dumped) in models.items()}
    assert json.loads(done.stdout) == here


def test_a_model_of_foreign_types_is_pickled_and_never_loaded_by_skops() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import FunctionTransformer

    assert serializers.dump(FunctionTransformer(json.loads), name="f").kind == "pickle"
    with zipfile.ZipFile(io.BytesIO(estimators.dump(LogisticRegression()))) as archive:
        schema = json.loads(archive.read("schema.json"))
    schema["__class__"], schema["__module__"] = "Popen", "subprocess"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("schema.json", json.dumps(schema))
    with pytest.raises(Untrusted, match=r"subprocess\.Popen"):
        serializers.serializer("skops").load(buffer.getvalue())


def test_bytes_that_are_not_what_they_should_be_are_damage() -> None:
    for kind in ("parquet", "npy", "skops", "json"):
        with pytest.raises(DamagedArtifact, match=kind):
            serializers.load(kind, b"\x00\x01nothing of the kind")


def test_a_plain_value_imports_no_library() -> None:
    code = (
        "import sys; from mlops_nb.store import serializers as s; s.dump({'a': (1, 2.5)}, name='x');"
        "print({'pandas', 'numpy', 'sklearn', 'pyarrow', 'skops', 'matplotlib'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"


def test_a_frame_made_of_a_matrix_lies_in_memory_as_it_did():
    """A sum's last digit follows the order of memory: a model fitted to the stored frame has to have the notebook's very bytes."""
    matrix = np.random.default_rng(7).normal(size=(500, 6)) ** 3
    frame = pd.DataFrame(matrix, columns=list("abcdef")).sample(frac=0.8, random_state=1)
    frame.insert(2, "kind", "x")
    frame["target"] = (frame.a > 0).astype(int)
    for made in (frame, frame.drop(columns="kind"), frame[["a", "b"]], frame.copy()):
        back = frames.load(frames.dump(made))
        pd.testing.assert_frame_equal(back, made)
        numbers = [c for c in made.columns if c not in ("kind", "target")]
        assert (StandardScaler().fit(back[numbers]).mean_ == StandardScaler().fit(made[numbers]).mean_).all()
        assert frames.dump(back) == frames.dump(made)
