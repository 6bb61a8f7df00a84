import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlops_nb
from mlops_nb.errors import BadInput, NotFound
from mlops_nb.features.define import attributes
from mlops_nb.features.offline import check_frame, training_set, view_of
from mlops_nb.records import FeatureView

START = dt.datetime(2013, 7, 4, 12)  # noqa: DTZ001 (naive times are a case of their own)
KEYS = ("JFK", "JFK", "JFK", "LGA", None)


def view(*entity, ttl=None, name="weather"):
    return FeatureView(name=name, entity=entity or ("origin",), timestamp="known_at", ttl_seconds=ttl)


def at(minutes):
    return START + dt.timedelta(minutes=minutes)


def oracle(spine, rows, ttl):
    """For each (key, t) of the spine the value of the newest row known by then, in plain Python."""
    answers = []
    for key, asked in spine:
        best = None
        for place, (row_key, event, created, value) in enumerate(rows):
            known = None not in key and row_key == key and event <= asked and created <= asked
            if known and (best is None or (event, created, place) > best[0]):
                best = ((event, created, place), value)
        fresh = best is not None and (ttl is None or asked - best[0][0] <= dt.timedelta(seconds=ttl))
        answers.append((best[1], best[0][0]) if fresh else (None, None))
    return answers


minutes = st.integers(0, 5)  # few moments and keys, so that ties and corrections are common
key = st.tuples(st.sampled_from(KEYS), st.sampled_from((1, 1, 1, 2, None)))


@settings(max_examples=300, deadline=None)
@given(
    asked=st.lists(st.tuples(key, minutes), max_size=12),
    held=st.lists(st.tuples(key, minutes, minutes), max_size=14),
    ttl=st.sampled_from((None, 60.0, 180.0, 0.5)),
    bitemporal=st.booleans(),
    clock=st.tuples(st.sampled_from((None, "UTC", "America/New_York")), *[st.sampled_from(("s", "ms", "us", "ns"))] * 2),
)
def test_equals_a_plain_python_oracle(asked, held, ttl, bitemporal, clock):
    zone, *units = clock
    rows = [(k, at(event), at(created) if bitemporal else at(event), float(n)) for n, (k, event, created) in enumerate(held)]
    questions = [(k, at(t)) for k, t in asked]

    def times(values, unit):
        index = pd.DatetimeIndex(list(values), dtype=f"datetime64[{unit}]")
        return index.tz_localize("UTC").tz_convert(zone) if zone else index

    spine = pd.DataFrame(
        {
            "origin": pd.Series([k[0] for k, _ in questions], dtype=object),
            "runway": pd.Series([k[1] for k, _ in questions], dtype="float64"),
            "scheduled": times([t for _, t in questions], units[0]),
        }
    ).set_index(np.arange(len(questions)) % 3)
    frame = pd.DataFrame(
        {
            "runway": pd.array([r[0][1] for r in rows], dtype="Int64"),
            "origin": pd.Series([r[0][0] for r in rows], dtype="category"),
            "known_at": times([r[1] for r in rows], units[1]),
            "value": [r[3] for r in rows],
        }
    )
    if bitemporal:
        frame["created_ts"] = times([r[2] for r in rows], units[1])

    result = training_set(spine, [(view("origin", "runway", ttl=ttl), frame)], timestamp="scheduled")

    pd.testing.assert_frame_equal(result[list(spine.columns)], spine)
    assert list(result.columns) == [*spine.columns, "value", "weather__known_at"]
    expected = oracle(questions, rows, ttl)
    assert [None if pd.isna(v) else v for v in result["value"]] == [value for value, _ in expected]
    taken = [None if pd.isna(t) else (t.tz_convert("UTC").tz_localize(None) if zone else t).to_pydatetime() for t in result["weather__known_at"]]
    assert taken == [event for _, event in expected]


def weather(**columns):
    base = {"origin": ["JFK", "JFK", "LGA"], "known_at": pd.to_datetime([at(0), at(60), at(0)]), "temp": [70, 75, 80]}
    return pd.DataFrame({**base, **columns})


def flights(**columns):
    return pd.DataFrame({"origin": ["JFK", "LGA"], "scheduled": pd.to_datetime([at(60), at(30)]), **columns})


def test_an_equal_time_counts_and_values_keep_their_type():
    result = training_set(flights(), [(view(), weather())], timestamp="scheduled")
    assert result["temp"].tolist() == [75, 80]
    assert result["temp"].dtype == "int64"


@pytest.mark.parametrize(("ttl", "found"), [(1800.0, True), (1799.999999, False), (1800.5, True), (None, True), (1e18, True)])
def test_the_last_instant_of_the_ttl_counts(ttl, found):
    spine = pd.DataFrame({"origin": ["LGA"], "scheduled": pd.to_datetime([at(30)]).as_unit("ns")})
    result = training_set(spine, [(view(ttl=ttl), weather())], timestamp="scheduled")
    assert result["temp"].notna().tolist() == [found]


def test_a_later_correction_wins_from_the_moment_it_was_made():
    frame = pd.DataFrame(
        {
            "origin": "JFK",
            "known_at": pd.to_datetime([at(0), at(0), at(10)]),
            "created_ts": pd.to_datetime([at(0), at(30), at(40)]),
            "temp": [1.0, 2.0, 3.0],
        }
    )
    spine = pd.DataFrame({"origin": "JFK", "scheduled": pd.to_datetime([at(29), at(30), at(39), at(40), at(-1)])})
    result = training_set(spine, [(view(), frame)], timestamp="scheduled")
    assert result["temp"].tolist()[:4] == [1.0, 2.0, 2.0, 3.0]
    assert result["temp"].isna().tolist()[4:] == [True]


def test_a_nanosecond_counts():
    spine = pd.DataFrame(
        {"origin": "JFK", "scheduled": pd.to_datetime(["2013-07-04 12:00:00.000000001", "2013-07-04 12:00:00.000000000"]).as_unit("ns")}
    )
    later = pd.to_datetime(["2013-07-04 12:00:00.000000001"])
    frame = pd.DataFrame({"origin": ["JFK"], "known_at": later, "temp": [1.0]})
    assert training_set(spine, [(view(), frame)], timestamp="scheduled")["temp"].notna().tolist() == [True, False]
    old = frame.assign(known_at=pd.to_datetime(["2013-07-04 11:59:59"]).as_unit("s"))
    assert training_set(spine, [(view(ttl=1.0), old)], timestamp="scheduled")["temp"].notna().tolist() == [False, True]


def test_several_views_and_duplicate_spine_rows_in_their_order():
    spine = pd.DataFrame({"origin": ["LGA", "JFK", "LGA", "LGA"], "scheduled": pd.to_datetime([at(90), at(5), at(90), at(-5)])}, index=list("baab"))
    busy = pd.DataFrame({"origin": ["LGA"], "known_at": pd.to_datetime([at(80)]), "queue": ["long"]})
    result = training_set(spine, [(view(), weather()), (view(name="busy"), busy)], timestamp="scheduled")
    assert result.index.tolist() == list("baab")
    assert result["temp"].fillna(-1).tolist() == [80, 70, 80, -1]
    assert result["queue"].isna().tolist() == [False, True, False, True]
    assert list(result.columns) == ["origin", "scheduled", "temp", "weather__known_at", "queue", "busy__known_at"]


def test_inputs_are_left_as_they_were():
    spine, frame = flights(), weather()
    before = spine.copy(), frame.copy()
    result = training_set(spine, [(view(), frame)], timestamp="scheduled")
    result.loc[:, "origin"] = "XXX"
    pd.testing.assert_frame_equal(spine, before[0])
    pd.testing.assert_frame_equal(frame, before[1])


def test_empty_frames():
    empty = weather().iloc[:0]
    assert training_set(flights(), [(view(ttl=60.0), empty)], timestamp="scheduled")["temp"].isna().all()
    assert training_set(flights().iloc[:0], [(view(ttl=60.0), weather())], timestamp="scheduled").shape == (0, 4)


def test_large_integer_keys_are_told_apart_even_beside_floats():
    spine = pd.DataFrame({"origin": [2.0**53, np.nan], "scheduled": pd.to_datetime([at(60)] * 2)})
    frame = weather(origin=[2**53 + 1, 2**53, 2**53 + 2])
    assert training_set(spine, [(view(), frame)], timestamp="scheduled")["temp"].fillna(0).tolist() == [75, 0]


@pytest.mark.parametrize(
    ("spine", "frame", "words"),
    [
        (flights(), weather(origin=[1, 2, 3]), ("'origin' is text", "number", "feature weather")),
        (flights(origin=[True, False]), weather(origin=[0, 1, 2]), ("boolean", "number")),
        (flights(), weather().rename(columns={"origin": "orig"}), ("no column named 'origin'", "did you mean 'orig'", "feature weather")),
        (flights().rename(columns={"origin": "orig"}), weather(), ("no column named 'origin'", "did you mean 'orig'", "the spine")),
        (flights(), weather().rename(columns={"known_at": "known"}), ("no column named 'known_at'", "'known'")),
        (flights().rename(columns={"scheduled": "schedule"}), weather(), ("no column named 'scheduled'", "'schedule'", "the spine")),
        (flights(), weather(known_at=pd.to_datetime([at(0)] * 3).tz_localize("UTC")), ("scheduled is naive", "known_at is UTC")),
        (flights(scheduled=pd.to_datetime([at(0), None])), weather(), ("'scheduled' has 1 null times of 2", "the spine")),
        (flights(), weather(known_at=pd.to_datetime([at(0), None, None])), ("'known_at' has 2 null times of 3", "feature weather")),
        (flights(scheduled=["2013-07-04", "2013-07-05"]), weather(), ("not datetimes", "pd.to_datetime")),
        (flights(), weather(created_ts=[1, 2, 3]), ("'created_ts' holds int64",)),
        (flights(temp=[1, 2]), weather(), ("'temp' in the spine and weather", "rename")),
        (pd.concat([flights(), flights()[["origin"]]], axis=1), weather(), ("'origin' stands twice",)),
    ],
)
def test_what_cannot_be_joined_is_said(spine, frame, words):
    with pytest.raises((BadInput, NotFound)) as caught:
        training_set(spine, [(view(), frame)], timestamp="scheduled")
    for word in words:
        assert word in str(caught.value)


def test_all_colliding_columns_are_listed_with_their_owners():
    with pytest.raises(BadInput, match=r"'x' in the spine and again; 'temp' in weather and again"):
        training_set(flights(x=1), [(view(), weather()), (view(name="again"), weather(x=1))], timestamp="scheduled")


def test_keys_of_other_types_join_by_equality():
    day = [dt.date(2013, 7, 4), dt.date(2013, 7, 5)]
    spine = flights(origin=day)
    assert training_set(spine, [(view(), weather(origin=[day[0], day[0], day[1]]))], timestamp="scheduled")["temp"].tolist() == [75, 80]
    assert training_set(flights(origin=[Decimal(1), Decimal(2)]), [(view(), weather(origin=[Decimal(1)] * 2 + [Decimal(2)]))], timestamp="scheduled")[
        "temp"
    ].tolist() == [75, 80]


def test_top_level_training_set_takes_frames_made_by_feature_cells():
    frame = weather()
    frame.attrs["mlops_nb"] = {"view": attributes(view(ttl=600.0))}
    result = mlops_nb.training_set(flights(), frame, timestamp="scheduled")
    assert result["temp"].notna().tolist() == [True, False]
    assert "mlops_nb" not in result.attrs
    assert view_of(frame) == view(ttl=600.0)


@pytest.mark.parametrize(
    ("value", "words"), [(weather(), "origin, known_at, temp was not made by a %%feature cell"), ([1], "a list is no feature frame")]
)
def test_top_level_training_set_refuses_other_values(value, words):
    with pytest.raises(BadInput, match=words):
        mlops_nb.training_set(flights(), value, timestamp="scheduled")


def test_a_feature_frame_has_one_row_for_each_key_and_time():
    check_frame(weather(), view(), where="nb.ipynb:cell 3")
    twice = weather(known_at=pd.to_datetime([at(0), at(0), at(0)]))
    with pytest.raises(BadInput, match=r"nb.ipynb:cell 3: .* 1 of 3 rows have the same origin, known_at as a later row, the first with origin=JFK"):
        check_frame(twice, view(), where="nb.ipynb:cell 3")
    check_frame(twice.assign(created_ts=pd.to_datetime([at(0), at(1), at(0)])), view(), where="nb.ipynb:cell 3")


def test_a_feature_cell_gives_a_dataframe():
    with pytest.raises(BadInput, match="gives a Series, not a DataFrame"):
        check_frame(weather()["temp"], view(), where="nb.ipynb:cell 3")
