import ast
import sys
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_nb.errors import BadInput
from mlops_nb.features.define import attributes, definition, duration_text, from_attributes, indented, parse_definition, read_definition
from mlops_nb.notebook.cells import parse_cell
from mlops_nb.notebook.grammar import ttl_seconds

LINE = (
    "%%feature airport_weather --entity origin --timestamp known_at --ttl 3h --owner ops --tags weather,hourly "
    '--description "Weather at the airport."'
)
BODY = """
# the newest observation
known = observed(weather, hours=1)

known[["origin", "known_at", "wind"]]  # what is kept
"""
SOURCES = (
    "import pandas as pd\nimport numpy as np",
    "DELAY = 1  # hours\ndef shifted(times, hours):\n    return times + pd.Timedelta(hours=hours * DELAY)",
    "def observed(frame, hours):\n    return frame.assign(known_at=shifted(frame.time_hour, hours))",
    "weather = load()",
)
FILE = '''"""Weather at the airport."""

# Written by %%feature in notebooks/flights.ipynb; edit it there.

import pandas as pd

DELAY = 1  # hours


def shifted(times, hours):
    return times + pd.Timedelta(hours=hours * DELAY)


def observed(frame, hours):
    return frame.assign(known_at=shifted(frame.time_hour, hours))


VIEW = {
    "name": "airport_weather",
    "entity": ["origin"],
    "timestamp": "known_at",
    "ttl": "3h",
    "owner": "ops",
    "tags": ["weather", "hourly"],
    "description": "Weather at the airport.",
    "inputs": ["weather"],
}


def airport_weather(weather):
    # the newest observation
    known = observed(weather, hours=1)

    return known[["origin", "known_at", "wind"]]  # what is kept
'''


def feature_cell(body=BODY, line=LINE, notebook="notebooks/flights.ipynb"):
    return parse_cell(f"{line}\n{body}", id="c1", index=4, notebook=notebook)


def test_the_file_is_the_cell_as_a_function_with_what_it_needs():
    view, text = definition(feature_cell(), sources=SOURCES)
    assert text == FILE
    assert (view.entity, view.timestamp, view.ttl_seconds, view.inputs) == (("origin",), "known_at", 10800.0, ("weather",))
    assert view.source.startswith("def airport_weather(weather):\n")


def test_the_file_runs_on_its_own():
    _, text = definition(feature_cell(), sources=SOURCES)
    namespace = {}
    exec(text, namespace)
    frame = pd.DataFrame({"origin": ["JFK"], "time_hour": pd.to_datetime(["2013-07-04 09:00"]), "wind": [3.0]})
    assert namespace["airport_weather"](frame)["known_at"].tolist() == [pd.Timestamp("2013-07-04 10:00")]


def test_comments_formatting_and_place_do_not_change_the_version():
    version = definition(feature_cell(), sources=SOURCES)[0].version
    reformatted = BODY.replace("# the newest observation", "# something else").replace("hours=1", "hours = 1")
    assert definition(feature_cell(reformatted, notebook="other.ipynb"), sources=SOURCES)[0].version == version
    assert definition(feature_cell(BODY.replace("hours=1", "hours=2")), sources=SOURCES)[0].version != version
    assert definition(feature_cell(line=LINE.replace("3h", "4h")), sources=SOURCES)[0].version != version
    assert definition(feature_cell(), sources=[s.replace("DELAY = 1", "DELAY = 2") for s in SOURCES])[0].version != version


def test_the_support_code_alone_gives_the_same_definition():
    view, text = definition(feature_cell(), sources=SOURCES)
    support = text.split("edit it there.\n\n")[1].split("\n\nVIEW")[0]
    assert definition(feature_cell(), sources=[support]) == (view, text)


@pytest.mark.parametrize(
    ("body", "inputs", "ends"),
    [
        ("weather", ("weather",), "return weather\n"),
        ("x = weather; x.copy();", ("weather",), "x = weather; return x.copy();\n"),
        ("(weather\n .head())\n# done", ("weather",), "    return (weather\n     .head())\n    # done\n"),
        ("weather = weather.sort_values('t')\nweather", ("weather",), "return weather\n"),
        ("if len(weather):\n    return weather\nelse:\n    return other", ("other", "weather"), "        return other\n"),
        ("def clean(f):\n    return f[limits]\nclean(weather)", ("limits", "weather"), "return clean(weather)\n"),
        ("[w for w in weather][0]", ("weather",), "return [w for w in weather][0]\n"),
        ("DELAY = DELAY * 2\nweather + DELAY", ("DELAY", "weather"), "return weather + DELAY\n"),
        ("f = 'é'; f + weather", ("weather",), "f = 'é'; return f + weather\n"),
        ("@deco\nclass A: pass\nA(weather)", ("deco", "weather"), "return A(weather)\n"),
    ],
)
def test_inputs_are_the_data_it_reads_and_the_last_expression_is_returned(body, inputs, ends):
    view, text = definition(feature_cell(body), sources=SOURCES)
    assert view.inputs == inputs
    assert text.endswith(ends)
    compile(text, "file", "exec")


@pytest.mark.parametrize("start", ["'''", '"""', "f'''{1}", "rb'''"])
def test_strings_of_several_lines_keep_their_content(start):
    quotes = start[-3:] if start[-1] in "'\"" else "'''"
    source = f"x = {start}a\n  b\n\nc{quotes}\nfor i in range(2):\n\tx, '\\\ny'\nx"
    wrapped = f"def f():\n{indented(source)}\n    return x\n"
    scopes = {}, {}
    exec(source, scopes[0])
    exec(wrapped, scopes[1])
    assert scopes[1]["f"]() == scopes[0]["x"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x = (", "line 2 of the feature airport_weather is not Python"),
        ("\nx = 1\n%time y", "line 4 of the feature airport_weather is not Python"),
        ("x = 1", "the feature airport_weather gives nothing back"),
        ("def f():\n    return 1", "the feature airport_weather gives nothing back"),
        ("", "the feature airport_weather gives nothing back"),
    ],
)
def test_a_body_that_is_no_function_is_refused_naming_the_cell(body, message):
    with pytest.raises(BadInput, match=message) as caught:
        definition(feature_cell(body), sources=())
    assert "notebooks/flights.ipynb:cell 5 (id c1)" in str(caught.value)


def test_a_column_cannot_be_key_and_time_at_once():
    with pytest.raises(BadInput, match="names a column twice: t, t"):
        definition(feature_cell(line="%%feature v --entity t --timestamp t"), sources=())


text = st.text(max_size=30)
values = st.sampled_from(["1", "'a\\'b'", "'''x\n   y\n'''", 'f"""{data}\n  z"""', "data", "helper(data)", "[\n  data,\n 2]", "lambda: data"])
statements = st.lists(st.tuples(st.sampled_from("abc"), values).map(" = ".join) | st.sampled_from(["# a note", "", "if data:\n\tdata"]), max_size=5)


bodies = st.tuples(statements, values).map(lambda parts: "\n".join([*parts[0], parts[1]]))
options = st.fixed_dictionaries(
    {"description": text, "owner": text, "tags": st.lists(text, max_size=3).map(tuple), "ttl_seconds": st.none() | st.floats(1e-6, 1e12)}
)


@settings(max_examples=200, deadline=None)
@given(body=bodies, given_options=options)
def test_a_written_definition_is_read_back_equal(body, given_options):
    cell = feature_cell(body)
    view, file_text = definition(replace(cell, options={**cell.options, **given_options}), sources=["def helper(x):\n    return x"])
    assert parse_definition(file_text) == replace(view, notebook="", cell_id="")
    assert from_attributes(attributes(view)) == replace(view, notebook="", cell_id="", source="", version="")
    assert ast.literal_eval(ast.parse(file_text).body[0].value) == (view.description or "The feature view airport_weather.")


@given(st.floats(1e-9, 1e15))
def test_a_time_span_is_written_so_that_it_is_read_back_equal(value):
    assert ttl_seconds(duration_text(value)) == value


def test_nothing_of_the_file_is_run_when_it_is_read(tmp_path):
    file = tmp_path / "airport_weather.py"
    file.write_text("import sys\nsys.modules['ran_it'] = 1\n" + FILE, encoding="utf-8")
    assert read_definition(file).entity == ("origin",)
    assert "ran_it" not in sys.modules


@pytest.mark.parametrize(
    "content", ["", "x = (", "VIEW = {}", "VIEW = f()", 'VIEW = {"name": "a"}\n', FILE.replace("def airport_weather", "def other"), b"\xff"]
)
def test_a_file_that_is_no_definition_is_named(tmp_path, content):
    file = tmp_path / "broken.py"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadInput, match=r"broken.py: not a feature definition: "):
        read_definition(file)
