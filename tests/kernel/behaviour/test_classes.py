"""How runs of flow classes go: branches on the state, results of handlers, loops, keys and compensation."""

from __future__ import annotations

from typing import Any, cast

import pytest

from holdfast.authoring.classes import flow
from holdfast.authoring.context import Context
from holdfast.authoring.flow import Flow
from holdfast.authoring.nodes import edge, entry, node
from holdfast.authoring.results import Fail, Ok
from holdfast.entities.graph import END
from holdfast.entities.retry import NeverRetry, Retry
from holdfast.entities.run import RunStatus
from holdfast_testing.harness import Ended
from tests.kernel.watching import MakeHarness


def of_class(made: object) -> Flow[Any, Any]:
    """Return the workflow that @flow made of a class, which one of the type checkers still takes for the class."""
    return cast("Flow[Any, Any]", made)


def outputs(ended: Ended[Any]) -> list[str]:
    """Return the nodes that were completed, in order."""
    return [told.split()[1] for told in ended.story if told.startswith("stage.completed")]


@flow("line", "1.0.0", input=int, output=int)
class Line:
    @entry
    @node("begin")
    @edge("double")
    async def first(self, ctx: Context) -> Ok[int]:
        return Ok(ctx.input + 1, patch={"seen": ["begin"], "sums": {"begin": 1}})

    @node(needs=["begin"])
    @edge("finish")
    def double(self, ctx: Context) -> Ok[int]:
        return Ok(ctx.require("begin") * 2, patch={"seen": [*ctx.state["seen"], "double"], "sums": {"double": 2}})

    @node("finish")
    @edge(END)
    async def last(self, ctx: Context, doubled: int) -> int:
        assert ctx.state["sums"] == {"begin": 1, "double": 2}
        return doubled * 10


def test_parity_214_line_of_three_completes_with_all_outputs_and_the_merged_state(make_harness: MakeHarness) -> None:
    """A line of three nodes completes; each sees the state as it was patched, and the last gives the output."""
    line = of_class(Line)
    ended = make_harness(line).run(line, 4)

    assert (ended.status, ended.output) == (RunStatus.COMPLETED, 100)
    assert outputs(ended) == ["begin", "double", "finish"]
    assert ended.state == {"seen": ["begin", "double"], "sums": {"begin": 1, "double": 2}}


def test_weak_087_node_with_an_id_of_its_own_keeps_its_edges_at_run_time(make_harness: MakeHarness) -> None:
    """A run does not end behind a node whose id is not its method's name: its edges are taken."""
    line = of_class(Line)

    assert outputs(make_harness(line).run(line, 1))[-1] == "finish"


@flow("routes", "1.0.0", input=int, output=str)
class Routes:
    @entry
    @node
    @edge("huge", when=lambda size, run: run.state["size"] > 100, priority=10)
    @edge("large", when=lambda size, run: run.state["size"] > 10 and run.input == size)
    @edge("small")
    def measure(self, ctx: Context) -> Ok[int]:
        return Ok(ctx.input, patch={"size": ctx.input})

    @node
    @edge(END)
    def huge(self, ctx: Context) -> str:
        return "huge"

    @node
    @edge(END)
    def large(self, ctx: Context) -> str:
        return "large"

    @node
    @edge(END)
    def small(self, ctx: Context) -> str:
        return "small"


@pytest.mark.parametrize(("size", "taken"), [(5, "small"), (50, "large"), (500, "huge")])
def test_parity_215_branch_follows_the_state(make_harness: MakeHarness, size: int, taken: str) -> None:
    """Conditions see the state with the patch of the node that has just ended, and the highest priority wins."""
    routes = of_class(Routes)
    ended = make_harness(routes).run(routes, size)

    assert ended.output == taken
    assert outputs(ended) == ["measure", taken]


def test_parity_216_217_tie_keeps_the_output_and_is_not_success(make_harness: MakeHarness) -> None:
    """Two edges that match with one priority do not end the run: it is held with the code, and the output is kept."""

    @flow("tie", "1.0.0", input=int)
    class Tie:
        @entry
        @node
        @edge("left", when=lambda out: out > 1)
        @edge("right", when=lambda out: out > 2)
        @edge(END)
        def choose(self, ctx: Context) -> Ok[int]:
            return Ok(ctx.input, patch={"chosen": True})

        @node
        @edge(END)
        def left(self, ctx: Context) -> int:
            return 1

        @node
        @edge(END)
        def right(self, ctx: Context) -> int:
            return 2

    tie = of_class(Tie)
    harness = make_harness(tie)
    assert harness.run(tie, 2).output == 1
    ended = harness.run(tie, 3)

    assert ended.status is not RunStatus.COMPLETED
    assert ended.failure is not None
    assert ended.failure.code == "AMBIGUOUS_EDGE"
    assert outputs(ended) == ["choose"]
    assert ended.state == {"chosen": True}


def test_parity_225_patches_merge_deeply(make_harness: MakeHarness) -> None:
    """Objects of a patch merge with those of the state, a scalar replaces an object, and null takes a key away."""

    @flow("merge", "1.0.0", input=None)
    class Merge:
        @entry
        @node
        @edge("second")
        def first(self, ctx: Context) -> Ok[None]:
            return Ok(None, patch={"keep": {"a": 1, "b": {"c": 2}}, "flat": {"x": 1}, "gone": 1, "list": [1, 2]})

        @node
        @edge(END)
        def second(self, ctx: Context) -> Ok[None]:
            return Ok(None, patch={"keep": {"b": {"d": 3}}, "flat": 7, "gone": None, "list": [3]})

    merge = of_class(Merge)

    ended = make_harness(merge).run(merge, None)

    assert ended.state == {"keep": {"a": 1, "b": {"c": 2, "d": 3}}, "flat": 7, "list": [3]}


def test_returned_failure_is_retried_only_if_it_says_so(make_harness: MakeHarness) -> None:
    """A node that returns Fail ends the run with its code at once, unless the failure is retryable; neither patches."""
    calls: list[str] = []

    @flow("failing", "1.0.0", input=bool)
    class Failing:
        @entry
        @node(retry=Retry(3))
        @edge(END)
        async def only(self, ctx: Context) -> Ok[int] | Fail:
            calls.append("called")
            return Fail("CARD_DECLINED", "No.", retryable=ctx.input)

    failing = of_class(Failing)
    harness = make_harness(failing)
    final = harness.run(failing, False)
    assert len(calls) == 1
    tried = harness.run(failing, True)

    assert len(calls) == 1 + 3
    for ended in (final, tried):
        assert ended.status is RunStatus.FAILED
        assert ended.failure is not None
        assert (ended.failure.code, ended.failure.message) == ("CARD_DECLINED", "No.")


def test_weak_088_raised_error_is_retried_whatever_it_is(make_harness: MakeHarness) -> None:
    """An error that a node raises is retried by its policy, without any code, unless it says never."""
    calls: list[int] = []

    @flow("raising", "1.0.0", input=bool)
    class Raising:
        @entry
        @node(retry=Retry(3))
        @edge(END)
        def only(self, ctx: Context) -> int:
            calls.append(ctx.attempt)
            if ctx.input:
                raise NeverRetry("for good")
            if ctx.attempt < 3:
                raise ConnectionError("for now")
            return ctx.attempt

    raising = of_class(Raising)
    harness = make_harness(raising)

    assert harness.run(raising, False).output == 3
    assert harness.run(raising, True).status is RunStatus.FAILED
    assert calls == [1, 2, 3, 1]


def test_parity_220_side_effect_of_a_key_happens_once(make_harness: MakeHarness) -> None:
    """Nodes of several runs with one key execute once, and the later ones get the output and the patch of the first."""
    charged: list[int] = []

    @flow("keyed", "1.0.0", input=int, output=int)
    class Keyed:
        @entry
        @node(key=lambda order: f"order-{order}")
        @edge("last")
        async def charge(self, ctx: Context, order: int) -> Ok[int]:
            charged.append(order)
            return Ok(order * 10, patch={"charged": {"order": order}})

        @node
        @edge(END)
        def last(self, ctx: Context, cents: int) -> int:
            return cents + 1

    keyed = of_class(Keyed)
    harness = make_harness(keyed)
    ended = [harness.run(keyed, order) for order in (7, 7, 8)]

    assert [one.output for one in ended] == [71, 71, 81]
    assert [one.state for one in ended] == [{"charged": {"order": order}} for order in (7, 7, 8)]
    assert charged == [7, 8]


def test_loop_runs_until_its_condition_ends_it(make_harness: MakeHarness) -> None:
    """A node that leads back to an earlier one begins a further turn, which sees the state of the one before."""

    @flow("loop", "1.0.0", input=int, output=int)
    class Loop:
        @entry
        @node
        @edge("judge")
        def guess(self, ctx: Context) -> Ok[int]:
            return Ok(ctx.turn, patch={"guesses": ctx.state.get("guesses", 0) + 1})

        @node
        @edge(END, when=lambda _, run: run.state["guesses"] >= run.input)
        @edge(guess)
        def judge(self, ctx: Context, guess: int) -> int:
            return guess

    loop = of_class(Loop)
    ended = make_harness(loop).run(loop, 4)

    assert (ended.output, ended.state) == (4, {"guesses": 4})
    assert outputs(ended) == ["guess", "judge"] * 4


def test_compensation_of_a_class_runs_its_methods_the_latest_first(make_harness: MakeHarness) -> None:
    """When a later node fails, what earlier ones did is undone by methods of the same instance, the latest first."""
    undone: list[str] = []

    @flow("undoing", "1.0.0", input=None, compensate=True)
    class Undoing:
        def refund(self, ctx: Context, cents: int) -> None:
            undone.append(f"refund {cents}")

        async def release(self, held: str) -> None:
            undone.append(f"release {held}")

        @entry
        @node(compensate=release)
        @edge("charge")
        def reserve(self, ctx: Context) -> str:
            return "seat 4"

        @node(compensate=refund)
        @edge("send")
        async def charge(self, ctx: Context) -> Ok[int]:
            return Ok(500)

        @node
        @edge(END)
        def send(self, ctx: Context) -> int | Fail:
            return Fail("SOLD_OUT")

    undoing = of_class(Undoing)
    ended = make_harness(undoing).run(undoing, None)

    assert undone == ["refund 500", "release seat 4"]
    assert ended.status is RunStatus.FAILED
    assert ended.failure is not None
    assert ended.failure.code == "SOLD_OUT"
