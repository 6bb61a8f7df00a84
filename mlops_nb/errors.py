"""Every error this project raises on purpose: what went wrong, where, and what to do.

>>> str(NotFound.named("pipeline", "flihgts", ["flights", "weather"]))
"no pipeline named 'flihgts'; did you mean 'flights'?"
"""

import difflib
from collections.abc import Iterable

LISTED = 12  # names shown when none is near


class MlopsError(Exception):
    """An error with a message made for the user.

    `status` is the HTTP status the server answers with, `exit_code` the process's.
    `where` names the place (notebook:cell, file, table), `hint` says what to do.
    """

    status = 500
    exit_code = 1

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        hint = f"\n  {self.hint}" if self.hint else ""
        return f"{place}{self.message}{hint}"

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback: the message is made for the user."""
        return [f"{type(self).__name__}: {self}"]

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.where, self.hint)


def _rebuild(kind: type[MlopsError], message: str, where: str, hint: str) -> MlopsError:
    return kind(message, where=where, hint=hint)


class BadInput(MlopsError):
    """What the user gave cannot be used: an option, a name, a file's content."""

    status = 400
    exit_code = 2


class NotFound(MlopsError):
    """No such thing; near names are listed."""

    status = 404
    exit_code = 2

    @classmethod
    def named(cls, kind: str, name: str, known: Iterable[str], *, where: str = "", hint: str = "") -> "NotFound":
        """An error for an unknown `name`, with its near names out of `known`."""
        names = sorted(set(known))
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        if near:
            tail = "; did you mean " + " or ".join(repr(n) for n in near) + "?"
        elif names:
            tail = "; there are: " + ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")
        else:
            tail = f"; there is no {kind} yet"
        return cls(f"no {kind} named {name!r}{tail}", where=where, hint=hint)


class NotebookError(BadInput):
    """The notebook file cannot be read as a notebook; it is left untouched."""


class PromotionRefused(BadInput):
    """The notebook cannot become a pipeline that equals it; `where` names the cell."""


class StepFailed(MlopsError):
    """A pipeline step failed: its cell raised, a gate stopped it, or its kernel died."""


class GateBlocked(MlopsError):
    """A required test failed, or has no passing run against this artifact."""


class NotStorable(BadInput):
    """No serializer takes this value; the message names the variable and its type."""


class DamagedArtifact(MlopsError):
    """A stored artifact's bytes are missing or do not match their digest."""


class Untrusted(MlopsError):
    """Loading this artifact could run code this project did not write."""

    status = 403


class RecordingOff(MlopsError):
    """Nothing can be recorded just now (disk full, read-only folder, ...)."""

    status = 503


class RegistryError(MlopsError):
    """The registry file is not usable: not ours, newer than this version, replaced, or on a network disk."""
