"""Edges, states and slices from records alone."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_nb.capture.lineage import Effect, History, cell_views, edges_of, slice_runs, written
from mlops_nb.records import CellRun, Edge


def run(number, cell, reads="", writes="", **more):
    return CellRun(
        id=f"r{number}",
        session_id="s",
        seq=number,
        notebook="nb.ipynb",
        cell_id=cell,
        execution_count=number,
        source="",
        crc=0,
        started=f"2013-01-01T00:00:{number:02d}.000000Z",
        seconds=0.1,
        **{"status": "ok", "reads": tuple(reads.split()), "writes": tuple(writes.split()), **more},
    )


def history(*plays, positions=None):
    """Plays are `cell: reads > writes`; `!` failed, `=name` bound to an equal value, `?name` possibly."""
    made = History(positions=positions or {})
    for number, play in enumerate(plays, start=1):
        cell, _, rest = play.partition(":")
        failed = cell.endswith("!")
        reads, _, writes = rest.partition(">")
        sure = {"reads": {n.strip("?"): "possible" if "?" in n else "certain" for n in reads.split()}}
        sure["writes"] = {n.strip("?="): "possible" if "?" in n else "certain" for n in writes.split()}
        unchanged = tuple(n[1:] for n in writes.split() if n.startswith("="))
        record = run(
            number,
            cell.strip("!"),
            " ".join(sure["reads"]),
            " ".join(sure["writes"]),
            unchanged=unchanged,
            **({"status": "error", "error": "E: no"} if failed else {}),
        )
        made.add(record, Effect(**sure))
    return made


def stale(made):
    return {cell for cell, view in made.views().items() if view.state == "stale"}


@pytest.mark.parametrize(
    ("plays", "edges"),
    [
        (["a:>x", "b:x>y"], ["r1>r2 x"]),
        (["a:>x", "b:x>y", "c:x y>"], ["r1>r2 x", "r1>r3 x", "r2>r3 y"]),
        (["a:>x", "a:>x", "b:x>"], ["r2>r3 x"]),
        (["a:>x", "b:x>x", "c:x>"], ["r1>r2 x", "r2>r3 x"]),
        (["a:>x", "b:x>?x", "c:x>"], ["r1>r2 x", "r1>r3 x", "r2>r3 x?"]),
        (["a:>x", "b:?x>"], ["r1>r2 x?"]),
        (["a:>x", "b:x>?x", "c:>x", "d:x>"], ["r1>r2 x", "r3>r4 x"]),
        (["b:x>y"], []),
    ],
)
def test_edges(plays, edges):
    assert [f"{e.from_run}>{e.to_run} {e.name}{'?' * (e.certainty == 'possible')}" for e in history(*plays).edges] == edges


def test_a_deleted_name_has_no_writer():
    writers = written({"x": (("r1", "certain"),)}, "r2", Effect(deleted=["x", "never"]))
    assert edges_of("r3", {"x": "certain"}, writers) == ()


@pytest.mark.parametrize(
    ("plays", "expected"),
    [
        (["a:>x", "b:x>y", "c:y>z"], ""),
        (["a:>x", "b:x>y", "c:y>z", "a:>x"], "b c"),
        (["a:>x", "b:x>y", "c:y>z", "a:>=x"], ""),
        (["a:>x", "b:x>y", "a:>x", "b:x>y"], ""),
        (["a:>x", "b:x>y", "a:>w"], "b"),
        (["a:>x", "b:x>y", "a!:>"], ""),
        (["a:>x", "b:x>y", "a!:>x"], "b"),
        (["a:>x", "b:x>x", "c:x>x"], ""),
        (["a:>x", "b:x>x", "c:x>x", "b:x>x"], "b c"),
        (["a:>x", "b:x>x", "c:x>y", "a:>x"], "b c"),
        (["a:>x", "b:x>y", "c:>x"], ""),
        (["a:>x", "b:x>y", "c:>x", "b:x>y", "c:>x"], "b"),
        (["b!:x>", "a:>x", "b:x>y", "a:>x"], "b"),
        (["a:>x", "b:?x>y", "c:y>z", "a:>x"], "b c"),
        (["a:x>x", "a:x>x"], "a"),
        (["a:>x", "b:x>x", "b:x>x"], "b"),
        (["a:>x", "b:x>x", "b:x>"], ""),
        (["a:>x", "b:x>x", "b:x>x", "a:>x", "b:x>x"], ""),
        (["a:>x", "b:x>y", "c:>x", "b:x>y"], "b"),
        (["a:>x", "b:x>y", "c:>=x", "b:x>y"], ""),
        (["a:>x", "b:>x", "c:x>", "a:>x", "c:x>"], "c"),
        (["a:>x", "b:>x", "c:x>", "a:>x", "b:>x", "c:x>"], ""),
    ],
)
def test_staleness(plays, expected):
    assert stale(history(*plays)) == set(expected.split())


def test_positions_say_what_stands_above():
    plays = ["b:x>y", "new:>x"]
    assert stale(history(*plays)) == set()
    assert stale(history(*plays, positions={"new": 0, "b": 1})) == {"b"}
    assert stale(history(*plays, positions={"b": 0, "new": 1})) == set()


@pytest.mark.parametrize(
    ("plays", "cell", "reason"),
    [
        (["a:>x", "b:x>y", "a:>x"], "b", "`x` rewritten by [3] after this ran"),
        (["a:>x", "b:x>y", "a:>w"], "b", "`x` is no longer made by [3]"),
        (["a:>x", "b:x>y", "c:y>", "a:>x"], "c", "reads `y` of a stale cell [2]"),
        (["a:>x", "b:x>y", "c:?y>", "a:>x"], "c", "may read `y` of a stale cell [2]"),
        (["a:>x", "b:x>x", "b:x>x"], "b", "read `x` as an earlier run of this cell had left it"),
        (["a:>x", "b:x>y", "c:>x", "b:x>y"], "b", "read `x` as [3] further down had left it"),
        (["a!:>x"], "a", "E: no"),
    ],
)
def test_reasons(plays, cell, reason):
    assert history(*plays).views()[cell].reason == reason


def test_a_view_shows_the_latest_run():
    view = history("a:>x", "b:x>y", "c:y x>z", "c:y x>z").views()["c"]
    assert (view.execution_count, view.reads, view.writes, view.upstream, view.state) == (4, ("y", "x"), ("z",), ("b", "a"), "fresh")


def test_sessions_join_by_time():
    first = history("a:>x", "b:x>y")
    again = dataclasses.replace(run(9, "a", "", "x"), session_id="s2", seq=1)
    views = cell_views([again, *first.runs], first.edges)
    assert views["b"].state == "stale"
    assert "[9]" in views["b"].reason


def test_edges_from_runs_that_are_not_there_are_passed_over():
    assert cell_views([run(2, "b", "x")], [Edge("gone", "r2", "x")])["b"].state == "fresh"


@pytest.mark.parametrize(
    ("plays", "names", "cells"),
    [
        (["a:>x", "n:>w", "b:x>y"], "y", "a b"),
        (["a:>x", "n:>w", "b:x>y"], "w", "n"),
        (["a:>x", "b:x>x", "c:x>y"], "y", "a b c"),
        (["a:>x", "a:>x", "c:x>y"], "y", "a c"),
        (["a:>x", "b:x>?x", "c:x>y"], "y", "a b c"),
        (["a:>x", "b:x>y", "c:>y"], "y", "c"),
        (["a:>x"], "nowhere", ""),
        (["a:>x", "b:>y"], "x y", "a b"),
    ],
)
def test_slices(plays, names, cells):
    assert [r.cell_id for r in history(*plays).slice(names.split())] == cells.split()


PLAYS = st.lists(
    st.builds(
        "{}:{}>{}".format,
        st.sampled_from("abcd"),
        st.lists(st.sampled_from(["x", "y", "?z"]), max_size=2, unique=True).map(" ".join),
        st.lists(st.sampled_from(["x", "?y", "z", "=w"]), max_size=2, unique=True).map(" ".join),
    ),
    max_size=12,
)


@given(PLAYS)
def test_edges_point_forward_and_slices_are_closed(plays):
    made = history(*plays)
    order = {r.id: n for n, r in enumerate(made.runs)}
    assert all(order[e.from_run] < order[e.to_run] for e in made.edges)
    for record in made.runs:
        inside = {r.id for r in slice_runs(made.runs, made.edges, [record.id])}
        assert record.id in inside
        assert all(e.from_run in inside for e in made.edges if e.to_run in inside)


@given(PLAYS)
def test_every_cell_that_ran_has_a_view_and_the_last_one_run_is_not_stale_by_itself(plays):
    made = history(*plays)
    views = made.views()
    assert set(views) == {r.cell_id for r in made.runs}
    if made.runs:
        assert "rewritten" not in views[made.runs[-1].cell_id].reason


_NAMES = st.sets(st.sampled_from("xyz"))
_STEPS = st.lists(st.tuples(st.integers(0, 4), _NAMES, _NAMES, st.booleans(), st.booleans()), max_size=14)


@given(steps=_STEPS, reordered=st.integers(0, 14))
@settings(max_examples=300, deadline=None)
def test_views_kept_as_runs_come_equal_views_made_anew(steps, reordered):
    kept = History()
    for number, (cell, reads, writes, failed, unchanged) in enumerate(steps):
        made = CellRun(
            id=f"r{number}", session_id="s", seq=number, notebook="nb.ipynb", cell_id=f"c{cell}", execution_count=number + 1, source="", crc=0,
            started=f"2013-01-01T00:00:{number:02d}.000000Z", seconds=0.0, status="error" if failed else "ok",
            reads=tuple(sorted(reads)), writes=tuple(sorted(writes)), unchanged=tuple(sorted(writes)) if unchanged else (),
        )  # fmt: skip
        effect = Effect(dict.fromkeys(sorted(reads), "certain"), dict.fromkeys(sorted(writes), "possible" if failed else "certain"))
        kept.add(made, effect)
        if number == reordered:
            kept.positions = {f"c{place}": 4 - place for place in range(5)}
        assert kept.views() == cell_views(kept.runs, kept.edges, positions=kept.positions)
