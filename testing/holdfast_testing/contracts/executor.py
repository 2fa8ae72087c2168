"""The contract of the Executor port: one test for each sentence of its docstrings, in their order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

import pytest

from holdfast.entities.definition import Body, Calling
from holdfast.ports.executor import BodyCall, Executor, StageCrashed, StageTimeout
from holdfast_testing.contracts.drives import Drive, DrivenContract

#: The timeout of bodies that take longer than it.
LIMIT: Final = timedelta(milliseconds=30)
#: The timeout of bodies that take no time.
AMPLE: Final = timedelta(seconds=60)
#: Takes longer than `LIMIT`, by the clock of the executor.
SlowSync = Callable[[], None]
SlowAsync = Callable[[], Awaitable[None]]


class Odd(BaseException):
    """An exception that is not an `Exception`."""


class Plain(Exception):
    """An exception of user code."""


def call(function: Callable[..., Any], *arguments: Any, calling: Calling, timeout: timedelta | None = None) -> BodyCall:
    """Return a call of *function*."""
    body = Body(function=function, calling=calling, takes_input=True, takes_context=False, source="here:1")
    return BodyCall(body=body, arguments=arguments, timeout=timeout)


def raising(error: BaseException, calling: Calling) -> Callable[[], Any]:
    """Return a body that raises *error*."""

    def sync_body() -> None:
        raise error

    async def async_body() -> None:
        raise error

    return async_body if calling is Calling.ASYNC else sync_body


@pytest.mark.parametrize("calling", Calling)
class ExecutorContract(DrivenContract):
    """What every executor must do; `slow_sync` and `slow_async` are bodies that take longer than `LIMIT`."""

    def test_body_is_called_with_its_arguments(self, executor: Executor, drive: Drive, calling: Calling) -> None:
        """The arguments reach the body as they are, and its value comes back as it is."""
        value, context = object(), object()

        def sync_body(*given: object) -> object:
            return given

        async def async_body(*given: object) -> object:
            return given

        body = async_body if calling is Calling.ASYNC else sync_body
        first, second = drive(executor.run(call(body, value, context, calling=calling)))
        assert first is value
        assert second is context

    def test_value_that_could_be_awaited_is_not(self, executor: Executor, drive: Drive, calling: Calling) -> None:
        """Whether a body is awaited is told by how it wants to be called; what it gives comes back as it is."""

        async def unfinished() -> None: ...

        def sync_body() -> object:
            return unfinished()

        async def async_body() -> object:
            return unfinished()

        body = async_body if calling is Calling.ASYNC else sync_body
        value = drive(executor.run(call(body, calling=calling)))
        assert asyncio.iscoroutine(value)
        value.close()

    def test_value_within_the_timeout_comes_back(self, executor: Executor, drive: Drive, calling: Calling) -> None:
        """A timeout that is not reached changes nothing."""

        def sync_body() -> str:
            return "done"

        async def async_body() -> str:
            return "done"

        body = async_body if calling is Calling.ASYNC else sync_body
        assert drive(executor.run(call(body, calling=calling, timeout=AMPLE))) == "done"

    def test_longer_than_the_timeout_is_a_stage_timeout(
        self, *, executor: Executor, drive: Drive, calling: Calling, slow_sync: SlowSync, slow_async: SlowAsync
    ) -> None:
        """A body that takes longer than its timeout ends in StageTimeout, which tells the limit."""
        body = slow_async if calling is Calling.ASYNC else slow_sync
        with pytest.raises(StageTimeout) as caught:
            drive(executor.run(call(body, calling=calling, timeout=LIMIT)))
        assert caught.value.timeout == LIMIT

    def test_no_timeout_is_no_limit(
        self, *, executor: Executor, drive: Drive, calling: Calling, slow_sync: SlowSync, slow_async: SlowAsync
    ) -> None:
        """A body without a timeout takes as long as it takes."""
        body = slow_async if calling is Calling.ASYNC else slow_sync
        assert drive(executor.run(call(body, calling=calling))) is None

    @pytest.mark.parametrize(
        "error",
        [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError("mine"), Odd("odd")],
        ids=repr,
    )
    @pytest.mark.parametrize("timeout", [None, AMPLE], ids=["no timeout", "timeout"])
    def test_what_is_no_exception_is_a_crash(
        self,
        *,
        executor: Executor,
        drive: Drive,
        calling: Calling,
        error: BaseException,
        timeout: timedelta | None,
    ) -> None:
        """What would end more than the attempt is turned into StageCrashed, with its name and the cause attached."""
        with pytest.raises(StageCrashed, match=type(error).__name__) as caught:
            drive(executor.run(call(raising(error, calling), calling=calling, timeout=timeout)))
        assert caught.value.__cause__ is error

    @pytest.mark.parametrize("error", [Plain("mine"), TimeoutError("mine"), StageTimeout(LIMIT)], ids=repr)
    @pytest.mark.parametrize("timeout", [None, AMPLE], ids=["no timeout", "timeout"])
    def test_exception_of_the_body_comes_through(
        self, *, executor: Executor, drive: Drive, calling: Calling, error: Exception, timeout: timedelta | None
    ) -> None:
        """What the body raised is what is raised, a TimeoutError of its own too."""
        with pytest.raises(type(error)) as caught:
            drive(executor.run(call(raising(error, calling), calling=calling, timeout=timeout)))
        assert caught.value is error

    def test_stop_iteration_is_an_error_like_any_other(
        self, executor: Executor, drive: Drive, calling: Calling
    ) -> None:
        """A StopIteration, which no coroutine can raise, arrives as the cause of an error."""
        error = StopIteration("mine")
        with pytest.raises(RuntimeError) as caught:
            drive(executor.run(call(raising(error, calling), calling=calling)))
        assert caught.value.__cause__ is error
