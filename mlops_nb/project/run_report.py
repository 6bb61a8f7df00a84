"""A run as one HTML file that needs nothing else: no network, no script; every text is redacted and escaped."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.display import counted, moment
from mlops_nb.errors import BadInput
from mlops_nb.pipeline.files import write_atomically
from mlops_nb.project.lineage_graph import Graph, Link, Node, Use
from mlops_nb.project.lineage_svg import as_svg, safe
from mlops_nb.project.run_facts import Executed, RunFacts, facts_of
from mlops_nb.project.run_outputs import Failure, Plot, failure, plots, within
from mlops_nb.records import StepRun
from mlops_nb.store.redaction import Redactor

if TYPE_CHECKING:
    from mlops_nb.project import Project

NAME = "report.html"
GENERATOR = '<meta name="generator" content="mlops_nb">'
_START = f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">{GENERATOR}'
# Whatever an image or a text holds, the page loads nothing and runs nothing.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = (
    ":root{color-scheme:light dark;--line:color-mix(in srgb,CanvasText 22%,Canvas);--soft:color-mix(in srgb,CanvasText 6%,Canvas);--bad:#c62828}"
    "@media(prefers-color-scheme:dark){:root{--bad:#ff8a80}}"
    "body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;background:Canvas;color:CanvasText}"
    "h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem;border-bottom:1px solid var(--line)}"
    "table{border-collapse:collapse}td,th{text-align:left;vertical-align:top;padding:.2rem 1rem .2rem 0;overflow-wrap:break-word}"
    "th{font-weight:600}tbody tr{border-top:1px solid var(--line)}.number{text-align:right;font-variant-numeric:tabular-nums}"
    "code,pre{font:13px/1.45 ui-monospace,monospace}pre{background:var(--soft);padding:.8rem;overflow-x:auto}"
    ".bad,svg .node.wrong{color:var(--bad)}svg .node.wrong{stroke:var(--bad)}.line{width:22rem}"
    ".bar{display:block;height:.8rem;min-width:2px;margin-top:.35rem;background:currentColor;opacity:.55}.bad .bar{opacity:.9}"
    "figure{margin:1rem 0}figcaption{font-size:.85rem;opacity:.8}figure img{max-width:100%;background:#fff}"
    ".wide{overflow-x:auto}"
)
_DIGEST = 12
_NO_COLUMN = 99


@dataclass(frozen=True, slots=True)
class Written:
    """The report of a run as a file."""

    path: Path
    run: str
    plots: int
    failures: int


def write_report(project: "Project", reference: str, path: Path | None = None) -> Written:
    """Write the report of the run whose id starts with `reference` (default: beside its executed notebooks). Raises NotFound, BadInput."""
    facts = facts_of(project, reference)
    target = path or project.layout.runs / facts.run.id / NAME
    _check_target(target)
    shown = _outputs(facts)
    write_atomically(target, page(facts, *shown, redact=Redactor(project.environ).value).encode("utf-8", "replace").decode())
    return Written(target, facts.run.id, len(shown[0]), len(shown[1]))


def _check_target(path: Path) -> None:
    if path.suffix.lower() not in {".html", ".htm"} or path.is_dir():
        raise BadInput("is no name of an HTML file", where=str(path), hint="for example --to report.html")
    if path.exists() and not _is_report(path):
        raise BadInput("is no report and would be overwritten", where=str(path), hint="give another name")


def _is_report(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_START)) == _START.encode()


def _outputs(facts: RunFacts) -> tuple[tuple[Plot, ...], tuple[Failure, ...]]:
    """The plots of all steps, and the cells that failed."""
    executed = [(step, facts.notebooks.get(step.component, Executed(""))) for step in facts.run.steps]
    images = within(itertools.chain.from_iterable(plots(step.component, notebook) for step, notebook in executed))
    return images, tuple(failure(step, notebook) for step, notebook in executed if step.status == "failed")


def page(facts: RunFacts, images: Sequence[Plot], failures: Sequence[Failure], *, redact: Callable[[Any], Any]) -> str:
    """The page; pure. `redact` takes secrets out of texts and of mappings of names to values."""
    write = _Writer(redact)
    title = f"{facts.run.pipeline}: {facts.run.status}"
    parts = [
        f"<h1{_bad(facts.run.status)}>{write.text(title)}</h1>",
        write.table((), _about(facts)),
        *(write.failure(found) for found in failures),
        write.section("Steps", _picture(facts, redact)),
        write.section("Time line", write.timeline(facts)),
        write.section("Parameters", write.table(("parameter", "value"), [(k, repr(v)) for k, v in redact(dict(facts.parameters)).items()])),
        write.section("Metrics", write.table(("step", "model", "metric", "value"), _metrics(facts))),
        write.section("Tests", write.table(("step", "test", "outcome", "asserts", "message"), _tests(facts), bad=2)),
        write.section("Plots", "".join(write.plot(image) for image in images)),
        write.section("Files read", write.table(("step", "file", "digest"), _files(facts.run.steps))),
        write.section("Outputs", write.table(("step", "output", "type", "bytes", "sha256"), _artifacts(facts.run.steps))),
        write.folded(counted(len(facts.packages), "package"), write.table(("package", "version"), list(facts.packages.items()))),
    ]
    head = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><meta name="viewport" content="width=device-width">'
    return (
        f"{_START}{head}<title>{write.text(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(filter(None, parts))
        + "\n</body></html>\n"
    )


@dataclass(frozen=True, slots=True)
class _Writer:
    """Parts of the page: what comes from the user is redacted first, then escaped."""

    redact: Callable[[Any], Any]

    def text(self, value: object) -> str:
        return safe(str(self.redact(str(value))))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]], *, bad: int = _NO_COLUMN) -> str:
        """A table; a row whose column number `bad` says so is marked as bad."""
        if not rows:
            return ""
        head = "<thead><tr>" + "".join(f"<th>{safe(name)}</th>" for name in columns) + "</tr></thead>" if columns else ""
        body = "".join(f"<tr{_bad(*row[bad : bad + 1])}>" + "".join(self._cell(value) for value in row) + "</tr>" for row in rows)
        return f'<div class="wide"><table>{head}<tbody>{body}</tbody></table></div>'

    def _cell(self, value: object) -> str:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return f'<td class="number">{value:,.6g}</td>' if number else f"<td>{self.text(value)}</td>"

    def section(self, title: str, body: str) -> str:
        return f"<h2>{safe(title)}</h2>\n{body}" if body else ""

    def folded(self, title: str, body: str) -> str:
        return f"<details><summary>{safe(title)}</summary>{body}</details>" if body else ""

    def failure(self, found: Failure) -> str:
        where = f"Failed: step {found.step}" + (f", cell {found.cell}" if found.cell else "")
        source = f"<pre>{self.text(found.source)}</pre>" if found.source else ""
        traceback = f"<pre>{self.text(found.traceback)}</pre>" if found.traceback else ""
        return f'<h2 class="bad">{self.text(where)}</h2>\n<p>{self.text(found.error)}</p>{source}{traceback}'

    def plot(self, image: Plot) -> str:
        told = self.text(f"step {image.step}, cell {image.cell}")
        if not image.data:
            return f"<p>{told}: too big for this page; it is in {self.text(image.notebook)}</p>"
        return f'<figure><img src="data:{image.kind};base64,{image.data}" alt="{told}"><figcaption>{told}</figcaption></figure>'

    def timeline(self, facts: RunFacts) -> str:
        """A row a step, with a bar from when it began to when it ended within the run."""
        whole = max([facts.run.seconds, *(_begun(step, facts) + step.seconds for step in facts.run.steps)]) or 1.0
        rows = [
            f'<tr{_bad(step.status)}><td>{self.text(step.component)}</td><td>{safe(step.status)}</td><td class="number">{_seconds(step)}</td>'
            f'<td class="line">{_bar(_begun(step, facts) / whole, step.seconds / whole)}</td><td>{self.text(_why(step))}</td></tr>'
            for step in facts.run.steps
        ]
        head = "".join(f"<th>{name}</th>" for name in ("step", "status", "seconds", f"0 to {whole:.1f} s", "why"))
        return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


# --- what is told ---------------------------------------------------------------------------------------------


def _bad(*said: object) -> str:
    return ' class="bad"' if any(word in ("failed", "error", "interrupted") for word in said) else ""


def _about(facts: RunFacts) -> list[tuple[str, object]]:
    run = facts.run
    known = {
        "run": run.id,
        "version": run.version[:_DIGEST],
        "notebook": facts.notebook,
        "started": moment(run.started),
        "took": f"{run.seconds:.1f} s",
        "by": facts.actor,
        "commit": facts.commit,
        "Python": facts.python,
        "error": run.error,
    }
    return [(name, value) for name, value in known.items() if value]


def _picture(facts: RunFacts, redact: Callable[[Any], Any]) -> str:
    """The steps as a graph, drawn as a notebook's lineage is; nothing where there is but one."""
    if len(facts.run.steps) < 2:  # noqa: PLR2004 (one step is no graph)
        return ""
    nodes = tuple(Node(step.component, step.component, state=step.status, reason=redact(_why(step))) for step in facts.run.steps)
    links = tuple(link for step in facts.run.steps for link in _links(step.component, facts.requires.get(step.component, {})))
    bad = [f"{node.title}: {node.state}" for node in nodes if node.state not in ("ran", "skipped")]
    told = f"{counted(len(nodes), 'step')}, {counted(len(links), 'link')}. {'; '.join(bad) or 'All passed'}."
    graph = Graph(f"Steps of {facts.run.pipeline}", nodes, tuple(replace(link, uses=_redacted(link.uses, redact)) for link in links))
    return f'<div class="wide">{as_svg(graph, described=told)}</div>'


def _links(step: str, taken: Mapping[str, str]) -> list[Link]:
    """One link from each step that makes something this one takes, with the names."""
    return [Link(maker, step, tuple(Use(name) for name, made in taken.items() if made == maker)) for maker in dict.fromkeys(taken.values())]


def _redacted(uses: Iterable[Use], redact: Callable[[Any], Any]) -> tuple[Use, ...]:
    return tuple(replace(use, name=redact(use.name)) for use in uses)


def _why(step: StepRun) -> str:
    return step.error if step.status == "failed" else step.reason


def _seconds(step: StepRun) -> str:
    return f"{step.seconds:.2f} s" if step.status != "not run" else ""


def _begun(step: StepRun, facts: RunFacts) -> float:
    """Seconds from the run's begin to the step's."""
    if not (step.started and facts.run.started):
        return 0.0
    return max(0.0, (datetime.fromisoformat(step.started) - datetime.fromisoformat(facts.run.started)).total_seconds())


def _bar(start: float, share: float) -> str:
    return f'<span class="bar" style="margin-left:{100 * min(start, 1):.2f}%;width:{100 * min(share, 1):.2f}%"></span>' if share else ""


def _metrics(facts: RunFacts) -> list[tuple[object, ...]]:
    return [(model.step, model.label, name, value) for model in facts.models for name, value in model.metrics.items()]


def _tests(facts: RunFacts) -> list[tuple[object, ...]]:
    return [(test.step, test.result.test, test.result.outcome, test.result.asserts, test.result.message) for test in facts.tests]


def _files(steps: Iterable[StepRun]) -> list[tuple[object, ...]]:
    return [(step.component, path, digest[:_DIGEST]) for step in steps for path, digest in step.files.items()]


def _artifacts(steps: Iterable[StepRun]) -> list[tuple[object, ...]]:
    made = [(step.component, name, ref.type_name, ref.size, ref.digest[:_DIGEST]) for step in steps for name, ref in step.outputs.items()]
    return [*made, *((step.component, path, "file", "", digest[:_DIGEST]) for step in steps for path, digest in step.written.items())]
