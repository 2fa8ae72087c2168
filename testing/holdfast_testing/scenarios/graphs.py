"""The workflows of the scenarios that branch, meet, loop, fan out, wait, have children, and are undone."""

from __future__ import annotations

from typing import Any

from holdfast.authoring.branching import otherwise, when
from holdfast.authoring.context import Context
from holdfast.authoring.flow import line, workflow
from holdfast.authoring.graph import Graph
from holdfast.authoring.stage import stage
from holdfast_testing.invariants import Ledger
from holdfast_testing.scenarios.flows import (
    BRIEF,
    PATIENT,
    SHORT,
    act,
    deadly,
    first,
    hopeless,
    left,
    middle,
    right,
    third,
)

#: The items of the map, one of which always fails, and how many of them are under way at a time.
ITEMS = 4
BAD_ITEM = 1
WINDOW = 2
#: How often the loop goes round.
TURNS = 3


@stage(retry=PATIENT)
async def gather(parts: dict[str, str], ctx: Context) -> str:
    """Take what those gave that led here."""
    return act(ctx, parts)


@stage(retry=PATIENT)
async def choose(parts: tuple[str | None, str | None, str | None], ctx: Context) -> str:
    """Take what is there of three."""
    return act(ctx, parts)


@stage(retry=PATIENT)
async def settle(parts: tuple[str | None, str | None, str | None, str | None], ctx: Context) -> str:
    """Take what is there of four, which is always the same."""
    ctx.services[Ledger].keep(ctx, "parts", parts)
    return act(ctx, parts)


@stage(retry=PATIENT)
async def pair(parts: tuple[str | None, str | None], ctx: Context) -> str:
    """Take what is there of two."""
    return act(ctx, parts)


@stage(retry=PATIENT)
async def attempted(text: str, ctx: Context) -> str:
    """Say in which turn it is."""
    return f"{act(ctx, text)} in turn {ctx.turn}"


@stage(retry=PATIENT)
async def judged(text: str, ctx: Context) -> str:
    """Pass on in which turn it is."""
    return f"{act(ctx, text)} in turn {ctx.turn}"


@stage(retry=PATIENT)
async def spread(text: str, ctx: Context) -> list[str]:
    """Make several of one."""
    done = act(ctx, text)
    return [f"{done} {number}" for number in range(ITEMS)]


@stage(retry=BRIEF)
async def each(text: str, ctx: Context) -> str:
    """Do one of several; one of them fails every time."""
    done = act(ctx, text)
    if ctx.item == BAD_ITEM:
        raise ConnectionError("not this one")
    return done


@stage(retry=PATIENT)
async def polish(text: str, ctx: Context) -> str:
    """Do one of several once more."""
    return act(ctx, text)


@stage(retry=PATIENT)
async def total(parts: list[str | None], ctx: Context) -> str:
    """Take what became of all of them."""
    assert [part is None for part in parts] == [number == BAD_ITEM for number in range(ITEMS)], parts
    return act(ctx, parts)


@stage(retry=PATIENT)
async def decided(answer: tuple[str, str], ctx: Context) -> str:
    """Go on with what somebody said."""
    ctx.services[Ledger].keep(ctx, "answer", answer)
    return act(ctx, answer)


@stage(retry=PATIENT)
async def escalate(text: str, ctx: Context) -> str:
    """Decide in place of somebody who said nothing."""
    return act(ctx, text)


@stage(retry=PATIENT, waits={"answer": str})
async def asks(text: str, ctx: Context) -> str:
    """Do something once, wait for an answer, sleep over it, and fail after that the first time."""
    asked = await ctx.once("asked", _asked, ctx)
    ctx.services[Ledger].keep(ctx, "asked", asked)
    answer = await ctx.wait_for("answer", str, timeout="2m", reason="It has to be known.")
    ctx.services[Ledger].keep(ctx, "answer", answer)
    await ctx.sleep("nap", "1m")
    if ctx.attempt == 1:
        raise ConnectionError("not yet")
    return act(ctx, text)


def _asked(ctx: Context) -> str:
    return act(ctx)


@stage(retry=PATIENT)
async def delegates(text: str, ctx: Context) -> str:
    """Have another run do something."""
    part = await ctx.call("part", SHORT, text)
    ctx.services[Ledger].keep(ctx, "part", part)
    return act(ctx, text)


@stage(retry=PATIENT)
async def waits_for_ever(text: str, ctx: Context) -> str:
    """Have another run do something that nobody lets it do."""
    part = await ctx.call("part", APPROVAL, text)
    return f"{act(ctx, text)} {part}"


def give_back(done: str, ctx: Context) -> None:
    """Take back what a stage did."""
    ctx.services[Ledger].undo(ctx, done)


@stage(retry=PATIENT, compensate=give_back)
async def reserve(text: str, ctx: Context) -> str:
    """Do what can be undone."""
    return act(ctx, text)


@stage(retry=PATIENT, compensate=give_back)
async def charge(text: str, ctx: Context) -> str:
    """Do what can be undone."""
    return act(ctx, text)


def same(text: str) -> str:
    """Return what runs have in common that share a result."""
    return text


@stage(retry=PATIENT, key=same)
async def shared(text: str, ctx: Context) -> str:
    """Do something for all that ask for the same, and fail the first time."""
    done = act(ctx, text)
    if ctx.attempt == 1:
        raise ConnectionError("not yet")
    return done


@stage(retry=BRIEF)
async def hopeful(text: str, ctx: Context) -> str:
    """Fail until the run is retried, whatever was done before."""
    done = await ctx.once("done", _asked, ctx)
    ctx.services[Ledger].keep(ctx, "done", done)
    if ctx.generation == 1:
        raise ConnectionError("not in this generation")
    return act(ctx, text)


def _is_small(text: str) -> bool:
    """Return whether the last digit of what a stage returned is a small one."""
    return text[-1] in "01234567"


def _goes_on(text: str) -> bool:
    return not text.endswith(f"turn {TURNS}")


BRANCH: Any = (
    workflow("branch", input=str)
    .pipe(first)
    .branch(
        when(_is_small, left),
        when(lambda text: text.startswith("first"), line(str).pipe(middle).pipe(right), priority=-1),
        otherwise(hopeless),
    )
    .pipe(third)
)
#: Of three ways to the join one is skipped when the condition does not hold.
JOIN: Any = (
    Graph("join", str, str)
    .entry(first)
    .edge(first, (left, right))
    .edge(right, middle, when=_is_small)
    .edge(right, gather)
    .edge(middle, gather)
    .edge(left, gather)
    .end(gather)
)
QUORUM: Any = workflow("quorum", input=str).parallel(left, middle, right, hopeless, need=2, tolerate=1).pipe(settle)
#: The attempts of a tolerated stage are used up by the death of its processes.
TOLERANT: Any = workflow("tolerant", input=str).parallel(deadly, left, tolerate=1).pipe(pair)
LOOP: Any = (
    Graph("loop", str, str)
    .entry(first)
    .edge(first, attempted)
    .edge(attempted, judged)
    .edge(judged, attempted, when=_goes_on)
    .edge(judged, third)
    .end(third)
)
MAP: Any = (
    workflow("map", input=str).pipe(spread).map(line(str).pipe(each).pipe(polish), limit=WINDOW, tolerate=1).pipe(total)
)
APPROVAL: Any = workflow("approval", input=str).pipe(first).wait_for("approval", str).pipe(decided)
ESCALATION: Any = (
    workflow("escalation", input=str)
    .pipe(first)
    .wait_for("approval", str, timeout="2m", on_timeout=escalate)
    .pipe(decided)
)
ASKING: Any = workflow("asking", input=str).pipe(asks).pipe(third)
PARENT: Any = workflow("parent", input=str).pipe(delegates).pipe(third)
FORSAKEN: Any = workflow("forsaken", input=str).pipe(waits_for_ever)
UNDONE: Any = workflow("undone", input=str, compensate=True).pipe(reserve).pipe(charge).pipe(hopeless)
REGRETTED: Any = (
    workflow("regretted", input=str, compensate=True).pipe(reserve).pipe(charge).wait_for("approval", str).pipe(decided)
)
SHARED: Any = workflow("shared", input=str).pipe(shared).pipe(third)
RETRIED: Any = workflow("retried", input=str).pipe(first).parallel(left, hopeful, middle).pipe(choose)
