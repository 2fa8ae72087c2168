"""A trip whose stages can be undone, and a world that notes what was done and undone."""

from __future__ import annotations

from holdfast import Context, Flow, Retry, Stage, stage, workflow
from tests.kernel.behaviour.flows import ONCE


class World:
    """What stages did and what was undone, in order; breaks off at what it is told."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.keys: dict[str, str] = {}
        #: By name of a deed, how often it is still to fail.
        self.failing: dict[str, int] = {}

    def do(self, name: str) -> None:
        """Do something, or break off before it is done."""
        left = self.failing.get(name, 0)
        if left:
            self.failing[name] = left - 1
            raise ConnectionError(f"{name} broke off")
        self.done.append(name)


def deed(name: str, *, retry: Retry = ONCE, timeout: str | None = None) -> Stage[int, int]:
    """Return a stage that does something, adds one, and can be undone."""

    async def undo(output: int, ctx: Context) -> None:
        ctx.services[World].do(f"undo {name} {output}")
        ctx.services[World].keys[f"undo {name}"] = ctx.idempotency_key

    @stage(name=name, retry=retry, timeout=timeout, compensate=undo)
    async def do(number: int, ctx: Context) -> int:
        ctx.services[World].do(name)
        ctx.services[World].keys[name] = ctx.idempotency_key
        return number + 1

    return do


@stage(retry=ONCE)
async def bang(number: int, ctx: Context) -> int:
    """Do what cannot be undone."""
    ctx.services[World].do("bang")
    return number


def line(*stages: Stage[int, int], timeout: str | None = None) -> Flow[int, int]:
    """Return a workflow that is undone when it does not end well."""
    flow: Flow[int, int] = workflow("saga", input=int, version="1", compensate=True, timeout=timeout)
    for one in stages:
        flow = flow.pipe(one)
    return flow


TRIP = line(deed("flight"), deed("hotel"), deed("car"), bang)
