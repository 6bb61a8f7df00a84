"""What counts as equal within a tolerance."""

import math
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from mlops_nb.project.closeness import close, files_close, pickles_close

X, Y = np.arange(20.0).reshape(10, 2), np.arange(10) % 2
FRAME = pd.DataFrame({"a": [1.0, np.nan], "s": ["x", None], "t": pd.to_datetime(["2020-01-01", "2020-01-02"])})
FITTED = LogisticRegression().fit(X, Y)
MOVED = LogisticRegression().fit(X, Y)
MOVED.coef_ = MOVED.coef_ * (1 + 1e-12)
FAR = LogisticRegression().fit(X, Y)
FAR.coef_ = FAR.coef_ * 1.01

CLOSE = {
    "floats": (1.0, 1.0 + 1e-12),
    "not a number": (math.nan, math.nan),
    "nested": ({"a": [1.0, (2.0, "x")]}, {"a": [1.0 + 1e-13, (2.0, "x")]}),
    "arrays": (np.array([1.0, np.nan]), np.array([1.0 + 1e-12, np.nan])),
    "numbers of numpy": (np.float64(1.0), np.float64(1.0 + 1e-12)),
    "objects in an array": (np.array([1.0, "a"], dtype=object), np.array([1.0 + 1e-12, "a"], dtype=object)),
    "records": (np.array([(1.0, 2)], "f8,i4"), np.array([(1.0 + 1e-12, 2)], "f8,i4")),
    "frames": (FRAME, FRAME.assign(a=FRAME.a + 1e-12)),
    "series": (FRAME.a, FRAME.a + 1e-12),
    "models": (FITTED, MOVED),
    "trees": (DecisionTreeClassifier(random_state=0).fit(X, Y), DecisionTreeClassifier(random_state=0).fit(X, Y)),
    "sparse": (scipy.sparse.csr_array(np.eye(2)), scipy.sparse.csr_array(np.eye(2) * (1 + 1e-12))),
    "times": (pd.Timestamp("2020"), pd.Timestamp("2020")),
}
NOT_CLOSE = {
    "floats": (1.0, 1.001),
    "types": (1, 1.0),
    "lengths": ([1.0], [1.0, 2.0]),
    "keys in another order": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "whole numbers": (np.array([10**12]), np.array([10**12 + 1])),
    "kinds of arrays": (np.array([1.0]), np.array([1.0], "f4")),
    "shapes": (np.zeros(2), np.zeros((2, 1))),
    "texts in a frame": (FRAME, FRAME.assign(s="y")),
    "columns": (FRAME, FRAME.rename(columns={"a": "b"})),
    "indexes": (FRAME.index, FRAME.index + 1),
    "models": (FITTED, FAR),
    "near zero": (0.0, 1e-15),
}


@pytest.mark.parametrize("case", CLOSE)
def test_close(case):
    assert close(*CLOSE[case], rtol=1e-9)


@pytest.mark.parametrize("case", NOT_CLOSE)
def test_not_close(case):
    assert not close(*NOT_CLOSE[case], rtol=1e-9)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_data_files(tmp_path, suffix):
    one, near, far, other = (tmp_path / f"{name}{suffix}" for name in ("one", "near", "far", "other"))
    for path, change in ((one, 0.0), (near, 1e-12), (far, 0.1)):
        made = FRAME.assign(a=FRAME.a + change)
        _ = made.to_csv(path, index=False) if suffix == ".csv" else made.to_parquet(path)
    other.write_bytes(b"PAR1 no such thing")
    assert files_close(one, near, rtol=1e-9)
    assert not files_close(one, far, rtol=1e-9)
    assert not files_close(one, other, rtol=1e-9)


def test_files_of_other_kinds_are_not_looked_into(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"x")
    assert not files_close(tmp_path / "a.bin", tmp_path / "a.bin", rtol=1e-9)


# --- pickles whose code is not here ---------------------------------------------------------------------------


class Holder:
    """A class that a process without this module does not have."""

    def __init__(self, *parts):
        self.parts = parts


class Bag(dict):
    """Pickled by its items and its state."""


def pickled(value):
    """The pickle of `value` as of a class of a notebook."""
    return pickle.dumps(value, protocol=5).replace(__name__.encode(), b"_" * len(__name__))


WORD, SAME = (" ".join(words) for words in [("some", "text")] * 2)
PICKLES = [
    ("one text, and two", Holder(WORD, WORD), Holder(WORD, SAME), True),
    ("near floats", Holder(1.0, [2.0]), Holder(1.0 + 1e-12, [2.0]), True),
    ("far floats", Holder(1.0), Holder(1.1), False),
    ("another class", Holder(1), Bag(), False),
    ("another state", Holder(1), Holder(2), False),
    ("more state", Holder(1), Holder(1, 1), False),
    ("items", Bag(a=1.0), Bag(a=1.0 + 1e-12), True),
    ("other items", Bag(a=1), Bag(b=1), False),
    ("nested", [Holder(Holder(WORD, WORD))], [Holder(Holder(WORD, SAME))], True),
    ("arrays", Holder(np.arange(3.0)), Holder(np.arange(3.0)), True),
    ("other arrays", Holder(np.arange(3.0)), Holder(np.arange(4.0)), False),
    ("functions", math.sin, math.cos, False),
    ("times", Holder(pd.Timestamp("2020")), Holder(pd.Timestamp("2021")), False),
]


@pytest.mark.parametrize(("one", "other", "equal"), [case[1:] for case in PICKLES], ids=[case[0] for case in PICKLES])
def test_pickles_are_compared_without_their_code(one, other, equal):
    assert pickles_close(pickled(one), pickled(other), rtol=1e-9) is equal


def test_comparing_pickles_runs_nothing_of_theirs(tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "was_here",)

    data = pickle.dumps(Evil())
    assert pickles_close(data, data, rtol=0.0)
    assert not (tmp_path / "was_here").exists()
    assert not pickles_close(data, data[:-5], rtol=0.0)
