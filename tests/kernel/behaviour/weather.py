"""Stages that fail while the weather of their name is bad, for runs that fail and are retried."""

from __future__ import annotations

from holdfast import Context, Stage, stage
from tests.kernel.behaviour.flows import ONCE, Calls


class Weather:
    """Which stages fail; a test changes it."""

    def __init__(self, *failing: str) -> None:
        self.failing = set(failing)


def fair(name: str) -> Stage[int, int]:
    """Return a stage that adds one unless the weather of its name is bad."""

    @stage(name=name, retry=ONCE)
    async def add_one(number: int, ctx: Context) -> int:
        ctx.services[Calls].note(ctx)
        if {name, f"{name}[{number}]"} & ctx.services[Weather].failing:
            raise ConnectionError("it rains")
        return number + 1

    return add_one
