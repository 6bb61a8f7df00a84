"""Registered tests: run in the notebook, again headless against the newest artifacts, and listed."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.display import Report, Table, shorten
from mlops_nb.errors import GateBlocked, MlopsError, NotebookError, NotFound, NotStorable, RecordingOff
from mlops_nb.notebook.cells import read_notebook
from mlops_nb.project import event, new_id, unknown_variable
from mlops_nb.records import ArtifactRef, Cell, Fact, TestCase, TestResult, now_text
from mlops_nb.store.codec import from_json
from mlops_nb.store.redaction import MARK
from mlops_nb.testing.cases import build_case, case_version, cases_of
from mlops_nb.testing.cells import TestRun, run_fresh, run_test
from mlops_nb.unseen import unseen

if TYPE_CHECKING:
    from mlops_nb.pipeline.step import StepSpec
    from mlops_nb.project import Project

CASES = "select * from current_test_case order by notebook, name"
LAST_RESULTS = """
select * from (select *, row_number() over (partition by test, version order by created desc, rowid desc) as nth from test_result) where nth = 1
"""
STEPS = """
select step_run.outputs, step_run.parameters from step_run join run on run.id = step_run.run_id
where run.notebook = ? and run.kind = 'pipeline' and step_run.status in ('ran', 'skipped')
order by run.started desc, step_run.position desc limit 1000
"""

SEEN = """
select test_result.artifacts from test_result join run on run.id = test_result.run_id
where run.notebook = ? and test_result.outcome = 'passed' order by test_result.created desc, test_result.rowid desc limit 200
"""

WIDEST = 160  # characters of a line of a message

Show = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class CheckedTest:
    """A registered test and its last result (None: its present version never ran)."""

    __test__ = False

    case: TestCase
    result: TestResult | None = None
    run: TestRun | None = None

    @property
    def blocks(self) -> bool:
        """Whether it stops what depends on it."""
        return self.case.severity == "error" and (self.result is None or self.result.outcome != "passed")


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest values that a notebook's pipeline made: artifacts by name, and the parameters of the newest run."""

    artifacts: Mapping[str, ArtifactRef]
    parameters: Mapping[str, Any]
    ran: bool


class Tests:
    """The tests of a project."""

    __test__ = False

    def __init__(self, project: "Project") -> None:
        self.project = project
        self._registered: dict[tuple[str, str], TestCase] = {}
        self._known = False

    # --- in a kernel ---

    def run_cell(
        self,
        namespace: Mapping[str, Any],
        cell: Cell,
        *,
        sources: Sequence[str],
        session_id: str = "",
        step: "StepSpec | None" = None,
        show: Show | None = None,
        record: bool = True,
    ) -> TestResult:
        """Register the test in `cell`, run it over a copy of `namespace`, record its result and `show` it (default: on stdout).

        Without `record` it runs and is shown, and the registry keeps nothing of it.

        Raises:
            NotFound: `--on` names no variable.
            GateBlocked: a test of severity error did not pass; its text names notebook, cell, line and the assertion with its values.
        """
        cell = replace(cell, notebook=step.notebook) if step else cell  # a component's cells are those of the notebook it comes from
        case = self._case(cell, sources, step)
        for name in case.on:
            if name not in namespace:
                raise unknown_variable(name, namespace, where=cell.where)
        if record:
            self.register(case, in_step=step is not None)
        digests, notes = self._digests(case, namespace, made_by=f"{step.run_id}/{step.component}" if step else "")
        run = run_test(case, namespace)
        result = _result(case, run, digests, run_id=step.run_id if step else "", session_id=session_id)
        if record:
            self.project.registry.record([_result_fact(result)])
        if case.severity == "error" and result.outcome != "passed":
            raise GateBlocked(_failure(case, run), where=place(case, run.line, cell))
        (show or sys.stdout.write)("\n".join([summary(case, run), *notes]) + "\n")
        return result

    def _case(self, cell: Cell, sources: Sequence[str], step: "StepSpec | None") -> TestCase:
        return build_case(self._as_in_file(cell), sources, notebook=cell.notebook, step=step.component if step else "")

    def _as_in_file(self, cell: Cell) -> Cell:
        """The cell with the name its saved notebook gives it: a kernel does not see that two tests share a default name."""
        saved = next((case for case in self._in_file(cell.notebook) or () if case.cell_id == cell.id), None)
        return replace(cell, name=saved.name) if saved and saved.name.startswith(cell.name) else cell

    def _digests(self, case: TestCase, namespace: Mapping[str, Any], *, made_by: str) -> tuple[dict[str, str], tuple[str, ...]]:
        """The digests of the values the test is about, and notes on those that have none.

        In a step (`made_by`) all it reads is stored, so that the test can run again on values that no other step takes.
        """
        found: dict[str, str] = {}
        notes: tuple[str, ...] = ()
        for name in case.names if made_by else case.on or case.names:
            if name in namespace:
                try:
                    found[name] = self._digest(name, namespace[name], made_by)
                except NotStorable:
                    found[name] = ""
                    notes += (f"  {name} ({type(namespace[name]).__name__}) cannot be stored: no gate can hold this test against it",)
        return found, notes

    def _digest(self, name: str, value: Any, made_by: str) -> str:
        artifacts = self.project.artifacts
        if made_by and self.project.registry.status().on:
            with suppress(RecordingOff):  # the status says so; a test runs all the same
                return artifacts.put(value, name=name, made_by=made_by).digest
        return artifacts.digest(value, name=name)

    # --- the registry ---

    def register(self, case: TestCase, *, in_step: bool = False) -> None:
        """Record `case` where it is new or changed; a step's own parameters in its setup are no change."""
        if not self.project.registry.status().on:
            return
        known = self._cases().get((case.notebook, case.name))
        if known and (known.version == case.version if in_step else _same(known, case)):
            return
        self._registered[case.notebook, case.name] = case
        verb = "changed" if known else "registered"
        self.project.registry.record([_case_fact(case), event(verb, f"test:{case.name}", {"version": case.version, "notebook": case.notebook})])

    def _cases(self) -> dict[tuple[str, str], TestCase]:
        """The registered tests by (notebook, name), read once: what this process registers it knows."""
        if not self._known:
            self._registered = {(case.notebook, case.name): case for case in self.cases()}
            self._known = True
        return self._registered

    def cases(self) -> tuple[TestCase, ...]:
        """Every test's newest registered version, by notebook and name."""
        return tuple(case_of(row) for row in self.project.registry.rows(CASES))

    def results(self, names: Iterable[str] = ()) -> tuple[TestResult, ...]:
        """All results of the tests `names`, oldest first."""
        wanted = tuple(names)
        marks = ",".join("?" * len(wanted))
        rows = self.project.registry.rows(f"select * from test_result where test in ({marks}) order by created, rowid", wanted)  # noqa: S608 (marks only)
        return tuple(_result_of(row) for row in rows)

    def list(self, *, kind: str | None = None, notebook: str | None = None) -> tuple[CheckedTest, ...]:
        """The registered tests that still stand in their notebook, with their last results."""
        last = {(row["test"], row["version"]): _result_of(row) for row in self.project.registry.rows(LAST_RESULTS)}
        return tuple(CheckedTest(case, last.get((case.name, case.version))) for case in self._chosen((), kind, notebook))

    # --- headless ---

    def run(self, names: Iterable[str] = (), *, kind: str | None = None, notebook: str | None = None) -> tuple[CheckedTest, ...]:
        """Run registered tests again, each in a fresh namespace, against the newest artifacts of their notebook's pipeline.

        Raises NotFound for a name that no registered test has.
        """
        newest: dict[str, Newest] = {}
        done = []
        for case in self._chosen(tuple(names), kind, notebook):
            if case.notebook not in newest:
                newest[case.notebook] = self.newest(case.notebook)
            done.append(self.run_case(case, newest[case.notebook]))
        return tuple(done)

    def run_case(self, case: TestCase, newest: Newest | None = None) -> CheckedTest:
        """Run one test in a fresh namespace over the newest artifacts, and record its result."""
        made = newest or self.newest(case.notebook)
        refs = {name: made.artifacts[name] for name in case.names if name in made.artifacts}
        with _importable(self.project.layout.root / Path(case.notebook).parent):
            run = self._run_over(case, refs, made)
        about = {name: refs[name].digest for name in case.on or case.names if name in refs}
        result = _result(case, run, about)
        self.project.registry.record([_result_fact(result)])
        return CheckedTest(case, result, run)

    def _run_over(self, case: TestCase, refs: Mapping[str, ArtifactRef], made: Newest) -> TestRun:
        if _is_redacted(case):
            return TestRun("error", "its code held a secret, which is not stored: save the notebook, or take the secret from the environment")
        missing = [name for name in case.names if name not in refs and name not in made.parameters]
        if missing:
            return TestRun("error", _missing(case, missing, ran=made.ran))
        try:
            values = {name: self.project.artifacts.get(ref) for name, ref in refs.items()}
        except MlopsError as error:
            return TestRun("error", str(error))
        return run_fresh(case, {**made.parameters, **values})

    def newest(self, notebook: str) -> Newest:
        """The newest value of each name that a passed step of `notebook`'s pipeline gave out, or else that one of its tests read."""
        rows = self.project.registry.rows(STEPS, (notebook,))
        artifacts: dict[str, ArtifactRef] = {}
        for row in rows:
            for name, ref in from_json(row["outputs"]).items():
                artifacts.setdefault(name, ArtifactRef(**ref))
        for name, ref in self._seen_by_tests(notebook).items():
            artifacts.setdefault(name, ref)
        parameters: dict[str, Any] = {}
        for row in reversed(rows):
            parameters.update(from_json(row["parameters"]))
        return Newest(artifacts, parameters, ran=bool(rows))

    def _seen_by_tests(self, notebook: str) -> dict[str, ArtifactRef]:
        """What tests read in the steps of runs that passed them; it is stored even where no other step takes it."""
        newest: dict[str, str] = {}
        for row in self.project.registry.rows(SEEN, (notebook,)):
            newest = {**from_json(row["artifacts"]), **newest}
        marks = ",".join("?" * len(newest))
        stored = self.project.registry.rows(f"select digest, kind, type_name, size from artifact where digest in ({marks})", tuple(newest.values()))  # noqa: S608 (marks only)
        refs = {row["digest"]: ArtifactRef(**row) for row in stored}
        return {name: refs[digest] for name, digest in newest.items() if digest in refs}

    def required(self, notebook: str) -> tuple[TestCase, ...]:
        """The tests of a notebook: as they stand in its file, or as registered where there is no file."""
        standing = self._in_file(notebook)
        if standing is not None:
            return standing
        return tuple(case for case in self.cases() if case.notebook == notebook)

    def _chosen(self, names: Sequence[str], kind: str | None, notebook: str | None) -> tuple[TestCase, ...]:
        standing = self._standing()
        for name in names:
            if not any(case.name == name for case in standing):
                raise NotFound.named("test", name, (case.name for case in standing))
        path = self.project.relative(notebook) if notebook else None
        with_tests = {case.notebook for case in standing}
        if notebook and path not in with_tests and not Path(notebook).is_file():
            raise NotFound.named("notebook", notebook, with_tests)
        return tuple(
            case for case in standing
            if (not names or case.name in names) and kind in (None, case.kind) and path in (None, case.notebook)
        )  # fmt: skip

    def _standing(self) -> tuple[TestCase, ...]:
        """The registered tests whose cell is still in its notebook. What redaction took out of a source comes back from the file."""
        registered = self.cases()
        files = {notebook: self._in_file(notebook) for notebook in {case.notebook for case in registered}}
        found = []
        for case in registered:
            in_file = files[case.notebook]
            same_cell = next((c for c in in_file or () if c.cell_id == case.cell_id), None)
            if in_file is None or same_cell:
                found.append(same_cell if same_cell and same_cell.version == case.version and _is_redacted(case) else case)
        return tuple(found)

    def _in_file(self, notebook: str) -> tuple[TestCase, ...] | None:
        """The tests as they stand in the notebook's file; None where it cannot be read, which says nothing against them."""
        path = self.project.layout.root / notebook
        if not notebook or not path.is_file():
            return None
        try:
            with unseen():
                return cases_of(read_notebook(path, strict=False), notebook=notebook)
        except NotebookError:
            return None


# --- words ----------------------------------------------------------------------------------------------------


def place(case: TestCase, line: int, cell: Cell | None = None) -> str:
    """Where a test failed: `nb.ipynb:cell 7 (id 3f2a), line 3`."""
    where = cell.where if cell else f"{case.notebook or 'notebook'}:{case.cell_id}"
    return f"{where}, line {line}" if line else where


def summary(case: TestCase, run: TestRun) -> str:
    """A run in a line, and what went wrong below it."""
    about = f", on {', '.join(case.on)}" if case.on else ""
    head = f"{run.outcome}: {case.name} ({case.kind}{about}), {run.asserts} assert{'' if run.asserts == 1 else 's'}, {run.seconds:.2f} s"
    notes = [f"  {warned}" for warned in run.warned]
    if run.outcome == "passed":
        return "\n".join([head, *notes])
    return "\n".join([f"WARNING {head}", f"  {place(case, run.line)}", explained(case, run), *notes])


def explained(case: TestCase, run: TestRun) -> str:
    """The failing line and the message, indented; values are cut, the registry has them longer."""
    source = source_line(case, run.line)
    shown = [f"{run.line} | {source}"] if source else []
    return "\n".join(f"    {shorten(line, WIDEST)}" for line in [*shown, *run.message.splitlines()])


def source_line(case: TestCase, line: int) -> str:
    """Line `line` (from 1) of the test's cell; '' where there is none."""
    lines = case.source.splitlines()
    return lines[line - 1].strip() if 0 < line <= len(lines) else ""


def _failure(case: TestCase, run: TestRun) -> str:
    """What happened in the first line, for those who show no more; values below."""
    verb = "failed" if run.outcome == "failed" else "could not show what it should"
    what = source_line(case, run.line) or run.message.partition("\n")[0]
    return f"test {case.name} {verb}: {shorten(what, WIDEST)}\n{explained(case, run)}"


def _missing(case: TestCase, names: Sequence[str], *, ran: bool) -> str:
    listed = ", ".join(names)
    if not ran:
        return f"no artifact holds {listed}; run the pipeline first: mlops-nb run {case.notebook}"
    return f"no step of {case.notebook} gives out {listed}; run the pipeline again (mlops-nb run {case.notebook}), or test a value that a step makes"


COLUMNS = ("test", "kind", "severity", "outcome", "asserts", "seconds", "place")


def report(checked: Sequence[CheckedTest], *, title: str) -> Report:
    """Tests with their outcomes; exit code 1 where a test of severity error did not pass."""
    failed = [c for c in checked if c.result and c.result.outcome != "passed"]
    return Report(
        title=title,
        tables=(
            Table(("test", "kind", "severity", "outcome", "asserts", "seconds", "place"), tuple(map(_row, checked)), empty="no test is registered"),
        ),
        notes=tuple(_note(c) for c in failed),
        data=[_data(c) for c in checked],
        exit_code=int(any(c.blocks for c in checked if c.result)),
    )


def counts(checked: Sequence[CheckedTest]) -> str:
    """`3 passed, 1 blocked, 1 warned`: a failing test of severity warn does not block."""
    passed = sum(c.result is not None and c.result.outcome == "passed" for c in checked)
    never = sum(c.result is None for c in checked)
    blocked = sum(c.blocks for c in checked if c.result)
    warned = len(checked) - passed - never - blocked
    words = ((passed, "passed"), (blocked, "blocked"), (warned, "warned"), (never, "never run"))
    return ", ".join(f"{count} {word}" for count, word in words if count or word == "passed")


def _row(checked: CheckedTest) -> tuple[Any, ...]:
    case, result = checked.case, checked.result
    ran = (result.outcome, result.asserts, f"{result.seconds:.2f}") if result else ("never run", "", "")
    return (case.name, case.kind, case.severity, *ran, place(case, result.line if result else 0))


def _note(checked: CheckedTest) -> str:
    case, result = checked.case, checked.result
    assert result is not None
    run = checked.run or TestRun(result.outcome, result.message, result.line)
    prefix = "warning: " if case.severity == "warn" else ""
    return f"{prefix}{case.name} {result.outcome}: {place(case, result.line)}\n{explained(case, run)}"


def _data(checked: CheckedTest) -> dict[str, Any]:
    case, result = checked.case, checked.result
    known = {
        "name": case.name,
        "kind": case.kind,
        "severity": case.severity,
        "notebook": case.notebook,
        "cell": case.cell_id,
        "version": case.version,
    }
    if result is None:
        return {**known, "outcome": "never run"}
    ran = {name: getattr(result, name) for name in ("outcome", "message", "line", "asserts", "seconds", "created")}
    return {**known, **ran, "artifacts": dict(result.artifacts)}


# --- rows -----------------------------------------------------------------------------------------------------


def _same(known: TestCase, case: TestCase) -> bool:
    return (known.version, known.setup, known.cell_id, known.names) == (case.version, case.setup, case.cell_id, case.names)


def _is_redacted(case: TestCase) -> bool:
    """Whether a secret was taken out of the code before it was stored, so that it is no longer what ran."""
    whole = case_version(case.source, kind=case.kind, severity=case.severity, on=case.on)
    return case.version != whole or MARK in case.setup


def _result(case: TestCase, run: TestRun, artifacts: Mapping[str, str], *, run_id: str = "", session_id: str = "") -> TestResult:
    return TestResult(
        id=new_id(),
        test=case.name,
        version=case.version,
        outcome=run.outcome,
        severity=case.severity,
        message=run.message,
        line=run.line,
        asserts=run.asserts,
        seconds=run.seconds,
        created=now_text(),
        artifacts=artifacts,
        run_id=run_id,
        session_id=session_id,
    )


def _result_fact(result: TestResult) -> Fact:
    return Fact("test_result", {name: getattr(result, name) for name in TestResult.__slots__})


def _case_fact(case: TestCase) -> Fact:
    row = {name: getattr(case, name) for name in TestCase.__slots__ if name != "on"}
    return Fact("test_case", {"id": new_id(), **row, "about": case.on, "created": now_text()})


def case_of(row: Mapping[str, Any]) -> TestCase:
    """A row of test_case as its record."""
    plain = {name: row[name] for name in TestCase.__slots__ if name not in ("on", "names")}
    return TestCase(**plain, on=tuple(from_json(row["about"])), names=tuple(from_json(row["names"])))


def _result_of(row: Mapping[str, Any]) -> TestResult:
    plain = {name: row[name] for name in TestResult.__slots__ if name != "artifacts"}
    return TestResult(**plain, artifacts=from_json(row["artifacts"]))


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let a test import what lies beside its notebook, as in its kernel."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))
