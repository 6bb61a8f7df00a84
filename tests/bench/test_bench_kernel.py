"""What `%load_ext mlops_nb` costs in a real kernel: capture, recording, telling the panel. Interleaved kernels, CPU time of the process."""

import statistics
import sys
from pathlib import Path
from typing import Any

import pytest

ROUNDS = 5
CELLS = 200
LIMIT_MS = 2.0
CLOCK = "import time; print(time.process_time())"


def _cost(start_kernel: Any, folder: Path, *, loaded: bool) -> float:
    """CPU ms of a trivial cell in one kernel, over `CELLS` of them in a notebook of as many."""
    kernel = start_kernel(folder)
    try:
        kernel.run("x = 0", "first")
        if loaded:
            assert kernel.run("%load_ext mlops_nb", "load").status == "ok"
        before = float(kernel.run(CLOCK, "before").stdout)
        for number in range(CELLS):
            kernel.run("x = x + 1", f"c{number}")
        return (float(kernel.run(CLOCK, "after").stdout) - before) * 1000 / CELLS
    finally:
        kernel.close()


@pytest.mark.slow
def test_the_loaded_extension_costs_a_trivial_cell_little(benchmark: Any, start_kernel: Any, tmp_path: Path, capsys: Any) -> None:
    costs: dict[bool, list[float]] = {False: [], True: []}

    def one_round() -> None:
        for loaded, found in costs.items():
            folder = tmp_path / f"{len(found)}-{loaded}"
            folder.mkdir()
            found.append(_cost(start_kernel, folder, loaded=loaded))

    benchmark.pedantic(one_round, rounds=ROUNDS, iterations=1)
    plain, loaded = (statistics.median(costs[kind]) for kind in (False, True))
    with capsys.disabled():
        sys.stdout.write(
            f"\ntrivial cell in a kernel, CPU ms, median of {ROUNDS}: plain {plain:.2f}, loaded {loaded:.2f}, more {loaded - plain:.2f}\n"
        )
    assert loaded - plain <= LIMIT_MS
