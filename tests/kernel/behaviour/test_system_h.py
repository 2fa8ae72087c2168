"""The second reference system, rows A of its feature table: how workflows are written."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from holdfast import (
    END,
    Context,
    DefinitionError,
    Fail,
    Flow,
    Graph,
    Ok,
    Retry,
    RunStatus,
    StageStatus,
    Wait,
    edge,
    entry,
    flow,
    node,
    run_sync,
    stage,
    workflow,
)
from tests.kernel.behaviour.flows import ONCE, THRICE, Calls, keyed, step
from tests.kernel.watching import MANY, MakeHarness


class Claim(BaseModel):
    """The input of a workflow."""

    amount: int


@flow("claim", "3.1.0", input=Claim, output=str)
class ClaimFlow:
    """A claim that is scored, waits for a person if it is large, and is paid."""

    made = 0

    def __init__(self) -> None:
        """Count how often the class is instantiated."""
        type(self).made += 1
        self.rate = 2

    @entry
    @node(retry=THRICE)
    @edge("human-review", when=lambda score, run: score > 10 and run.state["open"], priority=5)
    @edge("pay")
    async def score(self, ctx: Context) -> Ok[int] | Fail:
        """Score the claim; the service fails at first."""
        ctx.services[Calls].note(ctx)
        if ctx.attempt == 1:
            return Fail("BUSY", "try again", retryable=True)
        if ctx.input.amount < 0:
            return Fail("NEGATIVE", "no such amount")
        return Ok(ctx.input.amount * self.rate, patch={"open": True, "seen": {"score": 1}})

    @node("human-review", waits={"review": bool}, needs=["score"])
    @edge("pay")
    async def review(self, ctx: Context) -> Ok[str] | Wait:
        """Ask a person."""
        if ctx.resume is None:
            return Wait("a reviewer", patch={"seen": {"asked": True}})
        return Ok(f"reviewed {ctx.resume}", patch={"open": None})

    @node
    @edge(END)
    async def pay(self, ctx: Context) -> str:
        """Pay."""
        return f"{ctx.workflow_id} {ctx.workflow_version} {sorted(ctx.state)}"


#: The class is a workflow, which checkers cannot see: they take what decorates a class for the class.
CLAIM: Any = ClaimFlow


def positive(number: int) -> bool:
    """Tell numbers apart."""
    return number > 0


def test_row_h_a1_builder_has_entry_nodes_and_edges_and_is_checked() -> None:
    """A graph has an entry, nodes with options, and edges; no entry, a lost node or two of one id are refused."""
    first = step("first", retry=THRICE)
    second = keyed("second")
    built = Graph("built", int, int, version="2").entry(first).edge(first, second, when=positive).edge(first, END)
    definition = built.end(second).definition()
    assert (definition.name, definition.entry) == ("built@2", ("first",))
    assert (definition.stages["first"].retry, definition.stages["second"].timeout) == (THRICE, timedelta(seconds=30))
    assert definition.stages["second"].key is not None
    assert [one.priority for one in definition.graph.outgoing["first"] if one.condition is not None] == [0]
    lost = step("lost")
    for wrong in (
        Graph("none", int, version="1").edge(first, second).end(second),
        Graph("far", int, version="1").entry(first).end(first).end(lost),
        Graph("open", int, version="1").entry(first).edge(first, second),
        Graph("gap", int, version="1").entry(first).edge(first, second, when=positive).end(second),
    ):
        with pytest.raises(DefinitionError):
            wrong.definition()
    with pytest.raises(DefinitionError):
        Graph("twice", int, version="1").entry(first).edge(first, step("first")).definition()


def test_row_h_a2_decorated_class_is_a_workflow(make_harness: MakeHarness) -> None:
    """Ids default to names of methods, the class is instantiated once, and edges lead from the node's own id."""
    harness = make_harness(CLAIM)
    run_id = harness.start(CLAIM, Claim(amount=10))
    harness.drain(until=timedelta(minutes=1))
    harness.resume(run_id, "review", True)
    harness.drain()
    assert harness.look(CLAIM, run_id).output == "claim 3.1.0 ['seen']"
    assert CLAIM.made == 1
    stages = {one.key.stage_id: one.status for one in harness.look(CLAIM, run_id).stages}
    assert stages == dict.fromkeys(("score", "human-review", "pay"), StageStatus.COMPLETED)


def test_row_h_a3_handler_returns_an_output_a_failure_or_a_wait(make_harness: MakeHarness) -> None:
    """`Ok` completes, `Fail` is retried only if it says so and keeps its code, `Wait` parks the run."""
    harness = make_harness(CLAIM)
    failed = harness.run(CLAIM, Claim(amount=-1))
    assert failed.failure is not None
    assert (failed.failure.code, failed.failure.message, failed.failure.stage_id) == (
        "NEGATIVE",
        "no such amount",
        "score",
    )
    assert failed.attempts("score") == 2
    assert harness.run(CLAIM, Claim(amount=1)).output == "claim 3.1.0 ['open', 'seen']"
    waiting = harness.start(CLAIM, Claim(amount=10))
    harness.drain()
    assert harness.run_of(waiting).status is RunStatus.WAITING


def test_row_h_a4_context_tells_everything_about_the_run(make_harness: MakeHarness) -> None:
    """The context gives the run, its workflow, tenant, input, state and outputs, the attempt, services and a log."""
    told: dict[str, Any] = {}

    @stage(name="look", needs=["first"], retry=Retry(2, base="1s"))
    async def look(number: int, ctx: Context) -> Ok[int]:
        if ctx.attempt == 1:
            raise ConnectionError("again")
        told.update(
            run=ctx.run_id,
            workflow=(ctx.workflow_id, ctx.workflow_version),
            tenant=ctx.tenant,
            input=ctx.input,
            state=dict(ctx.state),
            output=ctx.require("first"),
            attempt=ctx.attempt,
            stage=(ctx.stage_id, ctx.stage_number, ctx.turn, ctx.generation),
            cancelled=ctx.cancelled,
        )
        ctx.log("looked")
        return Ok(number)

    looked: Any = look
    known: Flow[int, Any] = workflow("look", input=int, version="4", state=True).pipe(step("first")).pipe(looked)
    harness = make_harness(known)
    run_id = harness.start(known, 1, tenant="acme", initial_state={"a": 1})
    harness.drain()
    assert told == {
        "run": run_id,
        "workflow": ("look", "4"),
        "tenant": "acme",
        "input": 1,
        "state": {"a": 1},
        "output": 2,
        "attempt": 2,
        "stage": ("look", 2, 1, 1),
        "cancelled": False,
    }
    assert [log.message for log in run_sync(harness.persistence.list_logs(run_id, limit=MANY))] == ["looked"]


def test_row_h_a5_patches_merge_deeply_and_can_delete(make_harness: MakeHarness) -> None:
    """Objects merge, lists and scalars replace, None deletes; a wait patches too, and a failed attempt does not."""
    patches: list[dict[str, Any]] = [
        {"o": {"a": 1, "b": [1, 2]}, "n": 1},
        {"o": {"b": [3], "c": {"d": True}}, "n": None},
        {"o": {"c": "scalar", "a": None}},
    ]

    def patching(number: int) -> Any:
        @stage(name=f"s{number}", retry=Retry(2, base="1s"))
        async def patch(given: int, ctx: Context) -> Ok[int] | Fail:
            if ctx.attempt == 1:
                return Fail("AGAIN", retryable=True)
            return Ok(given, patch=patches[number])

        return patch

    merged: Flow[int, Any] = workflow("merged", input=int, version="1", state=True)
    for number in range(len(patches)):
        merged = merged.pipe(patching(number))
    ended = make_harness(merged).run(merged, 1, initial_state={"kept": {"x": 1}})
    assert ended.state == {"kept": {"x": 1}, "o": {"b": [3], "c": "scalar"}}


def test_row_h_a6_outputs_are_found_by_node_and_a_loop_shows_its_last(make_harness: MakeHarness) -> None:
    """Each node's output is kept for its turn; later nodes see the newest, and every turn can be looked at."""
    work, last = step("work"), stage(name="last", needs=["work"], retry=ONCE)(_see_work)
    looping = (
        Graph("looping", int, version="1")
        .entry(work)
        .edge(work, work, when=lambda number: number < 4)
        .edge(work, last)
        .end(last)
    )
    harness = make_harness(looping)
    ended = harness.run(looping, 1)
    assert ended.output == [4, 4]
    outputs = [one.output.text for one in ended.stages if one.key.stage_id == "work" and one.output is not None]
    assert outputs == ["2", "3", "4"]


async def _see_work(number: int, ctx: Context) -> list[int]:
    return [number, ctx.require("work")]
