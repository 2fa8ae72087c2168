"""What a worker lets people know: that it is there, what it can execute, and which live runs it leaves alone."""

from __future__ import annotations

import asyncio
import os
import platform

from holdfast_hosts.roster import LINGERS, Card, CardHolder, list_cards
from holdfast_hosts.worker.shift import Shift, log, wait_at_most


class Notice:
    """One loop, slow and of no consequence: what goes wrong with it is logged, and tried again next time."""

    def __init__(self, shift: Shift) -> None:
        self._shift = shift
        self._holder = CardHolder(shift.opened.blob_store)
        #: When the cards of others are tidied up next, which takes a look at each of them.
        self._tidy_at = shift.opened.clock.now()
        self._warned: set[tuple[str, str]] = set()

    async def run(self) -> None:
        """Renew the card and look for runs of versions that are lacking here, until the worker drains."""
        interval = self._shift.settings.notice_interval
        while not self._shift.draining.is_set():
            await self._guarded()
            await wait_at_most(self._shift.draining, interval)

    async def withdraw(self) -> None:
        """Take the card away, if that is quickly done: a worker that stops is not there any more."""
        try:
            async with asyncio.timeout(self._shift.settings.release_timeout.total_seconds()):
                await self._holder.withdraw()
        except Exception as error:  # noqa: BLE001 - the card ends by itself
            log.warning("the worker's card could not be withdrawn", error=repr(error))

    async def _guarded(self) -> None:
        try:
            await self._show()
            await self._look()
        except Exception as error:  # noqa: BLE001 - people know less for a while, and nothing else depends on it
            self._shift.tally.errors += 1
            log.warning("the worker could not make itself known", error=repr(error))

    async def _show(self) -> None:
        shift = self._shift
        now = shift.opened.clock.now()
        card = Card(
            worker=shift.worker_id,
            host=platform.node(),
            pid=os.getpid(),
            knows=shift.kernel.ports.definitions.known(),
            queues=shift.settings.queues,
            # One renewal may be late without the worker being taken for gone.
            until=now + shift.settings.notice_interval * 3,
        )
        await self._holder.show(card)
        if now >= self._tidy_at:
            self._tidy_at = now + LINGERS
            await list_cards(shift.opened.blob_store, now=now, tidy=True)

    async def _look(self) -> None:
        known = self._shift.kernel.ports.definitions.known()
        ids = {workflow_id for workflow_id, _ in known}
        for workflow_id, version, runs in await self._shift.opened.persistence.list_live_versions():
            if (workflow_id, version) in known | self._warned:
                continue
            self._warned.add((workflow_id, version))
            # A workflow that is not known here at all is probably meant for other workers.
            tell = log.warning if workflow_id in ids else log.info
            tell(
                "runs are left alone, because this worker lacks their workflow version",
                worker=self._shift.worker_id,
                workflow=workflow_id,
                version=version,
                runs=runs,
                has=sorted(there for one, there in known if one == workflow_id),
            )
