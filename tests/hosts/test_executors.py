"""How the host's executor interrupts, what it lets through, and what it costs."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from typing import Any, Final

import pytest

from holdfast.entities.definition import Body, Calling
from holdfast.ports.executor import BodyCall, StageCrashed, StageTimeout
from holdfast_hosts.executors import HostExecutor

LIMIT: Final = timedelta(milliseconds=20)
AMPLE: Final = timedelta(seconds=60)
#: A wait that ends long before, unless something is broken.
PATIENCE: Final = 30.0

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@pytest.fixture
def executor() -> Iterator[HostExecutor]:
    executor = HostExecutor(threads=2)
    yield executor
    executor.close()


def call(function: Callable[..., Any], *arguments: Any, timeout: timedelta | None = None) -> BodyCall:
    calling = Calling.ASYNC if inspect.iscoroutinefunction(function) else Calling.SYNC
    body = Body(function=function, calling=calling, takes_input=True, takes_context=False, source="here:1")
    return BodyCall(body=body, arguments=arguments, timeout=timeout)


def test_async_body_runs_in_the_callers_task(executor: HostExecutor) -> None:
    """An async body costs no task and no thread, with or without a timeout."""

    async def body() -> tuple[object, int, int]:
        return asyncio.current_task(), len(asyncio.all_tasks()), threading.get_ident()

    async def main() -> None:
        for timeout in (None, AMPLE):
            expected = (asyncio.current_task(), 1, threading.get_ident())
            assert await executor.run(call(body, timeout=timeout)) == expected

    asyncio.run(main())


def test_sync_body_runs_in_a_thread(executor: HostExecutor) -> None:
    """A sync body leaves the loop free, sees the caller's context, and cannot change it."""
    entered, leave = threading.Event(), threading.Event()

    def body() -> tuple[str, int]:
        entered.set()
        assert leave.wait(PATIENCE)
        seen = variable.get()
        variable.set("by the body")
        return seen, threading.get_ident()

    async def main() -> None:
        variable.set("by the caller")
        running = asyncio.create_task(executor.run(call(body)))
        while not entered.is_set():
            await asyncio.sleep(0)
        leave.set()
        seen, ident = await running
        assert seen == "by the caller"
        assert ident != threading.get_ident()
        assert variable.get() == "by the caller"

    asyncio.run(main())


def test_no_more_bodies_than_threads_run_at_once(executor: HostExecutor) -> None:
    """Sync bodies beyond the number of threads wait for one."""
    lock, counts, running = threading.Lock(), [0], [0]

    def body() -> None:
        with lock:
            running[0] += 1
            counts.append(running[0])
        threading.Event().wait(0.002)
        with lock:
            running[0] -= 1

    async def main() -> None:
        await asyncio.gather(*(executor.run(call(body)) for _ in range(20)))

    asyncio.run(main())
    assert max(counts) == 2


def test_timeout_interrupts_an_async_body(executor: HostExecutor) -> None:
    """A body that takes too long is cancelled where it waits, so that it can clean up."""
    cleaned: list[str] = []

    async def body() -> None:
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            cleaned.append("up")

    async def main() -> int:
        with pytest.raises(StageTimeout):
            await executor.run(call(body, timeout=LIMIT))
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert asyncio.run(main()) == 0
    assert cleaned == ["up"]


@pytest.mark.parametrize("answer", [ValueError("in clean-up"), TimeoutError("mine"), SystemExit(3), None], ids=repr)
def test_interrupted_body_timed_out_whatever_it_answers(executor: HostExecutor, answer: BaseException | None) -> None:
    """A body that answers the interruption with an error or a value of its own has timed out nevertheless."""

    async def body() -> str:
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            if answer is not None:
                raise answer from None
        return "too late"

    with pytest.raises(StageTimeout) as caught:
        asyncio.run(executor.run(call(body, timeout=LIMIT)))
    assert caught.value.__cause__ is answer


def test_body_that_blocks_the_loop_times_out(executor: HostExecutor) -> None:
    """A body that cannot be interrupted, because it never awaits, is late when it returns."""

    async def body() -> None:
        time.sleep(2 * LIMIT.total_seconds())

    with pytest.raises(StageTimeout):
        asyncio.run(executor.run(call(body, timeout=LIMIT)))


def test_timeout_does_not_wait_for_a_thread(executor: HostExecutor) -> None:
    """The caller of a sync body stops waiting at its timeout, while the function runs on."""
    leave, left = threading.Event(), threading.Event()

    def body() -> None:
        assert leave.wait(PATIENCE)
        left.set()

    async def main() -> None:
        with pytest.raises(StageTimeout):
            await executor.run(call(body, timeout=LIMIT))
        assert not left.is_set()
        leave.set()
        assert await asyncio.to_thread(left.wait, PATIENCE)

    asyncio.run(main())


def test_body_that_found_no_thread_in_time_is_never_called(executor: HostExecutor) -> None:
    """Waiting for a thread counts, so that stuck threads make others time out; such a body does not run later."""
    leave = threading.Event()
    called: list[str] = []

    async def main() -> None:
        stuck = [asyncio.create_task(executor.run(call(leave.wait, PATIENCE))) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(StageTimeout):
            await executor.run(call(called.append, "late", timeout=LIMIT))
        leave.set()
        await asyncio.gather(*stuck)
        await executor.run(call(called.append, "after"))

    asyncio.run(main())
    assert called == ["after"]


@pytest.mark.parametrize("timeout", [None, AMPLE], ids=["no timeout", "timeout"])
def test_cancellation_from_outside_interrupts_an_async_body(executor: HostExecutor, timeout: timedelta | None) -> None:
    """A task that is cancelled is cancelled, its body has cleaned up, and nothing is called a crash."""
    cleaned: list[str] = []

    async def body() -> None:
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            cleaned.append("up")

    async def main() -> None:
        task = asyncio.create_task(executor.run(call(body, timeout=timeout)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    asyncio.run(main())
    assert cleaned == ["up"]


@pytest.mark.parametrize("timeout", [None, AMPLE], ids=["no timeout", "timeout"])
def test_cancellation_from_outside_does_not_wait_for_a_thread(
    executor: HostExecutor, timeout: timedelta | None
) -> None:
    """A task that is cancelled leaves its sync body behind, and one that has no thread yet is never called."""
    leave = threading.Event()
    called: list[str] = []

    async def main() -> None:
        running = [asyncio.create_task(executor.run(call(leave.wait, PATIENCE, timeout=timeout))) for _ in range(2)]
        waiting = asyncio.create_task(executor.run(call(called.append, "late", timeout=timeout)))
        await asyncio.sleep(0.01)
        for task in (*running, waiting):
            task.cancel()
        await asyncio.wait([*running, waiting])
        assert all(task.cancelled() for task in (*running, waiting))
        leave.set()
        await executor.run(call(called.append, "after"))

    asyncio.run(main())
    assert called == ["after"]


def test_cancellation_goes_before_a_timeout(executor: HostExecutor) -> None:
    """A task that is cancelled while its body is being interrupted for its timeout is cancelled."""
    running: list[asyncio.Task[Any]] = []

    async def body() -> None:
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            running[0].cancel()
            await asyncio.sleep(PATIENCE)

    async def main() -> bool:
        running.append(asyncio.create_task(executor.run(call(body, timeout=LIMIT))))
        await asyncio.wait(running)
        return running[0].cancelled()

    assert asyncio.run(main())


def test_timeout_around_the_executor_is_its_owners(executor: HostExecutor) -> None:
    """A scope of the host that ends in a body is a TimeoutError of the host, not of the stage."""

    async def body() -> None:
        await asyncio.sleep(PATIENCE)

    async def main() -> None:
        async with asyncio.timeout(LIMIT.total_seconds()):
            await executor.run(call(body, timeout=AMPLE))

    with pytest.raises(TimeoutError) as caught:
        asyncio.run(main())
    assert not isinstance(caught.value, StageTimeout)


def test_awaiting_something_cancelled_is_a_crash(executor: HostExecutor) -> None:
    """A body that awaits a task that was cancelled is not cancelled itself: nobody asked for that."""

    async def body() -> None:
        inner = asyncio.create_task(asyncio.sleep(PATIENCE))
        await asyncio.sleep(0)
        inner.cancel()
        await inner

    with pytest.raises(StageCrashed, match="CancelledError"):
        asyncio.run(executor.run(call(body)))


def test_closing_ends_the_body_in_peace(executor: HostExecutor) -> None:
    """A coroutine that outlives its loop runs the body's clean-up when it is closed, and raises nothing."""
    cleaned: list[str] = []

    async def body() -> None:
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            cleaned.append("up")

    async def main() -> Coroutine[Any, Any, Any]:
        coroutine = executor.run(call(body))
        coroutine.send(None)
        return coroutine

    asyncio.run(main()).close()
    assert cleaned == ["up"]


def test_thread_survives_a_system_exit(executor: HostExecutor) -> None:
    """A sync body that exits ends neither its thread nor the process."""

    def leave() -> None:
        raise SystemExit(3)

    async def main() -> None:
        for _ in range(5):
            with pytest.raises(StageCrashed, match="SystemExit: 3"):
                await executor.run(call(leave))
        assert await executor.run(call(lambda: "well")) == "well"

    asyncio.run(main())
