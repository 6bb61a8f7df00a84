"""What a cell may leave behind besides variables: random generators, working directory, import path, environment, patched modules.

Each is a name with a prefix (`state:random`, `env:HOME`, `module:numpy`) that cells read and write like a variable.
"""

import io
import os
import random
import sys
import types
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlops_nb.capture.kinds import module_of, namespace_of
from mlops_nb.notebook.effects import is_seed
from mlops_nb.notebook.flow import Facts
from mlops_nb.records import Certainty

RANDOM, NUMPY_RANDOM, CWD, PATH = "state:random", "state:numpy.random", "state:cwd", "state:sys.path"
GENERATORS = {RANDOM: "random", NUMPY_RANDOM: "numpy"}  # -> the package
PREFIXES = ("state:", "env:", "module:", "file:")
_MT19937_BYTES = 4 * (624 + 1)  # the key and the place in it, as numpy lays them out


def is_state(name: str) -> bool:
    """Whether a name in a run's reads or writes is no variable.

    >>> is_state("state:random"), is_state("x")
    (True, False)
    """
    return name.startswith(PREFIXES)


_STARTS = frozenset({"system", "getoutput", "run_cell_magic", "Popen", "check_output", "check_call", "popen", "execv", "spawnv"})
_LOOKS = frozenset({"exists", "lexists", "isfile", "is_file", "isdir", "is_dir", "stat", "getsize", "getmtime", "listdir", "scandir", "walk"})
_LOOKS |= {"glob", "iglob", "rglob", "iterdir"}


def files_looked_at(attributes: Iterable[str], source: str, known: Iterable[str]) -> dict[str, Certainty]:
    """Of the files that cells wrote (`file:PATH`), those that code may have asked for without opening them: the ones it names, else all."""
    if _LOOKS.isdisjoint(attributes):
        return {}
    files = [name for name in known if name.startswith("file:")]
    named = [name for name in files if name.rpartition("/")[2].removeprefix("file:") in source]
    return dict.fromkeys(named or files, "possible")


@dataclass(frozen=True, slots=True)
class States:
    """How things stand at one moment; `modules`: root name -> the identities of each attribute of the modules in use."""

    marks: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[Any, Any] = field(default_factory=dict)
    modules: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def look(used: Iterable[types.ModuleType] = ()) -> States:
    """The present state; `used` are the modules that the cell names."""
    data = getattr(os.environ, "_data", None)
    return States(_marks(), dict(data) if type(data) is dict else {}, {_name(m): _identities(m) for m in used})


def _marks() -> dict[str, Any]:
    found: dict[str, Any] = {PATH: tuple(entry for entry in sys.path if type(entry) is str)}
    own = namespace_of(random).get("_inst")
    if type(own) is random.Random:
        found[RANDOM] = hash(random.Random.getstate(own))
    drawn = getattr(sys.modules.get("numpy.random.mtrand"), "_rand", None)
    if drawn is not None and type(drawn).__name__ == "RandomState":
        found[NUMPY_RANDOM] = _numpy_mark(drawn)
    return found


def _numpy_mark(drawn: Any) -> int | str:
    """What tells one state of numpy's global generator from another; its bytes are read where they lie, since a copy costs 40 µs."""
    generator = drawn._bit_generator  # noqa: SLF001 (numpy has no public name for it before 1.24)
    if type(generator) is not sys.modules["numpy.random._mt19937"].MT19937:
        return repr(drawn.get_state(legacy=False)["state"])
    import ctypes

    return hash(ctypes.string_at(generator.ctypes.state_address, _MT19937_BYTES))


def _identities(module: types.ModuleType) -> dict[str, int]:
    return {name: id(value) for name, value in namespace_of(module).copy().items() if name[:2] != "__"}


def _name(module: types.ModuleType) -> str:
    name = namespace_of(module).get("__name__")
    return name if type(name) is str else ""


@dataclass(frozen=True, slots=True)
class Use:
    """What a cell does with state, as far as its code and the look before it tell.

    It `seeds` a generator, reads `variables` of the environment, uses code of `packages`, `opens` files or asks for the working
    directory, `starts` other programs, which take the environment along, or asks for `any_variable` by a name
    made at run time.
    """

    facts: Facts
    seeds: bool = False
    variables: frozenset[str] = frozenset()
    packages: frozenset[str] = frozenset()
    opens: bool = False
    starts: bool = False
    any_variable: bool = False
    seeds_first: frozenset[str] = frozenset()


def use_of(facts: Facts, *, attributes: Iterable[str], variables: Collection[str], packages: frozenset[str], opens: bool) -> Use:
    """The use of state of a cell: `attributes` are the names that the functions it uses look up, `packages` whose code its values run."""
    imports = facts.analysis.imports
    asked = {*facts.effects.attributes, *attributes}
    return Use(
        facts,
        seeds=facts.effects.seeds or any(map(is_seed, attributes)),
        variables=frozenset(variables),
        packages=packages | {root(module) for module in imports.values()},
        opens=opens,
        starts=not _STARTS.isdisjoint(asked),
        any_variable=not variables and not {"environ", "getenv"}.isdisjoint(asked),
        seeds_first=frozenset(root(imports.get(name, "")) for name in facts.effects.seeds_first),
    )


def followed(use: Use, wrote: Mapping[str, Certainty], known: Collection[str]) -> tuple[dict[str, Certainty], dict[str, Certainty]]:
    """Reads and writes of state, among `known` (what of it some cell of the session wrote) and what this cell `wrote`.

    Draws from a generator that nobody has seeded follow from no cell, so that they are left out.
    """
    writes = {name: sure for name, sure in wrote.items() if name not in GENERATORS or use.seeds or name in known}
    reads: dict[str, Certainty] = {}
    for name in known:
        prefix, _, rest = name.partition(":")
        if name in GENERATORS:
            package = GENERATORS[name]
            drawn = name in wrote or (use.seeds and package in use.packages)  # a draw before a seed may leave the state as it was
            if drawn and package not in use.seeds_first:
                reads[name] = "possible" if use.seeds else "certain"
        elif prefix == "env" and (rest in use.variables or use.starts or use.any_variable or (name in wrote and rest not in os.environ)):
            reads[name] = "certain" if rest in use.variables else "possible"
        elif (prefix == "module" and rest in use.packages) or (name == PATH and use.facts.analysis.imports) or (name == CWD and use.opens):
            reads[name] = "possible"
    return reads, writes


def changed(before: States, facts: Facts, namespace: Mapping[str, Any], *, moved: bool) -> dict[str, Certainty]:
    """What the cell changed of it since `before`, by comparison and, of modules, by its code's evidence; `moved` to another directory."""
    after = look()
    found: dict[str, Certainty] = {name: "certain" for name, mark in after.marks.items() if before.marks.get(name) != mark}
    if moved:
        found[CWD] = "certain"
    old, new = before.environment, after.environment
    if old != new:
        found |= {f"env:{_text(key)}": "certain" for key in {*old, *new} if old.get(key) != new.get(key)}
    for name, identities in before.modules.items():
        module = sys.modules.get(name)
        if module is not None and _rebound(identities, _identities(module)):
            found[f"module:{root(name)}"] = "certain"
    for package in _set_by_code(facts, namespace):
        found.setdefault(f"module:{package}", "possible")
    return found


def _text(key: Any) -> str:
    return key.decode("utf-8", "replace") if type(key) is bytes else str(key)


def _rebound(before: Mapping[str, int], after: Mapping[str, int]) -> bool:
    """Whether an attribute is another object; new ones come with imports of submodules."""
    return before != after and any(after.get(name) != mark for name, mark in before.items())


def _set_by_code(facts: Facts, namespace: Mapping[str, Any]) -> Iterator[str]:
    for name in facts.effects.settings:
        value = namespace.get(name)
        shared = type(value) in (types.ModuleType, types.FunctionType) or issubclass(type(value), type)
        package = package_of(value)
        if shared and package not in ("", "__main__") and (package != "builtins" or type(value) is types.ModuleType):
            yield package


def root(name: str) -> str:
    """The package that a dotted name is in."""
    return name.partition(".")[0]


def package_of(value: Any) -> str:
    """The package whose code a value runs: of a module, function, class or instance; '' for none."""
    kind = type(value)
    if kind is types.ModuleType:
        return root(_name(value))
    if kind is types.FunctionType:
        name = value.__globals__.get("__name__")
        return root(name) if type(name) is str else ""
    return root(module_of(value if issubclass(kind, type) else kind))


def modules_in(names: Iterable[str], namespace: Mapping[str, Any]) -> list[types.ModuleType]:
    """The modules that some names are bound to."""
    return [value for name in names if type(value := namespace.get(name)) is types.ModuleType]


def handles(values: Iterable[Any]) -> list[str]:
    """The paths of the files that were opened for writing among some values."""
    opened = [value for value in values if type(value) in _HANDLES]
    return [value.name for value in opened if type(value.name) is str and not set("wax+").isdisjoint(str(getattr(value, "mode", "")))]


_HANDLES = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom, io.FileIO)
