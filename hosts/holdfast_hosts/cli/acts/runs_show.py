"""`holdfast runs show`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from holdfast.codec import from_json, to_json
from holdfast.entities.payload import Payload
from holdfast.entities.run import Run
from holdfast.entities.stage import StageKey
from holdfast.errors import BlobMissing
from holdfast.events import Event, EventType
from holdfast.payloads import run_output, text_of
from holdfast_hosts.cli.finding import find_run
from holdfast_hosts.cli.looking import begins_at, family_of, open_waits_of, paused_words
from holdfast_hosts.cli.opening import opened, store_now
from holdfast_hosts.cli.options import Common
from holdfast_hosts.cli.output import answer, show
from holdfast_hosts.cli.shapes import annotation_shape, instant_shape, log_shape, run_shape, stage_shape, wait_shape
from holdfast_hosts.cli.spelling import clean
from holdfast_hosts.wiring import Opened

#: Log lines and annotations that are shown.
NEWEST: Final = 100
#: Events that are read to tell how long stages took.
MOST_EVENTS: Final = 5_000


async def show_run(given: str, *, trace: bool, common: Common) -> int:
    """Show the run that *given* names.

    Raises:
        RunNotFound: If there is none.
        Told: If it names several, or there is no store.
    """
    async with opened(common) as store:
        run = await find_run(given, store.persistence)
        stages = await store.persistence.list_stages(run.id)
        logs = await store.persistence.list_logs(run.id, limit=NEWEST)
        annotations = await store.persistence.list_annotations(run.id, limit=NEWEST)
        texts = {"input": await _text(run.header.input, store)}
        output = await _output(run, store)
        events = await store.persistence.list_events(run.id, limit=MOST_EVENTS)
        open_waits = await open_waits_of(run, store.persistence)
        family = await family_of(run, store.persistence)
        begins = await begins_at(run, store.persistence)
    if output is not None:
        texts["output"] = output
    if common.json:
        shape: dict[str, Any] = {
            **run_shape(run),
            **{name: from_json(text, what=name) for name, text in texts.items()},
            "stages": [stage_shape(stage) for stage in stages],
            "waits": [wait_shape(wait) for wait in open_waits],
            "children": [run_shape(child) for child in family.children],
            "startsAt": instant_shape(begins),
            "annotations": [annotation_shape(one) for one in annotations],
            "logs": [log_shape(one) for one in logs],
        }
        answer(shape | ({"trace": _trace(run)} if trace else {}))
        return 0
    from holdfast_hosts.cli.rendering.run_page import RunPage, run_page

    page = RunPage(
        run=run,
        stages=stages,
        logs=logs,
        annotations=annotations,
        payloads={name.capitalize(): text for name, text in texts.items()},
        now=store_now(),
        utc=common.utc,
        begun=_begun(events),
        waits=open_waits,
        children=family.children,
        more_children=family.has_more,
        paused=paused_words(run, events),
        begins=begins,
    )
    show(*run_page(page))
    if trace and _trace(run):
        show("", clean(_trace(run)))
    return 0


def _begun(events: Iterable[Event]) -> dict[StageKey, datetime]:
    """Return when the first attempt of each stage instance began, as far as the first events tell."""
    begun: dict[StageKey, datetime] = {}
    for event in events:
        if event.type is EventType.STAGE_STARTED and event.key is not None:
            begun.setdefault(event.key, event.at)
    return begun


async def _text(payload: Payload, store: Opened) -> str:
    try:
        return await text_of(payload, blob_store=store.blob_store)
    except BlobMissing as error:
        return _missing(error)


async def _output(run: Run, store: Opened) -> str | None:
    try:
        return await run_output(
            run.output_of, run_id=run.id, persistence=store.persistence, blob_store=store.blob_store
        )
    except BlobMissing as error:
        return _missing(error)


def _missing(error: BlobMissing) -> str:
    # The rest of the page is what one needs to find out why.
    return to_json({"missingBlob": error.key})


def _trace(run: Run) -> str:
    return (run.failure.trace if run.failure is not None else None) or ""
