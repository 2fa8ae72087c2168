"""The workflows of the scenarios: every stage records what it does, and no two attempts return the same."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from holdfast.authoring.batch import BatchStage, Pending
from holdfast.authoring.context import Context
from holdfast.authoring.flow import workflow
from holdfast.authoring.stage import stage
from holdfast.entities.retry import Retry
from holdfast_testing.clock import FakeClock
from holdfast_testing.invariants import Ledger
from holdfast_testing.scenarios.host import Host
from holdfast_testing.scenarios.world import Provider

#: Enough attempts for a stage that is disturbed once, and not a second more than needed between them.
PATIENT = Retry(5, backoff="fixed", base="1s", jitter=0)
#: Attempts that are meant to be used up.
BRIEF = Retry(2, backoff="fixed", base="1s", jitter=0)
#: Longer than the blob threshold of the scenario with blobs.
PADDING = "." * 100


def act(ctx: Context[Any], given: object = None) -> str:
    """Record in the ledger that the stage did something with what it was given, and return what no other returns."""
    return ctx.services[Ledger].act(ctx, given)


@stage(retry=PATIENT)
async def first(text: str, ctx: Context) -> str:
    """Begin."""
    return act(ctx, text)


@stage(retry=PATIENT)
async def second(text: str, ctx: Context) -> str:
    """Go on, and tell so while the heart beats."""
    ctx.progress(1, 2)
    ctx.log("half way")
    await ctx.services[Host].beat()
    ctx.annotate("by", "second")
    return act(ctx, text)


@stage(retry=PATIENT)
async def third(text: str, ctx: Context) -> str:
    """End."""
    return act(ctx, text)


@stage(retry=PATIENT)
async def left(text: str, ctx: Context) -> str:
    """Do one part."""
    return act(ctx, text)


@stage(retry=PATIENT)
async def middle(text: str, ctx: Context) -> str:
    """Do one part."""
    return act(ctx, text)


@stage(retry=PATIENT)
async def right(text: str, ctx: Context) -> str:
    """Do one part."""
    return act(ctx, text)


@stage(retry=PATIENT)
async def merge(parts: tuple[str, str, str], ctx: Context) -> str:
    """Put the parts together."""
    return act(ctx, parts)


@stage(retry=PATIENT)
async def flaky(text: str, ctx: Context) -> str:
    """Fail twice before it works."""
    done = act(ctx, text)
    if ctx.attempt <= 2:
        raise ConnectionError("not yet")
    return done


@stage(retry=BRIEF)
async def hopeless(text: str, ctx: Context) -> str:
    """Fail every time."""
    raise ConnectionError(act(ctx, text))


@stage(retry=BRIEF)
async def deadly(text: str, ctx: Context) -> str:
    """End the process that executes it."""
    act(ctx, text)
    ctx.services[Host].plan.die("killed by a stage")


@stage(retry=PATIENT, timeout="20s")
async def slow(text: str, ctx: Context) -> str:
    """Take longer than it may, the first time."""
    done = act(ctx, text)
    if ctx.attempt == 1:
        ctx.services[FakeClock].advance("25s")
    return done


class Labels(BatchStage[str, str, str]):
    """A batch that takes its time."""

    poll_every, give_up_after = "60s", "1h"
    retry = PATIENT

    async def submit(self, text: str, ctx: Context) -> str:
        """Begin the batch under the key that is the same for every attempt."""
        act(ctx, text)
        return ctx.services[Provider].submit(ctx.idempotency_key)

    async def poll(self, reference: str, ctx: Context) -> str | Pending:
        """Ask whether the batch is done."""
        if not ctx.services[Provider].is_done(reference):
            return Pending(check_in=timedelta(seconds=45))
        return act(ctx)


class Forever(BatchStage[str, str, str]):
    """A batch that is never done."""

    poll_every, give_up_after = "70s", "24h"
    retry = PATIENT

    async def submit(self, text: str, ctx: Context) -> str:
        """Begin."""
        return act(ctx, text)

    async def poll(self, reference: str, ctx: Context) -> str | Pending:
        """Say that it is not done."""
        return Pending()


@stage(retry=PATIENT)
async def swell(text: str, ctx: Context) -> str:
    """Return more than fits into a row, and save something by name."""
    done = act(ctx, text) + PADDING
    await ctx.save("note", {"of": done})
    return done


@stage(retry=PATIENT)
async def shrink(text: str, ctx: Context) -> str:
    """Read what is large, by name as well."""
    note = await ctx.load("note")
    assert note == {"of": text}, f"the artifact says {note}, the output {text}"
    return act(ctx, text)


@stage(retry=PATIENT)
async def pay(text: str, ctx: Context) -> str:
    """Do something once, and fail after it the first time."""
    receipt = await ctx.once("receipt", _receipt, ctx)
    ctx.services[Ledger].keep(ctx, "receipt", receipt)
    if ctx.attempt == 1:
        raise ConnectionError("not yet")
    return act(ctx, text)


def _receipt(ctx: Context) -> str:
    return act(ctx) + PADDING


LINEAR = workflow("linear", input=str).pipe(first).pipe(second).pipe(third)
PARALLEL = workflow("parallel", input=str).pipe(first).parallel(left, middle, right).pipe(merge)
FORK = workflow("fork", input=str).parallel(left, right)
FLAKY = workflow("flaky", input=str).pipe(flaky).pipe(third)
HOPELESS = workflow("hopeless", input=str).parallel(hopeless, right)
DEADLY = workflow("deadly", input=str).pipe(deadly).pipe(third)
BATCH = workflow("batch", input=str).pipe(Labels()).pipe(third)
SLOW = workflow("slow", input=str).pipe(slow).pipe(third)
ENDLESS = workflow("endless", input=str, timeout="3m").pipe(Forever())
LARGE = workflow("large", input=str).pipe(swell).pipe(shrink)
PAID = workflow("paid", input=str).pipe(pay)
SHORT = workflow("short", input=str).pipe(first)
