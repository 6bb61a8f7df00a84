"""The registry's tables: STRICT, append-only facts, with views that fold them. Migrations are sqlite-utils' own.

Importing this module is cheap: sqlite-utils imports pandas where it is installed (0.4 s), so it is loaded by `migrate` alone,
and a kernel runs `migrate` in a process of its own (`python -m mlops_nb.store.schema FILE`).
"""

import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mlops_nb.errors import RegistryError
from mlops_nb.store.forks import guard

if TYPE_CHECKING:
    from sqlite_utils import Database

APPLICATION_ID = 0x6D6C6F70  # "mlop"
VERSION = 2  # PRAGMA user_version once every migration below is applied
MIGRATION_SECONDS = 120.0
REFUSED = 3  # exit code of a migration that says why on stderr

State = Literal["missing", "old", "current"]

M001 = """
create table source (digest text primary key, text text not null) strict;

create table session (
    id text primary key, started text not null, notebook text not null, kernel_id text not null, pid integer not null,
    actor text not null, run_id text not null default ''
) strict;
create table session_environment (
    session_id text primary key references session(id) deferrable initially deferred, commit_id text not null, dirty integer not null,
    diff text not null, untracked text not null, lock text not null, python text not null, platform text not null
) strict;
create table cell_run (
    id text primary key, session_id text not null references session(id) deferrable initially deferred, seq integer not null, notebook text not null,
    cell_id text not null, execution_count integer not null, source text not null references source(digest) deferrable initially deferred,
    crc integer not null, started text not null, seconds real not null, status text not null, error text not null,
    tags text not null, step text not null, reads text not null, writes text not null, files text not null,
    environment text not null, unchanged text not null default '[]'
) strict;
create index cell_run_by_cell on cell_run(notebook, cell_id, started);
create table edge (
    id text primary key,
    from_run text not null references cell_run(id) deferrable initially deferred,
    to_run text not null references cell_run(id) deferrable initially deferred,
    name text not null, certainty text not null
) strict;
create index edge_to on edge(to_run);
create index edge_from on edge(from_run);

create table artifact (
    digest text primary key, kind text not null, type_name text not null, size integer not null, created text not null,
    made_by text not null
) strict;

create table pipeline (
    id text primary key, name text not null, version text not null, notebook text not null, components text not null,
    created text not null
) strict;
create index pipeline_by_name on pipeline(name, created);
create table run (
    id text primary key, pipeline text not null, version text not null, kind text not null, notebook text not null,
    parameters text not null, actor text not null, started text not null
) strict;
create index run_by_pipeline on run(pipeline, started);
create table run_end (
    run_id text primary key references run(id) deferrable initially deferred, finished text not null, status text not null, seconds real not null,
    error text not null
) strict;
create table step_run (
    id text primary key, run_id text not null references run(id) deferrable initially deferred, component text not null, position integer not null,
    key text not null, status text not null, started text not null, seconds real not null, inputs text not null,
    outputs text not null, files text not null, environment text not null, parameters text not null,
    notebook text not null, cell_id text not null, error text not null, reason text not null
) strict;
create index step_run_by_key on step_run(key, started);
create index step_run_by_run on step_run(run_id, position);

create table feature_view (
    id text primary key, name text not null, version text not null, entity text not null, timestamp text not null,
    ttl_seconds real, owner text not null, tags text not null, description text not null, inputs text not null,
    source text not null, path text not null, notebook text not null, cell_id text not null, created text not null
) strict;
create index feature_view_by_name on feature_view(name, created);
create table materialization (
    id text primary key, view text not null, version text not null, artifact text not null, kind text not null,
    rows integer not null, keys integer not null, first_ts text not null, last_ts text not null, created text not null,
    run_id text not null, session_id text not null
) strict;
create index materialization_by_view on materialization(view, created);

create table test_case (
    id text primary key, name text not null, version text not null, kind text not null, severity text not null,
    about text not null, names text not null, notebook text not null, cell_id text not null, step text not null,
    source text not null, setup text not null, created text not null
) strict;
create index test_case_by_name on test_case(notebook, name, created);
create table test_result (
    id text primary key, test text not null, version text not null, outcome text not null, severity text not null,
    message text not null, line integer not null, asserts integer not null, seconds real not null,
    artifacts text not null, run_id text not null, session_id text not null, created text not null
) strict;
create index test_result_by_test on test_result(test, created);

create table model_version (
    id text primary key, name text not null, artifact text not null, kind text not null, type_name text not null,
    size integer not null, metrics text not null, manifest text not null, run_id text not null, session_id text not null,
    created text not null
) strict;
create index model_version_by_name on model_version(name, created);

create table event (
    id text primary key, ts text not null, actor text not null, actor_kind text not null, verb text not null,
    object text not null, cause text not null, payload text not null
) strict;
create index event_by_object on event(object, ts);

create virtual table feature_search using fts5(name, description, tags, owner, entity, view_id unindexed, tokenize='porter unicode61');
create trigger feature_view_indexed after insert on feature_view begin
    insert into feature_search (name, description, tags, owner, entity, view_id)
    values (replace(new.name, '_', ' ') || ' ' || new.name, new.description, new.tags, new.owner, new.entity, new.id);
end;

create view run_status as
    select run.*, coalesce(run_end.status, 'running') as status, coalesce(run_end.finished, '') as finished,
           coalesce(run_end.seconds, 0.0) as seconds, coalesce(run_end.error, '') as error
    from run left join run_end on run_end.run_id = run.id;
create view current_pipeline as
    select * from (select *, row_number() over (partition by name order by created desc, rowid desc) as nth from pipeline) where nth = 1;
create view current_feature_view as
    select * from (select *, row_number() over (partition by name order by created desc, rowid desc) as nth from feature_view) where nth = 1;
create view current_test_case as
    select * from (select *, row_number() over (partition by notebook, name order by created desc, rowid desc) as nth from test_case) where nth = 1;
create view numbered_model_version as
    select *, row_number() over (partition by name order by created, rowid) as number from model_version;
"""


# What a run left besides names: how sure, what was there before, digests of values, columns.
M002 = """
alter table cell_run add column possible text not null default '[]';
alter table cell_run add column kept text not null default '[]';
alter table cell_run add column deletes text not null default '[]';
alter table cell_run add column "values" text not null default '{}';
alter table cell_run add column skipped text not null default '{}';
alter table cell_run add column columns text not null default '[]';
create table pin (
    id text primary key, notebook text not null, name text not null, artifact text not null, kind text not null, type_name text not null,
    size integer not null, run_id text not null, created text not null
) strict;
create index pin_by_name on pin(notebook, name, created);
"""


def m001_first(db: "Database") -> None:
    """All tables of the first release."""
    for statement in _statements(M001):
        db.conn.execute(statement)


def m002_lineage(db: "Database") -> None:
    """What slices and their verification need."""
    for statement in _statements(M002):
        db.conn.execute(statement)


MIGRATIONS: tuple[Callable[["Database"], None], ...] = (m001_first, m002_lineage)


@dataclass(frozen=True, slots=True)
class Column:
    """A column as writers must know it: `kind` TEXT, INTEGER or REAL; `key`: part of the primary key or of a foreign one."""

    where: str  # `table.column`
    kind: str
    required: bool
    primary: bool
    key: bool


@cache
def columns() -> Mapping[str, Mapping[str, Column]]:
    """Table -> column -> Column, of every table that facts may go to, as SQLite itself understands the migrations."""
    db = sqlite3.connect(":memory:")
    for statement in _statements(M001 + M002):
        db.execute(statement)
    tables = [name for (name,) in db.execute("select name from pragma_table_list where type = 'table' and schema = 'main' and strict")]
    found = {table: _columns(db, table) for table in tables}
    db.close()
    return found


def _columns(db: sqlite3.Connection, table: str) -> dict[str, Column]:
    linked = {row[3] for row in db.execute(f"pragma foreign_key_list({table})")}
    rows = db.execute(f"pragma table_info({table})").fetchall()
    return {
        name: Column(f"{table}.{name}", kind, bool(notnull or pk) and default is None, bool(pk), bool(pk) or name in linked)
        for _, name, kind, notnull, default, pk in rows
    }


def _statements(script: str) -> list[str]:
    """The script's statements one by one: executescript would commit the migration's transaction."""
    found: list[str] = []
    buffer = ""
    for line in script.splitlines(keepends=True):
        buffer += line
        if sqlite3.complete_statement(buffer):
            found.append(buffer.strip())
            buffer = ""
    return found


def check(connection: sqlite3.Connection, path: str | os.PathLike[str]) -> State:
    """What stands at `path`; raises RegistryError where it is not ours or newer than we are."""
    query = "select application_id, user_version, (select count(*) from sqlite_schema) from pragma_application_id, pragma_user_version"
    application, version, tables = connection.execute(query).fetchone()
    if not tables and application in {0, APPLICATION_ID}:
        return "missing"
    if application != APPLICATION_ID:
        raise RegistryError(
            "this SQLite file is not a registry of mlops_nb", where=os.fspath(path), hint="move it away; a new registry is made in its place"
        )
    if version > VERSION:
        raise RegistryError(
            f"the registry is of schema {version}, newer than this mlops_nb knows ({VERSION})",
            where=os.fspath(path),
            hint="upgrade: pip install --upgrade mlops_nb, then restart the kernel",
        )
    return "current" if version == VERSION else "old"


def check_current(connection: sqlite3.Connection, path: Path) -> None:
    """Raises RegistryError where the registry open on `connection` is not, or no longer, ours and of VERSION."""
    if check(connection, path) != "current":
        raise RegistryError("the registry has lost its tables", where=str(path), hint="put it back, or restart the kernel to begin a new one")


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that never writes, checkpoints or creates the file: closing it needs no gate.

    On a read-only disk a WAL database opens only as immutable, which is the truth where nothing waits in its log.
    """
    with guard.using(), contextlib.closing(_connected(path)) as connection:
        yield connection


def _connected(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30)
    try:
        connection.execute("select 1 from sqlite_schema").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        log = path.with_name(path.name + "-wal")
        if os.access(path.parent, os.W_OK) or (log.exists() and log.stat().st_size):
            raise
        return sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def inspect(path: Path) -> State:
    """What stands at `path`; raises RegistryError where it cannot be used, sqlite3.Error where it cannot be read."""
    if not path.exists() or not path.stat().st_size:
        return "missing"
    try:
        with reading(path) as connection:
            return check(connection, path)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        raise RegistryError(
            f"this is no SQLite database: {error}", where=str(path), hint="move it away; a new registry is made in its place"
        ) from error


def ensure(path: Path) -> None:
    """Have a registry of VERSION at `path`; the caller holds the gate. Raises RegistryError where that cannot be.

    sqlite-utils imports pandas where it is installed; unless it is loaded already, the migration runs in a process of its own.
    """
    if inspect(path) == "current":
        return
    if "sqlite_utils" in sys.modules or not sys.executable:
        migrate(str(path))
        return
    _migrate_elsewhere(path)


def _migrate_elsewhere(path: Path) -> None:
    package = str(Path(__file__).resolve().parents[2])
    environ = {name: value for name, value in os.environ.items() if name not in {"PYTHONWARNINGS", "PYTHONINSPECT"}}
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), package]))
    command = [sys.executable, "-P", "-m", "mlops_nb.store.schema", str(path)]
    try:
        done = subprocess.run(  # noqa: S603 (our own interpreter and module)
            command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False, timeout=MIGRATION_SECONDS
        )
        said = done.stderr.strip() or f"exit code {done.returncode}"
        failed = done.returncode != 0
    except subprocess.TimeoutExpired:
        failed, said = True, f"the migration took longer than {MIGRATION_SECONDS:.0f} s"
    if failed:
        raise RegistryError(f"the registry could not be set up: {said.splitlines()[-1]}", where=str(path), hint="mlops-nb doctor says what is wrong")


def migrate(path: str) -> None:
    """Bring the registry at `path` up to VERSION; the caller holds the gate. Raises RegistryError where the file is not ours or newer.

    A crash at any point leaves a file that the next call completes: the application_id comes first, while the file is still
    empty, each migration commits together with its own record, and user_version comes last.
    """
    from sqlite_utils import Database
    from sqlite_utils.migrations import Migrations

    migrations = Migrations("mlops_nb")
    for step in MIGRATIONS:
        migrations()(step)
    db = Database(path)
    try:
        if check(db.conn, path) != "current":
            db.conn.execute("pragma journal_mode=wal")
            db.conn.execute(f"pragma application_id={APPLICATION_ID}")
            migrations.apply(db)
            db.conn.execute(f"pragma user_version={VERSION}")
    finally:
        db.close()


def main(path: str) -> None:
    """The process in which a kernel has its registry migrated."""
    sys.modules.setdefault("pandas", None)  # type: ignore[arg-type]  # what stops sqlite-utils from importing it: 0.4 s
    try:
        migrate(path)
    except (RegistryError, sqlite3.Error) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(REFUSED)


if __name__ == "__main__":
    main(sys.argv[1])
