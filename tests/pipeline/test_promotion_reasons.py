"""Why a component takes and gives what it does: what the code says, what only capture saw, and the cell."""

import json
import os

import pytest

from mlops_nb.hashing import source_crc
from mlops_nb.notebook.cells import parse_cell
from mlops_nb.pipeline.component import build, drafted
from mlops_nb.pipeline.reasons import explain
from mlops_nb.records import CellRun, FileUse


def run_of(cell, **seen):
    known = {"execution_count": 1, "started": "2013-07-04T09:30:00.000000Z", "seconds": 0.1, "status": "ok"}
    return CellRun(cell.id, "s", 0, "nb.ipynb", cell.id, source=cell.source, crc=source_crc(cell.source), **known, **seen)


def reasons(tmp_path, sources, seen):
    """{(component, role, name): (source, cell id)} of a notebook whose cells ran as `seen` says by cell id."""
    entries = [(source, ()) if isinstance(source, str) else source for source in sources]
    cells = [parse_cell(source, id=f"c{i}", index=i, tags=tags, notebook="nb.ipynb") for i, (source, tags) in enumerate(entries)]
    observed = {cell.id: run_of(cell, **seen[cell.id]) for cell in cells if cell.id in seen}
    pipeline = build(cells, notebook="nb.ipynb", name="nb", observed=observed)
    wiring, drafts = drafted(cells, notebook="nb.ipynb", observed=observed)
    found = explain(pipeline, wiring, drafts, home=tmp_path / ".mlops_nb")
    return {(r.component, r.role, r.name): (r.source, r.where.rpartition("id ")[2].rstrip(")")) for r in found}


HANDED = ("%%step a\nx = [1]", "%%step b\nprint(x)")
HIDDEN = ("%%step a\nx = [1]", "%%step b\nprint(eval('x' + ''))")
FUNCTION = ("def f(): return k", "%%step a\nk = 1", "%%step b\nprint(f())")
READING = ("%%step a\nfrom pathlib import Path\ntext = Path('raw.csv').read_text()\nPath('out.txt').write_text(text)",)
VARIABLES = ("import os\ndef token(): return os.environ['TOKEN']", "%%step a\nx = token(), os.getenv('PLACE')\nprint(x)")
HELPED = ("import helpers", "%%step a\nx = helpers.one()\nprint(x)")

CASES = [
    ("an input that the code says", HANDED, {}, ("b", "input", "x"), ("static", "c1")),
    ("its maker", HANDED, {}, ("a", "output", "x"), ("static", "c0")),
    ("an input that capture saw too", HANDED, {"c0": {"writes": ("x",)}, "c1": {"reads": ("x",)}}, ("b", "input", "x"), ("both", "c1")),
    ("seen on one side only", HANDED, {"c1": {"reads": ("x",)}}, ("b", "input", "x"), ("static", "c1")),
    ("an input that only capture saw", HIDDEN, {"c0": {"writes": ("x",)}, "c1": {"reads": ("x",)}}, ("b", "input", "x"), ("observed", "c1")),
    (
        "a change that only capture saw",
        ("%%step a\nx = [1]", "%%step b\ngetattr(x, 'app' + 'end')(2)", "%%step c\nprint(x)"),
        {"c1": {"reads": ("x",), "writes": ("x",)}},
        ("b", "output", "x"),
        ("observed", "c1"),
    ),
    ("read by a function", FUNCTION, {}, ("b", "input", "k"), ("static", "c2")),
    ("the function comes along", FUNCTION, {}, ("b", "code", "f"), ("static", "c0")),
    ("a parameter", (("n = 3", ("parameters",)), "%%step a\nprint(n)"), {}, ("a", "parameter", "n"), ("static", "c1")),
    ("a file that the code names", READING, {}, ("a", "file read", "raw.csv"), ("static", "c0")),
    ("a file written", READING, {}, ("a", "file written", "out.txt"), ("static", "c0")),
    (
        "a file that capture saw in another folder",
        READING,
        {"c0": {"files": (FileUse("data/raw.csv", "read", "d"),)}},
        ("a", "file read", "data/raw.csv"),
        ("both", "c0"),
    ),
    (
        "a file that no literal names",
        ("%%step a\ntext = open('raw' + '.csv').read()",),
        {"c0": {"files": (FileUse("raw.csv", "read", "d"),)}},
        ("a", "file read", "raw.csv"),
        ("observed", "c0"),
    ),
    ("a variable of a function that comes along", VARIABLES, {}, ("a", "variable", "TOKEN"), ("static", "c0")),
    ("a variable of the cell", VARIABLES, {"c1": {"environment": {"PLACE": "d"}}}, ("a", "variable", "PLACE"), ("both", "c1")),
    ("a variable that a library reads", VARIABLES, {"c1": {"environment": {"HOME": "d"}}}, ("a", "variable", "HOME"), ("observed", "c1")),
    ("an import", HELPED, {}, ("a", "import", "helpers"), ("static", "c0")),
    ("a local module", HELPED, {"c1": {"files": (FileUse("helpers.py", "read", "d"),)}}, ("a", "import", "helpers"), ("both", "c0")),
    ("a whole cell", ("sizes = [len(w) for w in 'a bc'.split()]", "%%step a\nprint(sizes)"), {}, ("a", "cell", "c0"), ("static", "c0")),
    ("a setting", ("import random\nrandom.seed(1)", "%%step a\nprint(random.random())"), {}, ("a", "setting", "random.seed(1)"), ("static", "c0")),
]


@pytest.mark.parametrize(("sources", "seen", "asked", "answer"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_each_reason_names_its_source_and_its_cell(tmp_path, sources, seen, asked, answer):
    assert reasons(tmp_path, sources, seen).get(asked) == answer


def test_everything_of_a_component_has_a_reason(tmp_path):
    sources = (("n = 3", ("parameters",)), "import math", "%%step a\nxs = [math.sqrt(n)]", "%%step b\nys = xs + [n]", "%%step c\nprint(xs, ys)")
    found = reasons(tmp_path, sources, {})
    assert set(found) == {
        *(("a", "output", "xs"), ("a", "parameter", "n"), ("a", "import", "math")),
        *(("b", "input", "xs"), ("b", "output", "ys"), ("b", "parameter", "n")),
        *(("c", "input", "xs"), ("c", "input", "ys")),
    }


def test_what_the_projects_own_folder_holds_is_no_file_of_a_step(tmp_path):
    seen = {"c0": {"files": (FileUse(".mlops_nb/registry/registry.db", "read", "d"), FileUse("pandas-3.dist-info/METADATA", "read", "d"))}}
    assert not [key for key in reasons(tmp_path, HANDED, seen) if key[1].startswith("file")]


def test_a_real_capture_is_told_from_the_code(tmp_path, write_notebook, mlops_nb_command):
    (tmp_path / ".git").mkdir()
    (tmp_path / "raw.txt").write_text("5")
    write_notebook("%%step a\nname = 'raw' + '.txt'\nn = int(open(name).read())", "%%step b\nprint(n, eval('na' + 'me'))")
    before = told(mlops_nb_command("promote", "nb.ipynb", "--dry-run", "--json"))
    assert before["a"] == {("output", "n", "static", "nb.ipynb:cell 1 (id c0)")}
    assert mlops_nb_command("capture", "nb.ipynb", PATH=os.environ["PATH"]).returncode == 0
    after = told(mlops_nb_command("promote", "nb.ipynb", "--dry-run", "--json"))
    assert ("file read", "raw.txt", "observed", "nb.ipynb:cell 1 (id c0)") in after["a"]
    assert ("input", "name", "observed", "nb.ipynb:cell 2 (id c1)") in after["b"]
    assert ("input", "n", "both", "nb.ipynb:cell 2 (id c1)") in after["b"]
    shown = mlops_nb_command("promote", "nb.ipynb", "--dry-run", "--explain", COLUMNS="140").stdout
    assert "observed" in shown
    assert "made by a, cell 1 (id c0)" in shown


def told(answer):
    assert answer.returncode == 0, answer.stderr
    components = json.loads(answer.stdout)["components"]
    return {c["name"]: {(r["what"], r["name"], r["reason"], r["cell"]) for r in c["reasons"]} for c in components}
