"""What the panel is told, against what its TypeScript expects."""

import json
import re
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from mlops_nb.project.panel import DELTA_MIME, WIRE_VERSION, components, delta_payload, nothing, promoted, view_json
from mlops_nb.records import CellView

TOKENS = (Path(__file__).parent.parent.parent / "labextension" / "src" / "tokens.ts").read_text()
VIEW = CellView("c1", "stale", "x was rewritten", 3, 7, 0.5, "load", ("heavy",), ("x",), ("raw",), ("c0",))


@dataclass(frozen=True)
class Recording:
    on: bool = True
    reason: str = ""


def interface(name):
    """The field names of one of the panel's wire types."""
    body = re.search(rf"export interface {name} {{(.*?)\n}}", TOKENS, re.DOTALL)[1]
    return set(re.findall(r"^  readonly (\w+)", body, re.MULTILINE))


def test_the_panel_expects_what_the_kernel_sends():
    delta = delta_payload("12-ab", 3, "nb.ipynb", [VIEW], recording=Recording())
    assert json.loads(json.dumps(delta)) == delta
    assert set(delta) == interface("Delta")
    assert set(delta["cells"][0]) == interface("CellView") == {field.name for field in fields(CellView)}
    assert set(delta["recording"]) == interface("Recording")
    assert f"'{DELTA_MIME}'" in TOKENS
    assert f"WIRE_VERSION = {WIRE_VERSION};" in TOKENS


def test_the_panel_expects_what_the_server_answers():
    snapshot = nothing("nb.ipynb")
    assert set(snapshot) == interface("Snapshot")
    assert set(components([VIEW], {}, {})[0]) == interface("Component")


def test_a_view_keeps_every_field():
    assert CellView(**{name: tuple(v) if isinstance(v, list) else v for name, v in view_json(VIEW).items()}) == VIEW


@pytest.mark.parametrize(
    ("made", "names", "flags"),
    [
        ([], ["load"], [False]),
        ([{"name": "load", "cells": ["c1"], "inputs": {}, "outputs": ["raw"]}], ["load"], [True]),
        ([{"name": "train", "cells": ["c9"], "inputs": {"raw": "load"}, "outputs": ["model"]}], ["train", "load"], [True, False]),
    ],
    ids=["nothing promoted", "promoted", "one of two promoted"],
)
def test_components_are_the_promoted_ones_and_then_those_that_ran(made, names, flags):
    rows = [{"components": json.dumps(made)}] if made else []
    found = components([VIEW], promoted(rows), {"load": {"status": "ran", "seconds": 1.5, "run_id": "r1", "component": "load"}})
    assert [c["name"] for c in found] == names
    assert [c["promoted"] for c in found] == flags
    assert next(c["last"] for c in found if c["name"] == "load") == {"status": "ran", "seconds": 1.5, "run_id": "r1"}
