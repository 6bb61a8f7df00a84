"""Components in the making: what each takes from outside, from where, and what cannot be taken truly. Pure."""

import ast
import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mlops_nb.errors import PromotionRefused
from mlops_nb.notebook.analysis import analyze, facts
from mlops_nb.notebook.syntax import parse
from mlops_nb.pipeline.portable import defines_class, definition_reads, is_parameter, is_portable, literals, pieces, same_code
from mlops_nb.pipeline.setup import Setting, settings_of, texts
from mlops_nb.pipeline.wiring import OUTPUT_NAMES, PROCESS_WIDE, STATEFUL, Read, Unit, Wiring, imported_packages, through_functions

# Builtins that a module's `import *` may well bind anew.
SHADOWED = frozenset({"abs", "all", "any", "bin", "divmod", "hex", "input", "max", "min", "open", "pow", "round", "sum"})


@dataclass(slots=True)
class Draft:
    """A component in the making: its own units, what it takes from where."""

    name: str
    units: list[Unit]
    wiring: Wiring
    inputs: dict[str, Read] = field(default_factory=dict)
    leading: dict[str, Unit] = field(default_factory=dict)
    portable: dict[str, Unit] = field(default_factory=dict)
    parameters: dict[str, object] = field(default_factory=dict)
    settings: list[Setting] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)

    @property
    def first(self) -> int:
        """The index of its first cell."""
        return min(unit.cell.index for unit in self.units)

    @property
    def last(self) -> int:
        """The index of its last cell."""
        return max(unit.cell.index for unit in self.units)

    @property
    def support(self) -> str:
        """The code that comes along and the settings, as they stand in the notebook."""
        before = [unit for unit in self.wiring.units if unit.cell.index < self.last and unit.owner != self.name]
        found = pieces(self.portable, before) | texts(self.settings)
        return "".join(f"{text}\n" for _, text in sorted(found.items()))


def draft_all(wiring: Wiring) -> dict[str, Draft]:
    """The components in notebook order, with all they take from outside. Raises PromotionRefused."""
    drafts: dict[str, Draft] = {}
    for unit in wiring.units:
        if unit.owner:
            drafts.setdefault(unit.owner, Draft(unit.owner, [], wiring)).units.append(unit)
    for draft in drafts.values():
        _take_all(draft, [read for unit in draft.units for read in wiring.of(unit)])
        _take_all(draft, _maybe_from_outside(draft, _exposed(draft)))
    while any(_take_all(draft, _maybe_from_outside(draft, _unsure_outputs(draft, drafts))) for draft in drafts.values()):
        pass
    for draft in drafts.values():
        _take_all(draft, _classes_before(draft, drafts))
    settings = settings_of(wiring)
    while _take_settings(drafts, settings):
        pass
    for draft in drafts.values():
        _check_one_meaning(draft)
    return drafts


def taken_from(draft: Draft, drafts: Mapping[str, Draft]) -> frozenset[str]:
    """The names that other components take from `draft`."""
    reads = (read for other in drafts.values() for read in other.inputs.values())
    return frozenset(read.name for read in reads if read.maker and read.maker.owner == draft.name)


# --- what a component takes -----------------------------------------------------------------------------------


def _take_all(draft: Draft, reads: Iterable[Read]) -> bool:
    """Take what is read, and what that needs; was there anything new?"""
    todo = list(reads)
    new = False
    while todo:
        read = todo.pop(0)
        known = len(draft.inputs), len(draft.leading), len(draft.portable), len(draft.parameters)
        todo += _take(draft, read)
        new |= known != (len(draft.inputs), len(draft.leading), len(draft.portable), len(draft.parameters))
    return new


def _take(draft: Draft, read: Read) -> tuple[Read, ...]:
    """Note where a read comes from; returns the reads of what comes along for it."""
    maker = read.maker
    if maker is None:
        raise _unmade(read, draft.wiring)
    if maker.owner == draft.name:
        return ()
    draft.reads.append(read)
    if is_parameter(read.name, maker) and read.name not in maker.changes:
        draft.parameters[read.name] = literals(maker.cell)[read.name]
    elif is_portable(read.name, maker, draft.wiring):
        return _carry(draft, read.name, maker)
    elif maker.owner:
        _check_value(read, maker, draft.wiring)
        draft.inputs[read.name] = read
    else:
        return _bring(draft, read, maker)
    return ()


def _carry(draft: Draft, name: str, maker: Unit) -> tuple[Read, ...]:
    """Let the code that defines a name come along."""
    if draft.portable.get(name) is maker:
        return ()
    draft.portable[name] = maker
    return definition_reads(name, maker, draft.wiring)


def _bring(draft: Draft, read: Read, maker: Unit) -> tuple[Read, ...]:
    """Let a whole untagged cell come along for a value it makes."""
    if maker.cell.id in draft.leading:
        return ()
    _check_simple(read, maker, draft.wiring)
    draft.leading[maker.cell.id] = maker
    return draft.wiring.of(maker)


def _maybe_from_outside(draft: Draft, names: Iterable[str]) -> list[Read]:
    """Reads of names that the component binds on some paths only: another cell's value is then the one that counts."""
    found = []
    for name in sorted(names):
        first = next(unit for unit in draft.units if name in unit.makes)
        outside = draft.wiring.maker_before(name, first.cell.index)
        found += [Read(first, name, outside, direct=False)] if outside and outside.owner != draft.name else []
    return found


def _classes_before(draft: Draft, drafts: Mapping[str, Draft]) -> list[Read]:
    """The classes of the components that its values come from: a value may be an instance, which needs its class to be loaded."""
    known = {read.name for read in draft.reads}.union(*(unit.makes for unit in draft.units))
    units = [unit for name in sorted(_before(draft, drafts)) for unit in (*drafts[name].units, *drafts[name].leading.values())]
    makers = [(read.name, read.maker) for unit in units for read in draft.wiring.of(unit) if read.maker]
    makers += [(name, unit) for unit in units for name in sorted(unit.analysis.defs)]
    found = {name: maker for name, maker in makers if name not in known and defines_class(name, maker)}
    classes = {name: maker for name, maker in found.items() if is_portable(name, maker, draft.wiring)}
    behind = through_functions(classes, draft.wiring.deferred_before(draft.units[0])) - known - classes.keys()
    made = {name: draft.wiring.maker_before(name, draft.first) for name in sorted(behind)}
    return [Read(draft.units[0], name, maker, direct=False) for name, maker in (classes | made).items() if maker]


def _before(draft: Draft, drafts: Mapping[str, Draft]) -> frozenset[str]:
    """The components that its inputs come from, and theirs."""
    found: set[str] = set()
    todo = [draft]
    while todo:
        makers = {read.maker.owner for read in todo.pop().inputs.values() if read.maker} - found
        found |= makers
        todo += [drafts[name] for name in sorted(makers)]
    return frozenset(found - {draft.name})


def _code(draft: Draft) -> str:
    return "\n".join(unit.python for unit in draft.units if unit.cell.kind not in ("test", "feature"))


def _exposed(draft: Draft) -> frozenset[str]:
    """Names that it makes, but reads on some path before."""
    made_here = {read.name for unit in draft.units for read in draft.wiring.of(unit) if read.maker and read.maker.owner == draft.name}
    return facts(_code(draft)).analysis.uses & made_here


def _unsure_outputs(draft: Draft, drafts: Mapping[str, Draft]) -> frozenset[str]:
    """Names that others take from it and it does not bind on every path."""
    surely = facts(_code(draft)).always | {unit.cell.name for unit in draft.units if unit.cell.kind == "feature"}
    return taken_from(draft, drafts) - surely


# --- settings -------------------------------------------------------------------------------------------------


def _take_settings(drafts: Mapping[str, Draft], settings: Iterable[Setting]) -> bool:
    """Let each component take the settings of what it uses; was there a new one?"""
    packages = {name: _packages(draft) for name, draft in drafts.items()}
    new = False
    for draft in drafts.values():
        used = frozenset().union(PROCESS_WIDE, *(packages[name] for name in (draft.name, *_before(draft, drafts))))
        for setting in settings:
            if setting.place[0] < draft.last and setting.packages & used and setting.unit.owner != draft.name and setting not in draft.settings:
                new |= _take_setting(draft, setting)
    return new


def _packages(draft: Draft) -> frozenset[str]:
    return imported_packages(draft.support).union(*(imported_packages(u.python) for u in [*draft.units, *draft.leading.values()]))


def _take_setting(draft: Draft, setting: Setting) -> bool:
    if setting.unit.owner:
        if not setting.essential or setting.seeds or not _is_code_only(setting, draft.wiring):
            return False
    elif setting.unit.cell.id in draft.leading:
        return False
    elif setting.place[0] > draft.first or not _is_code_only(setting, draft.wiring):
        if not setting.essential:
            return False
        named = Read(draft.units[-1], setting.part.text.split("\n")[0], setting.unit, direct=False)
        _take_all(draft, _bring(draft, named, setting.unit))
        draft.settings = [other for other in draft.settings if other.unit is not setting.unit]
        return True
    draft.settings.append(setting)
    _take_all(draft, setting.reads)
    return True


def _is_code_only(setting: Setting, wiring: Wiring) -> bool:
    made = [(read.name, read.maker) for read in setting.reads if read.maker]
    return all(is_parameter(name, maker) or is_portable(name, maker, wiring) for name, maker in made)


# --- refusals -------------------------------------------------------------------------------------------------


def _check_value(read: Read, maker: Unit, wiring: Wiring) -> None:
    """Code is no value that a step could hand on."""
    definer = next((u for u in reversed(wiring.units) if u.cell.index <= maker.cell.index and read.name in u.analysis.defs), maker)
    if read.name not in definer.analysis.deferred and read.name not in definer.analysis.imports:
        return
    if definer is maker and read.name not in maker.changes:
        what = f"defines `{read.name}` out of what is known only in step {maker.owner}, and {read.reader.cell.where} uses it"
    else:
        what = f"changes what `{read.name}` keeps in itself, and {read.reader.cell.where} uses it in another kernel"
    raise PromotionRefused(
        what, where=maker.cell.where, hint=f"code is carried as code: keep such state in a variable, or use `{read.name}` in one step"
    )


def _check_simple(read: Read, maker: Unit, wiring: Wiring) -> None:
    advice = f"give that cell a step of its own: %%step {_step_name(read.name)}"
    if maker.cell.kind == "parameters":
        raise PromotionRefused(
            f"`{read.name}` is computed in the parameters cell, so a parameter given to a run would not reach it",
            where=maker.cell.where,
            hint="keep literals in the parameters cell and compute from them in another",
        )
    if maker.analysis.error:
        raise PromotionRefused(maker.analysis.error, where=maker.cell.where, hint="mend the cell")
    stepped = next((r for r in wiring.of(maker) if r.maker and r.maker.owner and not is_portable(r.name, r.maker, wiring)), None)
    if stepped and stepped.maker:
        raise PromotionRefused(
            f"makes `{read.name}` for {read.reader.cell.where} out of `{stepped.name}` of step {stepped.maker.owner}, but is no step itself",
            where=maker.cell.where,
            hint=advice,
        )
    if maker.analysis.dynamic:
        raise PromotionRefused(f"makes `{read.name}` by code that cannot be read (exec, import *, %run)", where=maker.cell.where, hint=advice)


def _step_name(name: str) -> str:
    word = "".join(char if char.isalnum() or char == "_" else "_" for char in name.lstrip("_"))
    return f"make_{word}"[:40].rstrip("_")


def _unmade(read: Read, wiring: Wiring) -> PromotionRefused:
    where = read.reader.cell.where
    if read.name in OUTPUT_NAMES:
        return PromotionRefused(f"reads IPython's `{read.name}`, another value in a run", where=where, hint="give that value a name of its own")
    later = wiring.made_later(read.name, read.reader)
    if later:
        owner = f"step {later.owner}" if later.owner else "an untagged cell"
        return PromotionRefused(
            f"reads `{read.name}`, which only {owner} makes, further down ({later.cell.where})",
            where=where,
            hint="put the cells in the order in which they run",
        )
    near = difflib.get_close_matches(read.name, sorted(set().union(*(unit.makes for unit in wiring.units))), n=3, cutoff=0.6)
    dynamic = next((u for u in wiring.units if u.analysis.dynamic and u.cell.index < read.reader.cell.index), None)
    hint = f"did you mean {' or '.join(near)}?" if near else "make it in a cell above, or write it out"
    if dynamic:
        hint = f"{dynamic.cell.where} may make it by exec, import * or %run: bind it by its name"
    return PromotionRefused(f"reads `{read.name}`, which no cell makes", where=where, hint=hint)


def _check_one_meaning(draft: Draft) -> None:
    """By a name that comes from outside all cells mean one value, and none of the component's own cells has replaced it before."""
    inside = {unit.cell.id: unit for unit in (*draft.units, *draft.leading.values())}
    start: dict[str, Unit] = {}
    for read in draft.reads:
        maker = read.maker
        if maker is None or maker.cell.id in inside:
            continue
        own = next((u for u in inside.values() if read.name in u.makes and u.cell.index < read.reader.cell.index), None)
        other = start.setdefault(read.name, maker)
        if own or not (other is maker or same_code(read.name, maker, other)):
            raise _two_meanings(draft, read, maker, own or other)


def _two_meanings(draft: Draft, read: Read, maker: Unit, other: Unit) -> PromotionRefused:
    return PromotionRefused(
        f"reads `{read.name}` as {maker.cell.where} makes it anew, while step {draft.name} works with the one of {other.cell.where} too",
        where=read.reader.cell.where,
        hint="give one of the two another name, or split the step",
    )


def check_interleaving(draft: Draft) -> None:
    """What a component takes from another must be what that one has at its end. Raises PromotionRefused."""
    for read in draft.inputs.values():
        maker = read.maker
        assert maker is not None
        again = next((u for u in draft.wiring.units if u.owner == maker.owner and u.cell.index > maker.cell.index and read.name in u.makes), None)
        if again:
            raise PromotionRefused(
                f"reads `{read.name}` as {maker.cell.where} left it, but {again.cell.where} of the same step {maker.owner} changes it later",
                where=read.reader.cell.where,
                hint=f"make {again.cell.where} a step of its own",
            )


def check_stateful(drafts: Mapping[str, Draft], wiring: Wiring) -> None:
    """An object that moves on when it is used cannot be made anew by each of several steps. Raises PromotionRefused."""
    makers = STATEFUL.union(*(_stateful_functions(unit) for unit in wiring.units))
    seen: dict[str, str] = {}
    for draft in drafts.values():
        for cell_id, unit in draft.leading.items():
            if not makers & set(_made_by(unit)):
                continue
            if cell_id in seen:
                raise PromotionRefused(
                    f"makes an object that moves on when it is used, a random generator say, for the steps {seen[cell_id]}, {draft.name}: "
                    "each would start it anew",
                    where=unit.cell.where,
                    hint="make one of its own, with a seed, in each step",
                )
            seen[cell_id] = draft.name


def check_star_imports(wiring: Wiring) -> None:
    """What `import *` binds cannot be known: a step that reads a builtin below one may mean another function. Raises PromotionRefused."""
    star = ""
    for unit in wiring.units:
        read = sorted(analyze(unit.python, shadowed=SHADOWED).uses & SHADOWED) if star and unit.owner else ()
        if read:
            message = f"reads `{read[0]}`, which the import * of {star} may have bound anew"
            raise PromotionRefused(message, where=unit.cell.where, hint="import what is needed by its name")
        tree = parse(unit.python)
        stars = (n for n in (() if isinstance(tree, str) else ast.walk(tree)) if isinstance(n, ast.ImportFrom) and n.names[0].name == "*")
        star = unit.cell.where if any(stars) else star


def _made_by(unit: Unit) -> Iterator[str]:
    """The last names of all that a cell calls or names; "iter" for a generator expression that it binds."""
    tree = parse(unit.python)
    for node in () if isinstance(tree, str) else ast.walk(tree):
        match node:
            case ast.Attribute(attr=name) | ast.Name(id=name):
                yield name
            case ast.Assign(value=ast.GeneratorExp()):
                yield "iter"


def _stateful_functions(unit: Unit) -> set[str]:
    """Functions that make generators, or functions with state of their own (`nonlocal`)."""
    tree = parse(unit.python)
    functions = [s for s in ([] if isinstance(tree, str) else tree.body) if isinstance(s, ast.FunctionDef)]
    return {f.name for f in functions if any(isinstance(n, ast.Nonlocal) for n in ast.walk(f))}
