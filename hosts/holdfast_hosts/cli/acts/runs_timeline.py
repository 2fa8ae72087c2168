"""`holdfast runs timeline`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from holdfast.entities.run import Run
from holdfast.events import Event
from holdfast_hosts.cli.finding import find_run
from holdfast_hosts.cli.opening import opened, store_now
from holdfast_hosts.cli.options import Common
from holdfast_hosts.cli.output import answer, show
from holdfast_hosts.cli.shapes import event_shape, run_shape
from holdfast_hosts.wiring import Opened

#: Events that one read takes.
PAGE: Final = 500
#: Seconds between two looks at a run that is followed.
INTERVAL: Final = 0.25


async def timeline(given: str, *, follow: bool, common: Common) -> int:
    """Tell the timeline of the run that *given* names.

    Raises:
        RunNotFound: If there is none.
        Told: If it names several, or there is no store.
    """
    async with opened(common) as store:
        run = await find_run(given, store.persistence)
        if follow:
            return await _follow(run, store, common=common)
        events = [event async for event in all_events(run.id, store)]
        await _tell(run, events, store, common=common)
    return 0


async def _tell(run: Run, events: list[Event], store: Opened, *, common: Common) -> None:
    if common.json:
        answer({"run": run_shape(run), "events": [event_shape(event) for event in events]})
        return
    from holdfast_hosts.cli.rendering.run_page import headline
    from holdfast_hosts.cli.rendering.timeline import Teller, timeline_table, waits

    stages = await store.persistence.list_stages(run.id)
    now, teller = store_now(), Teller()
    moments = [teller.tell(event) for event in events]
    show(
        headline(run, stages, now=now),
        "",
        timeline_table(moments, utc=common.utc, waits=waits(stages, teller, now=now)),
    )


async def _follow(run: Run, store: Opened, *, common: Common) -> int:
    from holdfast_hosts.cli.rendering.run_page import headline
    from holdfast_hosts.cli.rendering.timeline import Teller, line

    teller, events = Teller(), list[Event]()
    while True:
        # The run is read first: events that its end appended are then seen below.
        current = await store.persistence.find_run(run.id)
        assert current is not None, "runs are never deleted while they are followed"
        async for event in all_events(run.id, store, after=events[-1].number if events else 0):
            events.append(event)
            if not common.json:
                show(line(teller.tell(event), utc=common.utc))
        if current.status.is_terminal:
            break
        await asyncio.sleep(INTERVAL)
    if common.json:
        answer({"run": run_shape(current), "events": [event_shape(event) for event in events]})
    else:
        show(headline(current, await store.persistence.list_stages(run.id), now=store_now()))
    return 0


async def all_events(run_id: str, store: Opened, *, after: int = 0) -> AsyncIterator[Event]:
    """Yield the events of a run with numbers above *after*, page by page."""
    while events := await store.persistence.list_events(run_id, after=after, limit=PAGE):
        for event in events:
            yield event
        after = events[-1].number
