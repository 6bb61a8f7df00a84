"""No planted secret reaches what this project writes: registry, spool, artifacts, executed notebooks, logs."""

import sqlite3
import subprocess
from pathlib import Path

import pytest

# Each is made up; joined at run time so that no scanner takes this file for a leak.
CANARIES = {
    "environment": "canary-env-" + "9f8e7d6c5b",
    "aws": "AKIA" + "Q4CANARYX7ZPL2MN",
    "github": "ghp_" + "cAnArY0123456789abcdefghijklmnopqrst",
    "assignment": "canary" + "Passw0rd!xyz",
    "url": "canary" + "UrlPw77",
    "bearer": "canarybearer" + "0123456789abcdef",
}
LEAKY = f"""
import os, sys
key = "{CANARIES["aws"]}"
token = "{CANARIES["github"]}"
password = "{CANARIES["assignment"]}"
dsn = "postgresql://ana:{CANARIES["url"]}@db.example.org/flights"
header = {{"Authorization": "Bearer {CANARIES["bearer"]}"}}
print(os.environ["FLIGHTS_API_TOKEN"], key, token, dsn, header)
print("password =", repr(password), file=sys.stderr)
"""


def written(home: Path) -> bytes:
    """Every byte below the project home, the write-ahead log folded in and apart."""
    database = home / "registry" / "registry.db"
    assert database.exists(), "nothing was recorded: this test would show nothing"
    return b"".join(file.read_bytes() for file in sorted(home.rglob("*")) if file.is_file())


def absent(data: bytes) -> None:
    for name, canary in CANARIES.items():
        assert canary.encode() not in data, f"the {name} canary leaked"


def test_secrets_in_a_captured_cell_reach_nothing_of_ours(start_kernel, tmp_path: Path) -> None:
    kernel = start_kernel(FLIGHTS_API_TOKEN=CANARIES["environment"])
    assert kernel.run("%load_ext mlops_nb", "c0").status == "ok"
    shown = kernel.run(LEAKY, "c1")
    assert shown.status == "ok"
    assert CANARIES["environment"] in shown.stdout  # the user's own output is the user's
    assert kernel.run(f'raise ValueError("token={CANARIES["github"]} {CANARIES["environment"]}")', "c2").status == "error"
    kernel.run("%mlops status", "c3")
    absent(written(tmp_path / ".mlops_nb"))
    kernel.close()
    home = tmp_path / ".mlops_nb"
    absent(written(home))
    with sqlite3.connect(home / "registry" / "registry.db") as db:
        (text,) = db.execute("select text from source join cell_run on cell_run.source = source.digest where cell_id = 'c1'").fetchone()
    assert text.count("\n") == LEAKY.count("\n")  # the marker keeps lines
    assert "<redacted" in text


@pytest.mark.parametrize("failing", [False, True], ids=["passing", "failing"])
def test_secrets_in_a_headless_run_reach_nothing_of_ours(write_notebook, mlops_nb_command, tmp_path: Path, failing: bool) -> None:
    notebook = write_notebook(
        ("threshold = 1\nlabel = 'none'", ("parameters",)),
        "%%step leak\n" + LEAKY + f"rows = len(label) + threshold\n{'1 / 0' if failing else ''}",
        "%%step use\ndouble = rows * 2",
    )
    answer = mlops_nb_command(
        "run", str(notebook), "-p", f"label=Bearer {CANARIES['bearer']}", FLIGHTS_API_TOKEN=CANARIES["environment"],
    )  # fmt: skip
    assert (answer.returncode != 0) is failing, answer.stdout + answer.stderr
    absent(written(tmp_path / ".mlops_nb"))
    absent((answer.stdout + answer.stderr).encode())


def told(secret: str) -> tuple[str | tuple[str, tuple[str, ...]], ...]:
    """Cells whose descriptions, messages, metric names, tags and files' names hold a secret."""
    view = f"sizes --entity k --timestamp t --owner {secret} --tags {secret} --description 'of {secret}'"
    return (
        ("import json, os\nimport pandas as pd", ()),
        ("label = 'none'", ("parameters",)),
        f"%%step load\nrows = json.load(open('data-{secret}.json'))\nsize = len(label)",
        f"%%feature {view}\npd.DataFrame({{'k': [1], 't': [pd.Timestamp('2013-01-01')], 'v': [len(rows)]}})",
        f"%%test data --on rows --severity warn\nassert rows == [], '{secret} ' + os.environ['FLIGHTS_API_TOKEN']",
        (f"%%step fit\nfitted = {{'w': size}}\nscores = {{'{secret}': 1.0}}", (f"about {secret}",)),
        ("%model fitted fitted --metrics scores", ("step:fit",)),
    )


COMMANDS = ("feature show sizes", "test", "tests", "model show fitted", "model trace fitted", "runs", "notebook nb.ipynb", "status")


def test_secrets_in_names_messages_and_changes_reach_nothing_of_ours(write_notebook, mlops_nb_command, tmp_path: Path) -> None:
    secret, known = CANARIES["github"], CANARIES["environment"]
    git = ["git", "-C", str(tmp_path), "-c", "user.name=ana", "-c", "user.email=ana@example.org"]
    (tmp_path / "module.py").write_text("x = 1\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    (tmp_path / "module.py").write_text(f"x = '{secret}'  # {known}\n")
    (tmp_path / f"{known}.txt").touch()
    (tmp_path / f"data-{secret}.json").write_text("[1, 2]")
    write_notebook(*told(secret))
    environ = {"FLIGHTS_API_TOKEN": known}
    answers = [mlops_nb_command(word, "nb.ipynb", "-p", f"label={secret}", **environ) for word in ("capture", "run")]
    assert [answer.returncode for answer in answers] == [0, 0], answers
    for command in COMMANDS:
        answers += [mlops_nb_command(*command.split(), *more, **environ) for more in ((), ("--json",))]
    absent("".join(answer.stdout + answer.stderr for answer in answers).encode())
    absent(written(tmp_path / ".mlops_nb"))
