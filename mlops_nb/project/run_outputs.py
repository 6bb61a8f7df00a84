"""What executed notebooks show of a run: its plots, and the failing cell with its traceback. Pure."""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlops_nb.project.run_facts import Executed, cell_id, joined
from mlops_nb.records import StepRun

IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")  # the best first: an output may come in several forms
SVG = "image/svg+xml"
MOST_BYTES = 30_000_000  # of images in one page
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


@dataclass(frozen=True, slots=True)
class Plot:
    """An image that a cell showed: `kind` is its media type, `data` base64; '' where it would make the page too big."""

    step: str
    cell: str
    kind: str
    data: str
    notebook: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """The cell that failed: its source, what it raised, and the traceback as plain text ('' where the kernel itself ended)."""

    step: str
    cell: str
    source: str
    error: str
    traceback: str


def plots(step: str, executed: Executed) -> Iterator[Plot]:
    """The images among a notebook's outputs, in order."""
    for cell in executed.cells:
        for output in cell.get("outputs") or ():
            image = _image(output.get("data") or {}) if isinstance(output, dict) else None
            if image:
                yield Plot(step, cell_id(cell), *image, executed.path)


def within(found: Iterator[Plot], most: int = MOST_BYTES) -> tuple[Plot, ...]:
    """The plots, of which those that no longer fit into `most` bytes have no data."""
    kept = []
    room = most
    for plot in found:
        fits = len(plot.data) <= room
        room -= len(plot.data) if fits else 0
        kept.append(plot if fits else Plot(plot.step, plot.cell, plot.kind, "", plot.notebook))
    return tuple(kept)


def failure(step: StepRun, executed: Executed) -> Failure:
    """The failing cell of a failed step, as far as the notebook shows it."""
    cell = next((cell for cell in executed.cells if step.cell_id and cell_id(cell) == step.cell_id), {})
    errors = [output for output in cell.get("outputs") or () if isinstance(output, dict) and output.get("output_type") == "error"]
    lines = errors[-1].get("traceback") or () if errors else ()
    traceback = _ANSI.sub("", "\n".join(map(str, lines)))
    return Failure(step.component, step.cell_id, joined(cell.get("source")), step.error, traceback)


def _image(data: Mapping[str, Any]) -> tuple[str, str] | None:
    """Media type and base64 of an output's image; None where it has none, or what it has is no base64."""
    kind = next((kind for kind in (*IMAGES, SVG) if kind in data), "")
    if not kind:
        return None
    text = joined(data[kind])
    if kind == SVG:
        return kind, base64.b64encode(text.encode("utf-8", "replace")).decode()
    plain = "".join(text.split())
    try:
        base64.b64decode(plain, validate=True)
    except (binascii.Error, ValueError):
        return None
    return kind, plain
