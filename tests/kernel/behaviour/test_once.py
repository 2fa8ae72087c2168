"""Checkpoints inside a stage: what was done once is not done again by a later attempt."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from holdfast import Context, Retry, RunStatus, Settings, stage, workflow
from tests.kernel.watching import MakeHarness


class Answer(BaseModel):
    """What a costly call gives."""

    text: str
    tokens: int


class Model:
    """Counts calls, and breaks off at one of them as often as it is told."""

    def __init__(self, *, breaks_at: str = "", times: int = 0) -> None:
        self.asked: list[str] = []
        self._breaks_at = breaks_at
        self._times = times

    async def ask(self, question: str) -> Answer:
        """Answer, for money."""
        if question == self._breaks_at and self._times:
            self._times -= 1
            raise ConnectionError("line broke")
        self.asked.append(question)
        return Answer(text=question.upper(), tokens=len(question))


@stage(retry=Retry(5, base="1s"))
async def interview(questions: list[str], ctx: Context[None]) -> int:
    """Ask every question once, whatever happens."""
    model = ctx.services[Model]
    answers = [await ctx.once(question, model.ask, question) for question in questions]
    assert all(isinstance(answer, Answer) for answer in answers)
    return sum(answer.tokens for answer in answers)


talk = workflow("talk", input=list[str]).pipe(interview)


def test_weak_27_failed_stage_does_not_repeat_what_it_has_done(make_harness: MakeHarness) -> None:
    """A stage that fails at the last of many calls repeats only that one on its retry."""
    model = Model(breaks_at="q9", times=2)
    questions = [f"q{number}" for number in range(10)]
    ended = make_harness(talk, services={Model: model}).run(talk, questions)
    assert ended.status is RunStatus.COMPLETED
    assert (ended.output, ended.attempts("interview")) == (20, 3)
    assert model.asked == questions


def test_checkpoint_is_read_back_as_its_type(make_harness: MakeHarness) -> None:
    """The first attempt and a later one see equal values of the declared type, also when they lie in a blob."""
    seen: list[Answer] = []

    @stage(retry=Retry(2, base="1s"))
    async def twice(text: str, ctx: Context[None]) -> int:
        seen.append(await ctx.once("k", ctx.services[Model].ask, text))
        if ctx.attempt == 1:
            raise ConnectionError("after the checkpoint")
        return seen[-1].tokens

    flow = workflow("twice", input=str).pipe(twice)
    model = Model()
    harness = make_harness(flow, services={Model: model}, settings=Settings(blob_threshold=100))
    assert harness.run(flow, "x" * 1000).output == 1000
    assert seen[0] == seen[1] == Answer(text="X" * 1000, tokens=1000)
    assert len(model.asked) == 1


def test_rerun_does_the_steps_again(make_harness: MakeHarness) -> None:
    """Checkpoints belong to the stage instance, so a new generation makes its own, and another run too."""
    from holdfast import RunRerunFrom

    model = Model()
    harness = make_harness(talk, services={Model: model})
    run = harness.run(talk, ["a"])
    harness.run(talk, ["a"])
    harness.dispatch(RunRerunFrom(run_id=run.run.id, from_stage_id="interview"))
    harness.drain()
    assert model.asked == ["a", "a", "a"]


def test_keys_in_parallel_do_not_mix(make_harness: MakeHarness) -> None:
    """Steps that run at the same time under different keys keep their own results, in whatever order they end."""

    @stage(retry=Retry(2, base="1s"))
    async def gather(count: int, ctx: Context[None]) -> list[int]:
        async def late(number: int) -> int:
            for _ in range(count - number):
                await asyncio.sleep(0)
            return number

        found = await asyncio.gather(*(ctx.once(f"k{number}", late, number) for number in range(count)))
        if ctx.attempt == 1:
            raise ConnectionError("again")
        return found

    flow = workflow("gather", input=int).pipe(gather)
    ended = asyncio.run(make_harness(flow, ledger=None).arun(flow, 8))
    assert ended.output == list(range(8))


def test_one_key_cannot_be_used_twice_at_once(make_harness: MakeHarness) -> None:
    """The same key at the same moment is a mistake in the stage, said in so many words."""

    @stage(retry=Retry(1))
    async def clash(text: str, ctx: Context[None]) -> str:
        async def outer() -> str:
            return await ctx.once("k", lambda: "inner")

        return await ctx.once("k", outer)

    flow = workflow("clash", input=str).pipe(clash)
    failure = make_harness(flow).run(flow, "x").failure
    assert failure is not None
    assert 'checkpoint key is not valid: "k" is in use' in failure.message


def test_sync_functions_and_plain_json_do(make_harness: MakeHarness) -> None:
    """A sync function may be called once, and without an annotation its result is plain JSON."""
    calls: list[int] = []

    class Caller:
        """Is called, but says nothing of what it returns."""

        def __call__(self, number: int) -> Any:
            calls.append(number)
            return {"n": number}

    @stage(retry=Retry(2, base="1s"))
    def plain(number: int, ctx: Context[None]) -> dict[str, int]:
        found: dict[str, int] = ctx.block_on(ctx.once("k", Caller(), number))
        if ctx.attempt == 1:
            raise ConnectionError("again")
        return found

    flow = workflow("plain", input=int).pipe(plain)
    assert make_harness(flow).run(flow, 7).output == {"n": 7}
    assert calls == [7]


@pytest.mark.parametrize("result", [float("nan"), object(), "\ud800"])
def test_what_has_no_json_form_fails_the_stage(make_harness: MakeHarness, result: object) -> None:
    """A result that cannot be kept is an error of the stage that names the checkpoint."""

    @stage(retry=Retry(1))
    async def bad(text: str, ctx: Context[None]) -> str:
        await ctx.once("k", lambda: result)
        return text

    flow = workflow("bad", input=str).pipe(bad)
    failure = make_harness(flow).run(flow, "x").failure
    assert failure is not None
    assert 'checkpoint "k" of stage "bad"' in failure.message


def test_keys_of_the_kernel_are_its_own(make_harness: MakeHarness) -> None:
    """A key that begins as those of the kernel do is refused, so that no step meets the name of a child."""

    @stage(retry=Retry(1))
    async def nosy(number: int, ctx: Context) -> int:
        return await ctx.once("~child:a", int, number)

    flow = workflow("nosy", input=int, version="1").pipe(nosy)
    failure = make_harness(flow).run(flow, 1).failure
    assert failure is not None
    assert 'begins with "~"' in failure.message
