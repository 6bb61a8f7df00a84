"""The files that a DuckDB query names, and calling DuckDB so that it finds the caller's variables.

DuckDB takes `df` in `SELECT * FROM df` from the innermost Python frame. A wrapper is a frame of its own, so the call is made in one that
has the caller's names.
"""

import re
from collections.abc import Callable, Mapping
from types import CodeType, FrameType
from typing import Any

from mlops_nb.capture import touched
from mlops_nb.capture.touched import Role

MAX_QUERY = 20_000
MAX_LITERALS = 64
_LITERAL = re.compile(r"(\bTO\s+)?(?:'((?:[^']|'')*)'|\"((?:[^\"]|\"\")*)\")", re.IGNORECASE)
_CALL: CodeType = compile("_mlops_nb_function(*_mlops_nb_args, **_mlops_nb_kwargs)", "<mlops_nb>", "eval")


def note_query(query: Any, parameters: Any = None) -> None:
    """The quoted texts of `query`, and its parameters, may be files that it reads or (`COPY ... TO`) writes."""
    if type(query) is str:
        for found in _LITERAL.finditer(query[:MAX_QUERY]):
            _note(found[2] or found[3] or "", "write" if found[1] else "both")
    for name in list(touched.names_in(parameters))[:MAX_LITERALS]:
        _note(name, "both")


def _note(name: str, role: Role) -> None:
    if "://" in name:
        touched.note_url(name, "write" if role == "write" else "read")
    elif name and len(name) < 4096:  # noqa: PLR2004 (PATH_MAX)
        for path in touched.expanded(name):
            touched.note_guess(path, role)


def in_callers_names(frame: FrameType, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """`function(*args, **kwargs)`, called from a frame that has the names of `frame`."""
    names = {} if frame.f_locals is frame.f_globals else dict(frame.f_locals)
    names.update(_mlops_nb_function=function, _mlops_nb_args=args, _mlops_nb_kwargs=kwargs)
    return eval(_CALL, frame.f_globals, names)  # noqa: S307 (our own constant; only the frame is another's)
