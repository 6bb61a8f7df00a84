"""numpy arrays as npy: dtype, shape and memory order come back; never through pickle."""

import io
from typing import Any

from mlops_nb.store.serializers import Declined


def accepts(value: Any) -> bool:
    """Arrays proper: a subclass (masked, matrix) has more to it than npy holds."""
    return f"{type(value).__module__}.{type(value).__name__}" == "numpy.ndarray"


def dump(value: Any) -> bytes:
    """The npy file. Raises Declined for arrays of Python objects."""
    import numpy as np

    if value.dtype.hasobject:
        raise Declined("an array of Python objects")
    buffer = io.BytesIO()
    np.save(buffer, without_padding(value), allow_pickle=False)
    return buffer.getvalue()


def load(data: bytes) -> Any:
    """The array, writable."""
    import numpy as np

    return np.load(io.BytesIO(data), allow_pickle=False)


def without_padding(array: Any) -> Any:
    """A structured array with zeros in the gaps between its fields: whatever was in memory there would make equal arrays differ."""
    import numpy as np

    if array.dtype.names is None:
        return array
    clean = np.zeros(array.shape, dtype=array.dtype)
    for field in array.dtype.names:
        clean[field] = without_padding(array[field])
    return clean
