"""What may be thrown away: never what is needed or young, and of the runs only what is old."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_nb.cli.runs import gc_report
from mlops_nb.project.collecting import Collection, remove
from mlops_nb.project.garbage import DAY, LONGEST_RUN, PastRun, Policy, Share, Stored, kept_runs, seconds, sort_out

NOW = 1_000 * DAY


def run(name, days, *, status="passed", pipeline="p", kind="pipeline"):
    return PastRun(name, pipeline, kind, status, NOW - days * DAY)


@pytest.mark.parametrize(
    ("runs", "kept"),
    [
        ([], ""),
        ([run("a", 1), run("b", 29)], "ab"),
        ([run("a", 31), run("b", 32), run("c", 33)], "a"),
        ([run("a", 31, status="failed"), run("b", 32), run("c", 33)], "ab"),
        ([run("a", 31), run("b", 32, pipeline="q"), run("c", 33, kind="notebook")], "abc"),
        ([run("a", 31), run("b", LONGEST_RUN / DAY - 0.1, status="running"), run("c", LONGEST_RUN / DAY + 1, status="running")], "ab"),
    ],
)
def test_runs_are_kept_by_age_place_and_outcome(runs, kept):
    assert kept_runs(runs, Policy(NOW, keep=1)) == frozenset(kept)


def stored(name, *, size=1, days=2.0):
    return Stored(f"artifacts/{name}", name, size, NOW - days * DAY)


def test_the_biggest_goes_first_and_what_stays_has_its_reason():
    files = [stored("a", size=1), stored("b", size=5), stored("c", size=7), stored("d", size=9), stored("e", size=2, days=0.9)]
    found = sort_out(files, {"c": "needed", "d": "needed"}, Policy(NOW))
    assert [file.reference for file in found.garbage] == ["b", "a"]
    assert found.size == 6
    assert found.kept == (Share("needed", 2, 16), Share("younger than a day", 1, 2))


names = st.sampled_from("abcdef")
files = st.lists(st.builds(lambda n, size, days: stored(n, size=size, days=days), names, st.integers(0, 9), st.floats(-1, 3)), max_size=8)


@given(files, st.dictionaries(names, st.sampled_from(["of a run", "of a model"])))
def test_what_is_needed_or_young_never_goes_and_every_file_is_told_once(found, needed):
    sorted_out = sort_out(found, needed, Policy(NOW))
    for file in sorted_out.garbage:
        assert file.reference not in needed
        assert NOW - file.modified >= DAY
    assert len(sorted_out.garbage) + sum(share.files for share in sorted_out.kept) == len(found)
    assert sorted_out.size + sum(share.size for share in sorted_out.kept) == sum(file.size for file in found)


@given(st.lists(st.tuples(names, st.integers(0, 60)), max_size=12), st.integers(1, 4))
def test_the_newest_runs_stay_whatever_their_age(given_runs, keep):
    runs = [run(str(number), days, pipeline=name) for number, (name, days) in enumerate(sorted(given_runs, key=lambda pair: pair[1]))]
    kept = kept_runs(runs, Policy(NOW, keep=keep, older_than=0.0))
    for name in {run.pipeline for run in runs}:
        mine = [run.id for run in runs if run.pipeline == name]
        assert kept & set(mine) == set(mine[:keep])


def test_times_are_read_as_they_are_recorded():
    assert seconds("1970-01-02T00:00:00+00:00") == DAY
    assert seconds("") == 0.0


def test_a_file_that_came_into_use_stays(tmp_path):
    path = tmp_path / "artifacts" / "ab" / "value"
    path.parent.mkdir(parents=True)
    path.write_text("x")
    os.utime(path, (1.0, 1.0))
    assert not remove(path, Stored("artifacts/ab/value", "value", 1, 0.5))
    assert path.exists()
    assert remove(path, Stored("artifacts/ab/value", "value", 1, 1.0))
    assert remove(path, Stored("artifacts/ab/value", "value", 1, 1.0))  # another process was quicker
    assert path.parent.exists()
    path.mkdir()
    assert not remove(path, Stored("artifacts/ab/value", "value", 1, path.stat().st_mtime))


def test_the_last_file_of_a_run_takes_its_folder_along(tmp_path):
    path = tmp_path / "runs" / "r1" / "load.ipynb"
    path.parent.mkdir(parents=True)
    for name in ("load.ipynb", "report.html"):
        path.with_name(name).write_text("x")
    assert remove(path, Stored("runs/r1/load.ipynb", "", 1, path.stat().st_mtime))
    assert path.parent.exists()
    report = path.with_name("report.html")
    assert remove(report, Stored("runs/r1/report.html", "", 1, report.stat().st_mtime))
    assert not path.parent.exists()


def test_the_report_says_what_goes_and_why_the_rest_stays():
    found = sort_out([stored(str(n), size=1_500_000) for n in range(25)], {"3": "a model version"}, Policy(NOW))
    text = gc_report(Collection(found, found.garbage, dry_run=True)).text(120)
    assert text.startswith("24 files, 36.0 MB would be removed")
    assert "and 4 files more" in text
    assert "a model version  1      1.5 MB" in text
    assert "0 files, 0 bytes removed" in gc_report(Collection(found, ())).text(120)
