"""Processes that record, for the durability tests: `durable_worker.py write|lives|script ...`."""

import json
import os
import random
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

from mlops_nb.config import Layout
from mlops_nb.records import Fact, now_text
from mlops_nb.store.registry import Registry


def layout(home: str) -> Layout:
    return Layout(Path(home).parent, Path(home))


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def event(name: str, **more: Any) -> Fact:
    row = {
        "id": name,
        "ts": now_text(),
        "actor": "me",
        "actor_kind": "human",
        "verb": "did",
        "object": "it",
        "cause": "",
        "payload": {"n": [1, 2, 3]},
    }
    return Fact("event", row | more)


def write(home: str, name: str, count: int) -> None:
    """Record `count` events after a line on stdin; print what was acknowledged, the seconds a call took, and the status."""
    registry = Registry.open(layout(home))
    say("ready")
    sys.stdin.readline()
    acknowledged, calls = [], []
    for number in range(count):
        start = time.perf_counter()
        if registry.record([event(f"{name}-{number:06}")]):
            acknowledged.append(number)
        calls.append(time.perf_counter() - start)
    flushed = registry.flush(120)
    status, failures = registry.status(), registry._writer.progress.failures
    registry.close()
    calls.sort()
    say(
        json.dumps(
            {
                "acknowledged": acknowledged,
                "flushed": flushed,
                "reason": status.reason,
                "committed": status.committed,
                "failures": failures,
                "p50": calls[len(calls) // 2],
                "p99": calls[len(calls) * 99 // 100],
            }
        )
    )


def lives(home: str, seed: int, count: int) -> None:
    """Fork `count` writers one after the other and SIGKILL each at a random moment; print what each had acknowledged."""
    chance = random.Random(seed)
    acknowledged = []
    for life in range(count):
        readable, writable = os.pipe()
        child = os.fork()
        if not child:
            os.close(readable)
            live(home, life, writable)
        os.close(writable)
        acknowledged.append(_until_killed(child, readable, chance.uniform(0.0, 0.12)))
    say(json.dumps(acknowledged))


def live(home: str, life: int, pipe: int) -> None:
    """Record for ever; each acknowledged number goes through the pipe before the next record."""
    registry = Registry.open(layout(home))
    number = 0
    while True:
        if registry.record([event(f"{life:04}-{number:06}"), event(f"{life:04}-{number:06}-too")]):
            os.write(pipe, b"%d\n" % number)
        number += 1


def _until_killed(child: int, pipe: int, seconds: float) -> list[int]:
    """Read the child's pipe and kill it `seconds` after its start."""
    heard, deadline = b"", time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if select.select([pipe], [], [], left)[0]:
            heard += os.read(pipe, 1 << 16)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while more := os.read(pipe, 1 << 16):
        heard += more
    os.close(pipe)
    return [int(number) for number in heard.split()]


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    if what == "write":
        write(arguments[0], arguments[1], int(arguments[2]))
    elif what == "lives":
        lives(arguments[0], int(arguments[1]), int(arguments[2]))
