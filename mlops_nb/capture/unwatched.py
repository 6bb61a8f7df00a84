"""What is still known of names after cells ran with nobody watching. Pure, but for reading the values."""

from collections.abc import Container, Iterable, Mapping
from typing import Any

from mlops_nb.capture.lineage import Writers
from mlops_nb.capture.values import value_digest
from mlops_nb.records import CellRun, Certainty

DIGEST_BUDGET = 1 << 19


def writers_left(writers: Writers, runs: Iterable[CellRun], namespace: Mapping[str, Any], bound: Container[str]) -> Writers:
    """The writers that still count: none of what was `bound` anew or deleted; of what may have been changed, possible ones.

    Certain stays a value that has the digest its last writer left.
    """
    left = {run.id: run.values for run in runs}
    found: dict[str, tuple[tuple[str, Certainty], ...]] = {}
    for name, entries in writers.items():
        if ":" not in name and (name in bound or name not in namespace):
            continue
        digest = left[entries[-1][0]].get(name, "") if entries else ""
        same = bool(digest) and name in namespace and value_digest(namespace[name], budget=DIGEST_BUDGET) == digest
        found[name] = entries if same else tuple((run, "possible") for run, _ in entries)
    return found
