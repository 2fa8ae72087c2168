"""The contract of the Persistence port: those of its narrower ports together, and what concerns the whole store."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

import pytest

from holdfast.driving import run_sync
from holdfast.entities.queue import QueueLimits
from holdfast.errors import StoreUnavailable
from holdfast.ports.persistence import Persistence
from holdfast.ports.queries import RunFilter
from holdfast_testing.contracts.gates import GatesContract
from holdfast_testing.contracts.journal import JournalContract
from holdfast_testing.contracts.keys import KeysContract
from holdfast_testing.contracts.moves import MovesContract
from holdfast_testing.contracts.outbox import OutboxContract
from holdfast_testing.contracts.queries import QueriesContract
from holdfast_testing.contracts.queues import QueuesContract
from holdfast_testing.contracts.retention import TERMS, RetentionContract
from holdfast_testing.contracts.samples import KNOWN, MANY, SINK, TTL, begin, created, everything, key, run_id, wanted
from holdfast_testing.contracts.singletons import SingletonsContract
from holdfast_testing.contracts.snapshots import SnapshotsContract
from holdfast_testing.contracts.turns import TurnsContract
from holdfast_testing.contracts.waits import WaitsContract
from holdfast_testing.contracts.work import WorkContract

#: Every call there is, with arguments that would do on an open store.
CALLS: Final[dict[str, Callable[[Persistence], Coroutine[Any, Any, object]]]] = {
    "commit": lambda store: store.commit([created()]),
    "find_operation": lambda store: store.find_operation(tenant="a", scope="b", key="c"),
    "is_settled": lambda store: store.is_settled(key(), epoch=1),
    "find_run": lambda store: store.find_run(run_id()),
    "list_singletons": lambda store: store.list_singletons(tenant="a", workflow_id="b", key="c"),
    "set_queue": lambda store: store.set_queue(QueueLimits(name="q", concurrency=1)),
    "list_queues": lambda store: store.list_queues(),
    "find_snapshot": lambda store: store.find_snapshot(run_id()),
    "find_stage": lambda store: store.find_stage(key()),
    "get_outputs": lambda store: store.get_outputs(run_id(), ("a",)),
    "list_artifacts": lambda store: store.list_artifacts(run_id()),
    "list_item_outputs": lambda store: store.list_item_outputs(key(), after=-1, limit=MANY),
    "find_item": lambda store: store.find_item(key()),
    "get_state": lambda store: store.get_state(run_id()),
    "list_waits": lambda store: store.list_waits(key(), since=1),
    "list_named_waits": lambda store: store.list_named_waits(run_id(), "w"),
    "find_token": lambda store: store.find_token("0" * 64),
    "find_message": lambda store: store.find_message(run_id(), "w"),
    "list_run_waits": lambda store: store.list_run_waits(run_id(), limit=MANY),
    "find_checkpoint": lambda store: store.find_checkpoint(key(), name="n"),
    "list_pending": lambda store: store.list_pending(limit=MANY, known=KNOWN),
    "lease": lambda store: store.lease(wanted()),
    "lease_one": lambda store: store.lease_one(key(), worker="w", ttl=TTL),
    "extend": lambda store: store.extend([], ttl=TTL),
    "list_expired": lambda store: store.list_expired(limit=MANY),
    "list_due_timers": lambda store: store.list_due_timers(limit=MANY),
    "next_due": lambda store: store.next_due(),
    "lease_streams": lambda store: store.lease_streams(sink=SINK, limit=MANY, events=MANY, ttl=TTL),
    "settle_streams": lambda store: store.settle_streams([]),
    "replay_parked": lambda store: store.replay_parked(sink=SINK, limit=MANY),
    "list_runs": lambda store: store.list_runs(RunFilter(), limit=MANY),
    "list_stages": lambda store: store.list_stages(run_id()),
    "list_events": lambda store: store.list_events(run_id(), limit=MANY),
    "list_logs": lambda store: store.list_logs(run_id(), limit=MANY),
    "list_annotations": lambda store: store.list_annotations(run_id(), limit=MANY),
    "list_orphans": lambda store: store.list_orphans(limit=MANY),
    "list_live_versions": lambda store: store.list_live_versions(),
    "count": lambda store: store.count(),
    "prune": lambda store: store.prune(TERMS, limit=MANY),
    "forget_operations": lambda store: store.forget_operations(limit=MANY),
    "forget_sink": lambda store: store.forget_sink("gone"),
    "list_missing": lambda store: store.list_missing([run_id()]),
}


class PersistenceContract(
    JournalContract,
    GatesContract,
    KeysContract,
    MovesContract,
    WaitsContract,
    SnapshotsContract,
    WorkContract,
    TurnsContract,
    QueuesContract,
    SingletonsContract,
    OutboxContract,
    QueriesContract,
    RetentionContract,
):
    """What every store must do; ask for it with two fixtures.

    `persistence` is a fresh, opened store and `clock` the `FakeClock` that is the store's own clock.
    """

    def test_open_is_harmless_when_open(self, persistence: Persistence) -> None:
        """Opening an open store changes nothing."""
        begin(persistence)
        before = everything(persistence)
        run_sync(persistence.open())
        run_sync(persistence.open())
        assert everything(persistence) == before

    def test_close_is_harmless_when_closed(self, persistence: Persistence) -> None:
        """Closing a closed store does nothing."""
        for _ in range(3):
            run_sync(persistence.close())

    @pytest.mark.parametrize("call", CALLS)
    def test_parity_127_calls_after_close_raise(self, persistence: Persistence, call: str) -> None:
        """Every call on a closed store raises instead of answering as if there were nothing."""
        begin(persistence)
        run_sync(persistence.close())
        with pytest.raises(StoreUnavailable):
            run_sync(CALLS[call](persistence))

    def test_every_call_is_tried_after_close(self, persistence: Persistence) -> None:
        """The calls of the test before are all that the port has."""
        methods = {name for name in dir(Persistence) if not name.startswith("_")}
        assert methods - {"open", "close"} == set(CALLS)
        run_sync(persistence.close())
