"""The documentation is whole and true: every command, magic and setting is there, links lead somewhere, examples run."""

import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from mlops_nb.cli import cli
from mlops_nb.config import Settings
from mlops_nb.magics import MlopsMagics
from mlops_nb.notebook.grammar import OPTIONS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOTEBOOK = re.compile(r"\b(\w+\.ipynb)\b")


def commands(group: click.Group = cli, path: str = "mlops-nb") -> Iterator[tuple[str, click.Command]]:
    """Every command of the click tree with its full name."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


def sections(page: Path) -> dict[str, str]:
    """A page's text by heading (without backticks), each up to the next heading."""
    parts = re.split(r"^#+ (.*)\n", page.read_text(), flags=re.MULTILINE)
    return {head.replace("`", "").strip(): text for head, text in zip(parts[1::2], parts[2::2], strict=True)}


def options(command: click.Command) -> list[str]:
    """The long names of a command's options."""
    return [max(p.opts, key=len) for p in command.params if isinstance(p, click.Option)]


def test_every_command_and_option_is_documented_with_an_example():
    known = sections(DOCS / "commands.md")
    found = {name: command for name, command in commands() if not isinstance(command, click.Group)}
    assert [name for name in found if name not in known] == []
    assert [name for name in found if not re.search(rf"^\$ {re.escape(name)}\b", known[name], re.MULTILINE)] == []
    assert [(name, option) for name, command in found.items() for option in options(command) if f"`{option}" not in known[name]] == []


def test_no_command_is_documented_that_does_not_exist():
    names = {name for name, _ in commands()}
    assert [head for head in sections(DOCS / "commands.md") if head.startswith("mlops-nb ") and head not in names] == []


def test_every_magic_and_option_is_documented():
    known = sections(DOCS / "commands.md")
    for name in {**MlopsMagics.magics["line"], **MlopsMagics.magics["cell"]}:
        section = known.get(f"%%{name}") or known[f"%{name}"]
        assert [o.name for o in OPTIONS.get(name, ()) if not o.positional and f"--{o.name}" not in section] == []


def test_every_setting_is_documented_with_its_default():
    page = (DOCS / "settings.md").read_text()
    for field in dataclasses.fields(Settings):
        default = f'"{field.default}"' if isinstance(field.default, str) else str(field.default).lower()
        assert f"| `{field.name}` | `{default}` |" in page


def test_environment_variables_in_the_sources_and_in_the_documentation_are_the_same():
    sources = [*(ROOT / "mlops_nb").rglob("*.py"), *(ROOT / "tests").rglob("*.py"), ROOT / ".ci" / "run"]
    used = {name for file in sources for name in re.findall(r"MLOPS_NB_[A-Z]+", file.read_text())}
    assert used == set(re.findall(r"MLOPS_NB_[A-Z]+", (DOCS / "settings.md").read_text()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_page_is_linked_from_the_readme():
    readme = (ROOT / "README.md").read_text()
    assert [page.name for page in DOCS.glob("*.md") if f"(docs/{page.name})" not in readme] == []


# --- the examples are run as they stand -----------------------------------------------------------------------


def examples(page: Path) -> tuple[str, list[str], list[str]]:
    """A page's notebook name, its Python blocks and its `$` lines."""
    text = page.read_text()
    blocks = BLOCK.findall(text)
    cells = [body for kind, body in blocks if kind == "python"]
    lines = [line for kind, body in blocks if kind == "console" for line in re.findall(r"^\$ (.+)$", body, re.MULTILINE)]
    named = NOTEBOOK.search(text)
    return (named[1] if named else ""), cells, lines


RUNNABLE = [page for page in PAGES if page.stem not in ("architecture", "commands") and examples(page)[1]]


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.name)
def test_examples_run(page, tmp_path, write_notebook):
    name, cells, lines = examples(page)
    tagged = page.name == "pipelines.md"
    write_notebook(*((cell, ("parameters",)) if tagged and not i else cell for i, cell in enumerate(cells)), name=name)
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "IPYTHONDIR": str(tmp_path / "ipython")}
    for line in [f"mlops-nb capture {name}", *lines]:
        done = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False, timeout=180)
        assert done.returncode == 0, f"$ {line}\n{done.stdout}{done.stderr}"


def test_the_pages_with_examples_are_these():
    assert {page.stem for page in RUNNABLE} == {"README", "lineage", "pipelines", "features", "tests", "models"}
