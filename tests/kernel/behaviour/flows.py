"""The workflows that behaviour is shown with: lines, groups, stages that fail, and batches at a provider."""

from __future__ import annotations

from collections import deque
from typing import Any

from pydantic import BaseModel

from holdfast import BatchStage, Context, Flow, Pending, Retry, Stage, stage, workflow
from holdfast_testing.clock import FakeClock

ONCE = Retry(1)
THRICE = Retry(3, backoff="fixed", base="10s", jitter=0)


class Calls:
    """What stages did, in order; every stage of this module notes itself here."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.names: list[str] = []

    def note(self, ctx: Context[Any]) -> None:
        """Note that the stage is executed."""
        self.names.append(ctx.stage_id)

    def count(self, stage_id: str) -> int:
        """Return how often the stage was executed."""
        return self.names.count(stage_id)


class Tuning(BaseModel):
    """A config with defaults."""

    model: str = "m1"
    limit: int = 3


def step(name: str, *, retry: Retry = ONCE) -> Stage[int, int]:
    """Return a stage that adds one."""

    @stage(name=name, retry=retry)
    async def add_one(number: int, ctx: Context) -> int:
        ctx.services[Calls].note(ctx)
        return number + 1

    return add_one


def flaky(name: str, *, failures: int, retry: Retry = THRICE) -> Stage[int, int]:
    """Return a stage that fails so many attempts before it adds one."""

    @stage(name=name, retry=retry)
    async def try_to_add_one(number: int, ctx: Context) -> int:
        ctx.services[Calls].note(ctx)
        if ctx.attempt <= failures:
            raise ConnectionError(f"attempt {ctx.attempt} failed")
        return number + 1

    return try_to_add_one


def keyed(name: str) -> Stage[int, int]:
    """Return a stage that adds one, once for each input."""

    @stage(name=name, key=lambda number: f"k{number}", timeout="30s", retry=ONCE)
    async def add_one(number: int, ctx: Context) -> int:
        ctx.services[Calls].note(ctx)
        if number < 0 and ctx.services[Calls].count(name) == 1:
            raise ConnectionError("the first time")
        return number + 1

    return add_one


@stage(retry=ONCE)
async def total(parts: tuple[int, int], ctx: Context) -> int:
    """Add up what a group of two gave."""
    ctx.services[Calls].note(ctx)
    return sum(parts)


def line(length: int, *, id: str = "line", retry: Retry = ONCE) -> Flow[int, int]:
    """Return a workflow of stages s1, s2, … one after the other, each adding one."""
    flow: Flow[int, int] = workflow(id, input=int, version="1").pipe(step("s1", retry=retry))
    for number in range(2, length + 1):
        flow = flow.pipe(step(f"s{number}", retry=retry))
    return flow


def diamond(
    left: Stage[int, int] | None = None, right: Stage[int, int] | None = None, *, id: str = "diamond"
) -> Flow[int, int]:
    """Return a workflow of one stage, two in parallel, and one behind them."""
    return (
        workflow(id, input=int, version="1")
        .pipe(step("first"))
        .parallel(left or step("left"), right or step("right"))
        .pipe(total)
    )


def pair(*, id: str = "pair") -> Flow[int, tuple[int, int]]:
    """Return a workflow of two stages in parallel and nothing else."""
    return workflow(id, input=int, version="1").parallel(step("left"), step("right"))


class Provider:
    """Somebody else's service: takes batches and answers polls as the test says."""

    def __init__(self, *answers: object) -> None:
        self.submitted: list[int] = []
        self.polled: list[str] = []
        self._answers = deque(answers)

    def submit(self, number: int) -> str:
        """Take a batch and return its reference."""
        self.submitted.append(number)
        return f"batch-{len(self.submitted)}"

    def ask(self, reference: str) -> Any:
        """Give the next answer; without one the batch is done and its result is the number plus one."""
        self.polled.append(reference)
        answer = self._answers.popleft() if self._answers else self.submitted[-1] + 1
        if isinstance(answer, Exception):
            raise answer
        return answer


class Batch(BatchStage[int, str, int]):
    """A stage whose work is done by the provider; polled every minute, given up after a day."""

    poll_every, give_up_after = "1m", "24h"
    retry = THRICE

    async def submit(self, number: int, ctx: Context, /) -> str:
        """Hand the work over."""
        ctx.services[Calls].note(ctx)
        return ctx.services[Provider].submit(number)

    async def poll(self, reference: str, ctx: Context, /) -> int | Pending:
        """Ask for the result."""
        answer: int | Pending = ctx.services[Provider].ask(reference)
        return answer


def batch(name: str = "batch") -> Batch:
    """Return the batch stage under a name."""
    return Batch().using(name=name)


def batching(*, id: str = "batching") -> Flow[int, int]:
    """Return a workflow of a stage, a batch, and a stage."""
    return workflow(id, input=int, version="1").pipe(step("before")).pipe(batch()).pipe(step("after"))
