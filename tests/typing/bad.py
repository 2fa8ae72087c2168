"""Mistakes that both type checkers must find; every line that carries an ignore below is one, and no other.

`test_inference.py` takes the ignores out and has both check what remains.
"""

from __future__ import annotations

from pydantic import BaseModel

from holdfast import END, BatchStage, Context, Flow, Graph, Pending, line, otherwise, stage, when, workflow


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


@stage
def total(numbers: list[int]) -> int:
    return sum(numbers)


@stage
def pair(numbers: tuple[int, int]) -> int:
    return sum(numbers)


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
Half()  # type: ignore[abstract]  # a batch stage without poll


@stage
def size(text: str) -> int:
    return len(text)


@stage
def doubled(number: int) -> int:
    return 2 * number


numbers = workflow("numbers", input=int)
begun.pipe(line(int).pipe(double))  # type: ignore[arg-type]  # a line of other input
begun.map(size)  # type: ignore[misc]  # a document is no list
texts.map(double)  # type: ignore[arg-type]  # the items are text
texts.map(size).pipe(double)  # type: ignore[arg-type]  # a list of numbers is no number
texts.map(size, tolerate=1).pipe(total)  # type: ignore[arg-type]  # some may be absent
texts.map(size, limit="10")  # type: ignore[call-overload]  # text is no number
numbers.branch(when(lambda x: x.nothing, double), otherwise(doubled))  # type: ignore[attr-defined]  # an unknown attribute
numbers.branch(when(lambda x: x > 1, size), otherwise(doubled))  # type: ignore[arg-type,operator]  # a case of other input
numbers.branch(when(lambda x: x > 1, double), otherwise(size))  # type: ignore[arg-type]  # another input otherwise
numbers.branch(when(lambda x: x > 1, double), otherwise(doubled)).pipe(size)  # type: ignore[arg-type]  # it gives numbers
numbers.branch(double)  # type: ignore[call-overload]  # a stage that is no case
numbers.wait_for("go", int).pipe(double)  # type: ignore[arg-type]  # a pair is no number
numbers.wait_for("go", str, timeout="1h", on_timeout=size)  # type: ignore[arg-type]  # a stage of other input
numbers.wait_for("go", int, timeout=5)  # type: ignore[call-overload]  # a number is no duration
numbers.parallel(double, doubled, need="1")  # type: ignore[call-overload]  # text is no number
numbers.parallel(double, doubled, tolerate=1).pipe(pair)  # type: ignore[arg-type]  # some may be absent
when(lambda x, run, more: True, double)  # type: ignore[arg-type,misc]  # one parameter too many
Graph("g", int).entry(size)  # type: ignore[arg-type]  # another input
Graph("g", int).edge(double, size)  # type: ignore[misc]  # another type
Graph("g", int).edge(double, (doubled, size))  # type: ignore[misc]  # another type in a fork
Graph("g", int).edge(double, END, when=lambda x: x.nothing)  # type: ignore[call-overload]  # an unknown attribute
Graph("g", int).edge(double, END, on="timeout")  # type: ignore[call-overload]  # only waits time out
Graph("g", int, str).end(double)  # type: ignore[arg-type]  # another output
stage(key=5)  # type: ignore[call-overload]  # a number is no function
double.using(key="x")  # type: ignore[arg-type]  # text is no function

wrong: Flow[Doc, str] = begun.pipe(split)  # type: ignore[arg-type]  # another output
wider: Flow[object, object] = begun.pipe(split)  # type: ignore[assignment]  # it takes documents only

double("x")  # type: ignore[arg-type]  # another input in a direct call
double(1, 2)  # type: ignore[call-arg]  # one argument too many
print(tick(1))  # type: ignore[call-arg]  # a stage without input
workflow("w").pipe(count)  # type: ignore[attr-defined]  # no input type, so it decorates a function
workflow("w", input=Doc, timeout=5)  # type: ignore[call-overload]  # a number is no duration
double.using(retry=3)  # type: ignore[arg-type]  # a number is no policy
stage(timeout=30)  # type: ignore[call-overload]  # a number is no duration
stage(needs=[5])  # type: ignore[list-item]  # a number is no stage
