"""Batch stages: submit once, poll until done."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Generic, TypeVar, cast

import pytest
from pydantic import BaseModel

from holdfast.authoring.batch import BatchStage, Pending
from holdfast.authoring.context import Context
from holdfast.authoring.flow import workflow
from holdfast.authoring.stage import stage
from holdfast.entities.definition import Body, Calling, Polling, StageSpec
from holdfast.entities.retry import Retry
from holdfast.errors import DefinitionError

T = TypeVar("T")


class Label(BaseModel):
    topic: str


class Config(BaseModel):
    model: str = "small"


class Other(BaseModel):
    model: str = "other"


@stage
def first(texts: list[str]) -> list[str]:
    return texts


class LabelBatch(BatchStage[list[str], str, list[Label]]):
    poll_every, give_up_after = "5m", "24h"
    name = "labels"
    retry = Retry(7)
    timeout = "30s"
    queue = "ai"
    needs = (first,)

    async def submit(self, texts: list[str], ctx: Context[Config]) -> str:
        return "batch-1"

    async def poll(self, reference: str, ctx: Context[Config]) -> list[Label] | Pending:
        return Pending(check_in="1m")


def body_of(spec: StageSpec) -> Body:
    """Return what is called when the stage executes."""
    assert spec.body is not None, "a stage that a person wrote has a body"
    return spec.body


def spec_of(batch: BatchStage[Any, Any, Any], *, input: Any = list[str]) -> StageSpec:
    begun = workflow("w", input=input)
    if batch.needs:
        return begun.pipe(first).pipe(batch).definition().stages[batch.id]
    return begun.pipe(batch).definition().stages[batch.id]


def polling_of(spec: StageSpec) -> Polling:
    assert spec.polling is not None
    return spec.polling


def mistake(build: Callable[[], object]) -> DefinitionError:
    with pytest.raises(DefinitionError) as caught:
        build()
    assert "test_authoring_batch.py:" in caught.value.where[0]
    return caught.value


def test_parity_016_batch_stage_has_two_bodies() -> None:
    """A batch stage is submitted by one body and polled by another; both get context and config."""
    spec = spec_of(LabelBatch())
    polling = polling_of(spec)
    assert (spec.input.name, polling.state.name, spec.output.name) == ("list[str]", "str", "list[Label]")
    for body in (body_of(spec), polling.body):
        assert (body.calling, body.takes_input, body.takes_context) == (Calling.ASYNC, True, True)
    assert spec.config is not None
    assert spec.config.name == "Config"


def test_parity_017_poll_settings_are_those_of_the_class() -> None:
    """Poll interval, limit and options are class attributes, with defaults of five minutes and a day."""
    spec = spec_of(LabelBatch())
    polling = polling_of(spec)
    assert (polling.every, polling.give_up_after) == (timedelta(minutes=5), timedelta(days=1))
    assert (spec.id, spec.retry, spec.timeout, spec.queue) == ("labels", Retry(7), timedelta(seconds=30), "ai")

    class Plain(BatchStage[int, str, int]):
        def submit(self, number: int, ctx: Context) -> str:
            return str(number)

        def poll(self, reference: str, ctx: Context) -> int | Pending:
            return 1

    plain = spec_of(Plain(), input=int)
    assert (plain.id, plain.retry, plain.timeout, plain.queue) == ("Plain", Retry(), None, "default")
    assert body_of(plain).calling is Calling.SYNC
    assert polling_of(plain).every == timedelta(minutes=5)
    assert polling_of(plain).give_up_after == timedelta(days=1)


def test_weak_spot_43_poll_sees_the_config_of_submit() -> None:
    """A poll that does not name the config shares the one of submit."""

    class Sharing(BatchStage[int, str, int]):
        def submit(self, number: int, ctx: Context[Config]) -> str:
            return ""

        def poll(self, reference: str, ctx: Context) -> int | Pending:
            return 1

    config = spec_of(Sharing(), input=int).config
    assert config is not None
    assert config.name == "Config"


def test_pending_says_when_to_ask_again() -> None:
    """Pending carries the delay until the next poll, or leaves it to the stage."""
    assert Pending().check_in is None
    assert Pending("90s").check_in == timedelta(seconds=90)
    assert Pending(check_in=timedelta(hours=1)).check_in == timedelta(hours=1)
    with pytest.raises(ValueError, match="not a duration"):
        Pending("soon")


def test_types_can_stand_on_the_methods() -> None:
    """A class that leaves its generic arguments open is read from its methods."""

    class Generically(BatchStage[T, str, T], Generic[T]):
        async def poll(self, reference: str, ctx: Context) -> T | Pending:
            raise AssertionError

    class Concrete(Generically[int]):
        async def submit(self, number: int, ctx: Context) -> str:
            return ""

        async def poll(self, reference: str, ctx: Context) -> int | Pending:
            return 1

    spec = spec_of(Concrete(), input=int)
    assert (spec.input.name, spec.output.name) == ("int", "int")


def test_types_can_stand_on_the_class_alone() -> None:
    """Methods without annotations have the types of the class's generic arguments."""

    class Terse(BatchStage["int", str, "Label"]):
        async def submit(self, number, ctx):  # type: ignore[no-untyped-def]  # what this is about
            return ""

        async def poll(self, reference, ctx):  # type: ignore[no-untyped-def]  # what this is about
            return Pending()

    spec = spec_of(Terse(), input=int)
    assert (spec.input.name, polling_of(spec).state.name, spec.output.name) == ("int", "str", "Label")
    assert body_of(spec).takes_context


def test_subclass_of_a_batch_stage_keeps_its_types() -> None:
    """A subclass that changes a setting only has the types of its parent."""

    class Faster(LabelBatch):
        name = "faster"
        poll_every = "1s"

    spec = spec_of(Faster())
    assert polling_of(spec).every == timedelta(seconds=1)
    assert spec.output.name == "list[Label]"


def test_batch_stage_can_keep_its_own_state() -> None:
    """A batch stage may have a constructor, which need not call the one above it."""

    class Client(BatchStage[int, str, int]):
        def __init__(self, key: str) -> None:
            self.key = key

        async def submit(self, number: int, ctx: Context) -> str:
            return self.key

        async def poll(self, reference: str, ctx: Context) -> int | Pending:
            return 1

    client = Client("k")
    body = body_of(spec_of(client, input=int)).function
    assert cast("Any", body).__self__ is client


def test_using_gives_another_batch_stage() -> None:
    """A batch stage used with other options leaves the first one as it was."""
    one = LabelBatch()
    other = one.using(name="other", retry=Retry(1), timeout="1m")
    assert (one.id, one.retry, one.timeout) == ("labels", Retry(7), "30s")
    spec = spec_of(other)
    assert (spec.id, spec.retry, spec.timeout) == ("other", Retry(1), timedelta(minutes=1))
    assert mistake(lambda: one.using(name="a b")).code == "E2048"
    assert mistake(lambda: one.using(timeout="soon")).code == "E2049"


def test_batch_stage_without_a_part_is_refused_when_made() -> None:
    """A batch stage that lacks poll or submit is refused with its own source line."""

    class Half(BatchStage[int, str, int]):
        async def submit(self, number: int, ctx: Context) -> str:
            return ""

    error = mistake(cast("Any", Half))
    assert error.code == "E2050"
    assert 'Batch stage "Half" has no method poll' in str(error)

    class Nothing(BatchStage[int, str, int]):
        poll_every = "1s"

    assert "has no method poll and no method submit" in str(mistake(cast("Any", Nothing)))


class OnlyPending(BatchStage[int, str, int]):
    def submit(self, number: int, ctx: Context) -> str:
        return ""

    def poll(self, reference: str, ctx: Context) -> Pending:
        return Pending()


class TwoConfigs(BatchStage[int, str, int]):
    def submit(self, number: int, ctx: Context[Config]) -> str:
        return ""

    def poll(self, reference: str, ctx: Context[Other]) -> int | Pending:
        return 1


class TwoReferences(BatchStage[int, Any, int]):
    def submit(self, number: int, ctx: Context) -> str:
        return ""

    def poll(self, reference: int, ctx: Context) -> int | Pending:
        return 1


class OpaqueReference(BatchStage[int, Any, int]):
    def submit(self, number: int, ctx: Context) -> Callable[[], None]:
        return print

    def poll(self, reference: Callable[[], None], ctx: Context) -> int | Pending:
        return 1


class NoTypes(BatchStage[T, str, T]):
    def submit(self, number, ctx: Context) -> str:  # type: ignore[no-untyped-def]  # what this is about
        return ""

    def poll(self, reference: str, ctx: Context) -> T | Pending:
        raise AssertionError


class BadName(LabelBatch):
    name = "a b"


class BadPolling(LabelBatch):
    poll_every = "soon"


class BadPatience(LabelBatch):
    give_up_after = cast("Any", timedelta(0))


class BadRetry(LabelBatch):
    retry = cast("Any", 3)


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        (OnlyPending, "E2050", "does not say the type of its output"),
        (TwoConfigs, "E2050", "has the config Config in submit and Other in poll"),
        (TwoReferences, "E2050", "returns str from submit but takes int in poll"),
        (OpaqueReference, "E2042", "a function cannot be stored"),
        (NoTypes, "E2046", 'has no annotation for "number"'),
        (BadName, "E2048", "'a b' cannot be the id of a stage"),
        (BadPolling, "E2049", "'soon' cannot be the poll_every"),
        (BadPatience, "E2049", "cannot be the give_up_after"),
        (BadRetry, "E2047", "3 cannot be the retry policy"),
    ],
    ids=lambda one: getattr(one, "__name__", None),
)
def test_unfit_batch_stages_are_refused_when_piped(kind: Any, code: str, words: str) -> None:
    """A batch stage whose parts do not go together is refused at .pipe."""
    begun = workflow("w", input=cast("type[Any]", Any)).pipe(stage(name="first")(anything))
    error = mistake(lambda: begun.pipe(kind()))
    assert error.code == code
    assert words in str(error)


def anything() -> Any:
    return None
