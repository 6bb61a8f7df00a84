"""What JSON can hold, with the codec's tags: numbers, text, containers of them, times, numpy scalars."""

from typing import Any

from mlops_nb.store import codec
from mlops_nb.store.serializers import Declined


def accepts(value: Any) -> bool:  # noqa: ARG001 (any value may be tried)
    """Every value is tried; `dump` declines."""
    return True


def dump(value: Any) -> bytes:
    """JSON text in UTF-8. Raises Declined where something in it would not come back equal."""
    try:
        return codec.to_json(value, exact=True).encode()
    except codec.NotExact as error:
        raise Declined(error.message) from error


def load(data: bytes) -> Any:
    """The value of the JSON text."""
    return codec.from_json(data.decode())
