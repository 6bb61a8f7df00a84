"""matplotlib figures as PNG, without the time and version that would make equal pictures differ."""

import io
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure as it was stored: a PNG that shows itself in a notebook."""

    png: bytes = field(repr=False)

    def _repr_png_(self) -> bytes:
        return self.png


def accepts(value: Any) -> bool:
    """Figures, and pictures that were figures."""
    return isinstance(value, Picture) or any(base.__module__ == "matplotlib.figure" and base.__name__ == "Figure" for base in type(value).__mro__)


def dump(value: Any) -> bytes:
    """The PNG file."""
    if isinstance(value, Picture):
        return value.png
    buffer = io.BytesIO()
    value.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def load(data: bytes) -> Picture:
    """The picture of those bytes."""
    return Picture(data)
