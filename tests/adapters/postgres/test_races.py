"""Two processes that want the same thing of one run at the same moment: one of them gets it, and both are told so."""

from __future__ import annotations

import asyncio
from collections import Counter

from holdfast.commands.job_execute import JobExecute
from holdfast.commands.lease_reap_stale import LeaseReapStale
from holdfast.commands.run_cancel import RunCancel
from holdfast.commands.run_create import RunCreate
from holdfast.commands.run_resume import Resumed, RunResume, RunResumeResult
from holdfast.commands.timer_fire_due import TimerFireDue
from holdfast.creating import RunCreated
from holdfast.errors import WaitOver
from holdfast.events import EventType
from tests.adapters.postgres.processes import KEY, MANY, TTL, Process, make_busy, processes
from tests.adapters.postgres.test_pairs import answer
from tests.postgres import empty_url

ROUNDS = 12


async def told(process: Process, run_id: str) -> Counter[EventType]:
    """Return how often each kind of event stands in the timeline of the run."""
    return Counter(event.type for event in await process.store.list_events(run_id, limit=MANY))


def test_answer_and_limit_of_a_wait_exclude_each_other(url: str) -> None:
    """Of an answer and the timer that ends the wait one comes first, and the other is told that it came too late."""
    first: Counter[EventType] = Counter()

    async def main() -> None:
        async with processes(url, url) as (one, other):
            for number in range(ROUNDS):
                empty_url()
                busy = await make_busy(one)
                resume = RunResume(run_id=busy.run_id, name="answer", payload="yes", actor="somebody")
                acts = [answer(one, resume), answer(other, TimerFireDue())]
                both = await asyncio.gather(*acts[:: 1 if number % 2 else -1])
                (said,) = [each for each in both if isinstance(each, RunResumeResult | WaitOver)]
                events = await told(one, busy.run_id)
                assert events[EventType.STAGE_RESUMED] + events[EventType.STAGE_WAIT_EXPIRED] == 1
                if isinstance(said, RunResumeResult):
                    assert said.outcome is Resumed.ANSWERED
                    first[EventType.STAGE_RESUMED] += 1
                    assert events[EventType.STAGE_RESUMED] == 1
                else:
                    first[EventType.STAGE_WAIT_EXPIRED] += 1
                    assert events[EventType.STAGE_WAIT_EXPIRED] == 1

    asyncio.run(main())
    assert first.total() == ROUNDS


def test_creates_under_one_key_make_one_run(url: str) -> None:
    """However many clients of however many processes send the same request under one key, there is one run."""

    async def main() -> None:
        async with processes(url, url) as both:
            for number in range(ROUNDS):
                create = RunCreate(workflow_id="busy", input="x", idempotency_key=f"{KEY} {number}")
                said = await asyncio.gather(*(process.kernel.dispatch(create) for process in both for _ in range(5)))
                assert len({created.run_id for created in said}) == 1
                assert all(isinstance(created, RunCreated) for created in said)
            counts = await both[0].store.count()
            assert sum(counts.runs.values()) == ROUNDS

    asyncio.run(main())


def test_settlement_and_reaper_exclude_each_other(url: str) -> None:
    """A job whose lease has just ended is settled by its holder or taken back, and its holder knows which."""
    outcomes: Counter[str] = Counter()

    async def main() -> None:
        async with processes(url, url) as (one, other):
            for _ in range(ROUNDS):
                empty_url()
                busy = await make_busy(one)
                one.clock.advance(TTL)
                execute = JobExecute(job=busy.lease.key, worker=busy.lease.worker, lease=busy.lease)
                executed, _ = await asyncio.gather(
                    one.kernel.dispatch(execute), other.kernel.dispatch(LeaseReapStale())
                )
                outcomes[executed.outcome.value] += 1
                events = await one.store.list_events(busy.run_id, limit=MANY)
                of_job = [event.type for event in events if event.key == busy.lease.key][-1]
                expected = (
                    EventType.STAGE_LEASE_EXPIRED if executed.outcome.value == "lost" else EventType.STAGE_COMPLETED
                )
                assert of_job is expected

    asyncio.run(main())
    assert outcomes.keys() <= {"lost", "completed"}


def test_cancel_and_end_exclude_each_other(url: str) -> None:
    """A run that is cancelled by several people at once is cancelled once, and nothing is told after its end."""

    async def main() -> None:
        async with processes(url, url) as both:
            for _ in range(ROUNDS):
                empty_url()
                busy = await make_busy(both[0])
                execute = JobExecute(job=busy.lease.key, worker=busy.lease.worker, lease=busy.lease)
                said = await asyncio.gather(
                    *(process.kernel.dispatch(RunCancel(run_id=busy.run_id)) for process in both for _ in range(3)),
                    both[0].kernel.dispatch(execute),
                )
                assert [getattr(one, "cancelled", None) for one in said].count(True) == 1
                events = await both[0].store.list_events(busy.run_id, limit=MANY)
                assert events[-1].type is EventType.RUN_CANCELLED
                assert [event.type for event in events].count(EventType.RUN_CANCELLED) == 1

    asyncio.run(main())
