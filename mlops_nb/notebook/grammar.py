"""The grammar of our magic lines and cell tags: one table of options, from which parsing, errors and help come."""

import keyword
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mlops_nb.errors import BadInput, NotFound

Shape = Literal["one", "many", "commas"]

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TTL = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")
TEST_KINDS = ("data", "model", "infra")
SEVERITIES = ("error", "warn")


def ttl_seconds(text: str) -> float | None:
    """Seconds of `90s`, `30m`, `3h`, `7d`; None for `never`. Raises ValueError.

    >>> ttl_seconds("3h")
    10800.0
    """
    if text == "never":
        return None
    match = _TTL.fullmatch(text)
    if not match or not float(match[1]):
        raise ValueError(f"{text!r} is no time span: write 90s, 30m, 3h, 7d or never")
    return float(match[1]) * _UNITS[match[2]]


def identifier(text: str) -> str:
    """`text` if it can name a Python variable; raises ValueError with a name that could."""
    if text.isidentifier() and not keyword.iskeyword(text):
        return text
    better = re.sub(r"\W+", "_", text).strip("_")
    better = f"_{better}" if better[:1].isdigit() or keyword.iskeyword(better) else better
    advice = f"; write {better}" if better.isidentifier() else ""
    raise ValueError(f"{text!r} is no Python name{advice}")


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text not in choices:
            raise ValueError(f"{text!r} is none of {', '.join(choices)}")
        return text

    return check


@dataclass(frozen=True, slots=True)
class Option:
    """One argument of a magic: `--name` (or positional), how many values it takes, what it means and its default."""

    name: str
    help: str
    shape: Shape = "one"
    required: bool = False
    positional: bool = False
    convert: Callable[[str], Any] = str
    default: Any = ""
    target: str = ""
    metavar: str = ""

    @property
    def key(self) -> str:
        """The name it has in `Cell.options`."""
        return self.target or self.name


OPTIONS: Mapping[str, tuple[Option, ...]] = {
    "step": (
        Option("name", "the pipeline step this cell belongs to; several cells may share one", positional=True, required=True, convert=identifier),
    ),
    "feature": (
        Option("name", "the feature view, and the variable that holds its frame", positional=True, required=True, convert=identifier),
        Option("entity", "key column(s) of the frame", "many", required=True, default=(), metavar="COL [COL ...]"),
        Option("timestamp", "column that says from when on a row was known", required=True, metavar="COL"),
        Option("ttl", "how long a row counts: 90s, 30m, 3h, 7d or never", convert=ttl_seconds, default=None, target="ttl_seconds", metavar="SPAN"),
        Option("owner", "who answers for it"),
        Option("tags", "words to find it by, with commas", "commas", default=(), metavar="A,B"),
        Option("description", "what it means, in a sentence", metavar='"TEXT"'),
    ),
    "test": (
        Option("kind", "data, model or infra", positional=True, required=True, convert=_one_of(TEST_KINDS)),
        Option("name", "the test's name (default: from --on or the cell's id)", convert=identifier),
        Option("on", "the value(s) it is about", "many", convert=identifier, default=(), metavar="NAME [NAME ...]"),
        Option("severity", "error stops a pipeline, warn only reports", convert=_one_of(SEVERITIES), default="error", metavar="error|warn"),
    ),
    "model": (
        Option("name", "the model's name", positional=True, required=True, convert=identifier),
        Option("variable", "the variable that holds it", positional=True, required=True, convert=identifier),
        Option("metrics", "a mapping's name, or name=expression pairs", default=(), metavar="M"),
    ),
}

_EXAMPLES = {
    "step": "%%step load_flights\nflights = pd.read_csv(FLIGHTS)",
    "feature": "%%feature weather_now --entity origin --timestamp time_hour --ttl 3h --owner ops --tags weather,hourly\n"
    'weather[["origin", "time_hour", "wind_speed", "visib"]]',
    "test": "%%test data --on flights\nassert flights.origin.notna().all()",
    "model": "%model flight_late model --metrics auc=auc_test, brier=brier_test",
}
_SUMMARIES = {
    "step": "Make this cell part of a pipeline step. It runs as ordinary code.",
    "feature": "Define a feature view: the cell's last expression is its DataFrame, bound to NAME.",
    "test": "Run this cell's asserts now, register them, and run them again as a gate of the pipeline.",
    "model": "Register a version of a model with all that made it.",
}


def usage(kind: str) -> str:
    """One line: `%%step NAME`.

    >>> usage("step")
    '%%step NAME'
    """
    words = ["%model" if kind == "model" else f"%%{kind}"]
    for option in OPTIONS[kind]:
        if option.positional:
            words.append("|".join(TEST_KINDS) if option.name == "kind" else option.name.upper())
        else:
            text = f"--{option.name} {option.metavar or option.name.upper()}"
            words.append(text if option.required else f"[{text}]")
    return " ".join(words)


def help_text(kind: str) -> str:
    """The help of one of our magics, made from the table of its options, with an example."""
    width = max(len(o.name) for o in OPTIONS[kind]) + 2
    rows = [f"  {o.name.upper() if o.positional else '--' + o.name:<{width}}  {o.help}" for o in OPTIONS[kind]]
    example = "\n".join(f"  {line}" for line in _EXAMPLES[kind].split("\n"))
    return "\n".join([_SUMMARIES[kind], "", f"  {usage(kind)}", "", *rows, "", "Example:", example])


def parse_line(kind: str, line: str, *, where: str = "") -> dict[str, Any]:
    """The arguments of a magic line (without the magic's own name) by `Option.key`; raises BadInput naming `where`.

    >>> parse_line("feature", "w --entity origin --timestamp t --ttl 3h")["ttl_seconds"]
    10800.0
    """
    metrics = ""
    if kind == "model":
        line, _, metrics = line.partition("--metrics")
    positional, named = _split(kind, _words(line, where, kind), where)
    values = {o.key: o.default for o in OPTIONS[kind]}
    places = [o for o in OPTIONS[kind] if o.positional]
    if len(positional) > len(places):
        raise BadInput(f"{positional[len(places)]!r} is one word too many", where=where, hint=usage(kind))
    for option, word in zip(places, positional, strict=False):
        values[option.key] = _converted(option, word, where, kind)
    for option, words in named.items():
        values[option.key] = _value(option, words, where, kind)
    for option in OPTIONS[kind]:
        if option.required and not values[option.key]:
            raise BadInput(f"{_label(option)} is missing", where=where, hint=usage(kind))
    if kind == "model":
        values["metrics"] = parse_metrics(metrics.lstrip(" ="), where=where)
    return values


def parse_metrics(text: str, *, where: str = "") -> tuple[tuple[str, str], ...]:
    """(metric, expression) pairs of `auc=auc_test, brier=s["b"]`; a bare name is a mapping or one value: ("", name).

    >>> parse_metrics('auc=a, brier=s["b c"] scores')
    (('auc', 'a'), ('brier', 's["b c"]'), ('', 'scores'))
    """
    pairs = []
    for part in _parts(text):
        name, equals, expression = part.partition("=")
        if not equals or expression.startswith("="):
            name, expression = "", part
        try:
            compile(expression, "<metric>", "eval")
            pairs.append((identifier(name) if name else "", expression))
        except (SyntaxError, ValueError) as error:
            raise BadInput(f"--metrics cannot read {part!r}: {error}", where=where, hint=usage("model")) from error
    return tuple(pairs)


def _parts(text: str) -> list[str]:
    """Split at commas and blanks outside brackets and quotes."""
    parts, depth, quote = [""], 0, ""
    for char in text:
        if not quote and not depth and (char.isspace() or char == ","):
            parts.append("")
            continue
        parts[-1] += char
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        else:
            depth += (char in "([{") - (char in ")]}")
    return [part for part in parts if part]


def _words(line: str, where: str, kind: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise BadInput(f"cannot read the line: {error}", where=where, hint=usage(kind)) from error


def _split(kind: str, words: list[str], where: str) -> tuple[list[str], dict[Option, list[str]]]:
    options = {o.name: o for o in OPTIONS[kind] if not o.positional}
    positional: list[str] = []
    named: dict[Option, list[str]] = {}
    current: Option | None = None
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            if name not in options:
                raise _unknown(name, options, where, kind)
            current = options[name]
            named.setdefault(current, []).extend([value] if equals else [])
            current = None if equals and current.shape != "many" else current
        elif current is not None:
            named[current].append(word)
            current = current if current.shape == "many" else None
        else:
            positional.append(word)
    return positional, named


def _unknown(name: str, options: Mapping[str, Option], where: str, kind: str) -> BadInput:
    message = NotFound.named("option", f"--{name}", [f"--{o}" for o in options]).message
    return BadInput(message, where=where, hint=usage(kind))


def _value(option: Option, words: list[str], where: str, kind: str) -> Any:
    if not words:
        raise BadInput(f"--{option.name} needs a value", where=where, hint=usage(kind))
    if option.shape == "one":
        if len(words) > 1:
            raise BadInput(f"--{option.name} is given twice", where=where, hint=usage(kind))
        return _converted(option, words[0], where, kind)
    parts = [part.strip() for word in words for part in word.split(",")]
    return tuple(dict.fromkeys(_converted(option, part, where, kind) for part in parts if part))


def _converted(option: Option, text: str, where: str, kind: str) -> Any:
    try:
        return option.convert(text)
    except ValueError as error:
        raise BadInput(f"{_label(option)}: {error}", where=where, hint=usage(kind)) from error


def _label(option: Option) -> str:
    return option.name.upper() if option.positional else f"--{option.name}"
