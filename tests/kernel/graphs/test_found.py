"""Examples that random graphs found, each under the name of what went wrong."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast_adapters.memory import MemoryPersistence
from holdfast_testing.clock import FakeClock
from tests.kernel.graphs.interpreter import Done
from tests.kernel.graphs.plans import BEGIN, END, Arrow, At, Mishap, Node, Plan, Script
from tests.kernel.graphs.rig import Rig


def plan(*nodes: Node, ways: dict[str, Any]) -> Plan:
    """Return a plan; of the ways from a stage the n-th is taken for choice n, the last otherwise."""
    arrows: list[Arrow] = []
    for source, groups in ways.items():
        for number, targets in enumerate(groups):
            is_last = number == len(groups) - 1
            arrows.append(
                Arrow(
                    id=f"{source}{number}",
                    source=source,
                    targets=tuple(targets.split()),
                    when=None if is_last else frozenset({number}),
                    priority=0 if is_last else 1,
                )
            )
    return Plan(nodes={node.id: node for node in nodes}, arrows=tuple(arrows))


def driven(drawn: Plan, script: Script, *, seed: int) -> dict[At, Done]:
    """Execute the plan beside the interpreter and return what was done."""
    clock = FakeClock()
    rig = Rig(drawn, script, seed=seed, persistence=MemoryPersistence(clock=clock), clock=clock)
    rig.drive()
    rig.again()
    return rig.model.done


@pytest.mark.parametrize("seed", range(5))
def test_a_source_that_went_another_way_is_no_part_of_a_join(seed: int) -> None:
    """A join takes null for a stage that completed and whose edge to it was not taken."""
    drawn = plan(
        Node(id="a"),
        Node(id="b"),
        Node(id="c"),
        Node(id="j", form="tuple", sources=("a", "b")),
        ways={BEGIN: ["a b"], "a": ["c", "j"], "b": ["j"], "c": [END], "j": [END]},
    )
    done = driven(drawn, Script(choices={"a": (0,), "b": (0,)}, lengths={}), seed=seed)
    assert done[At("a")].arrow == "a0"


@pytest.mark.parametrize("seed", range(5))
def test_attempts_of_an_early_join_see_the_same_input(seed: int) -> None:
    """A source that comes too late is no part of the input, whichever attempt reads it."""
    drawn = plan(
        Node(id="a"),
        Node(id="b"),
        Node(id="j", form="tuple", sources=("a", "b"), need=1),
        ways={BEGIN: ["a b"], "a": ["j"], "b": ["j"], "j": [END]},
    )
    failing = Mishap(stage="j", turn=0, item=0, generations=frozenset({1}), attempts=frozenset({1, 2}))
    driven(drawn, Script(choices={}, lengths={}, mishaps=(failing,)), seed=seed)


@pytest.mark.parametrize("seed", range(5))
def test_a_join_that_tolerates_all_failures_is_given_nulls(seed: int) -> None:
    """When all that leads to a join fails and that is tolerated, it gets nulls and never the run's input."""
    drawn = plan(
        Node(id="a", attempts=1),
        Node(id="b", attempts=1),
        Node(id="j", form="tuple", sources=("a", "b"), tolerate=2),
        ways={BEGIN: ["a b"], "a": ["j"], "b": ["j"], "j": [END]},
    )
    failing = [
        Mishap(stage=one, turn=0, item=0, generations=frozenset({1, 2}), attempts=frozenset({1})) for one in "ab"
    ]
    done = driven(drawn, Script(choices={}, lengths={}, mishaps=tuple(failing)), seed=seed)
    assert {done[At(one)].status for one in "ab"} == {"FAILED"}


@pytest.mark.parametrize("seed", range(5))
def test_a_gate_that_fails_the_run_is_the_last_to_be_told_of(seed: int) -> None:
    """What a failing join would have left to others in the same commit neither begins nor is told."""
    drawn = plan(
        Node(id="a"),
        Node(id="b"),
        Node(id="j", form="named", need=2),
        Node(id="k", form="named"),
        ways={BEGIN: ["a b"], "a": ["j k", "k"], "b": ["j", "k"], "j": [END], "k": [END]},
    )
    driven(drawn, Script(choices={"a": (0,), "b": (1,)}, lengths={}), seed=seed)
