"""The contract of the Queries port: one test for each sentence of its docstrings, in their order."""

from __future__ import annotations

from datetime import timedelta

import attrs
import pytest

from holdfast.change import ZERO, Grant, Park, Requeue
from holdfast.driving import run_sync
from holdfast.entities.run import RunStatus
from holdfast.entities.wait import WaitStatus
from holdfast.ports.outbox import Delivery
from holdfast.ports.persistence import Persistence
from holdfast.ports.queries import Counts, RunFilter
from holdfast.traces import NewAnnotation, NewLog
from holdfast_testing.clock import START, FakeClock
from holdfast_testing.contracts.samples import (
    HOUR,
    MANY,
    SECOND,
    SINK,
    TTL,
    answered,
    begin,
    completed,
    created,
    deadline,
    ended,
    events_of,
    header,
    job,
    key,
    moved,
    noted,
    rerun,
    run_id,
    settled,
    stand,
    started,
    suspended,
    take,
    take_all,
    the_run,
    the_stage,
    wait_for,
)

NOTHING = Counts(runs={}, ready=0, leased=0, suspended=0, waiting=0, expired=0, undelivered=0, parked=0)


class QueriesContract:
    """What every store must answer people."""

    def _runs(
        self, persistence: Persistence, where: RunFilter | None = None, *, limit: int = MANY, before: str | None = None
    ) -> list[int]:
        found = run_sync(persistence.list_runs(where or RunFilter(), limit=limit, before=before))
        return [int(run.id[-12:]) for run in found]

    def _stages(self, persistence: Persistence, number: int = 1) -> list[tuple[str, int]]:
        found = run_sync(persistence.list_stages(run_id(number)))
        return [(stage.key.stage_id, stage.key.generation) for stage in found]

    def _orphans(self, persistence: Persistence, *, limit: int = MANY) -> list[str]:
        return list(run_sync(persistence.list_orphans(limit=limit)))

    def _count(self, persistence: Persistence) -> Counts:
        return run_sync(persistence.count())

    # list_runs

    def test_runs_are_the_newest_first(self, persistence: Persistence) -> None:
        """Runs of every status are listed, the newest first, exactly as they are found one by one."""
        begin(persistence, run=1)
        stand(persistence, created(2), created(3))
        begin(persistence, run=4)
        stand(persistence, ended(4))
        found = run_sync(persistence.list_runs(RunFilter(), limit=MANY))
        assert list(found) == [the_run(persistence, number) for number in (4, 3, 2, 1)]

    def test_no_runs(self, persistence: Persistence) -> None:
        """An empty store lists no runs."""
        assert self._runs(persistence) == []

    def test_runs_are_paged_by_key(self, persistence: Persistence) -> None:
        """Pages of at most *limit* runs, each before the last of the one before, hold every run once."""
        run_sync(persistence.commit([created(number) for number in range(1, 8)]))
        assert self._runs(persistence, limit=0) == []
        pages: list[list[int]] = []
        before: str | None = None
        while page := self._runs(persistence, limit=3, before=before):
            pages.append(page)
            before = run_id(page[-1])
            # A run that is created while somebody turns pages moves none of them.
            stand(persistence, created(100 + len(pages)))
        assert pages == [[7, 6, 5], [4, 3, 2], [1]]

    def test_runs_before_an_id_that_does_not_exist(self, persistence: Persistence) -> None:
        """The key of a page need not be a run."""
        stand(persistence, created(1), created(3))
        assert self._runs(persistence, before=run_id(2)) == [1]
        assert self._runs(persistence, before="") == []

    def test_runs_by_status(self, persistence: Persistence) -> None:
        """A filter by statuses lists runs in any of them."""
        begin(persistence, run=1)
        stand(persistence, created(2))
        begin(persistence, run=3)
        stand(persistence, ended(3))
        assert self._runs(persistence, RunFilter(statuses=frozenset({RunStatus.RUNNING}))) == [1]
        assert self._runs(persistence, RunFilter(statuses=frozenset({RunStatus.PENDING, RunStatus.CANCELLED}))) == [
            3,
            2,
        ]
        assert self._runs(persistence, RunFilter(statuses=frozenset({RunStatus.FAILED}))) == []

    def test_runs_by_workflow(self, persistence: Persistence) -> None:
        """A filter by workflow lists its runs of every version."""
        heads = [header(1), header(2, workflow="x"), header(3, version="2"), header(4, workflow="review2")]
        stand(persistence, *(created(head=head) for head in heads))
        assert self._runs(persistence, RunFilter(workflow_id="review")) == [3, 1]

    def test_runs_by_parent(self, persistence: Persistence) -> None:
        """A filter by parent lists the runs that it started, live or not, and no others."""
        heads = [attrs.evolve(header(number), parent_id=run_id(parent)) for number, parent in ((2, 1), (3, 2), (4, 1))]
        stand(persistence, created(1), *(created(head=head) for head in heads))
        stand(persistence, started(2, jobs=[]), ended(2))
        assert self._runs(persistence, RunFilter(parent_id=run_id(1))) == [4, 2]
        assert self._runs(persistence, RunFilter(parent_id=run_id(1)), before=run_id(4)) == [2]
        assert self._runs(persistence, RunFilter(parent_id=run_id(4))) == []

    def test_runs_by_idempotency_key(self, persistence: Persistence) -> None:
        """A filter by idempotency key lists the runs that were created with it."""
        stand(persistence, created(1, idempotency_key="k"), created(2), created(3, idempotency_key="k2"))
        assert self._runs(persistence, RunFilter(idempotency_key="k")) == [1]

    def test_runs_by_prefix(self, persistence: Persistence) -> None:
        """A filter by prefix lists the runs whose id begins so, taken literally."""
        stand(persistence, created(1), created(2), created(10))
        assert self._runs(persistence, RunFilter(id_prefix=run_id(1)[:-1])) == [2, 1]
        assert self._runs(persistence, RunFilter(id_prefix=run_id(10))) == [10]
        assert self._runs(persistence, RunFilter(id_prefix="")) == [10, 2, 1]
        for strange in ("%", "_", "0194____", "x", run_id(1) + "0"):
            assert self._runs(persistence, RunFilter(id_prefix=strange)) == []

    def test_filters_add_up_and_page(self, persistence: Persistence) -> None:
        """All parts of a filter must hold, and pages are of what they leave."""
        for number in range(1, 10):
            begin(persistence, run=number)
        stand(persistence, *(ended(number) for number in range(1, 10, 2)))
        where = RunFilter(statuses=frozenset({RunStatus.CANCELLED}), workflow_id="review", id_prefix="01940000")
        assert self._runs(persistence, where, limit=2) == [9, 7]
        assert self._runs(persistence, where, limit=2, before=run_id(7)) == [5, 3]
        assert self._runs(persistence, where, limit=2, before=run_id(3)) == [1]

    # list_stages

    def test_stages_of_no_run(self, persistence: Persistence) -> None:
        """A run that does not exist or has not begun has no stages."""
        stand(persistence, created())
        assert self._stages(persistence) == []
        assert self._stages(persistence, 2) == []

    def test_stages_are_live_done_and_superseded(self, persistence: Persistence, clock: FakeClock) -> None:
        """Every stage instance is listed as it is found one by one, whatever became of it."""
        begin(persistence, "a", "b")
        stand(persistence, completed(take(persistence, key("a"))))
        clock.advance("1s")
        stand(persistence, completed(take(persistence, key("b"))), ended(), rerun(supersede=("b",)))
        clock.advance("1s")
        take(persistence, key("b", generation=2))
        keys = [key("a"), key("b"), key("b", generation=2)]
        assert list(run_sync(persistence.list_stages(run_id()))) == [the_stage(persistence, at) for at in keys]

    def test_parity_152_stages_are_in_order_of_start(self, persistence: Persistence, clock: FakeClock) -> None:
        """Stages come in order of start, then of key; those that never started come last."""
        begin(persistence, "e", "d", "c", "b", "a")
        take(persistence, key("d"))
        clock.advance("1s")
        take(persistence, key("b"))
        take(persistence, key("a"))
        assert [name for name, _ in self._stages(persistence)] == ["d", "a", "b", "c", "e"]

    def test_stages_are_of_one_run(self, persistence: Persistence) -> None:
        """Stages of other runs are not listed."""
        begin(persistence)
        begin(persistence, "b", run=2)
        assert self._stages(persistence) == [("a", 1)]

    # list_events

    def test_events_are_paged_by_number(self, persistence: Persistence) -> None:
        """At most *limit* events above *after* come in order, so that pages hold every event once."""
        begin(persistence)
        stand(persistence, noted(events=7))
        pages: list[list[int]] = []
        after = 0
        while page := [event.number for event in run_sync(persistence.list_events(run_id(), after=after, limit=4))]:
            pages.append(page)
            after = page[-1]
        assert pages == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]
        assert len(run_sync(persistence.list_events(run_id(), limit=0))) == 0
        assert len(run_sync(persistence.list_events(run_id(), after=99, limit=4))) == 0

    def test_events_of_no_run(self, persistence: Persistence) -> None:
        """A run that does not exist has no events."""
        begin(persistence)
        assert events_of(persistence, 2) == []

    # list_logs

    def test_logs_are_the_newest_oldest_first(self, persistence: Persistence) -> None:
        """The newest *limit* lines of the run are listed, oldest first, in the order they were written."""
        begin(persistence)
        begin(persistence, run=2)
        for number in (1, 2):
            for first in (0, 3):
                # The host's instants run backwards: they order nothing.
                logs = tuple(
                    NewLog(
                        key=key(run=number),
                        attempt=1,
                        level="info",
                        message=f"{number}.{first + n}",
                        data={},
                        at=START - timedelta(seconds=first + n),
                    )
                    for n in range(3)
                )
                stand(persistence, attrs.evolve(noted(number), logs=logs))

        def lines(limit: int) -> list[str]:
            return [line.message for line in run_sync(persistence.list_logs(run_id(2), limit=limit))]

        assert lines(MANY) == ["2.0", "2.1", "2.2", "2.3", "2.4", "2.5"]
        assert lines(2) == ["2.4", "2.5"]
        assert lines(0) == []
        assert list(run_sync(persistence.list_logs(run_id(3), limit=MANY))) == []

    # list_run_waits

    def test_waits_are_the_newest_in_order_of_opening(self, persistence: Persistence, clock: FakeClock) -> None:
        """The newest *limit* waits of the run are listed in the order they were opened, whatever became of them."""
        begin(persistence, "a", "b")
        begin(persistence, run=2)
        wait_for(persistence, "z", "a")
        clock.advance("1s")
        wait_for(persistence, "m", "a", at=key("b"))
        wait_for(persistence, "other", at=key(run=2))
        stand(persistence, answered("z"))

        def names(limit: int, number: int = 1) -> list[tuple[str, str, WaitStatus]]:
            found = run_sync(persistence.list_run_waits(run_id(number), limit=limit))
            return [(wait.key.stage_id, wait.name, wait.status) for wait in found]

        resolved, opened = WaitStatus.RESOLVED, WaitStatus.OPEN
        everything = [("a", "z", resolved), ("a", "a", opened), ("b", "m", opened), ("b", "a", opened)]
        assert names(MANY) == everything
        assert names(3) == everything[1:]
        assert names(0) == names(MANY, 3) == []
        stand(persistence, ended())
        assert [status for _, _, status in names(MANY)] == [resolved, *[WaitStatus.CLOSED] * 3]

    # list_annotations

    def test_parity_144_annotations_are_the_oldest_in_order(self, persistence: Persistence) -> None:
        """The oldest *limit* annotations of the run are listed in the order they were stored."""
        begin(persistence)
        begin(persistence, run=2)
        for name in ("c", "a", "b"):
            notes = (NewAnnotation(name=name, value=1), NewAnnotation(name=name, value=2))
            stand(persistence, attrs.evolve(noted(), annotations=notes))

        def names(limit: int, number: int = 1) -> list[tuple[str, object]]:
            found = run_sync(persistence.list_annotations(run_id(number), limit=limit))
            return [(note.name, note.value) for note in found]

        assert names(MANY) == [("c", 1), ("c", 2), ("a", 1), ("a", 2), ("b", 1), ("b", 2)]
        assert names(3) == [("c", 1), ("c", 2), ("a", 1)]
        assert names(0) == names(MANY, 2) == names(MANY, 3) == []

    def test_parity_147_annotations_of_two_stages(self, persistence: Persistence) -> None:
        """One name may be noted on the run and on several stage instances; the key tells them apart."""
        begin(persistence)
        keys = (None, key("a"), key("b"), key("b", generation=2), key("b", item=3))
        notes = tuple(NewAnnotation(name="who", value=1, key=at) for at in keys)
        stand(persistence, attrs.evolve(noted(), annotations=notes))
        found = run_sync(persistence.list_annotations(run_id(), limit=MANY))
        assert tuple(note.key for note in found) == keys

    @pytest.mark.parametrize("value", [None, True, 0, -1.5, 2**70, "", "a\x00b 🦑", [], {}, [{"a": [None]}]])
    def test_annotation_values_are_faithful(self, persistence: Persistence, value: object) -> None:
        """Every JSON value is read back as it was, with its type."""
        begin(persistence)
        stand(persistence, attrs.evolve(noted(), annotations=(NewAnnotation(name="who", value=value),)))
        (found,) = run_sync(persistence.list_annotations(run_id(), limit=MANY))
        assert found.value == value
        assert type(found.value) is type(value)

    # list_orphans

    def test_orphans_are_running_without_anything_ahead(self, persistence: Persistence) -> None:
        """A RUNNING run without a live job or timer is an orphan; pending and ended ones are not."""
        stand(persistence, created(1), started(1, jobs=()), created(2))
        begin(persistence, run=3)
        stand(persistence, ended(3))
        assert self._orphans(persistence) == [run_id(1)]

    def test_a_live_job_is_ahead(self, persistence: Persistence, clock: FakeClock) -> None:
        """A ready, delayed, leased or suspended job keeps its run from being an orphan, a done one does not."""
        suspended(persistence)
        stand(
            persistence,
            created(2),
            started(2, jobs=[job(key(run=2), delay=HOUR)]),
            created(3),
            started(3, jobs=[job(key(run=3), grant=Grant(worker="w", ttl=SECOND))]),
        )
        begin(persistence, run=4)
        clock.advance("2s")
        assert self._orphans(persistence) == []
        stand(persistence, completed(take(persistence, key(run=4))))
        assert self._orphans(persistence) == [run_id(4)]

    def test_a_timer_is_ahead(self, persistence: Persistence, clock: FakeClock) -> None:
        """A timer keeps its run from being an orphan until it is consumed, however long it has been due."""
        stand(persistence, created(), started(jobs=(), timers=[deadline()]))
        assert self._orphans(persistence) == []
        clock.advance(2 * HOUR)
        assert self._orphans(persistence) == []
        stand(persistence, attrs.evolve(noted(), fired="deadline"))
        assert self._orphans(persistence) == [run_id()]

    def test_an_open_wait_is_ahead(self, persistence: Persistence) -> None:
        """An OPEN wait keeps its run from being an orphan, also while the run is PAUSED; an ended one does not."""
        begin(persistence)
        wait_for(persistence)
        assert self._orphans(persistence) == []
        stand(persistence, moved(status=RunStatus.PAUSED))
        assert self._orphans(persistence) == []
        stand(persistence, answered(), moved(status=RunStatus.RUNNING))
        stand(persistence, completed(take(persistence)))
        assert self._orphans(persistence) == [run_id()]

    def test_a_job_that_waits_for_nothing_is_not_ahead(self, persistence: Persistence) -> None:
        """A WAITING job whose wait was ended without it does not advance its run."""
        begin(persistence, "a", "b")
        for name in "ab":
            wait_for(persistence, name, at=key(name))
        stand(persistence, answered("a"))
        stand(persistence, completed(take(persistence)))
        assert self._orphans(persistence) == []
        stand(persistence, answered("b", at=key("b")))
        stand(persistence, settled(take(persistence, key("b")), Park(waits=())))
        assert self._orphans(persistence) == [run_id()]

    def test_orphans_are_at_most_limit(self, persistence: Persistence) -> None:
        """At most *limit* orphans are listed."""
        for number in range(1, 4):
            stand(persistence, created(number), started(number, jobs=()))
        assert self._orphans(persistence, limit=0) == []
        assert len(self._orphans(persistence, limit=2)) == 2
        assert sorted(self._orphans(persistence)) == [run_id(1), run_id(2), run_id(3)]

    def test_no_orphan_at_any_commit_of_a_life(self, persistence: Persistence) -> None:
        """A run that always has something ahead is never an orphan."""
        for change in (created(), started()):
            stand(persistence, change)
            assert self._orphans(persistence) == []
        stand(persistence, settled(take(persistence), Requeue(delay=HOUR, attempt=0)))
        assert self._orphans(persistence) == []
        stand(persistence, ended())
        assert self._orphans(persistence) == []
        stand(persistence, rerun())
        assert self._orphans(persistence) == []

    # list_live_versions

    def test_live_versions_are_counted(self, persistence: Persistence) -> None:
        """Every workflow version with pending or running runs is listed with their number."""
        assert list(run_sync(persistence.list_live_versions())) == []
        heads = [header(1), header(2), header(3), header(4, version="2"), header(5, workflow="x"), header(6)]
        stand(persistence, *(created(head=head) for head in heads))
        stand(persistence, started(1), started(2), ended(2), started(5, head=heads[4]), ended(5), started(6), ended(6))
        found = run_sync(persistence.list_live_versions())
        assert sorted(found) == [("review", "1.0.0", 2), ("review", "2", 1)]
        stand(persistence, rerun(6))
        assert sorted(run_sync(persistence.list_live_versions())) == [("review", "1.0.0", 3), ("review", "2", 1)]

    # count

    def test_count_of_nothing(self, persistence: Persistence) -> None:
        """An empty store counts nothing."""
        assert self._count(persistence) == NOTHING

    def test_count_of_runs(self, persistence: Persistence) -> None:
        """Runs are counted by status, and statuses without runs are left out."""
        for number in range(1, 7):
            stand(persistence, created(number))
        stand(persistence, *(started(number) for number in range(1, 5)), ended(1), ended(2, status=RunStatus.COMPLETED))
        stand(persistence, ended(3, status=RunStatus.COMPLETED))
        assert self._count(persistence).runs == {
            RunStatus.PENDING: 2,
            RunStatus.RUNNING: 1,
            RunStatus.COMPLETED: 2,
            RunStatus.CANCELLED: 1,
        }
        stand(persistence, rerun(1))
        assert RunStatus.CANCELLED not in self._count(persistence).runs

    def test_count_of_waiting_runs(self, persistence: Persistence) -> None:
        """A run counts as WAITING while all its live jobs wait, and so do they; then as RUNNING again."""
        begin(persistence, "a", "b")
        for name in "ab":
            wait_for(persistence, at=key(name))
        assert self._count(persistence).runs == {RunStatus.WAITING: 1}
        assert self._jobs(persistence) == {"ready": 0, "leased": 0, "suspended": 0, "waiting": 2, "expired": 0}
        stand(persistence, answered(at=key("b")))
        assert self._count(persistence).runs == {RunStatus.RUNNING: 1}
        assert self._jobs(persistence) == {"ready": 1, "leased": 0, "suspended": 0, "waiting": 1, "expired": 0}

    def test_jobs_of_a_paused_run_are_not_ready(self, persistence: Persistence) -> None:
        """Jobs of a PAUSED run are not due and so not counted as ready; those of other runs are."""
        begin(persistence, "a", "b")
        begin(persistence, run=2)
        take(persistence)
        stand(persistence, moved(status=RunStatus.PAUSED))
        assert self._jobs(persistence) == {"ready": 1, "leased": 1, "suspended": 0, "waiting": 0, "expired": 0}

    def test_count_of_jobs(self, persistence: Persistence, clock: FakeClock) -> None:
        """Ready counts READY jobs that are due; leased and suspended count all of them, polls in both."""
        stand(
            persistence,
            created(2),
            started(
                2,
                jobs=[
                    job(key("due", run=2)),
                    job(key("later", run=2), delay=HOUR),
                    job(key("granted", run=2), grant=Grant(worker="w", ttl=TTL)),
                    job(key("granted too", run=2), grant=Grant(worker="w", ttl=TTL)),
                ],
            ),
        )
        suspended(persistence)
        assert self._jobs(persistence) == {"ready": 1, "leased": 2, "suspended": 1, "waiting": 0, "expired": 0}
        clock.advance("1s")
        take(persistence)
        assert self._jobs(persistence) == {"ready": 1, "leased": 3, "suspended": 1, "waiting": 0, "expired": 0}
        clock.advance(HOUR)
        assert self._jobs(persistence) == {"ready": 2, "leased": 3, "suspended": 1, "waiting": 0, "expired": 3}
        stand(persistence, ended(2))
        assert self._jobs(persistence) == {"ready": 0, "leased": 1, "suspended": 1, "waiting": 0, "expired": 1}
        stand(persistence, ended(1))
        assert self._jobs(persistence) == {"ready": 0, "leased": 0, "suspended": 0, "waiting": 0, "expired": 0}

    def _jobs(self, persistence: Persistence) -> dict[str, int]:
        counts = self._count(persistence)
        return {
            "ready": counts.ready,
            "leased": counts.leased,
            "suspended": counts.suspended,
            "waiting": counts.waiting,
            "expired": counts.expired,
        }

    def test_count_of_settled_jobs(self, persistence: Persistence) -> None:
        """Jobs that are done are not counted."""
        begin(persistence, "a", "b")
        for lease in take_all(persistence):
            stand(persistence, completed(lease))
        assert self._jobs(persistence) == {"ready": 0, "leased": 0, "suspended": 0, "waiting": 0, "expired": 0}

    def test_count_of_streams(self, persistence: Persistence) -> None:
        """Streams with undelivered events are counted for every sink that has asked, parked ones apart."""

        def streams() -> tuple[int, int]:
            counts = self._count(persistence)
            return counts.undelivered, counts.parked

        stand(persistence, created(1), created(2), created(3))
        assert streams() == (0, 0)
        first, second = run_sync(persistence.lease_streams(sink=SINK, limit=2, events=MANY, ttl=TTL))
        assert streams() == (3, 0)
        taken = Delivery(run_id=first.run_id, sink=SINK, epoch=first.epoch, position=1)
        parked = Delivery(run_id=second.run_id, sink=SINK, epoch=second.epoch, position=0, failures=9, parked=True)
        run_sync(persistence.settle_streams([taken]))
        assert streams() == (2, 0)
        run_sync(persistence.settle_streams([parked]))
        assert streams() == (1, 1)
        stand(persistence, created(4))
        assert streams() == (2, 1)
        run_sync(persistence.replay_parked(sink=SINK, limit=1))
        assert streams() == (3, 0)
        (third,) = run_sync(persistence.lease_streams(sink=SINK, limit=1, events=MANY, ttl=TTL))
        failed = Delivery(run_id=third.run_id, sink=SINK, epoch=third.epoch, position=0, failures=1, delay=HOUR)
        run_sync(persistence.settle_streams([failed]))
        assert streams() == (3, 0)
        run_sync(persistence.lease_streams(sink="other", limit=1, events=1, ttl=TTL))
        assert streams() == (7, 0)

    def test_counting_changes_nothing(self, persistence: Persistence) -> None:
        """Counting twice gives the same twice."""
        begin(persistence)
        stand(persistence, settled(take(persistence), Requeue(delay=ZERO, attempt=0)))
        assert self._count(persistence) == self._count(persistence)
