"""Gate decisions: a required test must have passed against exactly this artifact; everything else blocks, in words."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mlops_nb.records import TestCase, TestResult

SHORT = 8  # characters of a digest that a message shows


@dataclass(frozen=True, slots=True)
class GateDecision:
    """`passed`: nothing blocks. `blocked` test -> why; `warned` the same for tests of severity warn, which never block."""

    passed: bool
    ok: tuple[str, ...] = ()
    blocked: Mapping[str, str] = field(default_factory=dict)
    warned: Mapping[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """The decision in a line.

        >>> GateDecision(False, ok=("a", "b"), blocked={"c": "never ran"}).summary
        'tests: 2 passed, 1 blocked: c (never ran)'
        """
        if not (self.ok or self.blocked or self.warned):
            return "tests: none"
        parts = [f"{len(self.ok)} passed"]
        parts += [f"{len(reasons)} {word}: {_listed(reasons)}" for word, reasons in (("warned", self.warned), ("blocked", self.blocked)) if reasons]
        return "tests: " + ", ".join(parts)


def _listed(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{name} ({reason})" for name, reason in reasons.items())


def decide(required: Iterable[TestCase], results: Sequence[TestResult], artifacts: Mapping[str, str]) -> GateDecision:
    """Whether every required test passed against `artifacts` (name -> digest).

    A test is held against the names it is about (`on`, else `names`) that `artifacts` has. The newest result of the test's
    present version against these digests counts; missing, stale, failed and zero-assert results block.
    """
    ok: list[str] = []
    blocked: dict[str, str] = {}
    warned: dict[str, str] = {}
    for case in required:
        reason = blocker(case, results, artifacts)
        if not reason:
            ok.append(case.name)
        elif case.severity == "warn":
            warned[case.name] = reason
        else:
            blocked[case.name] = reason
    return GateDecision(passed=not blocked, ok=tuple(ok), blocked=blocked, warned=warned)


def blocker(case: TestCase, results: Sequence[TestResult], artifacts: Mapping[str, str]) -> str:
    """Why `case` does not let `artifacts` through; '' where it does."""
    ran = sorted((r for r in results if r.test == case.name), key=lambda r: r.created)
    if not ran:
        return "never ran"
    current = [r for r in ran if r.version == case.version]
    if not current:
        return "changed since it last ran"
    fitting = [r for r in current if not _mismatch(case, r, artifacts)]
    if not fitting:
        return _mismatch(case, current[-1], artifacts)
    return _verdict(fitting[-1])


def _verdict(result: TestResult) -> str:
    if result.outcome != "passed":
        return f"{result.outcome}: {result.message.splitlines()[0]}" if result.message else result.outcome
    return "" if result.asserts else "ran no assert"


def _mismatch(case: TestCase, result: TestResult, artifacts: Mapping[str, str]) -> str:
    """How the values `result` saw differ from `artifacts`; '' where they do not.

    A value that cannot be stored has the digest '' and cannot be held against anything.
    """
    about = [name for name in case.on or case.names if name in artifacts or result.artifacts.get(name)]
    if about and not any(name in artifacts for name in about):
        return f"there is no artifact {' or '.join(about)} to hold it against"
    for name in about:
        seen = result.artifacts.get(name, "")
        if name in artifacts and seen != artifacts[name]:
            return f"ran against another {name} ({seen[:SHORT] or 'none'}, not {artifacts[name][:SHORT]})"
    return ""
