"""Payments scored for fraud: most pass, some are declined, and a person looks at what lies between.

    holdfast run docs/examples/fraud.py:Screening --input '{"cents": 120, "country": "NL"}' --wait

A decorated class reads like the graph that it is: what each step does, and where it leads to.
"""

from __future__ import annotations

from pydantic import BaseModel

from holdfast import END, Context, Ok, Wait, edge, entry, flow, node


class Payment(BaseModel):
    cents: int
    country: str


class Review(BaseModel):
    is_fraud: bool
    reviewer: str


@flow("fraud-screening", "1.0.0", input=Payment)
class Screening:
    @entry
    @node
    @edge("decline", when=lambda score, run: run.state["score"] >= 0.9, priority=2)
    @edge("review", when=lambda score, run: run.state["score"] >= 0.5, priority=1)
    @edge("accept")
    def score(self, ctx: Context) -> Ok[float]:
        payment: Payment = ctx.input
        score = min(payment.cents / 1_000_000, 0.6) + (0.0 if payment.country in {"NL", "DE"} else 0.3)
        return Ok(score, patch={"score": score})

    @node(waits={"review": Review})
    @edge("decline", when=lambda _, run: run.state["reviewed"]["is_fraud"], priority=1)
    @edge("accept")
    def review(self, ctx: Context) -> Ok[str] | Wait:
        if ctx.resume is None:
            return Wait("a reviewer", until="3d") if not ctx.timed_out else self._given_up()
        found: Review = ctx.resume
        return Ok(f"reviewed by {found.reviewer}", patch={"reviewed": found.model_dump()})

    def _given_up(self) -> Ok[str]:
        return Ok("nobody looked", patch={"reviewed": {"is_fraud": True, "reviewer": "nobody"}})

    @node
    @edge(END)
    def accept(self, ctx: Context) -> str:
        return f"accepted at {ctx.state['score']:.2f}"

    @node
    @edge(END)
    def decline(self, ctx: Context) -> str:
        return f"declined at {ctx.state['score']:.2f}"
