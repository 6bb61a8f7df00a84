"""One file a library, each with `accepts(value)`, `dump(value) -> bytes` and `load(data) -> value`, imported when a value of that library comes.

A value's library is told from its type's module, so nothing is imported to look at a value. `dump` gives equal bytes for equal
values (but for pickle), and raises Declined where the next serializer must be asked.
"""

import importlib
from dataclasses import dataclass
from typing import Any, Protocol, cast

from mlops_nb.errors import BadInput, DamagedArtifact, MlopsError, NotStorable

# the library a type comes from -> kinds asked in turn; json and pickle are asked last for any value
_BY_LIBRARY = {"pandas": ("parquet",), "numpy": ("npy",), "sklearn": ("skops",), "matplotlib": ("png",), "mlops_nb": ("png",)}
_LAST = ("json", "pickle")
_MODULES = {"parquet": "frames", "npy": "arrays", "skops": "estimators", "png": "figures", "json": "plain", "pickle": "pickles"}


class Declined(NotStorable):
    """This serializer cannot hold the value truly; the message says what is in the way."""


class Serializer(Protocol):
    """What each module of this package offers."""

    def accepts(self, value: Any) -> bool:
        """Whether the value's type is this serializer's."""

    def dump(self, value: Any) -> bytes:
        """The value's bytes. Raises Declined."""

    def load(self, data: bytes) -> Any:
        """The value of those bytes."""


@dataclass(frozen=True, slots=True)
class Dumped:
    """A value's bytes, the serializer that made them and the value's type."""

    data: bytes
    kind: str
    type_name: str


def serializer(kind: str) -> Serializer:
    """The serializer named `kind`; raises BadInput for a kind of a newer version."""
    if kind not in _MODULES:
        raise BadInput(f"no serializer named {kind!r}", hint="the artifact was written by a newer mlops_nb: upgrade this one")
    return cast("Serializer", importlib.import_module(f"{__name__}.{_MODULES[kind]}"))


def dump(value: Any, *, name: str) -> Dumped:
    """`value` by the first serializer that takes it. Raises NotStorable, naming the variable and its type."""
    type_name = type_name_of(value)
    why = ""
    for kind in kinds_for(type(value)):
        try:
            found = serializer(kind)
            if found.accepts(value):
                return Dumped(found.dump(value), kind, type_name)
        except Declined as error:
            why = error.message
        except Exception as error:  # noqa: BLE001 (the value's own __reduce__, __getattr__ or __getstate__ may raise anything)
            why = f"its own code raised {type(error).__name__}: {error}"
    raise NotStorable(
        f"{name!r} ({type_name}) cannot be stored: {why}", hint="make it inside the step that uses it, or hand on the data it is made of"
    )


def load(kind: str, data: bytes) -> Any:
    """The value of bytes that `kind` made. Raises DamagedArtifact where they are something else, Untrusted where loading could run code."""
    try:
        return serializer(kind).load(data)
    except MlopsError:
        raise
    except Exception as error:
        raise DamagedArtifact(
            f"the bytes are no {kind} that can be read: {type(error).__name__}: {error}", hint="make the value anew by running its step again"
        ) from error


def kinds_for(kind: type) -> tuple[str, ...]:
    """The serializers to ask for a type, by the libraries of the type and its bases."""
    libraries = dict.fromkeys(base.__module__.partition(".")[0] for base in kind.__mro__)
    return (*dict.fromkeys(name for library in libraries for name in _BY_LIBRARY.get(library, ())), *_LAST)


def type_name_of(value: Any) -> str:
    """`pandas.DataFrame`, `dict`, `sklearn.linear_model._logistic.LogisticRegression`: the type's full name."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
