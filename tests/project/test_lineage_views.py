"""The graph as text, Mermaid and SVG, and what is written to files: pure builders on made-up histories."""

import ast
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from mlops_nb.capture.lineage import History
from mlops_nb.errors import BadInput, NotFound
from mlops_nb.project.lineage import Lineage
from mlops_nb.project.lineage_graph import MOST, as_mermaid, as_text, graph_of
from mlops_nb.project.lineage_svg import as_svg
from mlops_nb.project.lineage_views import (
    columns_report,
    deps_report,
    graph_report,
    rerun_report,
    slice_report,
    stale_report,
    why_report,
    write_graph,
    write_slice,
)
from mlops_nb.records import CellRun, ColumnEdge, Edge, FileUse

NASTY = 'x = "</text><script>alert(1)</script>" # `&` "quoted" | [a](b) \x00 \udc80'
SVG = "{http://www.w3.org/2000/svg}"


def ran(number: int, source: str, cell: str = "", **given) -> CellRun:
    """A run as it is recorded; numbers are execution counts."""
    plain = {"session_id": "s", "notebook": "nb.ipynb", "crc": hash(source) % 2**32, "started": f"2026-01-01T00:00:{number:02d}.000000Z"}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    own = {"id": f"r{number}", "seq": number, "cell_id": cell or f"c{number}", "execution_count": number, "source": source}
    return CellRun(**{**plain, **own, "seconds": 0.1, "status": "ok", **given})


def lineage(*runs: CellRun, edges=()) -> Lineage:
    made = [Edge(f"r{source}", f"r{target}", name, sure) for source, target, name, sure in edges]
    cells = dict.fromkeys(run.cell_id for run in runs)
    return Lineage(History.rebuilt(runs, made, {cell: place for place, cell in enumerate(cells)}), notebook="nb.ipynb")


@pytest.fixture
def trips() -> Lineage:
    """Four cells, of which the first ran again; a file between two of them."""
    written, read = FileUse("t.csv", "write", "ab" * 16, 10), FileUse("t.csv", "read", "ab" * 16, 10)
    return lineage(
        ran(1, "trips = load()", "a", writes=["trips"]),
        ran(2, "trips.to_csv('t.csv')", "b", reads=["trips"], files=[written]),
        ran(3, "back = read('t.csv')\nif back: trips", "c", reads=["trips"], writes=["back"], files=[read]),
        ran(4, "print('hello')", "d"),
        ran(5, "trips = load(2)", "a", writes=["trips"]),
        edges=[(1, 2, "trips", "certain"), (1, 3, "trips", "possible"), (2, 3, "file:t.csv", "certain")],
    )


def test_the_text_tells_states_origins_and_files(trips) -> None:
    graph = graph_of(trips)
    assert as_text(graph).split("\n") == [
        "[5] trips = load(2)        fresh",
        "[2] trips.to_csv('t.csv')  stale",
        "      `trips` rewritten by [5] after this ran",
        "      <- [1] (has run again as [5]) trips",
        "      -> file t.csv",
        "[3] back = read('t.csv')   stale",
        "      `trips` rewritten by [5] after this ran",
        "      <- [1] (has run again as [5]) trips?",
        "      <- file t.csv, written by [2]",
    ]
    assert graph.notes == ("? and a dashed line: possible, not certain", "1 cell that read and made nothing: left out")
    assert graph.title == "nb.ipynb: 4 cells (2 fresh, 2 stale)"


def test_the_mermaid_flowchart(trips) -> None:
    assert as_mermaid(graph_of(trips)).split("\n") == [
        "flowchart TD",
        '    n0["[5] trips = load(2)"]',
        '    n1["[2] trips.to_csv(#39;t.csv#39;) (stale)"]:::wrong',
        '    n2[("t.csv")]',
        '    n3["[3] back = read(#39;t.csv#39;) (stale)"]:::wrong',
        '    n0 -->|"trips"| n1',
        '    n0 -.->|"trips#63;"| n3',
        "    n1 --> n2",
        "    n2 --> n3",
        "    classDef wrong stroke-dasharray: 5 3,stroke-width: 2px",
    ]


def test_the_picture_is_well_formed_told_in_words_and_the_same_each_time(trips) -> None:
    drawn = as_svg(graph_of(trips))
    assert drawn == as_svg(graph_of(trips))
    root = ET.fromstring(drawn)
    told = {root.find(f"{SVG}{name}").attrib["id"]: root.find(f"{SVG}{name}").text for name in ("title", "desc")}
    assert root.attrib["aria-labelledby"].split() == list(told)
    assert "[2] trips.to_csv('t.csv'): stale" in list(told.values())[1]
    assert root.attrib["role"] == "img"
    assert len(root.findall(f".//{SVG}rect[@class='node wrong']")) == 2
    assert len([path for path in root.iter(f"{SVG}path") if path.attrib.get("class") == "link possible"]) == 1
    assert not re.search(r"#[0-9a-f]{3,6}\b", drawn.replace("url(#", "")), "a colour of its own would not suit both themes"


def test_nodes_do_not_lie_on_each_other_and_links_go_downwards() -> None:
    runs = [ran(1, "a = 0", writes=["n1"])]
    runs += [ran(n, f"n{n} = n{n // 3}", reads=[f"n{max(n // 3, 1)}"], writes=[f"n{n}"]) for n in range(2, 30)]
    lin = lineage(*runs, edges=[(max(n // 3, 1), n, f"n{max(n // 3, 1)}", "certain") for n in range(2, 30)])
    root = ET.fromstring(as_svg(graph_of(lin)))
    boxes = [tuple(float(rect.attrib[name]) for name in ("x", "y", "width", "height")) for rect in root.iter(f"{SVG}rect")]
    width, height = (float(root.attrib[name]) for name in ("width", "height"))
    assert len(boxes) == 29
    assert all(x >= 0 and y >= 0 and x + w <= width and y + h <= height for x, y, w, h in boxes)
    overlapping = [
        (one, other)
        for place, one in enumerate(boxes)
        for other in boxes[place + 1 :]
        if abs(one[0] - other[0]) < one[2] and abs(one[1] - other[1]) < one[3]
    ]
    assert overlapping == []
    for path in root.iter(f"{SVG}path"):
        if path.attrib.get("class", "").startswith("link"):
            ends = re.findall(r"[\d.]+ ([\d.]+)(?:C|$)", path.attrib["d"])
            assert float(ends[0]) < float(ends[-1])


def test_what_a_cell_holds_is_text_everywhere() -> None:
    lin = lineage(ran(1, NASTY, writes=["x"], files=[FileUse('<img src=x onerror="alert(1)">.csv', "read")]))
    report = graph_report(lin)
    ET.fromstring(as_svg(graph_of(lin)))
    for html in (report._repr_html_(), why_report(lin, "x")._repr_html_(), slice_report(lin, lin.slice("x"), code=True)._repr_html_()):
        assert "<script>" not in html
        assert "<img" not in html
        assert "&lt;" in html
    mermaid = as_mermaid(graph_of(lin))
    assert re.fullmatch(r'    n\d\["[^"`<>|]*"\]', mermaid.split("\n")[2])
    assert deps_report(lin, "1")._repr_html_().count("<script>") == 0


def test_what_was_read_from_a_cell_below_and_from_itself_can_be_drawn() -> None:
    lin = lineage(
        ran(1, "x = 1", "a", writes=["x"]),
        ran(2, "y = x", "b", reads=["x"], writes=["y"]),
        ran(3, "x = y", "a", reads=["y"], writes=["x"]),
        ran(4, "y += 1", "b", reads=["y"], writes=["y"]),
        edges=[(1, 2, "x", "certain"), (2, 3, "y", "certain"), (2, 4, "y", "certain")],
    )
    graph = graph_of(lin)
    assert "      <- [2] (its own earlier run) y" in as_text(graph).split("\n")
    assert "      <- [2] (has run again as [4]) y" in as_text(graph).split("\n")
    assert as_svg(graph).count("marker-start") == 1


def test_of_many_cells_the_last_are_drawn_and_the_others_are_one_node() -> None:
    runs = [ran(n % 60, f"v{n} = v0", f"c{n}", id=f"r{n}", seq=n, execution_count=n, reads=["v0"] if n else [], writes=[f"v{n}"]) for n in range(200)]
    graph = graph_of(lineage(*runs, edges=[(0, n, "v0", "certain") for n in range(1, 200)]))
    assert [node.title for node in graph.nodes if node.kind == "others"] == ["140 earlier cells"]
    assert len(graph.nodes) == MOST + 1
    assert {link.source for link in graph.links} == {"others"}
    assert "140 cells that ran before these are not drawn one by one" in graph.notes
    ET.fromstring(as_svg(graph))
    assert "<- [0]" in as_text(graph)


def test_nothing_yet_is_said() -> None:
    assert graph_report(lineage()).text() == "nb.ipynb: 0 cells\nNo cell has read or made anything yet."


def test_a_slice_says_what_is_possible_and_which_files_it_needs(trips) -> None:
    report = slice_report(trips, trips.slice("back"))
    text = report.text(120)
    assert text.startswith("back: 3 of 4 cell runs, with 1 possible edge")
    assert "Possible, not certain" in text
    assert report.data["certain"] is False
    assert slice_report(trips, trips.slice("trips")).title == "trips: 1 of 4 cell runs, certain"
    alone = lineage(ran(1, "x = read('in.csv')", writes=["x"], files=[FileUse("in.csv", "read", "cd" * 16, 2048)]))
    assert "in.csv  cdcdcdcdcdcdcdcd  2,048" in slice_report(alone, alone.slice("x")).text(120)


def test_a_slice_as_a_file_runs_and_never_replaces_one(tmp_path: Path) -> None:
    lin = lineage(ran(1, "x = 20", writes=["x"]), ran(2, "y = x * 2", reads=["x"], writes=["y"]), edges=[(1, 2, "x", "certain")])
    script, notebook = tmp_path / "y.py", tmp_path / "y.ipynb"
    write_slice(lin.slice("y"), script)
    scope: dict = {}
    exec(script.read_text(), scope)
    assert scope["y"] == 40
    write_slice(lin.slice("y"), notebook)
    assert [cell["source"] for cell in json.loads(notebook.read_text())["cells"][1:]] == ["x = 20", "y = x * 2"]
    before = script.read_bytes()
    with pytest.raises(BadInput, match="is there already"):
        write_slice(lin.slice("x"), script)
    assert script.read_bytes() == before
    write_slice(lin.slice("x"), script, force=True)
    assert "y = " not in script.read_text()
    with pytest.raises(BadInput, match="the notebook the slice is of"):
        write_slice(lin.slice("x"), notebook, original=notebook, force=True)
    with pytest.raises(BadInput, match=r"\.txt is none of \.ipynb, \.py"):
        write_slice(lin.slice("x"), tmp_path / "y.txt")


def test_a_graph_as_a_file(trips, tmp_path: Path) -> None:
    for name in ("g.svg", "g.mmd", "g.txt"):
        write_graph(graph_of(trips), tmp_path / name)
    ET.parse(tmp_path / "g.svg")
    assert (tmp_path / "g.mmd").read_text().startswith("flowchart TD\n")
    with pytest.raises(BadInput, match="is none of"):
        write_graph(graph_of(trips), tmp_path / "g.png")


def test_stale_cells_with_the_command_that_goes_on(trips) -> None:
    report = stale_report(trips, rerun="%lineage rerun")
    assert [(entry["cell_id"], entry["execution_count"]) for entry in report.data] == [("b", 2), ("c", 3)]
    assert report.notes == ("What to run: %lineage rerun 2 3",)


def test_what_to_run_names_the_cells_that_make_anew_what_was_changed() -> None:
    lin = lineage(
        ran(1, "log = []", "a", writes=["log"]),
        ran(2, "log.append(1)", "b", reads=["log"], writes=["log"]),
        ran(3, "n = len(log)", "c", reads=["log"], writes=["n"]),
        edges=[(1, 2, "log", "certain"), (2, 3, "log", "certain")],
    )
    report = rerun_report(lin, ["[2]"], {})
    assert report.data == {"edited": ["b"], "rerun": ["a", "b", "c"]}
    assert [row[3] for row in report.tables[0].rows] == ["makes again what was changed since", "edited", "stands on what changes"]
    assert rerun_report(lin, [], {"c": "n = 0"}).data["rerun"] == ["c"]
    assert rerun_report(lin, [], {}).data["rerun"] == []


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda lin: deps_report(lin, "99"), r"no cell ran as \[99\]"),
        (lambda lin: deps_report(lin, "bb"), "no cell named 'bb'; did you mean 'b'"),
        (lambda lin: why_report(lin, "trps"), "did you mean 'trips'"),
        (lambda lin: columns_report(lin, "trips"), "no frame with known columns named 'trips'"),
        (lambda lin: rerun_report(lin, ["x"], {}), "no cell named 'x'"),
    ],
)
def test_bad_input_is_answered_with_near_names(trips, ask, said) -> None:
    with pytest.raises(NotFound, match=said):
        ask(trips)


def test_columns_by_the_latest_run_that_wrote_them() -> None:
    edges = (ColumnEdge("raw", "km", "trips", "miles", "certain"), ColumnEdge("raw", "price", "trips", "cost"))
    run = replace(ran(1, "trips = ...", "a", writes=["trips"]), columns=edges)
    lin = lineage(run)
    assert list(columns_report(lin, "trips").tables[0].rows) == [("miles", "raw.km", "certain"), ("cost", "raw.price", "possible")]
    assert columns_report(lin, "trips", "cost").data[0]["from_column"] == "price"
    with pytest.raises(NotFound, match="did you mean 'cost'"):
        columns_report(lin, "trips", "costs")


def test_the_code_alone_is_python(trips) -> None:
    report = slice_report(trips, trips.slice("back"), code=True)
    assert ast.parse(report.text())
    assert report.title == ""
