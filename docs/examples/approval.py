"""An expense that two people approve; if they take too long, their manager decides alone.

    holdfast run docs/examples/approval.py:expenses --input '{"who": "mia", "cents": 99000}' --wait

It stops where it waits for the approvers. Resume it twice, or let the manager do it after the limit:

    holdfast runs resume RUN 'approval[first]' --payload '{"approved": true}' --as ann --module docs/examples/approval.py
"""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from holdfast import Context, Flow, otherwise, stage, when, workflow
from holdfast.errors import WaitTimedOut


class Expense(BaseModel):
    who: str
    cents: int


class Decision(BaseModel):
    approved: bool
    note: str = ""


class Verdict(BaseModel):
    expense: Expense
    approved: bool
    by: list[str]


@stage
def assess(expense: Expense) -> Expense:
    return expense


@stage
def wave_through(expense: Expense) -> Verdict:
    return Verdict(expense=expense, approved=True, by=["policy"])


@stage(waits={"approval": Decision, "escalation": Decision})
async def ask(expense: Expense, ctx: Context) -> Verdict:
    """Both waits are open at the same time; each takes its own answer, in whichever order they come."""
    try:
        decisions = await asyncio.gather(
            ctx.wait_for("approval", Decision, item="first", timeout="2d", reason="the first approver"),
            ctx.wait_for("approval", Decision, item="second", timeout="2d", reason="the second approver"),
        )
    except WaitTimedOut:
        ctx.annotate("escalated", "an approver took more than two days")
        decision = await ctx.wait_for("escalation", Decision, timeout="7d", reason="the manager")
        return Verdict(expense=expense, approved=decision.approved, by=["manager"])
    return Verdict(expense=expense, approved=all(one.approved for one in decisions), by=["first", "second"])


@stage
def record(verdict: Verdict) -> str:
    word = "approved" if verdict.approved else "refused"
    return f"{verdict.expense.cents / 100:.2f} for {verdict.expense.who} {word} by {' and '.join(verdict.by)}"


expenses: Flow[Expense, str] = (
    workflow("expenses", input=Expense, version="1.0.0")
    .pipe(assess)
    .branch(when(lambda expense: expense.cents < 5_000, wave_through), otherwise(ask))
    .pipe(record)
)
