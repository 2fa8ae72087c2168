"""Plain steps that go by the clock of the database, which nobody asks before they are sent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

import psycopg
import pytest

from holdfast.change import Committed
from holdfast_adapters.postgres import PostgresPersistence, applying
from holdfast_adapters.postgres.known import Known
from holdfast_adapters.postgres.statements import Statement
from holdfast_testing.contracts.samples import (
    MANY,
    run_id,
)
from tests.adapters.postgres.steps import begun, step
from tests.adapters.postgres.test_waves import broken


def processes(url: str, play: Callable[[PostgresPersistence, PostgresPersistence], Awaitable[None]]) -> None:
    """Let *play* have two opened stores that go by the clock of the database."""

    async def main() -> None:
        both = [PostgresPersistence(url, connections=2) for _ in range(2)]
        for each in both:
            await each.open()
        try:
            await play(*both)
        finally:
            for each in both:
                await each.close()

    asyncio.run(main())


def clock_of(url: str) -> datetime:
    """Return what the clock of the database shows."""
    with psycopg.connect(url, autocommit=True) as connection:
        found: datetime = connection.execute("SELECT clock_timestamp()").fetchall()[0][0]
    return found


def test_processes_that_take_the_same_steps_take_each_once(url: str) -> None:
    """Of two processes that want to settle the same jobs one does, whichever knew the runs, and all instants rise."""

    async def play(one: PostgresPersistence, other: PostgresPersistence) -> None:
        for number in (1, 2, 3):
            for change in begun(number):
                await one.commit([change])
        for at in range(40):
            # For some steps one of them is alone, so that it gets to know the runs.
            stores = [one, other] if at % 5 == 0 else [one if at % 10 < 5 else other]
            said = await asyncio.gather(
                *(store.commit([step(at, number=number)]) for number in (1, 2, 3) for store in stores)
            )
            stood = [outcome for (outcome,) in said if isinstance(outcome, Committed)]
            assert len(stood) == 3
        for number in (1, 2, 3):
            events = await one.list_events(run_id(number), limit=MANY)
            assert [event.number for event in events] == list(range(1, len(events) + 1))
            assert [event.at for event in events] == sorted(event.at for event in events)
            assert len(events) == 3 + 80
            assert events[-1].at <= clock_of(url)

    processes(url, play)
    assert broken(url) == []


def test_plain_steps_take_one_trip_by_the_clock_of_the_database(url: str) -> None:
    """A store that goes by the database's clock needs no round trip to learn it before each step."""

    async def play(one: PostgresPersistence, _: PostgresPersistence) -> None:
        for change in begun():
            await one.commit([change])
        before = one.access.traffic.trips
        for at in range(50):
            (outcome,) = await one.commit([step(at)])
            assert isinstance(outcome, Committed)
        # Should the machine stand still for a moment, a step or two take more.
        assert 50 <= one.access.traffic.trips - before < 75

    processes(url, play)


def supposing_wrongly(url: str, monkeypatch: pytest.MonkeyPatch, *, ahead: timedelta) -> None:
    """Take steps while the store supposes that the clock of the database is *ahead* of what it is."""
    instant = Known.instant

    def wrong(self: Known, *, not_before: int) -> int | None:
        found = instant(self, not_before=not_before)
        return None if found is None else found + ahead // timedelta(microseconds=1)

    monkeypatch.setattr(Known, "instant", wrong)

    async def play(one: PostgresPersistence, _: PostgresPersistence) -> None:
        for change in begun():
            await one.commit([change])
        for at in range(5):
            before = clock_of(url)
            await one.commit([step(at)])
            event = (await one.list_events(run_id(), limit=MANY))[-1]
            assert before - timedelta(microseconds=applying.LATEST) <= event.at <= clock_of(url)

    processes(url, play)


HOURS: Final = [timedelta(hours=1), timedelta(hours=-1)]


@pytest.mark.parametrize("ahead", HOURS)
def test_instants_are_those_of_the_database(url: str, monkeypatch: pytest.MonkeyPatch, ahead: timedelta) -> None:
    """An instant that the clock of the database has not just shown is not used, whoever set which clock."""
    supposing_wrongly(url, monkeypatch, ahead=ahead)


@pytest.mark.parametrize("ahead", HOURS)
def test_comparison_of_instants_is_what_shows_it(url: str, monkeypatch: pytest.MonkeyPatch, ahead: timedelta) -> None:
    """Without the comparison of instants the test of them fails."""
    careless = "SELECT coalesce($1::bigint, 0) + $2::bigint - $2::bigint, $3::text[]"
    monkeypatch.setattr(applying, "SAME_CLOCK", Statement(careless))
    with pytest.raises(AssertionError):
        supposing_wrongly(url, monkeypatch, ahead=ahead)
