import datetime as dt
import json
import math
import subprocess
import sys
import types
from enum import StrEnum
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_nb.errors import BadInput
from mlops_nb.records import ArtifactRef, CellRun, FeatureView
from mlops_nb.store import codec

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.text(st.characters(min_codepoint=0xD7F0, max_codepoint=0xE010)),  # lone surrogates
    st.binary(),
    st.complex_numbers(),
    st.datetimes(),
    st.datetimes(timezones=st.just(dt.timezone(dt.timedelta(hours=5, minutes=30)))),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.sampled_from([Path("a/b"), bytearray(b"x")]),
    st.sampled_from([np.float32(1.5), np.int64(-(2**63)), np.bool_(True), np.datetime64("2013-07-04"), np.str_("ü"), np.float64("nan")]),
)
hashable = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.binary(), st.dates())
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(st.one_of(hashable, st.tuples(hashable, hashable), st.just("$")), inner),
        st.sets(hashable),
        st.frozensets(hashable),
    ),
    max_leaves=20,
)


def same(left: object, right: object) -> bool:
    """Equal and of one type, all the way down; NaN equals itself."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[k], right[k]) for k in left)
    return repr(left) == repr(right) if isinstance(left, float | complex | np.generic) else left == right


@given(values)
def test_every_value_comes_back_with_its_type(value) -> None:
    text = codec.to_json(value, exact=True)
    text.encode()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert same(codec.from_json(text), value)


@given(values)
def test_a_column_is_json_that_every_reader_takes(value) -> None:
    text = codec.row_json(value)
    text.encode()
    codec.from_json(text)
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "column"),
    [
        (("a", "b"), ["a", "b"]),
        ({"b", "a"}, ["a", "b"]),
        ({"n": np.int64(3), "x": np.float32(0.5), "b": np.bool_(False)}, {"n": 3, "x": 0.5, "b": False}),
        ({1: Path("a"), (2, 3): Colour.RED}, {"1": "a", "[2,3]": "red"}),
        ([math.nan, -math.inf], [{"$": "float", "v": "nan"}, {"$": "float", "v": "-inf"}]),
        ([2**63 - 1, 2**63], [2**63 - 1, {"$": "int", "v": "9223372036854775808"}]),
        (dt.datetime(2013, 7, 4, 9, tzinfo=dt.UTC), "2013-07-04T09:00:00.000000Z"),
        (
            {"out": ArtifactRef("d" * 64, "npy", "numpy.ndarray", 8)},
            {"out": {"digest": "d" * 64, "kind": "npy", "type_name": "numpy.ndarray", "size": 8}},
        ),
    ],
)
def test_columns_hold_plain_json(value, column) -> None:
    assert json.loads(codec.row_json(value)) == column


def test_records_come_back_as_records() -> None:
    view = FeatureView("weather", ("origin",), "time_hour", ttl_seconds=3600.0, tags=("a",))
    run = CellRun("r", "s", 1, "nb", "c", 1, "x = 1", 5, "t", 0.1, "ok", reads=("x",), environment={"A": "b"})
    assert codec.from_json(codec.to_json([view, run])) == [view, run]


class Rude:
    def __repr__(self) -> str:
        raise SystemError("no")


def test_unknown_objects_are_described_and_refused_where_exactness_is_asked() -> None:
    described = codec.from_json(codec.to_json({"x": Rude(), "y": object}))
    assert described["x"] == codec.Opaque(f"{__name__}.Rude", "<repr raised SystemError>")
    assert described["y"].text == "<class 'object'>"
    assert codec.from_json(codec.to_json(described)) == described
    with pytest.raises(codec.NotExact, match="Rude is no JSON value"):
        codec.to_json([Rude()], exact=True)


def test_a_list_that_holds_itself_ends() -> None:
    endless: list[object] = []
    endless.append(endless)
    assert "$" in codec.to_json(endless)
    assert "$" in codec.row_json(endless)
    with pytest.raises(codec.NotExact, match="holds itself"):
        codec.to_json(endless, exact=True)


def test_a_tag_of_a_newer_version_says_so() -> None:
    with pytest.raises(BadInput, match="upgrade"):
        codec.from_json('{"$": "hologram", "v": 1}')


def test_text_for_sqlite_has_no_lone_surrogates() -> None:
    assert codec.plain_text("a\ud800ü") == "a\\ud800ü"


def test_the_codec_imports_no_numpy() -> None:
    code = (
        "import sys; from mlops_nb.store import codec; codec.to_json({'a': (1, b'x')}); codec.row_json({1.5: {2}}); sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_numpy_that_another_thread_is_just_importing_is_no_numpy(monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", types.ModuleType("numpy"))
    assert codec.python_scalar(1.5) == 1.5
    assert codec.row_json({"a": (1, "b")}) == '{"a":[1,"b"]}'
