"""The commands as a shell sees them: exit codes, JSON, messages. One project serves all tests, in order of the run."""

import json
import os
import subprocess
import sys

import pytest

from mlops_nb.cli.pipelines import parse_parameters
from mlops_nb.errors import BadInput

CELLS = (
    ("n = 3", ["parameters"]),
    ("%%step load\nrows = list(range(n))", []),
    ("%%step total\ntotal = sum(rows)\nassert total < 100, 'too much'", []),
)


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """Run `mlops-nb` in a project with one notebook."""
    import nbformat

    root = tmp_path_factory.mktemp("project")
    (root / ".git").mkdir()
    made = [nbformat.v4.new_code_cell(source, id=f"c{n}", metadata={"tags": tags}) for n, (source, tags) in enumerate(CELLS)]
    nbformat.write(nbformat.v4.new_notebook(cells=made), root / "nb.ipynb")

    def run(*arguments):
        call = [sys.executable, "-c", "from mlops_nb.cli import main; main()", *arguments]
        return subprocess.run(call, cwd=root, env=dict(os.environ), capture_output=True, text=True, check=False, timeout=120)

    return run


def answer(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_promote_says_what_it_made(command):
    dry = answer(command("promote", "nb.ipynb", "--dry-run", "--json"))
    assert dry["dry_run"]
    assert len(dry["written"]) == 3
    made = answer(command("promote", "nb.ipynb", "--json"))
    assert [c["name"] for c in made["components"]] == ["load", "total"]
    assert made["components"][1]["inputs"] == {"rows": "load"}
    assert made["written"] == dry["written"]
    again = command("promote", "nb.ipynb")
    assert "its files are up to date" in again.stdout
    assert "Next: mlops-nb run nb\n" in again.stdout
    assert "would write pipelines/sums/load.ipynb" in command("promote", "nb.ipynb", "--name", "sums", "--dry-run").stdout


def test_run_plan_show_and_runs_agree(command):
    first = command("run", "nb", "-p", "n=4", "--json")
    ran = answer(first)
    assert first.stderr == ""
    assert (ran["status"], [step["status"] for step in ran["steps"]]) == ("passed", ["ran", "ran"])
    assert ran["steps"][0]["parameters"] == {"n": 4}

    planned = answer(command("plan", "nb", "-p", "n=4", "--json"))
    assert [step["action"] for step in planned] == ["skip", "skip"]
    assert "parameter n changed: 4 -> 5" in command("plan", "nb.ipynb", "-p", "n=5").stdout

    listed = answer(command("runs", "--json"))
    assert [run["id"] for run in listed] == [ran["id"]]
    shown = answer(command("show", ran["id"][:6], "--json"))
    assert shown["steps"] == ran["steps"]
    text = command("show", ran["id"][:6]).stdout
    assert ran["steps"][0]["outputs"]["rows"]["digest"][:12] in text


def test_a_failed_run_ends_with_its_error_and_code(command):
    failed = command("run", "nb.ipynb", "-p", "n=100", "--progress")
    assert failed.returncode == 1
    assert "nb.ipynb:cell 3 (id c2): in step total: AssertionError: too much" in failed.stdout
    assert "nb: failed" in failed.stdout
    run = answer(command("runs", "--json"))[0]
    assert run["status"] == "failed"
    assert command("show", run["id"]).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("run", "nbb"), 2, "no pipeline named 'nbb'; did you mean 'nb'?"),
        (("run", "nb", "-p", "m=1"), 2, "no parameter named 'm'"),
        (("run", "nb", "-p", "m"), 2, "'m' is no parameter"),
        (("run", "nb", "-p", "n=77", "--kernel", "python4"), 2, "no kernel named 'python4'; did you mean 'python3'"),
        (("show", "zzz"), 2, "no run named 'zzz'"),
        (("promote", "nope.ipynb"), 2, "no notebook named 'nope.ipynb'"),
        (("promote", "nb.ipynb", "--name", "../nb"), 2, "'../nb' is not fit for a folder"),
        (("promote", "nb.ipynb", "--name", "my sums"), 2, "letters, digits, _ and - are: my_sums"),
        (("runs", "--limit", "0"), 2, "0 is not in the range"),
        (("--project", "nope", "status"), 2, "Directory 'nope' does not exist"),
        (("test", "--notebook", "nbb.ipynb"), 2, "no notebook named 'nbb.ipynb'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_mistakes_are_named(command, arguments, code, message):
    done = command(*arguments)
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_capture_runs_the_notebook_once(command):
    first = answer(command("capture", "nb.ipynb", "--json"))
    assert (first["captured"], first["cells"], first["status"]) == (True, 3, "passed")
    second = command("capture", "nb.ipynb")
    assert f"unchanged since run {first['id'][:8]}" in second.stdout


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("x=1", 1),
        ("x=1.5", 1.5),
        ("x=true", True),
        ("x=None", None),
        ("x=text", "text"),
        ("x='1'", "1"),
        ("x=a=b", "a=b"),
        ("x=", ""),
        ("x=(1, 2)", (1, 2)),
    ],
)
def test_parameter_values_are_literals_or_text(given, value):
    assert parse_parameters((given,)) == {"x": value}


@pytest.mark.parametrize("given", ["x", "=1", "a b=1"])
def test_what_is_no_parameter_is_refused(given):
    with pytest.raises(BadInput, match="is no parameter"):
        parse_parameters((given,))
