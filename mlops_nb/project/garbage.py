"""Which stored files nothing needs any more. Pure: what is there and what is needed in, what may go out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

DAY = 86_400.0
LONGEST_RUN = 30 * DAY  # a run that began earlier and never ended was killed


@dataclass(frozen=True, slots=True)
class Policy:
    """What is kept whatever happens: the newest `keep` runs of each pipeline, runs younger than `older_than` seconds, files younger than a day.

    `now` is in seconds since the epoch. A file that is young may belong to what another process is just doing.
    """

    now: float
    keep: int = 10
    older_than: float = 30 * DAY
    young: float = DAY


@dataclass(frozen=True, slots=True)
class PastRun:
    """A run as far as its age decides: `started` in seconds since the epoch."""

    id: str
    pipeline: str
    kind: str
    status: str
    started: float


@dataclass(frozen=True, slots=True)
class Stored:
    """A file of the project home: `reference` is what facts call it by (a digest, or an executed notebook's path), `modified` since the epoch."""

    path: str
    reference: str
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class Share:
    """Files kept for one reason."""

    reason: str
    files: int
    size: int


@dataclass(frozen=True, slots=True)
class Sorted:
    """What may go, and what stays for which reason."""

    garbage: tuple[Stored, ...]
    kept: tuple[Share, ...]

    @property
    def size(self) -> int:
        """Bytes that may go."""
        return sum(file.size for file in self.garbage)


def seconds(moment: str) -> float:
    """A recorded time (ISO 8601) in seconds since the epoch; 0.0 where there is none."""
    return datetime.fromisoformat(moment).timestamp() if moment else 0.0


def kept_runs(runs: Sequence[PastRun], policy: Policy) -> frozenset[str]:
    """The runs, given newest first, whose results stay: young, among the newest, the newest that passed, or still running.

    >>> old = [PastRun(str(n), "p", "pipeline", "failed" if n > 1 else "passed", 0.0) for n in (4, 3, 2, 1, 0)]
    >>> sorted(kept_runs(old, Policy(now=90 * DAY, keep=2)))
    ['1', '3', '4']
    """
    kept: set[str] = set()
    counted: dict[tuple[str, str], int] = {}
    passed: set[tuple[str, str]] = set()
    for run in runs:
        line = run.pipeline, run.kind
        counted[line] = counted.get(line, 0) + 1
        newest_passed = run.status == "passed" and line not in passed
        passed |= {line} if newest_passed else set()
        age = policy.now - run.started
        alive = run.status == "running" and age < LONGEST_RUN
        if age < policy.older_than or counted[line] <= policy.keep or newest_passed or alive:
            kept.add(run.id)
    return frozenset(kept)


def sort_out(files: Iterable[Stored], needed: Mapping[str, str], policy: Policy) -> Sorted:
    """The files that are old enough and that `needed` (reference -> why) does not name, the biggest first; and why the others stay."""
    garbage: list[Stored] = []
    kept: dict[str, tuple[int, int]] = {}
    for file in files:
        reason = needed.get(file.reference) or ("younger than a day" if policy.now - file.modified < policy.young else "")
        if not reason:
            garbage.append(file)
            continue
        count, size = kept.get(reason, (0, 0))
        kept[reason] = count + 1, size + file.size
    shares = tuple(Share(reason, *told) for reason, told in sorted(kept.items()))
    return Sorted(tuple(sorted(garbage, key=lambda file: (-file.size, file.path))), shares)
