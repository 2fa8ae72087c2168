"""How nodes of flow classes wait: each wait is answered once, by what was meant for it, or ends at its limit."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import BaseModel

from holdfast.authoring.classes import flow
from holdfast.authoring.context import Context
from holdfast.authoring.nodes import edge, entry, node
from holdfast.authoring.results import Fail, Ok, Wait
from holdfast.commands.run_resume import Resumed
from holdfast.entities.graph import END
from holdfast.entities.run import RunStatus
from holdfast.errors import InvalidInput, UnknownWait
from tests.kernel.behaviour.test_classes import of_class, outputs
from tests.kernel.watching import MakeHarness

NOT_AT_ALL = timedelta()


class Decision(BaseModel):
    approved: bool
    by: str = "somebody"


@flow("approval", "1.0.0", input=int, output=list[str])
class Approval:
    """Two people approve one after the other."""

    @entry
    @node("first-approval", waits={"first": Decision})
    @edge("second-approval")
    async def ask_first(self, ctx: Context) -> Ok[str] | Wait:
        if ctx.resume is None:
            return Wait("the first approval", patch={"asked": ctx.state.get("asked", 0) + 1})
        return Ok(ctx.resume.by)

    @node("second-approval", waits={"second": Decision}, needs=["first-approval"])
    @edge(END)
    def ask_second(self, ctx: Context) -> Ok[list[str]] | Fail | Wait:
        if ctx.timed_out:
            return Fail("NOBODY_CAME", "The second approval is overdue.")
        if ctx.resume is None:
            return Wait("the second approval", until="2h", patch={"asked": ctx.state["asked"] + 1})
        return Ok([ctx.require("first-approval"), ctx.resume.by])


def test_parity_219_wait_is_answered_and_the_node_sees_the_payload(make_harness: MakeHarness) -> None:
    """A node that returns Wait leaves its run waiting; resumed, it is called again with the typed payload."""
    approval = of_class(Approval)
    harness = make_harness(approval)
    run_id = harness.start(approval, 1)
    harness.drain(until=NOT_AT_ALL)
    assert harness.look(approval, run_id).status is RunStatus.WAITING
    assert [(wait.name, wait.reason) for wait in harness.waits(run_id)] == [("first", "the first approval")]

    harness.resume(run_id, "first", {"approved": True, "by": "Ada"})
    harness.drain(until=NOT_AT_ALL)
    harness.resume(run_id, "second", Decision(approved=True, by="Bea"))
    harness.drain()
    ended = harness.look(approval, run_id)

    assert (ended.status, ended.output, ended.state) == (RunStatus.COMPLETED, ["Ada", "Bea"], {"asked": 2})


def test_weak_082_answer_of_one_wait_does_not_answer_the_next(make_harness: MakeHarness) -> None:
    """Of two approvals one after the other, one payload answers one: the run waits for the second."""
    approval = of_class(Approval)
    harness = make_harness(approval)
    run_id = harness.start(approval, 1)
    harness.drain(until=NOT_AT_ALL)

    harness.resume(run_id, "first", {"approved": True})
    harness.drain(until=NOT_AT_ALL)
    ended = harness.look(approval, run_id)

    assert ended.status is RunStatus.WAITING
    assert outputs(ended) == ["first-approval"]
    assert [wait.name for wait in harness.waits(run_id)] == ["first", "second"]


def test_weak_083_early_and_duplicate_answers_are_not_lost(make_harness: MakeHarness) -> None:
    """A payload that is there before its wait is kept for it, and who comes too late hears of the first answer."""
    approval = of_class(Approval)
    harness = make_harness(approval)
    run_id = harness.start(approval, 1)
    harness.drain(until=NOT_AT_ALL)

    early = harness.resume(run_id, "second", {"approved": True, "by": "early"}, actor="Eve")
    first = harness.resume(run_id, "first", {"approved": True, "by": "one"}, actor="Ada")
    again = harness.resume(run_id, "first", {"approved": False, "by": "two"}, actor="Bea")
    harness.drain(until=NOT_AT_ALL)

    assert (early.outcome, first.outcome) == (Resumed.KEPT, Resumed.ANSWERED)
    assert (again.outcome, again.actor, again.digest) == (Resumed.ANSWERED_BEFORE, "Ada", first.digest)
    assert harness.look(approval, run_id).output == ["one", "early"]
    with pytest.raises(UnknownWait):
        harness.resume(run_id, "third", {"approved": True})


def test_weak_083_answer_may_be_any_json_but_has_to_fit(make_harness: MakeHarness) -> None:
    """A wait takes a plain value if that is its type; a payload that does not fit is refused and uses nothing up."""

    @flow("scalar", "1.0.0", input=None, output=bool)
    class Scalar:
        @entry
        @node(waits={"yes": bool})
        @edge(END)
        def ask(self, ctx: Context) -> Ok[bool] | Wait:
            return Wait() if ctx.resume is None else Ok(ctx.resume)

    scalar = of_class(Scalar)
    harness = make_harness(scalar)
    run_id = harness.start(scalar, None)
    harness.drain(until=NOT_AT_ALL)

    with pytest.raises(InvalidInput):
        harness.resume(run_id, "yes", {"approved": True})
    assert harness.resume(run_id, "yes", True).outcome is Resumed.ANSWERED
    harness.drain()

    assert harness.look(scalar, run_id).output is True


def test_weak_084_waiting_node_is_not_executed_before_it_is_answered(make_harness: MakeHarness) -> None:
    """Whatever a worker does meanwhile, a node that waits is called once before its answer and once after it."""
    approval = of_class(Approval)
    harness = make_harness(approval)
    run_id = harness.start(approval, 1)
    for _ in range(3):
        harness.drain(until=timedelta(minutes=30))
    assert harness.look(approval, run_id).attempts("first-approval") == 1

    harness.resume(run_id, "first", {"approved": True})
    harness.drain(until=NOT_AT_ALL)
    ended = harness.look(approval, run_id)

    assert ended.attempts("first-approval") == 2
    assert ended.state == {"asked": 2}


def test_weak_085_wait_ends_at_its_limit(make_harness: MakeHarness) -> None:
    """A wait that nobody answers ends when it is due: the node is called again and sees that its time is over."""
    approval = of_class(Approval)
    harness = make_harness(approval)
    run_id = harness.start(approval, 1)
    harness.drain(until=NOT_AT_ALL)
    harness.resume(run_id, "first", {"approved": True})
    harness.drain(until=timedelta(hours=1, minutes=59))
    assert harness.look(approval, run_id).status is RunStatus.WAITING

    harness.drain()
    ended = harness.look(approval, run_id)

    assert ended.status is RunStatus.FAILED
    assert ended.failure is not None
    assert (ended.failure.code, ended.failure.stage_id) == ("NOBODY_CAME", "second-approval")
