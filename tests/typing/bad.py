"""Mistakes that both type checkers must find; every line that carries an ignore below is one, and no other.

`test_inference.py` takes the ignores out and has both check what remains.
"""

from __future__ import annotations

from pydantic import BaseModel

from holdfast import BatchStage, Context, Flow, Pending, stage, workflow


class Doc(BaseModel):
    url: str


class Config(BaseModel):
    size: int = 800


@stage
async def split(doc: Doc, ctx: Context[Config]) -> list[str]:
    print(ctx.config.nothing)  # type: ignore[attr-defined]  # an unknown field of the config
    ctx.output("split")  # type: ignore[arg-type]  # an id instead of the stage
    return [doc.url]


@stage
def count(parts: list[str]) -> int:
    return len(parts)


@stage
def double(x: int) -> int:
    return 2 * x


@stage
async def tick() -> float:
    return 0.5


class Batch(BatchStage[list[str], str, int]):
    async def submit(self, texts: list[str], ctx: Context) -> str:
        return "batch-1"

    async def poll(self, reference: str, ctx: Context) -> int | Pending:
        return Pending()


class Half(BatchStage[list[str], str, int]):
    async def submit(self, texts: list[str], ctx: Context) -> str:
        return "batch-1"


class Other(BatchStage[list[str], str, int]):
    async def submit(self, texts: list[str], ctx: Context) -> int:  # type: ignore[override]  # another reference
        return 1

    async def poll(self, reference: str, ctx: Context) -> str | Pending:  # type: ignore[override]  # another output
        return "done"


begun = workflow("review", input=Doc)
texts = workflow("texts", input=list[str])

begun.pipe(count)  # type: ignore[arg-type]  # the input of the workflow does not fit
begun.pipe(split).pipe(double)  # type: ignore[arg-type]  # the output before does not fit
begun.pipe(split).pipe(count).pipe(count)  # type: ignore[arg-type]  # an int is no list
begun.pipe(Batch())  # type: ignore[arg-type]  # a batch stage of other input
begun.pipe(split).pipe(Batch)  # type: ignore[arg-type]  # a class instead of an instance
begun.pipe(lambda doc: doc)  # type: ignore[arg-type]  # a function that is no stage
begun.pipe("split")  # type: ignore[arg-type]  # a name instead of a stage
texts.parallel(count, double)  # type: ignore[arg-type]  # the second stage does not fit
texts.parallel(count, count).pipe(double)  # type: ignore[arg-type]  # a tuple is no int
texts.pipe(begun)  # type: ignore[arg-type]  # a flow is no stage
Half()  # type: ignore[abstract]  # a batch stage without poll

wrong: Flow[Doc, str] = begun.pipe(split)  # type: ignore[arg-type]  # another output
wider: Flow[object, object] = begun.pipe(split)  # type: ignore[assignment]  # it takes documents only

double("x")  # type: ignore[arg-type]  # another input in a direct call
double(1, 2)  # type: ignore[call-arg]  # one argument too many
print(tick(1))  # type: ignore[call-arg]  # a stage without input
workflow("w")  # type: ignore[call-overload]  # no input type
workflow("w", input=Doc, timeout=5)  # type: ignore[call-overload]  # a number is no duration
double.using(retry=3)  # type: ignore[arg-type]  # a number is no policy
stage(timeout=30)  # type: ignore[call-overload]  # a number is no duration
stage(needs=[5])  # type: ignore[list-item]  # a number is no stage
