"""The registry's tables: STRICT, append-only facts, with views that fold them. Migrations are sqlite-utils' own.

Importing this module is cheap: sqlite-utils imports pandas where it is installed (0.4 s), so it is loaded by `migrate` alone,
and a kernel runs `migrate` in a process of its own (`python -m mlops_nb.store.schema FILE`).
"""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite_utils import Database

APPLICATION_ID = 0x6D6C6F70  # "mlop"
VERSION = 1  # PRAGMA user_version once every migration below is applied

M001 = """
create table source (digest text primary key, text text not null) strict;

create table session (
    id text primary key, started text not null, notebook text not null, kernel_id text not null, pid integer not null,
    actor text not null, run_id text not null default ''
) strict;
create table session_environment (
    session_id text primary key references session(id), commit_id text not null, dirty integer not null,
    diff text not null, untracked text not null, lock text not null, python text not null, platform text not null
) strict;
create table cell_run (
    id text primary key, session_id text not null references session(id), seq integer not null, notebook text not null,
    cell_id text not null, execution_count integer not null, source text not null references source(digest),
    crc integer not null, started text not null, seconds real not null, status text not null, error text not null,
    tags text not null, step text not null, reads text not null, writes text not null, files text not null,
    environment text not null, unchanged text not null default '[]'
) strict;
create index cell_run_by_cell on cell_run(notebook, cell_id, started);
create table edge (
    id text primary key, from_run text not null references cell_run(id), to_run text not null references cell_run(id),
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
    run_id text primary key references run(id), finished text not null, status text not null, seconds real not null,
    error text not null
) strict;
create table step_run (
    id text primary key, run_id text not null references run(id), component text not null, position integer not null,
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


def m001_first(db: "Database") -> None:
    """All tables of the first release."""
    for statement in _statements(M001):
        db.conn.execute(statement)


MIGRATIONS: tuple[Callable[["Database"], None], ...] = (m001_first,)


def _statements(script: str) -> list[str]:
    """The script's statements one by one: executescript would commit the migration's transaction."""
    import sqlite3

    found: list[str] = []
    buffer = ""
    for line in script.splitlines(keepends=True):
        buffer += line
        if sqlite3.complete_statement(buffer):
            found.append(buffer.strip())
            buffer = ""
    return found


def migrate(path: str) -> None:
    """Bring the registry at `path` up to VERSION; the caller holds the gate."""
    from sqlite_utils import Database
    from sqlite_utils.migrations import Migrations

    migrations = Migrations("mlops_nb")
    for step in MIGRATIONS:
        migrations()(step)
    db = Database(path)
    db.conn.execute("pragma journal_mode=wal")
    db.conn.execute(f"pragma application_id={APPLICATION_ID}")
    migrations.apply(db)
    db.conn.execute(f"pragma user_version={VERSION}")
    db.close()


if __name__ == "__main__":
    migrate(sys.argv[1])
