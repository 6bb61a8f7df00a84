"""`mlops-nb report`: one page that needs nothing else, whatever the run holds."""

import base64
import itertools
import json
import os
import re
from html.parser import HTMLParser

import pytest

from mlops_nb.errors import BadInput, NotFound
from mlops_nb.project import Project
from mlops_nb.project.run_facts import Executed, RunFacts
from mlops_nb.project.run_outputs import failure, plots, within
from mlops_nb.project.run_report import page, write_report
from mlops_nb.records import RunResult, StepRun
from mlops_nb.store.redaction import Redactor

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
EVIL = "<script>alert('x')</script>&\"'"
VOID = {"meta", "img", "br", "path", "rect"}


class Page(HTMLParser):
    """A page's elements with their attributes, its text, and whether its tags are balanced."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.open = []
        self.words = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(self.words)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def check_self_contained(text):
    """No script, no handler, nothing fetched; returns the page."""
    found = Page(text)
    assert not found.all("script")
    for _, attributes in found.elements:
        assert not [name for name in attributes if name.startswith("on")]
        assert attributes.get("src", "data:image/").startswith("data:image/")
        assert not attributes.get("href")
    assert not re.search(r"@import|url\((?!#)", text)
    assert found.all("meta")[2]["content"].startswith("default-src 'none'")
    return found


# --- real runs ------------------------------------------------------------------------------------------------

CELLS = (
    "%load_ext mlops_nb\nfrom IPython.display import SVG, Image, display",
    (f"n = 3\nnote = {EVIL!r}", ("parameters",)),
    "%%step load\nrows = [n, n + 1]\nwith open('data.txt') as file:\n    text = file.read()",
    "%%test data --name enough --on rows\nassert len(rows) > 1",
    f"%%step draw\nshown = len(rows)\ndisplay(Image({PNG!r}))\ndisplay(SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>'))",
    "%%step fit\nweights = {'mean': sum(rows) / shown}\n%model mean weights --metrics error=0.25",
    "%%step last\nif n > 5:\n    raise ValueError('too many ' + note)\ntotal = weights['mean']",
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A project with a passed run, one that skips all, and a failed one."""
    import nbformat

    root = tmp_path_factory.mktemp("project")
    (root / ".git").mkdir()
    (root / "data.txt").write_text("1")
    cells = [cell if isinstance(cell, tuple) else (cell, ()) for cell in CELLS]
    made = [nbformat.v4.new_code_cell(source, id=f"c{n}", metadata={"tags": list(tags)}) for n, (source, tags) in enumerate(cells)]
    notebook = root / "nb.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=made), notebook)
    with Project.find(root, environ=dict(os.environ)) as project:
        yield (
            project,
            {
                "passed": project.pipelines.run(str(notebook), progress=False),
                "skipped": project.pipelines.run(str(notebook), progress=False),
                "failed": project.pipelines.run("nb", {"n": 6}, progress=False),
            },
        )


def written(runs, name):
    project, made = runs
    assert made[name].status == ("failed" if name == "failed" else "passed"), made[name].error
    done = write_report(project, made[name].id)
    assert done.path == project.layout.runs / made[name].id / "report.html"
    return done, check_self_contained(done.path.read_text())


@pytest.mark.parametrize("name", ["passed", "skipped"])
def test_a_page_shows_all_of_a_run(runs, name):
    done, found = written(runs, name)
    assert (done.plots, done.failures) == (2, 0)
    assert found.all("img")[0]["src"] == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    assert found.all("img")[1]["src"].startswith("data:image/svg+xml;base64,")
    for word in ("nb: passed", "enough", "mean@1", "error", "0.25", "data.txt", "load", "draw", "fit", "last", repr(EVIL)):
        assert word in found.text


def test_the_steps_are_drawn_with_what_passes_between_them(runs):
    _, found = written(runs, "failed")
    assert len([a for a in found.all("rect") if "node" in a.get("class", "")]) == 4
    assert len([a for a in found.all("rect") if "wrong" in a.get("class", "")]) == 1
    # rows: load to draw and fit; shown: draw to fit; weights: fit to last
    assert len([a for a in found.all("path") if "link" in a.get("class", "")]) == 4
    assert "4 steps, 4 links. last: failed." in found.text


def test_bars_stand_one_after_the_other(runs):
    _, found = written(runs, "passed")
    bars = [a["style"] for a in found.all("span") if a.get("class") == "bar"]
    places = [tuple(float(number) for number in re.findall(r"([\d.]+)%", style)) for style in bars]
    assert len(places) == 4
    assert all(begun + width <= 100.5 for begun, width in places)
    assert all(next_begun >= begun + width - 1 for (begun, width), (next_begun, _) in itertools.pairwise(places))


def test_a_failed_cell_is_shown_with_its_traceback(runs):
    done, found = written(runs, "failed")
    assert done.failures == 1
    assert "Failed: step last, cell c6" in found.text
    assert "Traceback (most recent call last)" in found.text
    assert f"ValueError: too many {EVIL}" in found.text
    assert "\x1b" not in found.text


def test_the_command_writes_where_it_is_told_and_nothing_else(runs, mlops_nb_command):
    project, made = runs
    root = project.layout.root
    run = made["failed"].id[:8]
    done = mlops_nb_command("report", run, "--to", "out/report.html", "--json", folder=root)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"run": made["failed"].id, "path": "out/report.html", "plots": 2, "failures": 1}
    check_self_contained((root / "out" / "report.html").read_text())
    assert mlops_nb_command("report", run, "--to", "out/report.html", folder=root).returncode == 0  # a report may be written anew
    (root / "mine.html").write_text("<html>mine</html>")
    refused = mlops_nb_command("report", run, "--to", "mine.html", folder=root)
    assert (refused.returncode, "is no report and would be overwritten" in refused.stderr) == (2, True)
    assert (root / "mine.html").read_text() == "<html>mine</html>"


def test_mistakes_are_named(runs, tmp_path):
    project, made = runs
    with pytest.raises(NotFound, match="no run named 'zz'"):
        write_report(project, "zz")
    with pytest.raises(BadInput, match=r"--to report\.html"):
        write_report(project, made["passed"].id, tmp_path / "report.txt")


def test_a_run_whose_executed_notebooks_are_gone_still_has_a_report(runs, tmp_path):
    project, made = runs
    folder = project.layout.runs / made["failed"].id
    aside = folder.rename(project.layout.home / "aside")
    try:
        done = write_report(project, made["failed"].id, tmp_path / "report.html")
        found = check_self_contained(done.path.read_text())
        assert (done.plots, done.failures) == (0, 1)
        assert "Failed: step last, cell c6" in found.text
    finally:
        aside.rename(folder)


# --- pure -----------------------------------------------------------------------------------------------------


def shown(*cells, **known):
    step = StepRun("s", "r", "load", 0, "k", "failed", "", 1.0, cell_id="c1", error="in step load: no")
    run = RunResult("r", "p", "v", "failed", "", 1.0, steps=(step,))
    executed = Executed("runs/r/load.ipynb", cells)
    return page(
        RunFacts(run, **known), tuple(plots("load", executed)), (failure(step, executed),), redact=Redactor({"API_TOKEN": "hunter2222"}).value
    )


def cell(*outputs):
    return {"id": "c1", "cell_type": "code", "source": ["login('hunter2222')\n", EVIL], "outputs": list(outputs)}


def test_secrets_are_taken_out_wherever_they_stand():
    error = {"output_type": "error", "traceback": ["\x1b[31mValueError\x1b[0m: hunter2222"]}
    text = shown(cell(error), defaults={"api_key": "abcdef123", "note": "hunter2222"})
    assert "hunter2222" not in text
    assert "abcdef123" not in text
    assert "ValueError: &lt;redacted&gt;" in text
    check_self_contained(text)


@pytest.mark.parametrize(
    "outputs",
    [
        [{"output_type": "display_data", "data": {"image/png": 'x" onerror="alert(1)'}}],
        [{"output_type": "display_data", "data": {"image/png": None}}],
        [{"output_type": "display_data", "data": {"text/html": EVIL, "application/javascript": "alert(1)"}}],
        [{"output_type": "display_data", "data": {"image/svg+xml": ["<svg onload=", "'alert(1)'>\ud800"]}}],
        [{"output_type": "error"}],
        ["no output"],
        [None],
    ],
)
def test_no_output_breaks_out_of_the_page(outputs):
    text = shown(cell(*outputs))
    check_self_contained(text)
    text.encode()


def test_what_is_no_text_of_a_page_becomes_a_mark():
    check_self_contained(shown(cell({"output_type": "error", "traceback": ["\x00 \ud800 \x08"]}))).text.encode()


def test_images_that_are_too_big_are_named():
    executed = Executed("runs/r/load.ipynb", (cell(*({"data": {"image/png": data}} for data in ("AAAA" * 10, "BBBB" * 30, "CCCC"))),))
    kept = within(plots("load", executed), most=60)
    assert [bool(plot.data) for plot in kept] == [True, False, True]
    run = RunResult("r", "p", "v", "passed", "", 1.0)
    assert "too big for this page; it is in runs/r/load.ipynb" in page(RunFacts(run), kept, (), redact=lambda value: value)
