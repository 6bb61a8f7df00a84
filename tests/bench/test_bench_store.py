"""What recording costs, against one plain insert of sqlite3 with the same durability in the same run: `pytest tests/bench --benchmark-only`."""

import itertools
import sqlite3
from pathlib import Path

import pytest

from mlops_nb.config import Layout
from mlops_nb.records import Fact, now_text
from mlops_nb.store import schema
from mlops_nb.store.redaction import Redactor
from mlops_nb.store.registry import Registry

pytestmark = pytest.mark.benchmark(group="one record")
ROW = {"ts": "t", "actor": "me", "actor_kind": "human", "verb": "did", "object": "it", "cause": "", "payload": "{}"}


@pytest.fixture
def registry(tmp_path: Path):
    opened = Registry.open(Layout(tmp_path, tmp_path / ".mlops_nb"))
    opened.flush()
    yield opened
    opened.close()


def test_a_plain_durable_insert(benchmark, tmp_path: Path) -> None:
    schema.ensure(tmp_path / "plain.db")
    db = sqlite3.connect(tmp_path / "plain.db", isolation_level=None)
    db.execute("pragma synchronous=full")
    names, numbers = ["id", *ROW], itertools.count()
    statement = f"insert into event ({', '.join(names)}) values ({', '.join('?' * len(names))})"
    benchmark(lambda: db.execute(statement, [f"e{next(numbers)}", *ROW.values()]))
    db.close()


def test_an_acknowledged_record(benchmark, registry: Registry) -> None:
    numbers = itertools.count()
    benchmark(lambda: registry.record([Fact("event", ROW | {"id": f"e{next(numbers)}", "ts": now_text(), "payload": {"n": 1}})]))
    assert registry.flush()


def test_a_durable_record(benchmark, registry: Registry) -> None:
    numbers = itertools.count()

    def durable() -> None:
        registry.record([Fact("event", ROW | {"id": f"e{next(numbers)}"})])
        assert registry.flush()

    benchmark(durable)


def test_a_query(benchmark, registry: Registry) -> None:
    registry.record([Fact("event", ROW | {"id": "e"})])
    assert benchmark(lambda: registry.rows("select id from event")) == [{"id": "e"}]


def test_redacting_a_cell_of_200_lines(benchmark) -> None:
    redactor = Redactor()
    source = "\n".join(f"delays_{n} = flights.query('month == {n % 12}').groupby('origin')['arr_delay'].mean()" for n in range(200))
    assert benchmark(lambda: redactor.text(source)) == source
