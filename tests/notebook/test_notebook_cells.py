import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_nb.errors import BadInput, NotebookError
from mlops_nb.notebook.cells import cell_ids, help_text, parse_cell, read_notebook, source_id
from mlops_nb.notebook.grammar import OPTIONS, parse_line, parse_metrics, ttl_seconds


def cell(source, *tags):
    return parse_cell(source, id="c1", index=6, tags=tags, notebook="nb.ipynb")


@pytest.mark.parametrize(
    ("source", "tags", "kind", "name", "step"),
    [
        ("x = 1", (), "code", "", ""),
        ("%%step load\nx = 1", (), "step", "load", "load"),
        ("\n\n  %%step load\nx = 1", (), "step", "load", "load"),
        ("# a comment\n%%step load", (), "code", "", ""),
        ("x = 1", ("step:load",), "step", "load", "load"),
        ("x = 1", ("block:load", "prev:fetch"), "step", "load", "load"),
        ("%%step load\nx = 1", ("step:load",), "step", "load", "load"),
        ("n = 1", ("parameters",), "parameters", "", ""),
        ("n = 1", ("pipeline-parameters",), "parameters", "", ""),
        ("import a", ("imports",), "code", "", ""),
        ("def f(): pass", ("functions",), "code", "", ""),
        ("x = 1", ("skip", "step:load"), "skip", "load", "load"),
        ("%%step load\nx = 1", ("skip",), "skip", "", ""),
        ("%%feature w --entity a --timestamp t\ndf", (), "feature", "w", "w"),
        ("%%feature w --entity a --timestamp t\ndf", ("step:join",), "feature", "w", "join"),
        ("%%test data\nassert x", (), "test", "test_c1", ""),
        ("%%test data --on flights weather\nassert x", ("step:join",), "test", "test_flights", "join"),
        ("%%test infra --name quick\nassert x", (), "test", "quick", ""),
        ("%%time\nx = 1", (), "code", "", ""),
        ("%%steps load\nx = 1", (), "code", "", ""),
    ],
)
def test_what_a_cell_is(source, tags, kind, name, step):
    found = cell(source, *tags)
    assert (found.kind, found.name, found.step) == (kind, name, step)


def test_the_body_is_the_source_without_its_magic_line():
    assert cell("%%step load\nx = 1\ny = 2").body == "x = 1\ny = 2"
    assert cell("%%step load").body == ""
    assert cell("x = 1").body == "x = 1"


def test_feature_options():
    line = '%%feature w --entity origin hour --timestamp t --ttl 3h --owner ops --tags "a, b" --tags c --description "Wind now"\ndf'
    options = cell(line).options
    assert options == {
        "name": "w",
        "entity": ("origin", "hour"),
        "timestamp": "t",
        "ttl_seconds": 10800.0,
        "owner": "ops",
        "tags": ("a", "b", "c"),
        "description": "Wind now",
    }


def test_test_options():
    assert cell("%%test model --on m --on X --severity=warn").options == {"kind": "model", "name": "test_m", "on": ("m", "X"), "severity": "warn"}


@pytest.mark.parametrize(
    ("source", "tags", "says"),
    [
        ("%%step", (), ["NAME is missing", "%%step NAME"]),
        ("%%step load-data", (), ["'load-data' is no Python name", "load_data"]),
        ("%%step class", (), ["'class' is no Python name"]),
        ("%%step a b", (), ["'b' is one word too many"]),
        ("x", ("step:load data",), ["tag step:load data", "load_data"]),
        ("x", ("step:a", "step:b"), ["2 steps", "a, b"]),
        ("%%step a", ("step:b",), ["%%step says a, the tag says b"]),
        ("n = 1", ("parameters", "step:a"), ["parameters cell"]),
        ("%%step a", ("parameters",), ["parameters cell"]),
        ("%%feature w --entity a", (), ["--timestamp is missing"]),
        ("%%feature w --timestamp a", (), ["--entity is missing"]),
        ("%%feature w --entity a --timestamp t --ttl soon", (), ["--ttl", "'soon'", "90s, 30m, 3h, 7d or never"]),
        ("%%feature w --entty a --timestamp t", (), ["--entty", "'--entity'"]),
        ("%%feature w --entity --timestamp t", (), ["--entity needs a value"]),
        ("%%feature w --entity a --timestamp t --owner x --owner y", (), ["--owner is given twice"]),
        ("%%feature w --entity 'a --timestamp t", (), ["cannot read the line"]),
        ("%%test unit", (), ["'unit' is none of data, model, infra"]),
        ("%%test data --severity fatal", (), ["--severity", "'fatal'"]),
        ("%%test data --on a-b", (), ["--on", "a_b"]),
    ],
)
def test_what_is_wrong_is_said_with_its_place(source, tags, says):
    with pytest.raises(BadInput) as caught:
        cell(source, *tags)
    for words in ["nb.ipynb:cell 7 (id c1)", *says]:
        assert words in str(caught.value)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90.0), ("30m", 1800.0), ("3h", 10800.0), ("7d", 604800.0), ("1.5h", 5400.0), ("never", None)])
def test_time_spans(text, seconds):
    assert ttl_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "3", "h", "-3h", "0s", "3 weeks", "Never", "3h 2m"])
def test_no_time_spans(text):
    with pytest.raises(ValueError, match="time span"):
        ttl_seconds(text)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("metrics", (("", "metrics"),)),
        ("auc=a, brier=b", (("auc", "a"), ("brier", "b"))),
        ('auc=s["b c"] n=len(xs, 2)', (("auc", 's["b c"]'), ("n", "len(xs, 2)"))),
        ("", ()),
        ("ok=a==b", (("ok", "a==b"),)),
    ],
)
def test_metrics(text, pairs):
    assert parse_metrics(text) == pairs


@pytest.mark.parametrize("text", ["auc=", "auc=(", "a-b=c", "1+"])
def test_bad_metrics(text):
    with pytest.raises(BadInput, match="--metrics"):
        parse_line("model", f"m v --metrics {text}")


@pytest.mark.parametrize("kind", OPTIONS)
def test_the_help_names_every_option_and_its_example_parses(kind):
    text = help_text(kind)
    for option in OPTIONS[kind]:
        assert (option.name.upper() if option.positional else f"--{option.name}") in text
    example = text.partition("Example:\n")[2].split("\n")[0].strip()
    assert parse_line(kind, example.split(" ", 1)[1])["name" if kind != "test" else "kind"]


@given(st.sampled_from(["step", "feature", "test", "model"]), st.text())
def test_any_line_parses_or_says_why(kind, line):
    try:
        found = parse_line(kind, line)
    except BadInput as error:
        found = str(error)
    assert found


# --- files ---


def test_cells_of_a_file_have_their_place_among_all_cells(write_notebook):
    path = write_notebook("x = 1", "%%step load\ny = x")
    document = json.loads(path.read_text())
    document["cells"].insert(1, {"cell_type": "markdown", "id": "m", "metadata": {}, "source": "# text"})
    path.write_text(json.dumps(document))
    found = read_notebook(path)
    assert [(c.id, c.index, c.kind, c.notebook) for c in found] == [("c0", 0, "code", "nb.ipynb"), ("c1", 2, "step", "nb.ipynb")]


def test_tests_of_one_name_get_suffixes(write_notebook):
    path = write_notebook("%%test data --on a\nassert a", "%%test data --on a\nassert a > 1", "%%test data --name test_a\nassert a > 2")
    assert [c.name for c in read_notebook(path)] == ["test_a", "test_a_2", "test_a_3"]


def test_old_notebooks_get_stable_ids(tmp_path):
    old = tmp_path / "old.ipynb"
    old.write_text(
        json.dumps(
            {"nbformat": 4, "nbformat_minor": 2, "metadata": {}, "cells": [{"cell_type": "code", "source": ["x = 1\n", "y = 2"], "metadata": {}}]}
        )
    )
    first, second = read_notebook(old), read_notebook(old)
    assert first == second
    assert first[0].id.startswith("0-")
    assert first[0].source == "x = 1\ny = 2"


def test_a_second_cell_of_one_id_gets_another_that_stays(write_notebook):
    path = write_notebook("x = 1", "y = x", "z = y")
    document = json.loads(path.read_text())
    document["cells"][1]["id"] = "c0"
    path.write_text(json.dumps(document))
    names = [cell.id for cell in read_notebook(path)]
    assert (names[0], names[2], len(set(names))) == ("c0", "c2", 3)
    assert names == [cell.id for cell in read_notebook(path)] == list(cell_ids(path))


def test_nbformat_3(tmp_path):
    old = tmp_path / "three.ipynb"
    old.write_text(json.dumps({"nbformat": 3, "metadata": {}, "worksheets": [{"cells": [{"cell_type": "code", "input": "x = 1", "metadata": {}}]}]}))
    assert [c.source for c in read_notebook(old)] == ["x = 1"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"cells": 3}', '{"cells": [1]}', '{"cells": [{"cell_type": "code", "source": 4}]}', "[" * 100_000]
)
def test_malformed_files_are_refused_by_name_and_left_alone(tmp_path, text):
    path = tmp_path / "bad.ipynb"
    path.write_text(text)
    with pytest.raises(NotebookError) as caught:
        read_notebook(path)
    assert "bad.ipynb" in str(caught.value)
    assert path.read_text() == text


def test_bytes_that_are_no_text_and_files_that_are_not_there(tmp_path):
    (tmp_path / "bytes.ipynb").write_bytes(b"\xff\xfe\x00{")
    for name in ("bytes.ipynb", "none.ipynb"):
        with pytest.raises(NotebookError, match=name):
            read_notebook(tmp_path / name)


def test_a_wrong_magic_line_is_an_error_unless_asked_otherwise(write_notebook):
    path = write_notebook("%%step load-data\nx = 1", "y = 2")
    with pytest.raises(BadInput, match="cell 1"):
        read_notebook(path)
    assert [c.kind for c in read_notebook(path, strict=False)] == ["code", "code"]


def test_the_id_of_a_cell_without_one_follows_its_source():
    assert source_id("x = 1") == source_id("x = 1") != source_id("x = 2")
