"""A notebook's JSON is edited in the style it was written in; what is not edited stays byte for byte."""

import itertools
import json

import pytest

from mlops_nb.errors import NotebookError
from mlops_nb.notebook.editing import Change, Edits, NewCell, Style, edited, style_of

DOCUMENT = {
    "metadata": {"z": 1, "a": [1.5, None, "é\u2028😀"]},
    "nbformat": 4,
    "nbformat_minor": 5,
    "cells": [
        {
            "cell_type": "code",
            "id": "a",
            "metadata": {"b": 1, "tags": ["x"]},
            "execution_count": 3,
            "source": ["one\n", "two"],
            "outputs": [{"k": "é"}],
        },
        {"cell_type": "markdown", "id": "m", "metadata": {}, "source": "# words"},
        {"cell_type": "code", "id": "b", "metadata": {}, "execution_count": None, "source": "three", "outputs": []},
    ],
}
IDS = ["a", "m", "b"]
STYLES = [
    Style(*parts) for parts in itertools.product([1, 2, 4, "\t", 0, None], [False, True], [True, False], ["", "\n"], ["\n", "\r\n"], [False, True])
]


def cells(text):
    return json.loads(text.removeprefix("\ufeff"))["cells"]


@pytest.mark.parametrize("style", STYLES, ids=str)
def test_every_known_style_is_kept(style):
    text = style.text(DOCUMENT)
    assert edited(text, Edits(), IDS) == text
    changed = edited(text, Edits({"b": Change(source="3")}), IDS)
    assert changed == text.replace('"three"', '"3"')


def test_an_unknown_style_becomes_nbformats():
    text = '{ "nbformat": 4,  "cells":[] }'
    assert style_of(text, json.loads(text)) == Style()
    assert edited(text, Edits(), []) == '{\n "nbformat": 4,\n "cells": []\n}\n'


CHANGES = [
    ("lines stay lines", "a", Change(source="1\n2\n"), "source", ["1\n", "2\n"]),
    ("text stays text", "b", Change(source="1\n2"), "source", "1\n2"),
    ("nothing left", "a", Change(source=""), "source", []),
    ("tags", "b", Change(tags=("t",)), "metadata", {"tags": ["t"]}),
    ("tags beside others", "a", Change(tags=("t", "u")), "metadata", {"b": 1, "tags": ["t", "u"]}),
    ("no tags", "a", Change(tags=()), "metadata", {"b": 1}),
]


@pytest.mark.parametrize(("cell_id", "change", "key", "value"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES])
def test_a_change_touches_its_field_alone(cell_id, change, key, value):
    found = cells(edited(Style().text(DOCUMENT), Edits({cell_id: change}), IDS))
    expected = [{**cell, key: value} if cell["id"] == cell_id else cell for cell in DOCUMENT["cells"]]
    assert found == expected
    assert [list(cell) for cell in found] == [list(cell) for cell in DOCUMENT["cells"]], "keys keep their order"


PLACES = [
    ("behind", {"after": "a"}, ["a", "new", "m", "b"]),
    ("before", {"before": "a"}, ["new", "a", "m", "b"]),
    ("behind one that is not there", {"after": "gone", "before": "b"}, ["a", "m", "new", "b"]),
    ("at the end", {}, ["a", "m", "b", "new"]),
]


@pytest.mark.parametrize(("place", "order"), [case[1:] for case in PLACES], ids=[case[0] for case in PLACES])
def test_a_new_cell_finds_its_place(place, order):
    found = cells(edited(Style().text(DOCUMENT), Edits(added=[NewCell("new", "x = 1\ny = 2", **place)]), IDS))
    assert [cell["id"] for cell in found] == order
    made = {"cell_type": "code", "execution_count": None, "id": "new", "metadata": {}, "outputs": [], "source": ["x = 1\n", "y = 2"]}
    assert found[order.index("new")] == made


def test_new_cells_of_an_old_notebook_have_no_ids_and_words_no_outputs():
    old = {**DOCUMENT, "nbformat_minor": 4}
    found = cells(edited(Style().text(old), Edits(added=[NewCell("new", "words", kind="markdown", after="m")]), IDS))
    assert found[2] == {"cell_type": "markdown", "metadata": {}, "source": ["words"]}


def test_cells_are_removed_by_their_ids():
    assert [cell["id"] for cell in cells(edited(Style().text(DOCUMENT), Edits(removed=frozenset({"a"})), IDS))] == ["m", "b"]


def test_what_is_no_notebook_is_refused():
    with pytest.raises(NotebookError, match="no notebook of format 4"):
        edited('{"worksheets": []}', Edits(), [])
