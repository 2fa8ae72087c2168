"""An agent that thinks and acts in a loop, and asks a person before it does anything that cannot be undone.

    holdfast run docs/examples/agent.py:agent --input '{"task": "find the tide table"}' --wait

The model is played by a few lines of code; put yours into `think`. Every turn is durable: after a crash the agent goes
on with the turn that it was in, and what it has found is in the state of the run.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from holdfast import END, Context, Graph, Ok, stage


class Task(BaseModel):
    task: str


class Thought(BaseModel):
    kind: Literal["search", "send", "done"]
    text: str


class Permission(BaseModel):
    granted: bool


@stage
async def think(ctx: Context) -> Thought:
    """Decide what to do next, by what was found so far."""
    task: Task = ctx.input
    found = ctx.state.get("found", {})
    if len(found) < 2:
        return Thought(kind="search", text=f"{task.task}, part {len(found) + 1}")
    if "sent" not in ctx.state:
        return Thought(kind="send", text=" and ".join(found.values()))
    return Thought(kind="done", text=ctx.state["sent"])


@stage
async def search(thought: Thought, ctx: Context) -> Ok[str]:
    """Use a tool without consequences."""
    answer = f"result of “{thought.text}”"
    return Ok(answer, patch={"found": {str(ctx.turn): answer}})


@stage(waits={"permission": Permission})
async def send(thought: Thought, ctx: Context) -> Ok[str]:
    """Use a tool with consequences: a person is asked first."""
    permission = await ctx.wait_for("permission", Permission, timeout="1d", reason=f"may I send: {thought.text}?")
    return Ok("asked", patch={"sent": thought.text if permission.granted else "nothing, for I was not allowed to"})


@stage
def answer(thought: Thought) -> str:
    return f"I sent {thought.text}."


agent = (
    Graph("agent", Task, str, version="1.0.0", state=True, step_limit=200)
    .entry(think)
    .edge(think, search, when=lambda thought: thought.kind == "search")
    .edge(think, send, when=lambda thought: thought.kind == "send")
    .edge(think, answer)
    .edge(search, think)
    .edge(send, think)
    .edge(answer, END)
)
