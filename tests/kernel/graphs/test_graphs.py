"""Random workflows on the kernel do, commit by commit, what the reference interpreter says.

Whatever the order in which jobs are committed, with retries, failures, dead workers and lost commits, and again when
the run is retried or rerun from any of its stages.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.driving import run_sync
from holdfast_adapters.memory import MemoryPersistence
from holdfast_adapters.sqlite import SqlitePersistence
from holdfast_testing.clock import FakeClock
from tests.kernel.graphs.generations import rerun, retried
from tests.kernel.graphs.interpreter import Interpreter
from tests.kernel.graphs.plans import Plan, Script
from tests.kernel.graphs.rig import INPUT, Rig
from tests.kernel.graphs.strategies import plans

Drawn = tuple[Plan, Script]

#: How often a run is done again after it has ended.
AGAIN: Final = 2
SEEDS: Final = st.integers(0, 2**32)
QUIET: Final = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)


def check(drawn: Drawn, *, seed: int, persistence: MemoryPersistence | SqlitePersistence, clock: FakeClock) -> None:
    """Execute the workflow, then retry or rerun it, comparing all the time."""
    rig = Rig(*drawn, seed=seed, persistence=persistence, clock=clock)
    rig.drive()
    for _ in range(AGAIN):
        rig.again()


def on_memory(drawn: Drawn, *, seed: int) -> None:
    """Check on a fresh store in memory."""
    clock = FakeClock()
    check(drawn, seed=seed, persistence=MemoryPersistence(clock=clock), clock=clock)


def on_sqlite(drawn: Drawn, *, seed: int) -> None:
    """Check on a fresh file."""
    clock = FakeClock()
    with tempfile.TemporaryDirectory() as folder:
        store = SqlitePersistence(Path(folder) / "holdfast.db", clock=clock)
        try:
            check(drawn, seed=seed, persistence=store, clock=clock)
        finally:
            run_sync(store.close())


@settings(max_examples=90, deadline=None, suppress_health_check=QUIET)
@given(drawn=plans(), seed=SEEDS)
def test_random_graphs_do_what_the_interpreter_says(drawn: Drawn, seed: int) -> None:
    """Every reachable instance executes once with the input that the interpreter names, and the run ends as it says."""
    on_memory(drawn, seed=seed)


@settings(max_examples=150, deadline=None, suppress_health_check=QUIET)
@given(drawn=plans(most=10), seed=SEEDS)
def test_small_random_graphs_do_what_the_interpreter_says(drawn: Drawn, seed: int) -> None:
    """Small graphs, of which many more can be looked at, do so too."""
    on_memory(drawn, seed=seed)


@settings(max_examples=25, deadline=None, suppress_health_check=QUIET)
@given(drawn=plans(most=20), seed=SEEDS)
def test_random_graphs_do_the_same_on_sqlite(drawn: Drawn, seed: int) -> None:
    """A store in a file leads to the same commits."""
    on_sqlite(drawn, seed=seed)


@pytest.mark.slow
@settings(max_examples=4_000, deadline=None, suppress_health_check=QUIET)
@given(drawn=plans(), seed=SEEDS)
def test_many_random_graphs_do_what_the_interpreter_says(drawn: Drawn, seed: int) -> None:
    """Thousands of graphs do what the interpreter says."""
    on_memory(drawn, seed=seed)


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=QUIET)
@given(drawn=plans(), seed=SEEDS)
def test_many_random_graphs_do_the_same_on_sqlite(drawn: Drawn, seed: int) -> None:
    """Hundreds of graphs do so in files."""
    on_sqlite(drawn, seed=seed)


#: What the examples of one run must hold; a strategy in which these never come up tests nothing.
SOMETIMES: Final = (
    "a fork",
    "a loop in a loop",
    "a map in a loop",
    "a map whose items fork",
    "a rerun",
    "a retry",
    "a run COMPLETED",
    "a run FAILED: AMBIGUOUS_EDGE",
    "a run FAILED: TOO_MANY_FAILED",
    "a second turn",
    "a skipped loop",
    "a skipped map",
    "a tolerated failure",
    "an early join",
    "more than 20 stages",
    "several outputs",
)


def test_random_graphs_hold_everything_that_graphs_can_hold() -> None:
    """Among some hundred drawn workflows every kind of stage, way and end comes up."""
    seen: set[str] = set()

    @settings(max_examples=1_000, deadline=None, suppress_health_check=QUIET, derandomize=True, database=None)
    @given(drawn=plans())
    def look(drawn: Drawn) -> None:
        if seen.issuperset(SOMETIMES):
            return
        model = Interpreter(*drawn, INPUT)
        seen.update(_met(drawn[0], _played(model)))
        seen.update(_met_again(model))

    look()
    assert sorted(set(SOMETIMES) - seen) == []


def _played(model: Interpreter) -> Interpreter:
    """Let every instance that is live come to its end, the first by name first."""
    while model.live:
        at = min(model.live)
        attempt = 1
        while (outcome := model.outcome(at, attempt=attempt, lost=False)) == "AGAIN":
            attempt += 1
        if outcome == "FAILED":
            model.failed(at)
        else:
            model.completed(at)
    return model


def _met_again(model: Interpreter) -> set[str]:
    if model.status == "FAILED":
        _played(retried(model))
        return {"a retry"}
    again = rerun(model, list(model.plan.nodes)[-1])
    return set() if again is None else {"a rerun" if _played(again).status != "RUNNING" else "a hung rerun"}


def _met(plan: Plan, model: Interpreter) -> set[str]:
    nodes = plan.nodes
    skipped = [at.stage for at, done in model.done.items() if done.status == "SKIPPED"]
    facts = {
        "a fork": any(len(arrow.targets) > 1 for arrow in plan.arrows),
        "a loop in a loop": any(len(node.loops) > 1 for node in nodes.values()),
        "a map in a loop": any(node.loops and node.kind == "split" for node in nodes.values()),
        "a map whose items fork": any(node.within and node.form == "tuple" for node in nodes.values()),
        "a second turn": any(sum(at.turn) for at in model.begun),
        "a skipped loop": any(one in nodes[one].loops for one in skipped),
        "a skipped map": any(nodes[one].kind == "split" for one in skipped),
        "a tolerated failure": any(done.status == "FAILED" for done in model.done.values())
        and model.status == "COMPLETED",
        "an early join": any(node.need and node.need < len(plan.entering[node.id]) for node in nodes.values()),
        "more than 20 stages": len(nodes) > 20,
        "several outputs": str(model.output).startswith("[{"),
        f"a run {model.status}{'' if model.code is None else f': {model.code}'}": True,
    }
    return {fact for fact, is_so in facts.items() if is_so}
