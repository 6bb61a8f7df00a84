"""A pipeline as files: deterministic, diffable, read back as written."""

import json
import os

import pytest

from mlops_nb.errors import BadInput, MlopsError, NotFound, PromotionRefused
from mlops_nb.pipeline.files import component_notebook, notebook_text, read_pipeline, write_pipeline
from mlops_nb.project import Project

CELLS = (
    "import math\nimport helpers\n\ndef area(r):  # a comment stays\n    return math.pi * r ** 2\n",
    ("radius = 2\nname = None", ("parameters",)),
    "%%step make\nareas = [area(radius), helpers.one(), name]\n",
    ("%%feature sizes --entity k --timestamp t --ttl 3h\nareas", ("mine",)),
    "%%test data --on areas\nassert areas",
    "%%step show\nprint(areas, sizes)\n",
)


@pytest.fixture
def project(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / "helpers.py").write_text("import deeper\ndef one(): return 1\n")
    (tmp_path / "deeper.py").write_text("")
    opened = Project.find(tmp_path, environ=dict(os.environ))
    yield opened
    opened.close()


def test_a_component_notebook_holds_the_users_cells_as_they_are(project, write_notebook):
    promotion = project.pipelines.promote(write_notebook(*CELLS))
    assert [c.name for c in promotion.pipeline.components] == ["make", "sizes", "show"]
    text = (promotion.folder / "make.ipynb").read_text()
    cells = json.loads(text)["cells"]
    assert [cell["id"] for cell in cells] == ["mlops-nb-parameters", "mlops-nb-load", "mlops-nb-support", "c2", "c4", "mlops-nb-save"]
    assert "".join(cells[3]["source"]) == CELLS[2]
    assert "".join(cells[0]["source"]) == "name = None\nradius = 2"
    assert cells[0]["metadata"]["tags"] == ["parameters"]
    assert "# a comment stays" in "".join(cells[2]["source"])
    assert json.loads((promotion.folder / "sizes.ipynb").read_text())["cells"][-2]["metadata"]["tags"] == ["mine"]
    assert text.endswith("}\n")


def test_promoting_again_writes_nothing(project, write_notebook):
    notebook = write_notebook(*CELLS)
    first = project.pipelines.promote(notebook)
    assert {path.name for path in first.written} == {"make.ipynb", "sizes.ipynb", "show.ipynb", "pipeline.toml"}
    stamps = {path: path.stat().st_mtime_ns for path in first.written}
    again = project.pipelines.promote(notebook)
    assert (again.written, again.removed) == ((), ())
    assert {path: path.stat().st_mtime_ns for path in first.written} == stamps
    assert len(project.registry.rows("select * from pipeline")) == 1


def test_a_dry_run_writes_nothing_at_all(project, write_notebook):
    promotion = project.pipelines.promote(write_notebook(*CELLS), dry_run=True)
    assert len(promotion.written) == 4
    assert not promotion.folder.exists()
    assert project.registry.rows("select * from pipeline") == []


def test_only_what_changed_is_written_and_what_is_gone_removed(project, write_notebook):
    project.pipelines.promote(write_notebook(*CELLS))
    changed = project.pipelines.promote(write_notebook(*CELLS[:5], "%%step print_it\nprint(areas)"))
    assert {path.name for path in changed.written} == {"print_it.ipynb", "pipeline.toml"}
    assert [path.name for path in changed.removed] == ["show.ipynb"]


def test_files_read_back_give_the_same_pipeline(project, write_notebook):
    promoted = project.pipelines.promote(write_notebook(*CELLS)).pipeline
    read = project.pipelines.current("nb")
    assert read.version == promoted.version
    for one, other in zip(read.components, promoted.components, strict=True):
        assert (one.name, one.inputs, one.outputs, one.parameters, one.digest) == (
            other.name,
            other.inputs,
            other.outputs,
            other.parameters,
            other.digest,
        )
        assert notebook_text(component_notebook(one)) == notebook_text(component_notebook(other))


def test_an_edit_by_hand_counts(project, write_notebook):
    promotion = project.pipelines.promote(write_notebook(*CELLS))
    path = promotion.folder / "make.ipynb"
    path.write_text(path.read_text().replace("math.pi", "3"))
    assert project.pipelines.current("nb").components[0].digest != promotion.pipeline.components[0].digest


@pytest.mark.parametrize("module", ["helpers.py", "deeper.py"])
def test_a_change_of_a_local_module_counts(project, write_notebook, module):
    notebook = write_notebook(*CELLS)
    before = project.pipelines.build(notebook).components
    (project.layout.root / module).write_text("x = 2")
    after = project.pipelines.build(notebook).components
    assert [a.digest == b.digest for a, b in zip(before, after, strict=True)] == [False, True, True]


def test_two_notebooks_of_one_name_do_not_overwrite_each_other(project, write_notebook, tmp_path):
    project.pipelines.promote(write_notebook(*CELLS))
    (tmp_path / "other").mkdir()
    other = write_notebook("%%step a\n1", folder=tmp_path / "other")
    with pytest.raises(BadInput, match=r"pipeline nb belongs to nb\.ipynb"):
        project.pipelines.promote(other)
    assert project.pipelines.promote(other, name="other").folder.name == "other"
    assert project.pipelines.names() == ("nb", "other")


def test_a_refused_notebook_leaves_the_files_alone(project, write_notebook):
    promotion = project.pipelines.promote(write_notebook(*CELLS))
    before = (promotion.folder / "pipeline.toml").read_bytes()
    with pytest.raises(PromotionRefused):
        project.pipelines.promote(write_notebook("%%step a\nprint(nowhere)"))
    assert (promotion.folder / "pipeline.toml").read_bytes() == before


def test_what_is_not_there_is_named_with_near_ones(project, write_notebook):
    write_notebook(*CELLS, name="flights.ipynb")
    with pytest.raises(NotFound, match=r"no notebook named 'flihgts\.ipynb'; did you mean 'flights\.ipynb'"):
        project.pipelines.promote("flihgts.ipynb")
    with pytest.raises(NotFound, match="no pipeline named 'flights'; there is no pipeline yet"):
        project.pipelines.current("flights")


def test_a_damaged_manifest_says_so(project, write_notebook):
    promotion = project.pipelines.promote(write_notebook(*CELLS))
    (promotion.folder / "pipeline.toml").write_text("name = 'nb'\n")
    with pytest.raises(BadInput, match="no valid pipeline"):
        project.pipelines.current("nb")


def test_writing_is_the_same_in_an_empty_folder(project, write_notebook, tmp_path):
    pipeline = project.pipelines.build(write_notebook(*CELLS))
    folders = tmp_path / "a" / "nb", tmp_path / "b" / "nb"
    for folder in folders:
        write_pipeline(pipeline, folder)
    assert all((folders[1] / path.name).read_bytes() == path.read_bytes() for path in folders[0].iterdir())
    assert read_pipeline(folders[0], project.pipelines.modules(tmp_path, [CELLS[0]])).version == pipeline.version


def test_the_users_own_notebooks_in_the_folder_are_left_alone(project, write_notebook):
    folder = project.pipelines.folder("nb")
    folder.mkdir(parents=True)
    mine = write_notebook("my = 1", name="mine.ipynb", folder=folder)
    assert project.pipelines.promote(write_notebook(*CELLS)).removed == ()
    assert "my = 1" in mine.read_text()
    project.pipelines.promote(write_notebook("%%step a\nx = 1"))
    assert {path.name for path in folder.iterdir()} == {"mine.ipynb", "a.ipynb", "pipeline.toml"}
    with pytest.raises(BadInput, match=r"mine\.ipynb: is no component's notebook"):
        project.pipelines.promote(write_notebook("%%step mine\nx = 1"))
    assert "my = 1" in mine.read_text()


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('name = "nb"', 'name = "../nb"', "its name is '../nb', its folder's 'nb'"),
        ('name = "make"', 'name = "../../make"', "'../../make' is no Python name"),
        ('name = "sizes"', 'name = "make"', "two components are named make"),
        ('areas = "make"', 'areas = "nobody"', "takes `areas` from nobody"),
        ('areas = "make"', 'areas = "show"', "takes `areas` from show"),
        ('areas = "make"', "areas = 3", "must be names"),
        ('name = "nb"', "<<<<<<< HEAD", "no valid pipeline"),
        ('name = "nb"', 'name = "\udcff"', "no valid pipeline"),
        ("[[component]]", "[[components]]", "no valid pipeline"),
    ],
)
def test_a_manifest_that_cannot_be_is_refused_and_mended_by_promoting_again(project, write_notebook, old, new, why):
    notebook = write_notebook(*CELLS)
    promotion = project.pipelines.promote(notebook)
    path = promotion.folder / "pipeline.toml"
    good = path.read_bytes()
    assert old.encode() in good
    path.write_bytes(good.replace(old.encode(), new.encode("utf-8", "surrogateescape"), 1))
    with pytest.raises(BadInput) as refused:
        project.pipelines.current("nb")
    assert why in str(refused.value)
    project.pipelines.promote(notebook)
    assert path.read_bytes() == good


def test_a_damaged_component_notebook_is_mended_by_promoting_again(project, write_notebook):
    notebook = write_notebook(*CELLS)
    promotion = project.pipelines.promote(notebook)
    (promotion.folder / "make.ipynb").write_text("<<<<<<< HEAD")
    with pytest.raises(BadInput, match=r"make\.ipynb: is no valid notebook"):
        project.pipelines.current("nb")
    assert project.pipelines.promote(notebook).written == (promotion.folder / "make.ipynb",)
    assert project.pipelines.current("nb").version == promotion.pipeline.version


def test_a_component_is_not_promoted_itself(project, write_notebook):
    folder = project.pipelines.promote(write_notebook(*CELLS)).folder
    with pytest.raises(PromotionRefused, match=r"make\.ipynb:cell 1 .*: is a cell that mlops_nb made"):
        project.pipelines.promote(folder / "make.ipynb")


@pytest.mark.parametrize("place", ["pipelines", "pipelines/nb"])
def test_a_file_in_the_folders_place_is_named(project, write_notebook, place):
    notebook = write_notebook(*CELLS)
    blocked = project.layout.root / place
    blocked.parent.mkdir(exist_ok=True)
    blocked.write_text("not a folder")
    assert len(project.pipelines.promote(notebook, dry_run=True).written) == 4
    with pytest.raises(MlopsError, match=r"pipelines/nb/\S+: cannot be written"):
        project.pipelines.promote(notebook)
