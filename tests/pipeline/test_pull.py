"""`pull`: an edit made in a component notebook reaches the source notebook, and nothing else of it changes."""

import difflib
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mlops_nb.errors import BadInput, NotFound
from mlops_nb.notebook.editing import Style
from mlops_nb.pipeline.files import notebook_text
from mlops_nb.project import Project
from mlops_nb.project.pulling import pull

CELLS = (
    ("year = 2013  # the first\norigin = 'JFK'", ("parameters",)),
    "import math\n\ndef area(r):\n    return math.pi * r ** 2",
    "sizes = [len(word) for word in 'a bc'.split()]",
    "%%step make\nareas = [area(size) for size in sizes]",
    ("total = sum(areas)", ("mine", "step:add")),
    "%%step show\nprint(total, sizes, year)",
    ("total += year", ("step:add_year",)),
)


@pytest.fixture
def project(tmp_path):
    (tmp_path / ".git").mkdir()
    with Project.find(tmp_path, environ=dict(os.environ)) as opened:
        yield opened


@pytest.fixture
def promoted(project, write_notebook):
    """The source notebook, with outputs and metadata, and a function that edits a component's cells."""
    source = write_notebook(*CELLS)
    document = json.loads(source.read_text())
    document["cells"][5] |= {"execution_count": 7, "outputs": [{"output_type": "stream", "name": "stdout", "text": ["é 3\n"]}]}
    document["cells"].insert(1, {"cell_type": "markdown", "id": "words", "metadata": {"collapsed": True}, "source": ["# Title"]})
    source.write_text(json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    project.pipelines.promote(source)
    return source


def edit(project, component, change):
    """Let `change` edit the cells (by id) of a component's notebook; it returns new cells, or None for the same."""
    path = project.pipelines.folder("nb") / f"{component}.ipynb"
    document = json.loads(path.read_text())
    document["cells"] = change(document["cells"]) or document["cells"]
    path.write_text(notebook_text(document))


def set_source(cell_id, text):
    def change(cells):
        next(cell for cell in cells if cell["id"] == cell_id)["source"] = text.splitlines(keepends=True)

    return change


def edit_source(source, cell_id, text):
    document = json.loads(source.read_text())
    set_source(cell_id, text)(document["cells"])
    source.write_text(notebook_text(document))


def code(cell_id, source, tags=()):
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": cell_id,
        "metadata": {"tags": list(tags)} if tags else {},
        "outputs": [],
        "source": source,
    }


def sources(path):
    return {cell["id"]: "".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]}


def diff(before, after):
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]


# --- what is brought back -------------------------------------------------------------------------------------


def test_an_edit_is_the_only_difference_in_the_notebooks_file(project, promoted):
    before = promoted.read_text()
    edit(project, "show", set_source("c5", "%%step show\nprint(total, sizes, year, 'é')"))
    result = pull(project, "nb")
    assert (result.written, result.pull.conflicts, result.pull.notes, result.refused) == (True, (), (), "")
    old, new = r'    "print(total, sizes, year)"', r'''    "print(total, sizes, year, 'é')"'''
    assert [line.strip() for line in diff(before, promoted.read_text())] == [f"-{old}", f"+{new}"]


def test_a_pull_without_edits_writes_nothing(project, promoted):
    stamp = promoted.stat().st_mtime_ns
    result = pull(project, "nb")
    assert (result.written, result.pull.pulled, result.pull.notes) == (False, (), ())
    assert promoted.stat().st_mtime_ns == stamp


def test_a_dry_run_says_it_and_writes_nothing(project, promoted):
    before = promoted.read_bytes()
    edit(project, "make", set_source("c3", "%%step make\nareas = []"))
    result = pull(project, "nb", dry_run=True)
    assert [(p.what, p.component, p.cell_id) for p in result.pull.pulled] == [("changed", "make", "c3")]
    assert (result.written, promoted.read_bytes()) == (False, before)


def test_tags_go_back_too(project, promoted):
    def change(cells):
        next(cell for cell in cells if cell["id"] == "c4")["metadata"] = {"tags": ["step:add", "slow"]}

    edit(project, "add", change)
    pull(project, "nb")
    tags = {cell["id"]: cell["metadata"].get("tags") for cell in json.loads(promoted.read_text())["cells"]}
    assert (tags["c4"], tags["c6"]) == (["step:add", "slow"], ["step:add_year"])


def test_the_file_keeps_its_mode_and_its_line_ends(project, promoted):
    promoted.write_bytes(promoted.read_bytes().replace(b"\n", b"\r\n"))
    promoted.chmod(0o600)
    before = promoted.read_bytes()
    edit(project, "make", set_source("c3", "%%step make\nareas = []"))
    pull(project, "nb")
    assert promoted.stat().st_mode & 0o777 == 0o600
    assert promoted.read_bytes() == before.replace(b"areas = [area(size) for size in sizes]", b"areas = []")


NEW = [
    ("by the magic line", "make", 1, "more = 1", "%%step make\nmore = 1", None, "c3"),
    ("by the tag, where the step's cells have it", "add", 1, "more = 1", "more = 1", ["step:add"], "c4"),
    ("by the tag, where the cell has a magic", "make", 1, "%%time\nmore = 1", "%%time\nmore = 1", ["step:make"], "c3"),
    ("as it says itself", "make", 1, "%%step make\nmore = 1", "%%step make\nmore = 1", None, "c3"),
    ("before the first", "make", 0, "more = 1", "%%step make\nmore = 1", None, "c2"),
]


@pytest.mark.parametrize("case", NEW, ids=[case[0] for case in NEW])
def test_a_new_cell_joins_the_step(project, promoted, case):
    _, component, place, typed, source, tags, after = case

    def change(cells):
        users = [n for n, cell in enumerate(cells) if not cell["id"].startswith("mlops-nb-")]
        first = next(n for n in users if cells[n]["id"] in ("c3", "c4"))
        return [*cells[: first + place], code("new1", typed), *cells[first + place :]]

    edit(project, component, change)
    assert [p.what for p in pull(project, "nb").pull.pulled] == ["added"]
    cells = json.loads(promoted.read_text())["cells"]
    position = [cell["id"] for cell in cells].index("new1")
    assert cells[position - 1]["id"] == after
    assert ("".join(cells[position]["source"]), cells[position]["metadata"].get("tags")) == (source, tags)
    assert pull(project, "nb").pull.pulled == (), "a second pull has nothing to do"
    again = project.pipelines.promote(promoted).pipeline
    assert "new1" in [cell.id for cell in next(c for c in again.components if c.name == component).cells]


def test_new_cells_keep_their_order_and_blank_ones_are_nothing(project, promoted):
    edit(project, "make", lambda cells: [*cells[:-1], code("n1", "a = 1"), code("blank", " \n"), code("n2", "b = a"), cells[-1]])
    pull(project, "nb")
    ids = [cell["id"] for cell in json.loads(promoted.read_text())["cells"]]
    assert ids == ["c0", "words", "c1", "c2", "c3", "n1", "n2", "c4", "c5", "c6"]


def test_a_deleted_cell_goes_only_when_asked_for(project, promoted):
    edit(project, "show", lambda cells: [cell for cell in cells if cell["id"] != "c5"])
    kept = pull(project, "nb")
    assert kept.pull.notes == ("show: cell c5 is gone here and stays in the notebook: --delete removes it there",)
    assert "c5" in sources(promoted)
    assert pull(project, "nb", delete=True).written
    assert list(sources(promoted)) == ["c0", "words", "c1", "c2", "c3", "c4", "c6"]


def test_a_cell_that_another_component_still_has_is_not_deleted(project, promoted):
    edit(project, "show", lambda cells: [cell for cell in cells if cell["id"] != "c2"])
    result = pull(project, "nb", delete=True)
    assert result.pull.notes == ("show: cell c2 is gone here, but make still has it: it stays in the notebook",)
    assert "c2" in sources(promoted)


# --- parameters and the cells that promotion made -------------------------------------------------------------


def test_a_parameters_default_goes_back_into_its_cell(project, promoted):
    edit(project, "show", set_source("mlops-nb-parameters", "year = 2_014"))
    result = pull(project, "nb")
    assert [(p.what, p.theirs) for p in result.pull.pulled] == [("parameter", "year = 2014")]
    assert sources(promoted)["c0"] == "year = 2_014  # the first\norigin = 'JFK'"


def test_a_parameter_that_two_components_change_otherwise_is_a_conflict(project, promoted):
    edit(project, "show", set_source("mlops-nb-parameters", "year = 2014"))
    edit(project, "add_year", set_source("mlops-nb-parameters", "year = 2015"))
    assert [c.why for c in pull(project, "nb").pull.conflicts] == ["parameter year was changed in another component too, otherwise: make them equal"]
    edit(project, "show", set_source("mlops-nb-parameters", "year = 2015"))
    assert pull(project, "nb").written
    assert "year = 2015" in sources(promoted)["c0"]


OWN = [
    ("mlops-nb-support", "import math\n", "make: its support cell was changed by hand, which is not brought back: its code stands in other cells"),
    ("mlops-nb-save", "%step save\nprint(1)", "make: its save cell was changed by hand, which is not brought back: promoting again makes it anew"),
    ("mlops-nb-load", "", "make: its load cell was changed by hand"),
]


@pytest.mark.usefixtures("promoted")
@pytest.mark.parametrize(("cell_id", "text", "note"), OWN, ids=[case[0] for case in OWN])
def test_what_promotion_made_is_reported_and_left(project, cell_id, text, note):
    edit(project, "make", set_source(cell_id, text))
    result = pull(project, "nb")
    assert (result.written, len(result.pull.notes)) == (False, 1)
    assert result.pull.notes[0].startswith(note)


@pytest.mark.usefixtures("promoted")
def test_other_things_that_are_not_brought_back_are_told(project):
    edit(project, "show", set_source("mlops-nb-parameters", "year = 2013 + 1\nmonth = 5"))
    edit(project, "make", lambda cells: [*cells[:-3], cells[-2], cells[-3], cells[-1]])
    notes = pull(project, "nb").pull.notes
    assert [note.partition(",")[0] for note in notes] == [
        "make: its cells stand in another order",
        "show: parameter month is new there",
        "show: parameter year is no literal there any more",
    ]


# --- conflicts ------------------------------------------------------------------------------------------------


def test_a_cell_changed_on_both_sides_is_a_conflict_with_both_texts(project, promoted, mlops_nb_command):
    edit(project, "make", set_source("c3", "%%step make\nareas = ['theirs']"))
    edit(project, "add", set_source("c4", "total = 5"))
    edit_source(promoted, "c3", "%%step make\nareas = ['ours']")
    before = promoted.read_bytes()
    answer = mlops_nb_command("pull", "nb")
    assert answer.returncode == 1
    assert all(text in answer.stdout for text in ("cell c3: changed on both sides", "areas = ['ours']", "areas = ['theirs']", "nothing was written"))
    assert promoted.read_bytes() == before
    assert mlops_nb_command("pull", "nb", "--ours", "--theirs").returncode == 2
    assert mlops_nb_command("pull", "nb", "--ours").returncode == 0
    assert (sources(promoted)["c3"], sources(promoted)["c4"]) == ("%%step make\nareas = ['ours']", "total = 5")
    told = json.loads(mlops_nb_command("pull", "nb", "--theirs", "--json").stdout)
    assert [(p["what"], p["cell_id"]) for p in told["pulled"]] == [("changed", "c3")]
    assert sources(promoted)["c3"] == "%%step make\nareas = ['theirs']"
    events = project.registry.rows("select object from event where verb = 'pulled'")
    assert [row["object"] for row in events] == ["pipeline:nb"] * 2


def test_the_same_edit_on_both_sides_is_none(project, promoted):
    edit(project, "make", set_source("c3", "%%step make\nareas = [1]"))
    edit_source(promoted, "c3", "%%step make\nareas = [1]")
    assert pull(project, "nb").pull.conflicts == ()


def test_what_only_the_notebook_changed_stays(project, promoted):
    edit_source(promoted, "c3", "%%step make\nareas = ['ours']")
    result = pull(project, "nb")
    assert (result.written, result.pull.conflicts) == (False, ())


CONFLICTS = [
    ("gone from the notebook", "changed here, and gone from the notebook"),
    ("two components", "changed in make too, otherwise: make them equal"),
    ("deleted here", "deleted here, and changed in the notebook"),
    ("parameter", "parameter year: changed on both sides since promotion"),
    ("not recorded", "differs, and which side changed is not recorded here"),
]


@pytest.mark.parametrize(("case", "why"), CONFLICTS, ids=[case[0] for case in CONFLICTS])
def test_nothing_is_written_while_a_conflict_is_open(project, promoted, case, why):
    project.registry.flush()
    if case == "gone from the notebook":
        edit(project, "show", set_source("c5", "%%step show\nprint(1)"))
        document = json.loads(promoted.read_text())
        document["cells"] = [cell for cell in document["cells"] if cell["id"] != "c5"]
        promoted.write_text(notebook_text(document))
    elif case == "two components":
        edit(project, "make", set_source("c2", "sizes = [1]"))
        edit(project, "show", set_source("c2", "sizes = [2]"))
    elif case == "deleted here":
        edit(project, "show", lambda cells: [cell for cell in cells if cell["id"] != "c5"])
        edit_source(promoted, "c5", "%%step show\nprint(1)")
    elif case == "parameter":
        edit(project, "show", set_source("mlops-nb-parameters", "year = 2014"))
        edit_source(promoted, "c0", "year = 2015\norigin = 'JFK'")
    else:
        shutil.rmtree(project.layout.home)
        edit(project, "show", set_source("c5", "%%step show\nprint(1)"))
    before = promoted.read_bytes()
    with Project.find(project.layout.root, environ=dict(os.environ)) as opened:
        result = pull(opened, "nb", delete=True)
    assert [c.why for c in result.pull.conflicts] == [why]
    assert (result.written, promoted.read_bytes()) == (False, before)


def test_a_secret_in_a_cell_is_no_change_of_it(project, write_notebook):
    secret = "sk-" + "a1B2" * 10
    source = write_notebook(f"%%step a\ntoken = '{secret}'\nx = 1", "%%step b\nprint(x)")
    project.pipelines.promote(source)
    assert secret not in project.registry.rows("select components from pipeline")[0]["components"]
    edit(project, "a", set_source("c0", f"%%step a\ntoken = '{secret}'\nx = 2"))
    assert pull(project, "nb").written
    assert sources(source)["c0"].endswith("x = 2")


# --- the files as they may be ---------------------------------------------------------------------------------


def test_only_a_promotion_counts_as_what_was_promoted_last(project, promoted):
    edit(project, "show", set_source("c5", "%%step show\nprint(total, sizes, year)  # by hand"))
    project.pipelines.run("nb")  # records the version edited by hand
    assert [p.cell_id for p in pull(project, "nb").pull.pulled] == ["c5"]
    project.pipelines.promote(promoted)
    edit(project, "show", set_source("c5", "%%step show\nprint(total, sizes, year)  # again"))
    assert pull(project, "nb").written


def test_what_is_not_there_is_named(project, promoted):
    with pytest.raises(NotFound, match="no pipeline named 'nbb'; did you mean 'nb'"):
        pull(project, "nbb")
    (project.pipelines.folder("nb") / "make.ipynb").write_text("<<<<<<< HEAD")
    with pytest.raises(BadInput, match=r"make\.ipynb: is no valid notebook"):
        pull(project, "nb")
    promoted.unlink()
    with pytest.raises(NotFound, match="the notebook of pipeline nb is gone"):
        pull(project, "nb")


@pytest.mark.usefixtures("promoted")
def test_an_edit_that_cannot_be_promoted_is_told(project):
    edit(project, "show", set_source("c5", "%%step show\nprint(nowhere)"))
    result = pull(project, "nb")
    assert result.written
    assert "reads `nowhere`, which no cell makes" in result.refused


# --- round trip -----------------------------------------------------------------------------------------------

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
LINES = st.lists(
    st.one_of(
        st.builds(
            "y{} = {!r}".format,
            st.integers(0, 9),
            st.one_of(st.integers(), st.text(max_size=8), st.lists(FLOATS, max_size=2)),
        ),
        st.builds("# {}".format, st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\u2028\u2029"), max_size=12)),
        st.just(""),
        st.just("'''several\nlines'''"),
    ),
    min_size=1,
    max_size=4,
)
STYLES = st.builds(
    Style, st.sampled_from([1, 2, 4, "\t", None]), st.booleans(), st.booleans(), st.sampled_from(["", "\n"]), st.sampled_from(["\n", "\r\n"])
)
STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), LINES), min_size=1, max_size=6)


def random_notebook(steps, *, listed):
    """Cells of random steps, by magic or by tag, some with outputs; each makes one name that the next one reads."""
    cells = []
    for number, (letter, tagged, lines) in enumerate(steps):
        step = f"{letter}{number // 2}"  # a step's cells stand together, so that no order is impossible
        read = f"\nx{number - 1}" if number else ""
        source = "\n".join([*([] if tagged else [f"%%step {step}"]), f"x{number} = {number}", *lines]) + read
        cell = code(f"id{number}", source.splitlines(keepends=True) if listed else source, [f"step:{step}"] if tagged else [])
        cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "é\n"}] if number % 2 else []
        cells += [{"cell_type": "markdown", "metadata": {}, "source": "# ü", "id": f"m{number}"}, cell]
    return {"nbformat_minor": 5, "nbformat": 4, "metadata": {"z": 1, "a": [1.5]}, "cells": cells}


@given(steps=STEPS, style=STYLES, listed=st.booleans(), data=st.data())
@settings(max_examples=25, deadline=None, phases=(Phase.explicit, Phase.generate), suppress_health_check=[HealthCheck.too_slow])
def test_promote_edit_pull_and_promote_gives_the_edit_and_no_other_change(steps, style, listed, data):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / ".git").mkdir()
        source = Path(folder) / "nb.ipynb"
        document = random_notebook(steps, listed=listed)
        source.write_bytes(style.text(document).encode())
        with Project.find(Path(folder), environ=dict(os.environ)) as project:
            round_trip(project, source, document, style, data)


def round_trip(project, source, document, style, data):
    folder = project.pipelines.promote(source).folder
    name = data.draw(st.sampled_from(sorted(path.stem for path in folder.glob("*.ipynb"))))
    component = json.loads((folder / f"{name}.ipynb").read_text())
    cell = data.draw(st.sampled_from([cell for cell in component["cells"] if cell["id"].startswith("id")]))
    head = cell["source"][: 2 if cell["source"][0].startswith("%%") else 1]
    tail = cell["source"][-1:] if cell["id"] != "id0" else []
    text = "".join([*head, *(f"{line}\n" for line in data.draw(LINES)), *tail])
    cell["source"] = text.splitlines(keepends=True)
    (folder / f"{name}.ipynb").write_bytes(notebook_text(component).encode())
    edited = {path: path.read_bytes() for path in folder.glob("*.ipynb")}
    result = pull(project, "nb")
    assert result.pull.conflicts == ()
    wanted = next(one for one in document["cells"] if one["id"] == cell["id"])
    wanted["source"] = cell["source"] if isinstance(wanted["source"], list) else text
    assert source.read_bytes() == style.text(document).encode()
    project.pipelines.promote(source)
    assert {path: path.read_bytes() for path in folder.glob("*.ipynb")} == edited
    assert pull(project, "nb").pull.pulled == ()
