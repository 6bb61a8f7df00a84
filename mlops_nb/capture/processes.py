"""The files that a shell command names: its words, redirections and options, looked at before it runs and judged when the cell ends.

What a program opens without being told on its command line is not seen.
"""

import os
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from mlops_nb.capture import touched
from mlops_nb.capture.touched import Role

MAX_WORDS = 64
MAX_COMMAND = 20_000
_SHELLS = frozenset({"sh", "bash", "zsh", "dash", "ksh", "fish"})
_SEPARATORS = frozenset({"|", "||", "&", "&&", ";", ";;", "(", ")", "|&"})
_REDIRECTIONS: dict[str, Role] = {
    ">": "write",
    ">>": "both",
    "<": "read",
    "&>": "write",
    "&>>": "both",
    ">|": "write",
    "<>": "both",
    ">&": "write",
    "<&": "read",
}

Named = tuple[str, Role]


def note_arguments(arguments: Any, folder: Any = None) -> None:
    """A process is about to start with `arguments` (a list, or the command line as text) in `folder`."""
    if type(arguments) is str or type(arguments) is bytes:
        note_command(arguments, folder=folder)
    elif type(arguments) is list or type(arguments) is tuple:
        words = [name for part in arguments[: MAX_WORDS + 1] for name in _text(part)]
        script = _script(words)
        if script:
            note_command(script, folder=folder)
        else:
            _note(_from_words(words[1:]) if words else (), folder)


def note_command(command: Any, folder: Any = None) -> None:
    """A shell is about to run `command` (str or bytes)."""
    for text in _text(command):
        _note(named_files(text[:MAX_COMMAND]), folder)


def named_files(command: str) -> Iterator[Named]:
    """What the words of a shell command may name, with what the shell itself does to it; `cd` counts.

    >>> list(named_files("cd data && sort < in.csv > out.csv"))
    [('data/in.csv', 'read'), ('data/out.csv', 'write')]
    >>> list(named_files("make-it --out=x.csv /abs/y"))
    [('x.csv', 'both'), ('/abs/y', 'both')]
    """
    folder, role, first, enters = "", None, True, False
    for word in _words(command):
        if word in _SEPARATORS:
            role, first, enters = None, True, False
        elif word in _REDIRECTIONS:
            role = _REDIRECTIONS[word]
        elif enters:
            folder, enters = os.path.join(folder, word), False  # noqa: PTH118 (names, not files)
        elif first and role is None:
            first, enters = False, word == "cd"
        else:
            yield from _from_words([word], role or "both", folder)
            role = None


def _words(command: str) -> list[str]:
    lexer = shlex.shlex(command.replace("\n", " ;\n") if "'" not in command and '"' not in command else command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        return list(lexer)
    except ValueError:  # an open quote: the shell will say so, or it is another language
        return command.split()


def _from_words(words: Sequence[str], role: Role = "both", folder: str = "") -> Iterator[Named]:
    for word in words:
        option, equals, value = word.partition("=")
        name = value if equals and "/" not in option else word.lstrip("@")
        if name and not (name[0] == "-" or name.isdigit()):
            yield (name if "://" in name else os.path.join(folder, name)), role  # noqa: PTH118 (as above)


def _script(words: Sequence[str]) -> str:
    """The text that `sh -c` is given; '' for any other command."""
    if len(words) > 2 and os.path.basename(words[0]) in _SHELLS and words[1].startswith("-") and words[1].endswith("c"):  # noqa: PLR2004, PTH119
        return words[2]
    return ""


def _note(named: "Iterator[Named] | Sequence[Named]", folder: Any) -> None:
    """Note what may be files, and, for each folder among them, the files of the same names in it."""
    base = next(iter(_text(folder)), "")
    paths: list[str] = []
    folders: list[str] = []
    for name, role in named:
        if len(paths) >= MAX_WORDS:
            break
        if "://" in name:
            touched.note_url(name)
            continue
        for path in touched.expanded(os.path.expandvars(os.path.expanduser(name)), base):  # noqa: PTH111 (as above)
            full = os.path.join(base, path)  # noqa: PTH118 (as above)
            (folders if os.path.isdir(full) else paths).append(full)  # noqa: PTH112 (as above)
            touched.note_guess(full, role)
    for folder_path in folders[-1:]:
        for path in paths[:MAX_WORDS]:
            touched.note_guess(os.path.join(folder_path, os.path.basename(path)), "write")  # noqa: PTH118, PTH119 (as above)


def _text(value: Any) -> tuple[str, ...]:
    return (os.fsdecode(value),) if type(value) is bytes else tuple(touched.names_in(value))
