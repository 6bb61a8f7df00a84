"""Nothing acknowledged is lost, nothing is there twice: many writers at once, and writers killed at any moment."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from mlops_nb.config import Layout
from mlops_nb.store.registry import Registry

WORKER = Path(__file__).with_name("durable_worker.py")
SEED = int(os.environ.get("MLOPS_NB_SEED", "20131"))
KILLS = int(os.environ.get("MLOPS_NB_KILLS", "200"))
WRITERS, RECORDS = 8, 5_000


def say(figures: str) -> None:
    """Seeds and measured figures, shown by `pytest -s` and with a failure."""
    sys.stdout.write(f"{figures}\n")


def worker(*arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, str(WORKER), *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def present(layout: Layout) -> list[str]:
    """The ids in the registry, in the order they were committed, after left-overs were taken in."""
    registry = Registry.open(layout)
    assert registry.flush(120)
    found = [row["id"] for row in registry.rows("select id from event order by rowid")]
    assert registry.status().set_aside == 0, registry.status()
    registry.close()
    db = sqlite3.connect(layout.registry)
    assert db.execute("pragma integrity_check").fetchone() == ("ok",)
    db.close()
    return found


def test_eight_writers_lose_nothing_and_never_find_the_database_locked(layout: Layout) -> None:
    Registry.open(layout).close()
    processes = [worker("write", layout.home, f"w{n}", RECORDS) for n in range(WRITERS)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    start = time.perf_counter()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [json.loads(process.communicate(timeout=240)[0]) for process in processes]
    seconds = time.perf_counter() - start
    p50, p99 = (1e6 * sorted(answer[key] for answer in answers)[WRITERS // 2] for key in ("p50", "p99"))
    say(f"{WRITERS} x {RECORDS} records: {WRITERS * RECORDS / seconds:,.0f} durable records/s; record() p50 {p50:.0f} us, p99 {p99:.0f} us")

    found = present(layout)
    assert len(found) == len(set(found)) == WRITERS * RECORDS
    for number, answer in enumerate(answers):
        assert answer["acknowledged"] == list(range(RECORDS))
        assert (answer["flushed"], answer["reason"], answer["failures"], answer["committed"]) == (True, "", 0, RECORDS)
        mine = [name for name in found if name.startswith(f"w{number}-")]
        assert mine == sorted(mine), "each writer's records are committed in its own order"
    assert list(layout.spool.iterdir()) == []


def test_no_acknowledged_record_is_lost_by_sigkill(layout: Layout) -> None:
    say(f"seed {SEED}; MLOPS_NB_SEED sets another")
    done = worker("lives", layout.home, SEED, KILLS)
    lives = json.loads(done.communicate(timeout=240)[0])
    assert done.returncode == 0
    assert len(lives) == KILLS
    found = present(layout)
    assert len(found) == len(set(found))
    names = set(found)
    lost = [(life, number) for life, numbers in enumerate(lives) for number in numbers if f"{life:04}-{number:06}" not in names]
    acknowledged = sum(map(len, lives))
    say(f"{KILLS} kills: {acknowledged:,} records acknowledged, {len(lost)} lost, {len(found) // 2 - acknowledged} committed but not acknowledged")
    assert not lost, f"seed {SEED}"
    assert acknowledged > 10 * KILLS
    for life in range(KILLS):
        numbers = sorted(int(name.split("-")[1]) for name in names if name.startswith(f"{life:04}-") and not name.endswith("-too"))
        assert numbers == list(range(len(numbers))), "what is there of a life is its beginning, without a gap"
    assert {name.removesuffix("-too") for name in names if name.endswith("-too")} == {name for name in names if not name.endswith("-too")}
    assert list(layout.spool.iterdir()) == []
