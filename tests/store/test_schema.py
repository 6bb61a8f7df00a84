import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_nb.config import Layout
from mlops_nb.errors import RegistryError
from mlops_nb.store import disk, schema


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.db"


def pragma(path: Path, name: str):
    db = sqlite3.connect(path)
    (value,) = db.execute(f"pragma {name}").fetchone()
    db.close()
    return value


def test_a_new_registry_is_ours_current_and_in_wal_mode(path: Path) -> None:
    assert schema.inspect(path) == "missing"
    schema.ensure(path)
    assert schema.inspect(path) == "current"
    assert pragma(path, "application_id") == schema.APPLICATION_ID
    assert pragma(path, "user_version") == schema.VERSION
    assert pragma(path, "journal_mode") == "wal"
    schema.ensure(path)


def test_a_migration_in_a_process_of_its_own_leaves_pandas_alone(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mlops_nb.store import schema; schema.ensure(Path(sys.argv[1]));"
        "print({'pandas', 'sqlite_utils'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert schema.inspect(path) == "current"


@pytest.mark.parametrize("stage", ["application_id only", "tables without user_version"])
def test_a_migration_cut_short_is_completed(path: Path, stage: str) -> None:
    db = sqlite3.connect(path)
    db.execute("pragma journal_mode=wal")
    db.execute(f"pragma application_id={schema.APPLICATION_ID}")
    db.close()
    if stage != "application_id only":
        schema.migrate(str(path))
        db = sqlite3.connect(path)
        db.execute("pragma user_version=0")
        db.close()
        assert schema.inspect(path) == "old"
    schema.ensure(path)
    assert schema.inspect(path) == "current"


def test_foreign_newer_and_broken_files_are_refused_and_left_alone(path: Path) -> None:
    schema.ensure(path)
    db = sqlite3.connect(path)
    db.execute(f"pragma user_version={schema.VERSION + 1}")
    db.close()
    with pytest.raises(RegistryError, match=r"newer than this mlops_nb.*\n.*upgrade"):
        schema.ensure(path)

    other = path.with_name("other.db")
    db = sqlite3.connect(other)
    db.execute("create table t (a)")
    db.close()
    before = other.read_bytes()
    for check in (schema.ensure, lambda p: schema.migrate(str(p))):
        with pytest.raises(RegistryError, match="not a registry of mlops_nb"):
            check(other)
    assert other.read_bytes() == before

    text = path.with_name("text.db")
    text.write_text("this is a text file and no database at all" * 40)
    with pytest.raises(RegistryError, match="no SQLite database"):
        schema.ensure(text)
    assert text.read_text().startswith("this is a text")


def test_the_migrations_process_says_why_it_refuses(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("create table t (a)")
    db.close()
    done = subprocess.run([sys.executable, "-m", "mlops_nb.store.schema", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == schema.REFUSED
    assert "not a registry of mlops_nb" in done.stderr
    assert "Traceback" not in done.stderr


def test_columns_are_what_sqlite_has(path: Path) -> None:
    schema.ensure(path)
    db = sqlite3.connect(path)
    strict = {name for (name,) in db.execute("select name from pragma_table_list where strict and type = 'table'") if not name.startswith("_")}
    db.close()
    columns = schema.columns()
    assert set(columns) == strict
    assert columns["cell_run"]["seconds"] == schema.Column("cell_run.seconds", "REAL", required=True, primary=False, key=False)
    assert columns["cell_run"]["session_id"].key
    assert columns["event"]["id"].primary
    assert not columns["feature_view"]["ttl_seconds"].required
    assert not columns["session"]["run_id"].required


def test_search_finds_by_stem_and_by_part_of_a_name(path: Path) -> None:
    schema.ensure(path)
    db = sqlite3.connect(path)
    names = list(schema.columns()["feature_view"])
    row = dict.fromkeys(names, "") | {"id": "v1", "name": "weather_hourly", "description": "Winds by the hour", "ttl_seconds": None}
    db.execute(f"insert into feature_view ({','.join(names)}) values ({','.join('?' * len(names))})", [row[n] for n in names])
    for word in ("weather", "wind", "hourly", "weather_hourly"):
        assert db.execute("select view_id from feature_search where feature_search match ?", (f'"{word}"',)).fetchall() == [("v1",)], word
    db.close()


MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:40 / /home rw,relatime shared:1 - nfs4 server:/home rw
31 30 254:1 / /home/me/local\\040disk rw - xfs /dev/vdb rw
32 22 0:41 / /mnt/ssh rw - fuse.sshfs me@host: rw
33 22 0:42 / /data rw - overlay overlay rw
"""


@pytest.mark.parametrize(
    ("place", "kind", "remote"),
    [
        ("/work/x", "ext4", False),
        ("/home/me/nb/.mlops_nb", "nfs4", True),
        ("/home/me/local disk/nb", "xfs", False),
        ("/homes/x", "ext4", False),
        ("/mnt/ssh/a", "fuse.sshfs", True),
        ("/data", "overlay", False),
    ],
)
def test_network_disks_are_told_from_local_ones(place: str, kind: str, remote: bool) -> None:
    mount = disk.mount_of(Path(place), MOUNTS)
    assert (mount.kind, mount.is_remote) == (kind, remote)


def test_a_sandboxs_own_root_is_no_network_disk() -> None:
    mounts = "22 1 0:20 / / rw - 9p none rw\n30 22 0:21 / /mnt/c rw - 9p drvfs rw\n"
    assert not disk.mount_of(Path("/home/me"), mounts).is_remote
    assert disk.mount_of(Path("/mnt/c/me"), mounts).is_remote


def test_a_home_on_a_network_disk_is_refused_with_what_to_do(tmp_path: Path, monkeypatch) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"22 1 254:0 / / rw - ext4 /dev/vda rw\n30 22 0:40 / {tmp_path}/net rw - nfs4 server:/home rw\n")
    monkeypatch.setattr(disk, "MOUNTS", mounts)
    home = tmp_path / "net" / ".mlops_nb"
    with pytest.raises(RegistryError, match=r"network or FUSE disk \(nfs4\)(.|\n)*MLOPS_NB_HOME"):
        disk.prepare(Layout(home.parent, home))
    assert not home.exists()


def test_a_home_is_private_where_it_must_be_and_ignored_by_git(tmp_path: Path) -> None:
    layout = Layout(tmp_path, tmp_path / ".mlops_nb")
    disk.prepare(layout)
    assert layout.spool.stat().st_mode & 0o777 == 0o700
    assert (layout.home / ".gitignore").read_text() == "*\n"


def test_a_registry_of_the_first_release_keeps_its_runs(path: Path) -> None:
    from sqlite_utils import Database
    from sqlite_utils.migrations import Migrations

    first = Migrations("mlops_nb")
    first()(schema.m001_first)
    old = Database(path)
    old.conn.execute("pragma journal_mode=wal")
    old.conn.execute(f"pragma application_id={schema.APPLICATION_ID}")
    first.apply(old)
    old["source"].insert({"digest": "d", "text": "x = 1"})
    old["session"].insert({"id": "s", "started": "", "notebook": "nb", "kernel_id": "", "pid": 1, "actor": "a"})
    row = dict.fromkeys(["tags", "reads", "writes", "files"], "[]") | {"id": "r", "session_id": "s", "seq": 1, "notebook": "nb", "cell_id": "c"}
    old["cell_run"].insert(
        row
        | {"execution_count": 1, "source": "d", "crc": 1, "started": "", "seconds": 0.1, "status": "ok", "error": "", "step": "", "environment": "{}"}
    )
    old.conn.execute("pragma user_version=1")
    old.close()
    assert schema.inspect(path) == "old"
    schema.ensure(path)
    assert schema.inspect(path) == "current"
    (kept,) = Database(path).query('select id, possible, kept, deletes, "values", skipped, columns from cell_run')
    assert kept == {"id": "r", "possible": "[]", "kept": "[]", "deletes": "[]", "values": "{}", "skipped": "{}", "columns": "[]"}
