"""Events over HTTP: one POST each, retried with back-off; what could not be sent is handed back, never lost."""

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.message import Message
from typing import IO, Any
from urllib.parse import urlsplit, urlunsplit

from mlops_nb.errors import BadInput

ENDPOINT = "/api/v1/lineage"  # where servers of the specification take events, for an address without a path
SECONDS = 10.0  # to wait for one answer
PAUSES = (0.5, 1.0, 2.0)  # seconds before each further try
LONGEST_PAUSE = 30.0  # however long the server asks to wait
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # worth another try
OWN_FAULT = frozenset({400, 409, 413, 415, 422})  # about this event; the next may be taken


@dataclass(frozen=True, slots=True)
class Delivery:
    """How sending went: events taken, those that were not, in their order, and why the first was not."""

    sent: int
    unsent: tuple[bytes, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why an event was not taken: the HTTP status (0: no answer) and words."""

    status: int
    reason: str
    wait: float = 0.0


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST becomes a GET, and would lose the event without a word: it is an answer like any other."""

    def redirect_request(self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str) -> None:  # noqa: PLR0917
        """Follow nothing."""


def endpoint(url: str) -> str:
    """The address to send to. Raises BadInput where `url` is none, or holds a password.

    >>> endpoint("http://localhost:5000")
    'http://localhost:5000/api/v1/lineage'
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BadInput(f"{url!r} is no http address", where="--url", hint="for example http://localhost:5000/api/v1/lineage")
    if parts.username or parts.password:
        raise BadInput("a password in the address would end in logs", where="--url", hint="put the key into OPENLINEAGE_API_KEY")
    return urlunsplit(parts._replace(path=ENDPOINT if parts.path in {"", "/"} else parts.path, fragment=""))


def send(lines: Sequence[bytes], url: str, *, key: str = "", seconds: float = SECONDS, pause: Callable[[float], object] = time.sleep) -> Delivery:
    """POST each of `lines` (an event as JSON) to `url`, with `key` as bearer token.

    An event that the server calls wrong is set aside; where the server does not answer, or takes none from us, the rest is not tried.
    """
    opener = urllib.request.build_opener(_NoRedirects())
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    unsent: list[bytes] = []
    reason = ""
    for place, line in enumerate(lines):
        request = urllib.request.Request(url, data=line, headers=headers, method="POST")  # noqa: S310 (`endpoint` checked the scheme)
        refusal = _posted(opener, request, seconds, pause)
        if refusal is None:
            continue
        reason = reason or refusal.reason
        if refusal.status not in OWN_FAULT:
            unsent += lines[place:]
            break
        unsent.append(line)
    return Delivery(len(lines) - len(unsent), tuple(unsent), reason)


def _posted(
    opener: urllib.request.OpenerDirector, request: urllib.request.Request, seconds: float, pause: Callable[[float], object]
) -> _Refusal | None:
    """None once the server has taken the event, else its last refusal."""
    refusal = _try(opener, request, seconds)
    for rest in PAUSES:
        if refusal is None or refusal.status not in PASSING | {0}:
            break
        pause(min(max(rest, refusal.wait), LONGEST_PAUSE))
        refusal = _try(opener, request, seconds)
    return refusal


def _try(opener: urllib.request.OpenerDirector, request: urllib.request.Request, seconds: float) -> _Refusal | None:
    try:
        with opener.open(request, timeout=seconds) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        with error:
            said = error.read(500).decode("utf-8", "replace").strip()
        where = f" to {error.headers['Location']}" if error.headers.get("Location") else ""
        return _Refusal(error.code, f"HTTP {error.code} {error.reason}{where}{': ' if said else ''}{said}", _asked_wait(error.headers))
    except urllib.error.URLError as error:
        return _Refusal(0, f"no answer: {error.reason}")
    except (OSError, http.client.HTTPException) as error:
        return _Refusal(0, f"no answer: {str(error) or type(error).__name__}")
    return None


def _asked_wait(headers: Any) -> float:
    """Seconds of Retry-After; a date there counts as none."""
    asked = headers.get("Retry-After", "")
    return float(asked) if asked.isdigit() else 0.0
