import json
import traceback

import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlops_nb
from mlops_nb.cli import Session, cli
from mlops_nb.config import find_layout
from mlops_nb.errors import BadInput, NotFound
from mlops_nb.features.define import read_definition
from mlops_nb.notebook.cells import parse_cell, plain_python
from mlops_nb.pipeline.step import StepSpec
from mlops_nb.project import Project

WEATHER = (
    '%%feature airport_weather --entity origin --timestamp known_at --ttl 3h --owner ops --tags weather,hourly --description "Weather at the airport"'
)
BODY = "known = shift(weather)\nknown[['origin', 'known_at', 'wind']]"
SHIFT = "def shift(frame):\n    return frame.assign(known_at=frame.hour + pd.Timedelta(hours=1))"


@pytest.fixture
def project(tmp_path):
    (tmp_path / ".git").mkdir()
    with Project(find_layout(tmp_path)) as opened:
        yield opened


@pytest.fixture
def namespace():
    frame = pd.DataFrame(
        {"origin": ["JFK", "JFK", "LGA"], "hour": pd.to_datetime(["2013-07-04 09:00", "2013-07-04 10:00", "2013-07-04 09:00"]), "wind": [1.5, 2, 3]}
    )
    made = {"weather": frame, "pd": pd}
    exec(SHIFT, made)
    return made


def cell(line=WEATHER, body=BODY, notebook="nb.ipynb"):
    return parse_cell(f"{line}\n{body}", id="c1", index=3, notebook=notebook)


def run(project, namespace, given=None, **options):
    given = given or cell()
    sources = ["import pandas as pd", SHIFT, "weather = load()", plain_python(given.source)]
    return project.features.run_cell(namespace, given, sources=sources, **options)


def step(**changes):
    return StepSpec(**{"run_id": "r1", "pipeline": "nb", "component": "airport_weather", "notebook": "nb.ipynb", **changes})


def test_a_feature_cell_gives_its_frame_writes_its_file_and_is_registered(project, namespace):
    frame = run(project, namespace, session_id="s1")
    assert frame["known_at"].tolist() == list(pd.to_datetime(["2013-07-04 10:00", "2013-07-04 11:00", "2013-07-04 10:00"]))
    written = read_definition(project.layout.root / "features" / "airport_weather.py")
    summary = project.features.show("airport_weather")
    assert (summary.view.version, summary.view.source) == (written.version, written.source)
    assert (summary.view.entity, summary.view.ttl_seconds, summary.view.tags, summary.view.inputs) == (
        ("origin",),
        10800.0,
        ("weather", "hourly"),
        ("weather",),
    )
    assert (summary.rows, summary.keys, summary.path) == (3, 2, "features/airport_weather.py")
    assert (summary.first_ts, summary.last_ts) == ("2013-07-04T10:00:00.000000", "2013-07-04T11:00:00.000000")
    [event] = project.registry.rows("select * from event")
    assert (event["verb"], event["object"], event["actor_kind"]) == ("register feature", "airport_weather", "human")


def test_the_stored_frame_joins_as_the_notebooks_own(project, namespace):
    frame = run(project, namespace)
    [made] = project.registry.rows("select * from materialization")
    stored = project.artifacts.get(project.artifacts.put(frame, name="airport_weather", made_by="test"))
    assert project.artifacts.digest(stored, name="airport_weather") == made["artifact"]
    spine = pd.DataFrame({"origin": ["LGA", "JFK"], "scheduled": pd.to_datetime(["2013-07-04 12:00", "2013-07-04 09:30"])})
    results = [mlops_nb.training_set(spine, one, timestamp="scheduled") for one in (frame, stored)]
    pd.testing.assert_frame_equal(*results)
    assert results[0]["wind"].fillna(-1).tolist() == [3.0, -1.0]


def test_the_same_cell_again_is_a_new_materialization_of_the_same_version(project, namespace):
    run(project, namespace)
    file = project.features.file("airport_weather")
    before = file.stat().st_mtime_ns
    run(project, namespace, cell(body="# reworded\n" + BODY))
    assert len(project.features.history("airport_weather")) == 1
    assert len(project.registry.rows("select * from materialization")) == 2
    again = file.stat().st_mtime_ns
    assert again != before  # the comment is new text
    run(project, namespace, cell(body="# reworded\n" + BODY))
    assert file.stat().st_mtime_ns == again


def test_versions_are_kept_and_the_newest_counts(project, namespace):
    versions = []
    for ttl in ("3h", "6h", "3h"):
        run(project, namespace, cell(WEATHER.replace("3h", ttl)))
        versions.append(project.features.show("airport_weather").view.version)
    assert versions[0] == versions[2] != versions[1]
    assert [row["version"] for row in project.features.history("airport_weather")] == versions[::-1]


def test_inside_a_step_no_file_is_written_and_the_same_version_is_no_news(project, namespace):
    notebook = run(project, namespace)
    project.features.file("airport_weather").unlink()
    headless = run(project, namespace, cell(notebook="pipelines/nb/airport_weather.ipynb"), step=step())
    assert not project.features.file("airport_weather").exists()
    assert len(project.features.history("airport_weather")) == 1
    digests = {project.artifacts.digest(frame, name="airport_weather") for frame in (notebook, headless)}
    rows = project.registry.rows("select artifact, run_id from materialization order by rowid")
    assert [row["run_id"] for row in rows] == ["", "r1"]
    assert {row["artifact"] for row in rows} == digests
    assert len(digests) == 1


def test_a_step_registers_what_is_new_under_the_notebook_it_was_made_from(project, namespace):
    run(project, namespace, cell(notebook="pipelines/nb/airport_weather.ipynb"), step=step())
    assert project.features.show("airport_weather").view.notebook == "nb.ipynb"


def test_a_name_belongs_to_one_notebook(project, namespace):
    (project.layout.root / "nb.ipynb").write_text("{}")
    run(project, namespace)
    run(project, namespace, cell(notebook="other.ipynb"))  # identical: no conflict
    changed = cell(WEATHER.replace("3h", "1h"), notebook="other.ipynb")
    with pytest.raises(BadInput, match=r"other.ipynb .*airport_weather is defined otherwise in nb.ipynb"):
        run(project, namespace, changed)
    assert len(project.features.history("airport_weather")) == 1
    (project.layout.root / "nb.ipynb").rename(project.layout.root / "gone.txt")
    run(project, namespace, changed)  # the notebook was renamed
    assert project.features.show("airport_weather").view.notebook == "other.ipynb"


def test_the_cells_inputs_are_not_changed(project, namespace):
    namespace["weather"] = namespace["weather"].rename(columns={"hour": "known_at"})
    frame = run(project, namespace, cell(body="weather"))
    assert frame is not namespace["weather"]
    assert namespace["weather"].attrs == {}


def test_an_error_in_the_body_shows_the_cells_own_line(project, namespace):
    with pytest.raises(KeyError) as caught:
        run(project, namespace, cell(body="x = 1\nweather['gust']"))
    last = [entry for entry in traceback.extract_tb(caught.value.__traceback__) if "%%feature" in entry.filename][-1]
    assert (last.lineno, last.line) == (3, "weather['gust']")
    assert "nb.ipynb:cell 4 (id c1)" in last.filename


@pytest.mark.parametrize(
    ("line", "body", "words"),
    [
        (WEATHER, "shift(wether)[['origin', 'known_at']]", ("no variable named 'wether'; did you mean 'weather'", "nb.ipynb:cell 4 (id c1)")),
        (WEATHER, "weather", ("no column named 'known_at'", "nb.ipynb:cell 4 (id c1)")),
        (WEATHER, "shift(weather).drop(columns='origin')", ("no column named 'origin'", "nb.ipynb:cell 4 (id c1)")),
        (WEATHER, "shift(weather)['wind']", ("gives a Series, not a DataFrame", "nb.ipynb:cell 4 (id c1)")),
        (WEATHER, "shift(weather).assign(known_at=pd.NaT)", ("3 null times of 3",)),
        (WEATHER, "shift(weather).assign(known_at='noon')", ("not datetimes",)),
        (WEATHER, "pd.concat([shift(weather)] * 2)", ("3 of 6 rows have the same origin, known_at", "drop_duplicates")),
    ],
)
def test_what_is_no_feature_frame_is_refused_and_nothing_recorded(project, namespace, line, body, words):
    with pytest.raises((BadInput, NotFound)) as caught:
        run(project, namespace, cell(line, body))
    for word in words:
        assert word in str(caught.value)
    assert project.features.list() == ()
    assert not project.features.file("airport_weather").exists()


def test_a_project_that_cannot_be_written_does_not_take_the_frame_away(tmp_path, namespace, capfd):
    (tmp_path / ".mlops_nb").write_text("a file in the place of the folder")
    with Project(find_layout(tmp_path)) as project:
        (tmp_path / "features").write_text("another")
        frame = run(project, namespace)
    assert len(frame) == 3
    assert "the feature airport_weather is computed, but not recorded" in capfd.readouterr().err


@pytest.fixture
def filled(project, namespace):
    run(project, namespace)
    rolling = (
        '%%feature recent_lateness --entity origin --timestamp known_at --tags delay --owner dana --description "Share of flights that landed late"'
    )
    run(project, namespace, cell(rolling, BODY))
    run(project, namespace, cell(rolling.replace("landed", "touched down"), BODY))
    return project


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("weather", ["airport_weather"]),
        ("weath", ["airport_weather"]),
        ("LATE", ["recent_lateness"]),
        ("eathe", ["airport_weather"]),
        ("origin", ["airport_weather", "recent_lateness"]),
        ("airport_weather", ["airport_weather"]),
        ("touched flights", ["recent_lateness"]),
        ("landed", []),  # only an older version says so
        ("dana delay", ["recent_lateness"]),
        ("dana weather", []),
        ('"weather" OR (NEAR', []),
        ("", []),
        ("*", []),
    ],
)
def test_search_finds_words_beginnings_and_parts(filled, text, names):
    assert [summary.view.name for summary in filled.features.search(text).features] == names


def test_a_search_without_result_lists_near_names(filled):
    assert filled.features.search("wether").near == ("airport_weather",)
    assert filled.features.search("recnt lateness").near == ("recent_lateness",)
    assert filled.features.search("zzz").near == ()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=20) | st.text('"*()^:-+{}\x00 NEARORAND_\ud800', max_size=20))
def test_any_text_can_be_searched_for(filled, text):
    found = filled.features.search(text)
    assert {summary.view.name for summary in found.features} <= {"airport_weather", "recent_lateness"}


def test_search_ranks_the_name_before_the_description(project, namespace):
    for name, description in (("a_gusts", "wind"), ("wind", "gusts"), ("z_wind", "wind wind wind")):
        run(project, namespace, cell(f'%%feature {name} --entity origin --timestamp known_at --description "{description}"'))
    assert [summary.view.name for summary in project.features.search("wind").features][-1] == "a_gusts"


def command(project, *words):
    """What `mlops-nb WORDS` gives: the report (as in a notebook) and the JSON a terminal prints."""
    report = cli.main(list(words), prog_name="mlops-nb", standalone_mode=False, obj=Session(project=project))
    printed = CliRunner().invoke(cli, ["--project", str(project.layout.root), *words, "--json"])
    assert printed.exit_code == 0, printed.output
    return report.text(200), json.loads(printed.output)


def test_commands_list_show_and_search(filled):
    text, data = command(filled, "feature", "list")
    assert [row["name"] for row in data] == ["airport_weather", "recent_lateness"]
    assert "Weather at the airport" in text
    text, data = command(filled, "feature", "show", "recent_lateness")
    assert len(data["versions"]) == 2
    assert "def recent_lateness(weather):" in text
    text, data = command(filled, "feature", "search", "weather")
    assert [row["name"] for row in data["features"]] == ["airport_weather"]
    for shown in ("airport_weather", "origin", "ops", "weather, hourly", "Weather at the airport", "3", "2013-07-04 11:00"):
        assert shown in text
    text, data = command(filled, "feature", "search", "wether")
    assert data == {"features": [], "near": ["airport_weather"]}
    assert "nothing found for 'wether'; near names: airport_weather" in text


def test_show_of_an_unknown_name_lists_near_names(filled):
    with pytest.raises(NotFound, match="no feature view named 'airport_wether'; did you mean 'airport_weather'"):
        filled.features.show("airport_wether")


def test_in_a_kernel_the_magic_binds_the_frame_and_training_sets_take_it(start_kernel, tmp_path):
    kernel = start_kernel(tmp_path)
    setup = (
        "import pandas as pd, mlops_nb\n"
        "weather = pd.DataFrame({'origin': ['JFK'], 'hour': pd.to_datetime(['2013-07-04 09:00']), 'wind': [1.5]})\n" + SHIFT
    )
    for source in ("%load_ext mlops_nb", setup, f"{WEATHER}\n{BODY}"):
        answer = kernel.run(source, "c1")
        assert answer.status == "ok", answer.traceback
    assert "wind" in answer.text
    spine = "pd.DataFrame({'origin': ['JFK'], 'at': pd.to_datetime(['2013-07-04 11:00'])})"
    assert "1.5" in kernel.run(f"mlops_nb.training_set({spine}, airport_weather, timestamp='at')", "c2").text
    assert "airport_weather" in kernel.run("%mlops feature search weather", "c3").text
    failed = kernel.run(f"{WEATHER}\nweather['gust']", "c4")
    assert (failed.status, failed.ename) == ("error", "KeyError")
    assert "weather['gust']" in failed.traceback
