"""What lets an artifact through a gate."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_nb.records import TestCase, TestResult
from mlops_nb.testing.gates import decide

CASE = TestCase(
    name="sound", kind="model", notebook="nb.ipynb", cell_id="c1", source="assert model", on=("model",), names=("model", "flights"), version="v2"
)
PASSED = TestResult(
    id="r1", test="sound", version="v2", outcome="passed", severity="error", message="", line=0, asserts=1, seconds=0.1,
    created="2013-01-01T00:00:00.000000Z", artifacts={"model": "aa" * 32},
)  # fmt: skip
NOW = {"model": "aa" * 32, "flights": "cc" * 32}
LATER = "2013-01-02T00:00:00.000000Z"


@dataclass(frozen=True)
class Example:
    name: str
    results: tuple[TestResult, ...]
    reason: str = ""
    case: TestCase = CASE
    artifacts: dict[str, str] = field(default_factory=lambda: dict(NOW))


EXAMPLES = [
    Example("passed against this artifact", (PASSED,)),
    Example("never ran", (), "never ran"),
    Example("another test's result", (replace(PASSED, test="other"),), "never ran"),
    Example("the test changed", (replace(PASSED, version="v1"),), "changed since it last ran"),
    Example("another artifact", (replace(PASSED, artifacts={"model": "bb" * 32}),), "ran against another model (bbbbbbbb, not aaaaaaaa)"),
    Example("the result names no artifact", (replace(PASSED, artifacts={}),), "ran against another model (none, not aaaaaaaa)"),
    Example("failed", (replace(PASSED, outcome="failed", message="assert 1 == 2\n more"),), "failed: assert 1 == 2"),
    Example("could not run", (replace(PASSED, outcome="error", message=""),), "error"),
    Example("no assert", (replace(PASSED, asserts=0),), "ran no assert"),
    Example("failed, then passed", (replace(PASSED, outcome="failed"), replace(PASSED, id="r2", created=LATER))),
    Example("passed, then failed", (replace(PASSED, id="r2", created=LATER, outcome="failed", message="no"), PASSED), "failed: no"),
    Example(
        "passed here, then failed elsewhere", (PASSED, replace(PASSED, id="r2", created=LATER, outcome="failed", artifacts={"model": "bb" * 32}))
    ),
    Example("nothing to hold it against", (PASSED,), "there is no artifact model to hold it against", artifacts={"other": "dd" * 32}),
    Example("all its values must fit", (replace(PASSED, artifacts=NOW),), case=replace(CASE, on=())),
    Example(
        "one of its values differs",
        (replace(PASSED, artifacts={**NOW, "flights": "ee" * 32}),),
        "ran against another flights (eeeeeeee, not cccccccc)",
        case=replace(CASE, on=()),
    ),
    Example("about no value", (replace(PASSED, artifacts={}),), case=replace(CASE, on=(), names=())),
    Example("about a value nothing can store", (replace(PASSED, artifacts={"connection": ""}),), case=replace(CASE, on=("connection",))),
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.name)
def test_decision(example: Example) -> None:
    decision = decide([example.case], example.results, example.artifacts)
    assert decision.blocked == ({example.case.name: example.reason} if example.reason else {})
    assert decision.passed is not bool(example.reason)


def test_a_warning_test_does_not_block() -> None:
    decision = decide([replace(CASE, severity="warn")], [], NOW)
    assert decision.passed
    assert decision.summary == "tests: 0 passed, 1 warned: sound (never ran)"


def test_nothing_required_passes_and_says_so() -> None:
    assert decide([], [PASSED], NOW).summary == "tests: none"


outcomes = st.sampled_from(["passed", "failed", "error"])
digests = st.sampled_from(["aa" * 32, "bb" * 32])
results = st.builds(
    TestResult, id=st.just("r"), test=st.just("sound"), version=st.sampled_from(["v1", "v2"]), outcome=outcomes, severity=st.just("error"),
    message=st.just(""), line=st.just(0), asserts=st.integers(0, 2), seconds=st.just(0.0), created=st.integers(0, 9).map(str),
    artifacts=digests.map(lambda d: {"model": d}),
)  # fmt: skip


@given(st.lists(results, max_size=8, unique_by=lambda r: r.created))
def test_a_gate_opens_only_on_a_passing_result_of_this_version_and_digest(found: list[TestResult]) -> None:
    fitting = sorted((r for r in found if r.version == "v2" and r.artifacts["model"] == NOW["model"]), key=lambda r: r.created)
    opens = bool(fitting) and fitting[-1].outcome == "passed" and fitting[-1].asserts > 0
    assert decide([CASE], found, NOW).passed is opens
