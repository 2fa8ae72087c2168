"""The second reference system: its cases that we keep."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from holdfast import (
    END,
    Context,
    DefinitionError,
    Flow,
    Graph,
    Ok,
    Retry,
    RunStatus,
    otherwise,
    run_sync,
    stage,
    when,
    workflow,
)
from holdfast.entities.definition import Body, Definition
from holdfast.events import EventType
from holdfast.ports.executor import BodyCall, StageTimeout
from holdfast.verdicts import JobOutcome
from holdfast_hosts.cli.shapes import edge_shape, spec_shape, workflow_shape
from holdfast_hosts.executors import HostExecutor
from tests.kernel.behaviour.flows import THRICE, flaky, line, step
from tests.kernel.watching import MakeHarness


def test_parity_213_builder_keeps_options_and_conditions_and_needs_an_entry() -> None:
    """Edges have priority 0 unless told, nodes keep their options, and a graph without an entry is refused."""
    first, second = step("first", retry=THRICE), step("second")
    graph = (
        Graph("built", int, version="1")
        .entry(first)
        .edge(first, second, when=lambda number: number > 5)
        .edge(first, END)
        .end(second)
    )
    definition = graph.definition()
    conditional, plain = definition.graph.outgoing["first"]
    assert conditional.condition is not None
    assert (conditional.priority, conditional.condition.label) == (0, "number > 5")
    assert conditional.condition.function(6) is True
    assert plain.condition is None
    assert definition.stages["first"].retry == THRICE
    with pytest.raises(DefinitionError, match="entry"):
        Graph("none", int, version="1").edge(first, second).end(second).definition()


def routed(*, ties: bool) -> Flow[int, int]:
    """Return a branch with two conditions that both match, or none of which is left out."""
    return (
        workflow("routed", input=int, version="1")
        .pipe(step("s1"))
        .branch(
            when(lambda number: number > 0, step("a")),
            when(lambda number: number > (1 if ties else 100), step("b")),
            otherwise(step("c")),
        )
    )


def test_parity_216_tie_fails_the_run_and_the_timeline_says_between_what(make_harness: MakeHarness) -> None:
    """Two edges of the highest priority that match are AMBIGUOUS_EDGE, told with both conditions; a fix goes on."""
    broken, fixed = routed(ties=True), routed(ties=False)
    harness = make_harness(broken)
    ended = harness.run(broken, 5)
    assert harness.failure_of(ended.run.id) == ("AMBIGUOUS_EDGE", "s1")
    told = ended.events[-1]
    assert told.type is EventType.RUN_FAILED
    assert told.data["code"] == "AMBIGUOUS_EDGE"
    assert "number > 0" in told.data["message"]
    assert "number > (1 if ties else 100)" in told.data["message"]
    repaired = make_harness(fixed)
    repaired.retry(ended.run.id)
    repaired.drain()
    assert repaired.look(fixed, ended.run.id).output == 7


def test_parity_217_gap_in_the_routes_is_an_error_not_a_success() -> None:
    """A stage whose conditions may all be false, or that leads nowhere, is refused when the workflow is built."""
    first, second = step("first"), step("second")
    base = Graph("gap", int, version="1").entry(first)
    with pytest.raises(DefinitionError, match="first"):
        base.edge(first, second, when=lambda number: number > 5).end(second).definition()
    with pytest.raises(DefinitionError, match="second"):
        base.edge(first, second).definition()
    with pytest.raises(DefinitionError, match="otherwise"):
        workflow("gap", input=int).pipe(first).branch(
            when(lambda number: number > 1, step("a")), when(lambda number: number > 2, step("b"))
        ).definition()


def test_parity_220_221_key_reuses_output_and_patch(make_harness: MakeHarness) -> None:
    """A side effect under a key happens once over several runs; who comes later gets output and patch."""
    done: list[int] = []

    @stage(key=lambda number: f"k{number}")
    async def once(number: int, ctx: Context) -> Ok[int]:
        done.append(number)
        return Ok(number + 1, patch={"done": {"by": ctx.run_id}})

    body: Any = once
    flow: Flow[int, Any] = workflow("once", input=int, version="1", state=True).pipe(body)
    harness = make_harness(flow)
    first, second, other = (harness.run(flow, number) for number in (1, 1, 2))
    assert done == [1, 2]
    assert (first.output, second.output, other.output) == (2, 2, 3)
    assert second.state == first.state == {"done": {"by": first.run.id}}


def test_parity_222_delays_are_fixed_or_doubled_and_capped(make_harness: MakeHarness) -> None:
    """Base, base doubled with each attempt, never above the cap; beyond the budget there is no further attempt."""
    fixed = Retry(9, backoff="fixed", base="2s", jitter=0)
    doubled = Retry(9, base="2s", cap="10s", jitter=0)
    assert [fixed.delay(attempt=n, fraction=1).total_seconds() for n in (1, 2, 8)] == [2, 2, 2]
    assert [doubled.delay(attempt=n, fraction=1).total_seconds() for n in (1, 2, 3, 4, 99)] == [2, 4, 8, 10, 10]
    flow = workflow("budget", input=int, version="1").pipe(flaky("s1", failures=9, retry=Retry(2, jitter=0)))
    ended = make_harness(flow).run(flow, 1)
    assert (ended.status, ended.attempts("s1")) == (RunStatus.FAILED, 2)


def test_parity_223_slow_body_is_a_timeout_with_its_limit() -> None:
    """A body that does not end is interrupted at its limit, which the error tells; a fast one gives its value."""

    async def play() -> None:
        executor = HostExecutor(threads=1)
        try:
            body = workflow("slow", input=int).pipe(never).definition().stages["never"].body
            assert body is not None
            call = executor.run(_call(body, timeout=timedelta(milliseconds=20)))
            with pytest.raises(StageTimeout) as caught:
                await call
            assert "0.02" in str(caught.value)
            quick = workflow("quick", input=int).pipe(at_once).definition().stages["at_once"].body
            assert quick is not None
            assert await executor.run(_call(quick, timeout=timedelta(seconds=60))) == 1
        finally:
            executor.close()

    asyncio.run(play())


def _call(body: Body, *, timeout: timedelta) -> BodyCall:
    return BodyCall(body=body, arguments=(1,), timeout=timeout)


@stage
async def never(number: int) -> int:
    """Wait for what does not come."""
    await asyncio.Event().wait()
    return number


@stage
async def at_once(number: int) -> int:
    """Give the number."""
    return number


def test_parity_224_lease_is_taken_by_one_and_free_again_afterwards(make_harness: MakeHarness) -> None:
    """While a job is leased nobody else gets it and nothing is raised; it is free once it is handed back or ends."""
    flow = line(1)
    harness = make_harness(flow)
    one, two = harness.start(flow, 1), harness.start(flow, 1)
    harness.admit()
    first, second = harness.lease(limit=2)
    assert {first.key.run_id, second.key.run_id} == {one, two}
    ttl = timedelta(seconds=30)
    assert run_sync(harness.transport.claim(first.key, worker="w2", ttl=ttl)) is None
    run_sync(harness.transport.release(first))
    taken = run_sync(harness.transport.claim(first.key, worker="w2", ttl=ttl))
    assert taken is not None
    assert taken.epoch > first.epoch
    assert harness.execute(taken).outcome is JobOutcome.COMPLETED
    assert harness.execute(second).outcome is JobOutcome.COMPLETED


def test_parity_226_description_of_a_workflow_leaves_out_its_functions() -> None:
    """What is shown of a workflow is JSON: retries, timeouts, edges and the words of conditions, but no code."""
    flow = routed(ties=True)
    definition: Definition = flow.definition()
    described = [workflow_shape(definition), *map(spec_shape, definition.stages.values())]
    edges = [edge_shape(edge) for edge in definition.edges]
    text = str(described) + str(edges)
    assert "function" not in text
    assert "0x" not in text
    assert "number > 0" in text
    assert all(isinstance(one, str | int | float | bool | list | dict | None) for one in _leaves([described, edges]))


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for member in value.values():
            yield from _leaves(member)
    elif isinstance(value, list):
        for member in value:
            yield from _leaves(member)
    else:
        yield value
