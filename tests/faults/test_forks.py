"""A forked child records for itself, and takes nothing from its parent: not the spool, not the connection, not the locks."""

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_nb.config import Layout
from mlops_nb.records import Fact, now_text
from mlops_nb.store.forks import ForkGuard
from mlops_nb.store.registry import Registry


@pytest.fixture
def registry(tmp_path: Path):
    opened = Registry.open(Layout(tmp_path, tmp_path / ".mlops_nb"))
    yield opened
    opened.close()


def event(name: str) -> list[Fact]:
    row = {"id": name, "ts": now_text(), "actor": "me", "actor_kind": "human", "verb": "did", "object": "it", "cause": "", "payload": {}}
    return [Fact("event", row)]


def ids(registry: Registry) -> list[str]:
    return [row["id"] for row in registry.rows("select id from event order by id")]


def in_child(work: Callable[[], bool]) -> int:
    """Start a child that exits with 0 where `work` gives True; its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        code = 0 if work() else 1
    finally:
        os._exit(code)


def test_parent_and_children_record_side_by_side(registry: Registry, tmp_path: Path) -> None:
    registry.record(event("parent-000"))
    assert registry.flush()

    def work(name: str) -> bool:
        done = all(registry.record(event(f"{name}-{n:03}")) for n in range(100))
        return done and registry.flush() and len(ids(registry)) >= 101 and registry.status().acknowledged == 100

    children = [in_child(lambda name=name: work(name)) for name in ("a", "b")]
    assert all(registry.record(event(f"parent-{n:03}")) for n in range(1, 100))
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    assert ids(registry) == [f"{name}-{n:03}" for name in ("a", "b", "parent") for n in range(100)]
    assert registry.status().acknowledged == registry.status().committed == 100
    assert len(list((tmp_path / ".mlops_nb" / "spool").iterdir())) == 1  # the children's are taken in


def test_a_child_that_records_nothing_disturbs_nothing(registry: Registry) -> None:
    registry.record(event("a"))
    child = in_child(lambda: True)
    registry.record(event("b"))
    assert os.waitpid(child, 0)[1] == 0
    assert ids(registry) == ["a", "b"]


def test_a_dead_parents_spool_is_left_over_though_its_child_lives(tmp_path: Path) -> None:
    code = f"""
import os, sys, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from durable_worker import event, layout, Registry
registry = Registry.open(layout({str(tmp_path / ".mlops_nb")!r}))
registry._running = lambda: None
assert registry.record([event("a")])
child = os.fork()
if not child:
    os.close(1); os.close(2)
    time.sleep(30)
print(child, flush=True)
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    registry = Registry.open(Layout(tmp_path, tmp_path / ".mlops_nb"))
    try:
        assert ids(registry) == ["a"]
    finally:
        os.kill(int(done.stdout), 9)
        registry.close()


def test_a_fork_while_the_gate_is_waited_for_is_not_held_up(registry: Registry, tmp_path: Path) -> None:
    registry.record(event("a"))
    assert registry.flush()
    with (tmp_path / ".mlops_nb" / "registry" / "gate.lock").open("r+b") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        registry.record(event("b"))
        time.sleep(0.2)  # the writer waits at the gate
        start = time.perf_counter()
        child = in_child(lambda: registry.record(event("c")))
        assert time.perf_counter() - start < 0.5
        assert os.waitpid(child, 0)[1] == 0
        fcntl.flock(gate, fcntl.LOCK_UN)
    assert ids(registry) == ["a", "b", "c"]


def test_forks_in_the_middle_of_writing_lose_nothing(registry: Registry) -> None:
    stop = threading.Event()
    written: list[str] = []

    def write() -> None:
        while not stop.is_set():
            name = f"t{len(written):05}"
            if registry.record(event(name)):
                written.append(name)

    thread = threading.Thread(target=write)
    thread.start()
    children = []
    for number in range(20):
        time.sleep(0.01)
        children.append(in_child(lambda number=number: registry.record(event(f"c{number:02}")) and registry.flush()))
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 20
    stop.set()
    thread.join()
    assert ids(registry) == [*(f"c{n:02}" for n in range(20)), *written]


def test_a_fork_waits_for_a_connection_in_use_and_lets_nested_uses_through() -> None:
    guard = ForkGuard()
    order: list[str] = []
    inside, go = threading.Event(), threading.Event()

    def use() -> None:
        with guard.using():
            inside.set()
            go.wait(5)
            with guard.using():
                order.append("used")

    thread = threading.Thread(target=use)
    thread.start()
    inside.wait(5)
    threading.Timer(0.1, go.set).start()
    guard.before()
    order.append("forked")
    guard.after_in_parent()
    thread.join()
    assert order == ["used", "forked"]
    assert not guard.unsafe


def test_a_child_forked_in_the_middle_of_a_query_uses_no_sqlite(monkeypatch) -> None:
    monkeypatch.setattr("mlops_nb.store.forks.PATIENCE", 0.05)
    guard = ForkGuard()
    with guard.using():
        guard.before()
        guard.after_in_child()
    assert guard.unsafe
