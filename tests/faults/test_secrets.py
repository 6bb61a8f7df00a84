"""No planted secret reaches what this project writes: registry, spool, artifacts, executed notebooks, logs."""

import sqlite3
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
