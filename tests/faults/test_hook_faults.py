"""Faults injected into every stage of watching: the cell is the same as in a plain shell, at most one line is said, and recording goes on or ends."""

import asyncio
import functools
import importlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from side_by_side import Played, play, without_output

from mlops_nb.capture.watch import MAX_FAILURES

SESSION = (
    "x = [1, 2]\nprint('out')\nlen(x)",
    "with open('f.txt', 'w') as file:\n    file.write('hi')\nx",
    "exec('y = x + [3]')\ny",
    "import subprocess\nsubprocess.run(['true'], check=True).returncode",
    "import os\nos.environ['FAULT'] = '1'\nos.chdir(os.getcwd())\n_",
    "x.append(4)\n1 / 0",
    "def (",
    "os.mkdir('made')\nimport random\nrandom.seed(1)\ndef f(n): return n + x[0]\nf(1)",
    "with open('f.txt') as file:\n    z = file.read()\nos.remove('f.txt')\nz",
    "%%capture caught\nw = f(2)",
    "import sys\nsys.stderr.write('err')\ndel w\nx[-1], f(3), Out[1]",
)
LAST = ("x.append(5)\nv = len(x)\nv",)

STAGES = (  # each with five of the exceptions, in turn
    *(f"watch.{name}" for name in ("Watcher._begin", "Watcher._end", "parse_cell", "facts_of_cell", "look_before", "observe", "keep_reach")),
    *("watch.value_digest", "watch._Delivery.put", "observe.fingerprint", "state.look", "state.changed", "files.stop", "files.uses", "files.hashed"),
    *("lineage.History.add", "touched.note_open", "watch.Watcher._executed"),
)
PARTS = (  # each with two exceptions, in turn
    *(f"watch.{name}" for name in ("Watcher._seen", "Watcher._scene", "Watcher._run", "_digests", "shadowed_builtins", "now_text", "_caller")),
    *(f"watch.{name}" for name in ("take_in", "variable_digests", "source_crc", "_error_text", "_words", "_Positions.refresh", "effect_of")),
    *(f"watch.{name}" for name in ("columns_of", "columns_made", "variables_of")),
    *(f"observe.{name}" for name in ("resolve", "is_plain", "_stamp", "_alike", "_changed", "_reads")),
    *(f"state.{name}" for name in ("use_of", "followed", "files_looked_at", "_marks")),
    *("files.start", "lineage.History.replace", "places.start", "places.stop", "touched.start", "touched.stop", "touched.settled"),
    *("audit.start", "audit.stop", "reach.Reach.look", "reach.Reach.put", "touched.note_removal", "touched.note_folder_change"),
    *("processes.note_arguments", "places._note"),
)
HANDLERS = ("watch.Watcher._executed", "touched.note", "processes.note", "places._note")  # these run inside the user's own calls


class Odd(BaseException):
    """Neither an error nor an exit."""


class Wordless(Exception):
    """Cannot even say what it is."""

    def __str__(self) -> str:
        raise SystemExit("no words")


FAULTS: dict[str, Callable[[], BaseException]] = {
    "Exception": lambda: Exception("broken"),
    "MemoryError": MemoryError,
    "RecursionError": lambda: RecursionError("too deep"),
    "SystemExit": lambda: SystemExit(3),
    "GeneratorExit": GeneratorExit,
    "UnicodeError": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "surrogate \ud800"),
    "BaseException": lambda: Odd("odd"),
    "AttributeError": lambda: AttributeError("gone", name="gone", obj=object()),
    "OSError": lambda: OSError(28, "No space left on device"),
    "StopIteration": lambda: StopIteration(1),
    "CancelledError": asyncio.CancelledError,
    "without words": Wordless,
    "group": lambda: BaseExceptionGroup("both", [SystemExit(1), KeyError("k")]),
}


@dataclass
class Fault:
    """Takes the place of one of our functions; once armed it raises what `make` makes, at most `times` times."""

    place: str
    make: Callable[[], BaseException]
    times: int
    armed: bool = False
    raised: list[str] = field(default_factory=list)

    def put(self, patch: pytest.MonkeyPatch) -> None:
        owner, _, name = self.place.rpartition(".")
        module, _, inside = owner.partition(".")
        holder: Any = importlib.import_module(f"mlops_nb.capture.{module}")
        holder = getattr(holder, inside) if inside else holder
        original = getattr(holder, name)

        @functools.wraps(original)
        def broken(*args: Any, **kwargs: Any) -> Any:
            if self.armed and len(self.raised) < self.times:
                self.raised.append(name)
                raise self.make()
            return original(*args, **kwargs)

        patch.setattr(holder, name, broken)

    @contextmanager
    def arm(self) -> Iterator[None]:
        self.armed = True
        yield
        self.armed = False


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """The session as a user without us sees it."""
    folder, before = tmp_path_factory.mktemp("plain"), Path.cwd()
    os.chdir(folder)
    yield play(SESSION + LAST, folder, watched=False)
    os.chdir(before)


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Fault], Played]:
    """Play the session in a watched shell with a fault in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FAULT", raising=False)
    (tmp_path / ".git").mkdir()

    def run(fault: Fault) -> Played:
        fault.put(monkeypatch)
        return play(SESSION + LAST, tmp_path, watched=True, around=fault.arm)

    return run


def test_watching_alone_changes_nothing_and_records_all(session, plain: Played) -> None:
    played = session(Fault("watch.observe", Exception, times=0))
    assert played.cells == plain.cells
    assert (len(played.runs), played.failures, played.warnings) == (len(SESSION) + 1, [], [])


def turns() -> list[tuple[str, str]]:
    """(place, kind of exception) of all faults injected."""
    kinds = tuple(FAULTS)
    per_place = [(place, 5) for place in STAGES] + [(place, 2) for place in PARTS]
    return [(place, kinds[(5 * number + step) % len(kinds)]) for number, (place, count) in enumerate(per_place) for step in range(count)]


@pytest.mark.parametrize(("place", "kind"), turns())
def test_a_fault_that_stays_leaves_cells_alone_and_is_told_at_most_once(session, plain: Played, place: str, kind: str) -> None:
    fault = Fault(place, FAULTS[kind], times=10_000)
    played = session(fault)
    assert fault.raised, f"{place} is never called"
    assert played.cells == plain.cells
    ended = len(played.failures) >= MAX_FAILURES
    assert len(played.warnings) == ended
    assert len(played.failures) <= MAX_FAILURES
    assert ended or len(played.runs) + len(played.failures) >= len(SESSION + LAST)


@pytest.mark.parametrize(("place", "kind"), [(place, tuple(FAULTS)[number % len(FAULTS)]) for number, place in enumerate(STAGES + PARTS)])
def test_after_fewer_than_three_faults_recording_goes_on(session, plain: Played, place: str, kind: str) -> None:
    fault = Fault(place, FAULTS[kind], times=MAX_FAILURES - 1)
    played = session(fault)
    assert fault.raised, f"{place} is never called"
    assert played.cells == plain.cells
    assert played.warnings == []
    assert len(played.failures) < MAX_FAILURES
    assert len(played.runs) >= len(SESSION + LAST) - len(played.failures)
    last = played.runs[-1]
    assert (last.source, last.reads, set(last.writes) - {"y"}) == (LAST[0], ("x",), {"v", "x"})


@pytest.fixture
def heeds_interrupts():
    """A shell starts its background jobs, and so these tests perhaps, with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_interrupts")
@pytest.mark.parametrize("place", [place for place in STAGES if not place.startswith(HANDLERS)])
def test_an_interrupt_inside_a_hook_is_the_users_and_recording_goes_on(session, plain: Played, place: str) -> None:
    """A real signal, as the kernel's interrupt button sends it; IPython shows where it came."""
    fault = Fault(place, lambda: signal.raise_signal(signal.SIGINT) or AssertionError("no signal came"), times=2)
    played = session(fault)
    assert fault.raised, f"{place} is never called"
    assert [without_output(seen) for seen in played.cells] == [without_output(seen) for seen in plain.cells]
    assert (played.warnings, played.failures) == ([], [])
    assert played.runs[-1].source == LAST[0]
    assert sum("KeyboardInterrupt" in seen.out + seen.err for seen in played.cells) in (1, 2)


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_on_the_thread_that_hashes_big_files_ends_watching_there(session, plain: Played, kind: str, monkeypatch) -> None:
    monkeypatch.setattr("mlops_nb.capture.watch.INLINE_FILES", -1)
    fault = Fault("watch.Watcher._complete", FAULTS[kind], times=10_000)
    played = session(fault)
    assert played.cells == plain.cells
    assert len(played.failures) >= MAX_FAILURES
    assert played.runs == []
