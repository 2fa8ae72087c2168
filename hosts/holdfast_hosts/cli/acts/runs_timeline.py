"""`holdfast runs timeline`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from holdfast.entities.run import Run
from holdfast.events import Event
from holdfast_hosts.cli.finding import find_run
from holdfast_hosts.cli.looking import open_waits_of
from holdfast_hosts.cli.opening import opened, store_now
from holdfast_hosts.cli.options import Common
from holdfast_hosts.cli.output import answer, show
from holdfast_hosts.cli.shapes import event_shape, run_shape
from holdfast_hosts.wiring import Opened

#: Events that one read takes.
PAGE: Final = 500
#: Seconds between two looks at a run that is followed.
INTERVAL: Final = 0.25


async def timeline(given: str, *, follow: bool, full: bool, common: Common) -> int:
    """Tell the timeline of the run that *given* names.

    Raises:
        RunNotFound: If there is none.
        Told: If it names several, or there is no store.
    """
    async with opened(common) as store:
        run = await find_run(given, store.persistence)
        if common.json:
            await _answer(run, store, follow=follow)
        elif follow:
            await _follow(run, store, full=full, common=common)
        else:
            await _tell(run, store, full=full, common=common)
    return 0


async def _answer(run: Run, store: Opened, *, follow: bool) -> None:
    while follow and not run.status.is_terminal:
        await asyncio.sleep(INTERVAL)
        run = await _again(run, store)
    events = [event_shape(event) async for event in all_events(run.id, store)]
    answer({"run": run_shape(run), "events": events})


async def _tell(run: Run, store: Opened, *, full: bool, common: Common) -> None:
    from holdfast_hosts.cli.rendering.folded import Folder, Row
    from holdfast_hosts.cli.rendering.run_page import headline
    from holdfast_hosts.cli.rendering.timeline import timeline_table, waits

    folder, rows = Folder(full=full), list[Row]()
    async for event in all_events(run.id, store):
        rows.extend(folder.fold(event))
    rows.extend(folder.rest())
    stages = await store.persistence.list_stages(run.id)
    open_waits = await open_waits_of(run, store.persistence)
    now = store_now()
    show(
        headline(run, stages, now=now),
        "",
        timeline_table(rows, utc=common.utc, waits=waits(stages, folder.teller, now=now, open=open_waits)),
    )


async def _follow(run: Run, store: Opened, *, full: bool, common: Common) -> None:
    from holdfast_hosts.cli.rendering.folded import Folder
    from holdfast_hosts.cli.rendering.run_page import headline
    from holdfast_hosts.cli.rendering.timeline import line

    folder, told = Folder(full=full), 0
    while True:
        # The run is read first: events that its end appended are then seen below.
        run = await _again(run, store)
        async for event in all_events(run.id, store, after=told):
            told = event.number
            for row in folder.fold(event):
                show(line(row, utc=common.utc))
        for row in folder.rest():
            show(line(row, utc=common.utc))
        if run.status.is_terminal:
            break
        await asyncio.sleep(INTERVAL)
    show(headline(run, await store.persistence.list_stages(run.id), now=store_now()))


async def _again(run: Run, store: Opened) -> Run:
    current = await store.persistence.find_run(run.id)
    assert current is not None, "runs are never deleted while they are followed"
    return current


async def all_events(run_id: str, store: Opened, *, after: int = 0) -> AsyncIterator[Event]:
    """Yield the events of a run with numbers above *after*, page by page."""
    while events := await store.persistence.list_events(run_id, after=after, limit=PAGE):
        for event in events:
            yield event
        after = events[-1].number
