"""A full, read-only or missing disk, a registry deleted or replaced: recording says it is off, comes back, and nothing acknowledged is lost."""

import fcntl
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_nb.config import Layout
from mlops_nb.records import Fact, now_text
from mlops_nb.store.registry import Registry

HEAD = """
import json, os, resource, sys, time
from pathlib import Path
from mlops_nb.config import Layout
from mlops_nb.records import Fact
from mlops_nb.store.registry import Registry

home = Path(sys.argv[1])
def event(name, text=""):
    return [Fact("event", dict(id=name, ts="t", actor="me", actor_kind="human", verb="did", object=text, cause="", payload={}))]
def until(true, seconds=20):
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    return true()
def fill(registry, text):
    acknowledged = []
    for number in range(10_000):
        if not registry.record(event(f"{len(text)}-{number:05}", text)):
            return acknowledged
        acknowledged.append(f"{len(text)}-{number:05}")
    raise SystemExit("the disk never filled")
def answer(**facts):
    print(json.dumps(facts))
registry = Registry.open(Layout(home.parent, home))
"""


def run(code: str, home: Path, *wrapper: str) -> dict:
    done = subprocess.run([*wrapper, sys.executable, "-c", HEAD + code, str(home)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def event(name: str) -> list[Fact]:
    row = {"id": name, "ts": now_text(), "actor": "me", "actor_kind": "human", "verb": "did", "object": "it", "cause": "", "payload": {}}
    return [Fact("event", row)]


def ids(registry: Registry) -> list[str]:
    return [row["id"] for row in registry.rows("select id from event order by rowid")]


def until(true: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    return true()


def test_files_that_may_not_grow_turn_recording_off_until_they_may(layout: Layout) -> None:
    answer = run(
        """
registry.record(event("first")); assert registry.flush()
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
acknowledged = fill(registry, "x" * 3_000)
off = registry.status()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
back = until(lambda: registry.record(event("back")))
flushed = until(registry.flush)
on = registry.status()
registry.close()
answer(acknowledged=acknowledged, off=[off.on, off.reason], back=back, flushed=flushed, on=[on.on, on.reason])
""",
        layout.home,
    )
    assert answer["off"][0] is False
    assert "make room" in answer["off"][1]
    assert (answer["back"], answer["flushed"], answer["on"]) == (True, True, [True, ""])
    registry = Registry.open(layout)
    assert set(answer["acknowledged"]) | {"first", "back"} <= set(ids(registry))
    assert registry.status().set_aside == 0
    registry.close()


def test_a_short_write_leaves_no_torn_line(layout: Layout) -> None:
    answer = run(
        """
registry._running = lambda: None  # the writer never runs: all stays in the spool
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
acknowledged = fill(registry, "y" * 3_000)
size = [path.stat().st_size for path in (home / "spool").iterdir()]
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
back = until(lambda: registry.record(event("after")))
answer(acknowledged=acknowledged, size=size, back=back); sys.stdout.flush(); os._exit(0)
""",
        layout.home,
    )
    assert 96_500 < answer["size"][0] < 100_000  # whole lines only; the limit cut the next one
    registry = Registry.open(layout)
    assert ids(registry) == [*answer["acknowledged"], "after"]
    assert registry.status().set_aside == 0
    registry.close()


def in_a_mount_of_its_own() -> list[str]:
    """How to run a shell that may mount; empty where that is not allowed."""
    for flags in ("-m", "-rm"):
        command = ["unshare", flags, "sh", "-c"]
        if shutil.which("unshare") and not subprocess.run([*command, "mount -t tmpfs none /mnt"], capture_output=True, check=False).returncode:
            return command
    return []


MOUNTING = in_a_mount_of_its_own()
mounting = pytest.mark.skipif(not MOUNTING, reason="mounting is not allowed here; the tests with RLIMIT_FSIZE cover a full disk")


def on_tmpfs(code: str, home: Path, size: str) -> dict:
    home.parent.mkdir(exist_ok=True)
    script = f'mount -t tmpfs -o size={size} none {home.parent} && exec "$@"'
    return run(code, home, *MOUNTING, script, "sh")


@mounting
def test_a_full_disk_turns_recording_off_until_there_is_room(tmp_path: Path) -> None:
    answer = on_tmpfs(
        """
registry.record(event("first")); assert registry.flush()
ballast = home.parent / "ballast"
try:
    with ballast.open("wb") as file:
        while True:
            file.write(b"x" * 4096); file.flush()
except OSError:
    pass
acknowledged = fill(registry, "z" * 3_000)
off = registry.status()
ballast.unlink()
back = until(lambda: registry.record(event("back")))
flushed = until(registry.flush)
present = [row["id"] for row in registry.rows("select id from event")]
on = registry.status()
answer(acknowledged=acknowledged, off=[off.on, off.reason], back=back, flushed=flushed, present=present, on=[on.on, on.reason])
registry.close()
""",
        tmp_path / "disk" / "home",
        "4m",
    )
    assert answer["off"][0] is False
    assert "No space left on device" in answer["off"][1]
    assert (answer["back"], answer["flushed"], answer["on"]) == (True, True, [True, ""])
    assert set(answer["acknowledged"]) | {"first", "back"} == set(answer["present"])


@mounting
def test_a_read_only_disk_turns_recording_off_and_can_still_be_read(tmp_path: Path) -> None:
    answer = on_tmpfs(
        """
registry.record(event("first")); registry.close()
def remount(how): assert os.system(f"mount -o remount,{how} {home.parent}") == 0
remount("ro")
registry = Registry.open(Layout(home.parent, home))
at_once = registry.status()
recorded = registry.record(event("lost"))
rows = registry.rows("select id from event")
remount("rw")
back = until(lambda: registry.record(event("back")))
present = [row["id"] for row in registry.rows("select id from event order by rowid")]
answer(at_once=[at_once.on, at_once.reason], recorded=recorded, rows=rows, back=back, present=present, on=registry.status().on)
registry.close()
""",
        tmp_path / "disk" / "home",
        "8m",
    )
    assert answer["at_once"][0] is False
    assert "cannot be written" in answer["at_once"][1]
    assert answer["recorded"] is False
    assert answer["rows"] == [{"id": "first"}]
    assert (answer["back"], answer["present"], answer["on"]) == (True, ["first", "back"], True)


def test_a_gate_held_elsewhere_does_not_slow_a_record(registry: Registry, layout: Layout) -> None:
    registry.record(event("first"))
    assert registry.flush()
    with layout.gate.open("r+b") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        start = time.perf_counter()
        calls = []
        while time.perf_counter() - start < 2.0:
            before = time.perf_counter()
            assert registry.record(event(f"e{len(calls)}"))
            calls.append(time.perf_counter() - before)
            time.sleep(0.002)
        assert registry.status().committed == 1
        assert not registry.flush(0.1)
        fcntl.flock(gate, fcntl.LOCK_UN)
    assert registry.flush()
    assert registry.status().committed == len(calls) + 1
    assert statistics.median(calls) < 0.005, statistics.median(calls)


def test_another_programs_lock_on_the_database_delays_commits_and_loses_nothing(registry: Registry, layout: Layout) -> None:
    registry.record(event("first"))
    assert registry.flush()
    other = sqlite3.connect(layout.registry, isolation_level=None)
    other.execute("begin immediate")
    assert registry.record(event("second"))
    assert not registry.flush(0.3)
    other.execute("rollback")
    other.close()
    assert ids(registry) == ["first", "second"]


def test_a_registry_deleted_while_in_use_is_noticed_and_the_spool_kept(registry: Registry, layout: Layout) -> None:
    registry.record(event("first"))
    assert registry.flush()
    aside = layout.root / "aside"
    layout.registry.parent.rename(aside)
    layout.registry.parent.mkdir()
    assert registry.record(event("second"))
    assert not registry.flush(10)
    assert not registry.record(event("third"))
    assert "deleted or emptied while this process was recording" in registry.status().reason
    assert not registry.status().on
    layout.registry.parent.rename(layout.root / "empty")
    aside.rename(layout.registry.parent)
    assert until(lambda: registry.record(event("fourth")))
    assert registry.flush()
    assert ids(registry) == ["first", "second", "fourth"]


def test_an_emptied_registry_is_noticed_and_the_spool_kept(registry: Registry, layout: Layout) -> None:
    registry.record(event("first"))
    assert registry.flush()
    os.truncate(layout.registry, 0)
    assert registry.record(event("second"))
    assert not registry.flush(10)
    assert "deleted or emptied" in registry.status().reason
    assert any(b'"second"' in path.read_bytes() for path in layout.spool.glob("*.spool"))


def test_another_registry_in_its_place_is_written_to(registry: Registry, layout: Layout, tmp_path: Path) -> None:
    registry.record(event("first"))
    assert registry.flush()
    elsewhere = Layout(tmp_path, tmp_path / "elsewhere")
    other = Registry.open(elsewhere)
    other.record(event("theirs"))
    other.close()
    elsewhere.registry.replace(layout.registry)
    for left in ("-wal", "-shm"):
        layout.registry.with_name(layout.registry.name + left).unlink(missing_ok=True)
    registry.record(event("second"))
    assert ids(registry) == ["theirs", "second"]
    assert registry.status().reason == ""


def test_a_foreign_database_in_its_place_is_left_alone(registry: Registry, layout: Layout, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.db"
    db = sqlite3.connect(foreign)
    db.execute("create table precious (a)")
    db.commit()
    db.close()
    registry.record(event("first"))
    assert registry.flush()
    before = foreign.read_bytes()
    foreign.replace(layout.registry)
    for left in ("-wal", "-shm"):
        layout.registry.with_name(layout.registry.name + left).unlink(missing_ok=True)
    registry.record(event("second"))
    assert not registry.flush(10)
    assert "not a registry of mlops_nb" in registry.status().reason
    assert layout.registry.read_bytes() == before


def test_a_spool_deleted_while_in_use_is_begun_anew(registry: Registry, layout: Layout) -> None:
    registry.record(event("first"))
    assert registry.flush()
    shutil.rmtree(layout.spool)
    assert registry.record(event("second"))
    assert len(list(layout.spool.iterdir())) == 1
    assert ids(registry) == ["first", "second"]


def test_a_long_reader_does_not_let_the_log_grow_for_ever(registry: Registry, layout: Layout, monkeypatch) -> None:
    monkeypatch.setattr("mlops_nb.store.database.WAL_BYTES", 1 << 20)
    registry.record(event("first"))
    assert registry.flush()
    log = layout.registry.with_name("registry.db-wal")
    reader = sqlite3.connect(layout.registry, isolation_level=None)
    reader.execute("begin")
    reader.execute("select count(*) from event").fetchone()
    sizes = []
    for held in (True, False):
        if not held:
            reader.close()
        for number in range(40):
            registry.record([Fact("source", {"digest": f"{held}-{number}", "text": "x" * 100_000})])
            assert registry.flush()
        sizes.append(log.stat().st_size)
    assert sizes[0] > 3 << 20
    assert sizes[1] < 2 << 20
