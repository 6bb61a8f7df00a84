"""Digests of files."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_nb import hashing
from mlops_nb.hashing import FileHasher, file_hex, quick_hex

OTHER_PROCESS = {
    "sqlite": "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('insert into t values (9)')",
    "duckdb": "import duckdb, sys; duckdb.connect(sys.argv[1])",
}


def sqlite_in_a_transaction(path: Path):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("create table t (v)")
    connection.execute("begin immediate")
    return connection


def duckdb_open(path: Path):
    import duckdb

    connection = duckdb.connect(str(path))
    connection.execute("create table t (v integer)")
    connection.execute("checkpoint")
    return connection


@pytest.mark.parametrize(("kind", "opened"), [("sqlite", sqlite_in_a_transaction), ("duckdb", duckdb_open)])
def test_a_database_that_is_hashed_stays_locked(tmp_path, kind, opened):
    """Closing a descriptor of a file drops this process's locks on it: the user's own would be gone."""
    path = tmp_path / "data.db"
    connection = opened(path)

    def from_outside():
        return subprocess.run([sys.executable, "-c", OTHER_PROCESS[kind], path], capture_output=True, text=True, check=False)

    assert "lock" in from_outside().stderr
    digests = {FileHasher().digest(path), file_hex(path)}
    assert len(digests) == 1
    assert "lock" in from_outside().stderr
    connection.close()
    assert from_outside().returncode == 0


def test_a_database_that_changed_or_was_replaced_is_read_anew(tmp_path):
    path, other = tmp_path / "data.db", tmp_path / "other.db"
    seen = []
    for number, place in enumerate((path, path, other)):
        with sqlite3.connect(place) as connection:
            connection.execute(f"create table t{number} (v)")
        connection.close()
        seen.append(file_hex(place))
    other.replace(path)
    assert file_hex(path) == seen[2] == quick_hex(path.read_bytes())
    assert len(set(seen)) == 3


def test_the_descriptors_of_databases_are_few_and_of_other_files_none(tmp_path):
    before = len([*Path("/proc/self/fd").iterdir()])
    for number in range(100):
        (tmp_path / f"{number}.csv").write_text("a,b\n")
        (tmp_path / f"{number}.db").write_bytes(b"SQLite format 3\0" + bytes(84) + bytes([number]))
        for kind in ("csv", "db"):
            path = tmp_path / f"{number}.{kind}"
            assert file_hex(path) == quick_hex(path.read_bytes())
    assert len([*Path("/proc/self/fd").iterdir()]) <= before + hashing.MAX_DATABASES


def test_an_empty_file_has_the_digest_of_nothing(tmp_path):
    (tmp_path / "empty").touch()
    assert file_hex(tmp_path / "empty") == quick_hex(b"")


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(OSError, match=r"No such|Is a directory"):
            file_hex(path)
