"""Any other value by pickle. Loading one runs code: the artifact store loads only what this project's own runs have written."""

import io
import pickle
import types
from typing import Any

from mlops_nb.errors import DamagedArtifact
from mlops_nb.store.serializers import Declined

PROTOCOL = 5
_NO_VALUES = (types.ModuleType, types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType, types.FrameType, io.IOBase, memoryview)


def accepts(value: Any) -> bool:  # noqa: ARG001 (any value may be tried)
    """Every value is tried; `dump` declines."""
    return True


def dump(value: Any) -> bytes:
    """The pickle. Raises Declined for what is no value (modules, open files, generators) and for functions and classes of the notebook."""
    if isinstance(value, _NO_VALUES):
        raise Declined("it is no value that another process could hold")
    if isinstance(value, types.FunctionType | types.MethodType | type) and value.__module__ == "__main__":
        raise Declined("functions and classes of a notebook are carried as code, not as values")
    try:
        return pickle.dumps(value, protocol=PROTOCOL)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise Declined(str(error)) from error


def load(data: bytes) -> Any:
    """The value. Raises DamagedArtifact where the code it needs is not there."""
    try:
        return pickle.loads(data)  # noqa: S301 (the store has checked who wrote it)
    except (AttributeError, ImportError) as error:
        raise DamagedArtifact(
            f"the pickled value needs code that is not there: {error}", hint="define or install it first, or make the value anew"
        ) from error
