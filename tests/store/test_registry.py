import json
import math
import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from mlops_nb.config import Layout
from mlops_nb.errors import BadInput, NotFound, RegistryError
from mlops_nb.records import Fact, now_text
from mlops_nb.store import schema
from mlops_nb.store.registry import Registry
from mlops_nb.store.spool import SpoolFile, sealed


def event(name: str, **more) -> Fact:
    row = {"id": name, "ts": now_text(), "actor": "me", "actor_kind": "human", "verb": "did", "object": "it", "cause": "", "payload": {}}
    return Fact("event", row | more)


def session(name: str) -> Fact:
    return Fact("session", {"id": name, "started": now_text(), "notebook": "nb.ipynb", "kernel_id": "k", "pid": 1, "actor": "me"})


def environment(name: str) -> Fact:
    row = dict.fromkeys(("commit_id", "diff", "untracked", "lock", "python", "platform"), "")
    return Fact("session_environment", {"session_id": name, "dirty": False, **row})


def ids(registry: Registry) -> list[str]:
    return [row["id"] for row in registry.rows("select id from event order by rowid")]


def test_a_process_reads_what_it_wrote(registry: Registry) -> None:
    assert registry.record([event("a", payload={"x": (1, np.int64(2)), "nan": math.nan})])
    (row,) = registry.rows("select * from event where id = ?", ("a",))
    assert json.loads(row["payload"]) == {"x": [1, 2], "nan": {"$": "float", "v": "nan"}}
    status = registry.status()
    assert (status.on, status.reason, status.acknowledged, status.committed) == (True, "", 1, 1)


def test_records_stay_in_order_and_the_spool_ends_empty(registry: Registry, layout: Layout) -> None:
    names = [f"e{n}" for n in range(250)]
    assert all(registry.record([event(name)]) for name in names)
    assert registry.flush()
    assert ids(registry) == names
    assert [path.stat().st_size for path in layout.spool.iterdir()] == [0]
    registry.close()
    assert list(layout.spool.iterdir()) == []
    assert {path.name for path in layout.registry.parent.iterdir()} == {"registry.db", "gate.lock"}


def test_the_spool_is_private_and_named_by_its_process(registry: Registry, layout: Layout) -> None:
    registry.record([event("a")])
    (path,) = layout.spool.iterdir()
    assert path.name.startswith(f"{os.getpid()}-")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_record_is_one_transaction(registry: Registry) -> None:
    registry.record([event("whole"), environment("nowhere")])  # the second refers to a session that is not there
    registry.record([event("after")])
    assert ids(registry) == ["after"]
    status = registry.status()
    assert status.set_aside == 1
    assert "FOREIGN KEY" in status.reason
    assert status.on


def test_what_was_refused_gets_another_chance_at_the_next_start(layout: Layout) -> None:
    first = Registry.open(layout)
    first.record([environment("s1")])
    assert first.flush()
    first.record([session("s1")])
    first.close()
    assert [path.suffix for path in layout.spool.iterdir()] == [".refused"]
    second = Registry.open(layout)
    second.flush()
    assert second.rows("select session_id from session_environment") == [{"session_id": "s1"}]
    second.close()
    assert list(layout.spool.iterdir()) == []


def test_the_same_key_again_changes_nothing(registry: Registry) -> None:
    registry.record([event("a", verb="first")])
    registry.record([event("a", verb="second"), event("b")])
    assert registry.rows("select id, verb from event order by id") == [{"id": "a", "verb": "first"}, {"id": "b", "verb": "did"}]
    assert registry.status().set_aside == 0


@pytest.mark.parametrize(
    ("fact", "kind", "says"),
    [
        (Fact("evnt", {}), NotFound, "no table named 'evnt'; did you mean 'event'"),
        (event("a", verbs="x"), NotFound, "no column named 'verbs'; did you mean 'verb'"),
        (Fact("event", {"id": "a"}), BadInput, "event: no value for ts, actor"),
        (event("a", verb=None), BadInput, "no value for verb"),
        (event("a", verb=7), BadInput, "event.verb: text is wanted, not int 7"),
        (event("a", verb=object()), BadInput, "text is wanted, not object"),
        (Fact("session", session("s").row | {"pid": 1.5}), BadInput, "session.pid: a whole number is wanted"),
        (Fact("session", session("s").row | {"pid": 2**63}), BadInput, "does not fit in 64 bits"),
        (
            Fact("run_end", {"run_id": "r", "finished": "", "status": "", "error": "", "seconds": math.nan}),
            BadInput,
            "run_end.seconds: nan is refused",
        ),
        (Fact("run_end", {"run_id": "r", "finished": "", "status": "", "error": "", "seconds": "1"}), BadInput, "a number is wanted, not str"),
    ],
)
def test_a_bad_fact_is_told_to_who_records_it(registry: Registry, fact: Fact, kind: type, says: str) -> None:
    with pytest.raises(kind) as caught:
        registry.record([event("good"), fact])
    assert says in str(caught.value)
    assert registry.record([event("next")])
    assert ids(registry) == ["next"]


def test_numpy_scalars_and_odd_texts_are_stored_as_what_they_mean(registry: Registry) -> None:
    registry.record([Fact("session", session("s").row | {"pid": np.int32(7), "notebook": Path("a/b.ipynb"), "actor": "\ud800 ü \x00 end"})])
    (row,) = registry.rows("select pid, notebook, actor, typeof(pid) as kind from session")
    assert row == {"pid": 7, "notebook": "a/b.ipynb", "actor": "\\ud800 ü \x00 end", "kind": "integer"}


def test_no_secret_reaches_the_disk(layout: Layout) -> None:
    registry = Registry.open(layout, {"DEPLOY_TOKEN": "canary-in-environment"})
    leaks = ["canary-in-environment", 'password = "canary-in-source"', "ghp_canary0in0a0well0known0shape"]
    registry.record([event("a", verb=leaks[0], object=leaks[1], payload={leaks[0]: [leaks[2]], "api_key": "canary-under-a-key"})])
    registry.record([Fact("source", {"digest": "d", "text": "\n".join(leaks)})])
    (spooled,) = [path.read_bytes() for path in layout.spool.iterdir()]
    assert registry.flush()
    disk = spooled + b"".join(path.read_bytes() for path in layout.home.rglob("*") if path.is_file() and not path.name.endswith("-shm"))
    assert b"canary" not in disk
    assert b"redacted" in disk
    registry.close()


def test_threads_share_a_registry(registry: Registry) -> None:
    def work(name: str) -> None:
        for number in range(200):
            assert registry.record([event(f"{name}-{number:03}")])

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = ids(registry)
    assert len(found) == 800
    for name in "abcd":
        mine = [item for item in found if item.startswith(name)]
        assert mine == sorted(mine)


def test_left_over_spools_are_taken_in_before_anything_is_read(layout: Layout) -> None:
    with_registry(layout, "registry.record([event('a')]); os._exit(1)")
    assert len(list(layout.spool.glob("*.spool"))) == 1
    registry = Registry.open(layout)
    assert ids(registry) == ["a"]
    assert list(layout.spool.iterdir()) == []
    registry.close()


def test_a_torn_last_line_is_ignored_and_a_damaged_one_kept_aside(layout: Layout) -> None:
    with_registry(layout, "[registry.record([event(name)]) for name in 'abcd']; os._exit(1)")
    (left,) = layout.spool.glob("*.spool")
    lines = left.read_bytes().splitlines(keepends=True)
    assert len(lines) == 4
    damaged = lines[1].replace(b'"did"', b'"dod"')
    left.write_bytes(lines[0] + damaged + lines[2] + lines[3][:-20])
    registry = Registry.open(layout)
    assert ids(registry) == ["a", "c"]
    status = registry.status()
    assert status.set_aside == 1
    assert "damaged: the checksum does not match" in status.reason
    (aside,) = layout.spool.glob("*.refused")
    assert json.loads(aside.read_text())["line"].encode("latin-1") == damaged
    registry.close()


def test_a_record_of_a_newer_version_is_kept_for_it(layout: Layout, registry: Registry) -> None:
    registry.flush()
    file = SpoolFile.create(layout.spool)
    file.append(sealed(json.dumps([["hologram", {"id": "h"}]]).encode()))
    file.close(unlink=False)
    registry.flush()
    assert "knows no table 'hologram'" in registry.status().reason
    assert len(list(layout.spool.glob("*.refused"))) == 1


def test_a_live_processs_spool_is_left_to_it(layout: Layout, registry: Registry) -> None:
    registry.flush()
    other = SpoolFile.create(layout.spool)
    other.append(sealed(json.dumps([["event", dict(event("theirs").row) | {"payload": "{}"}]]).encode()))
    assert ids(registry) == []
    other.close(unlink=False)
    assert ids(registry) == ["theirs"]


def test_a_full_spool_file_is_followed_by_another(layout: Layout, registry: Registry, monkeypatch) -> None:
    monkeypatch.setattr("mlops_nb.store.spool.FILE_BYTES", 2_000)
    names = [f"e{n:03}" for n in range(100)]
    assert all(registry.record([event(name)]) for name in names)
    assert ids(registry) == names
    assert sum(path.stat().st_size for path in layout.spool.iterdir()) < 2_500


def test_what_the_process_ends_with_is_committed(layout: Layout) -> None:
    with_registry(layout, "[registry.record([event(f'e{n}')]) for n in range(300)]")
    assert list(layout.spool.iterdir()) == []
    db = sqlite3.connect(layout.registry)
    assert db.execute("select count(*) from event").fetchone() == (300,)
    db.close()


def test_a_closed_registry_records_nothing_and_says_so(layout: Layout) -> None:
    registry = Registry.open(layout)
    assert registry.record([event("a")])
    registry.close()
    assert not registry.record([event("b")])
    assert registry.status().reason == "the registry is closed"
    assert ids(registry) == ["a"]


def test_a_newer_registry_turns_recording_off_until_it_is_mended(layout: Layout) -> None:
    first = Registry.open(layout)
    first.record([event("a")])
    first.close()
    set_version(layout, schema.VERSION + 1)
    registry = Registry.open(layout)
    assert not registry.status().on
    assert not registry.record([event("b")])
    assert "newer than this mlops_nb" in registry.status().reason
    assert "upgrade" in registry.status().reason
    with pytest.raises(RegistryError, match="newer"):
        registry.rows("select 1 as one")
    set_version(layout, schema.VERSION)
    assert registry.record([event("c")])
    assert ids(registry) == ["a", "c"]
    registry.close()


def test_an_upgrade_under_a_running_process_is_noticed_and_nothing_is_lost(layout: Layout, registry: Registry) -> None:
    registry.record([event("a")])
    assert registry.flush()
    set_version(layout, schema.VERSION + 1)
    registry.record([event("b")])
    assert not registry.flush(5)
    assert not registry.record([event("c")])
    assert "newer" in registry.status().reason
    set_version(layout, schema.VERSION)
    assert wait_for(lambda: registry.record([event("d")]))
    assert registry.flush()
    assert ids(registry) == ["a", "b", "d"]


def test_a_home_that_cannot_be_made_turns_recording_off_until_it_can(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder is wanted")
    registry = Registry.open(Layout(tmp_path, blocked / "home"))
    assert not registry.status().on
    assert not registry.record([event("a")])
    assert "Not a directory" in registry.status().reason
    assert "MLOPS_NB_HOME" in registry.status().reason
    assert registry.rows("select 1 as one") == []
    blocked.unlink()
    assert wait_for(lambda: registry.record([event("b")]))
    assert registry.status().on
    assert ids(registry) == ["b"]
    registry.close()


def test_a_query_that_cannot_be_answered_says_why(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="no such table: nowhere"):
        registry.rows("select * from nowhere")
    with pytest.raises(RegistryError, match="readonly"):
        registry.rows("delete from event")


def set_version(layout: Layout, version: int) -> None:
    db = sqlite3.connect(layout.registry)
    db.execute(f"pragma user_version={version}")
    db.close()


def wait_for(true, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def with_registry(layout: Layout, code: str) -> None:
    """Run `code` in a process of its own, with `registry` open and `event` at hand."""
    head = f"""
import os, sys
from pathlib import Path
from mlops_nb.config import Layout
from mlops_nb.records import Fact
from mlops_nb.store.registry import Registry
def event(name):
    return Fact("event", dict(id=name, ts="t", actor="me", actor_kind="human", verb="did", object="it", cause="", payload={{}}))
registry = Registry.open(Layout(Path({str(layout.root)!r}), Path({str(layout.home)!r})))
registry._running = lambda: None  # the writer never runs: all stays in the spool
"""
    if "os._exit" not in code:
        head = head[: head.index("registry._running")]
    subprocess.run([sys.executable, "-c", head + code], check=False, timeout=60)
