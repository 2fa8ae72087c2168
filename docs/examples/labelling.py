"""A document labelled piece by piece: eight at a time, in order, and published if the labels are sure.

Run it from the root of the repository:

    holdfast run docs/examples/labelling.py:labelling --input '{"text": "kelp grows fast. it holds on."}' --wait
"""

from __future__ import annotations

from pydantic import BaseModel

from holdfast import Context, Flow, Retry, line, otherwise, stage, when, workflow


class Document(BaseModel):
    text: str


class Label(BaseModel):
    topic: str
    score: float


class Report(BaseModel):
    labels: list[Label]
    sure: bool


class Decision(BaseModel):
    approved: bool


class Cut(BaseModel):
    """The config of `split`."""

    at: str = "."


@stage
def split(document: Document, ctx: Context[Cut]) -> list[str]:
    return [piece.strip() for piece in document.text.split(ctx.config.at) if piece.strip()]


@stage(key=lambda piece: piece.lower()[:200], retry=Retry(5, base="100ms"))
async def label(piece: str, ctx: Context) -> Label:
    """Ask a model; the same piece has the same label in every run, so it is asked for once."""
    words = piece.split()
    return Label(topic=max(words, key=len), score=min(1.0, 0.5 + len(words) / 10))


@stage
def report(labels: list[Label]) -> Report:
    return Report(labels=labels, sure=all(one.score >= 0.8 for one in labels))


@stage
def publish(report: Report) -> str:
    return f"published {', '.join(one.topic for one in report.labels)}"


@stage
def decide(asked: tuple[Report, Decision]) -> str:
    report, decision = asked
    return publish(report) if decision.approved else "dropped"


ask = line(Report).wait_for("approval", Decision, timeout="7d").pipe(decide)

labelling: Flow[Document, str] = (
    workflow("labelling", input=Document, version="1.0.0")
    .pipe(split)
    .map(label, limit=8)
    .pipe(report)
    .branch(when(lambda r: r.sure, publish, priority=10), otherwise(ask))
)
