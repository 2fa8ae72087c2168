"""The contract of the Snapshots port: one test for each sentence of its docstrings, in their order."""

from __future__ import annotations

import attrs

from holdfast.change import ZERO, Change, Finish, NewItems, Requeue, Step
from holdfast.driving import run_sync
from holdfast.entities.payload import Payload
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageStatus
from holdfast.ports.persistence import Persistence
from holdfast.traces import NewCheckpoint
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.samples import (
    MANY,
    artifact,
    begin,
    completed,
    created,
    ended,
    failure,
    gate_rule,
    job,
    key,
    noted,
    payload,
    reaching,
    rerun,
    run_id,
    settled,
    stand,
    started,
    take,
    the_run,
    the_snapshot,
    the_stage,
)


class SnapshotsContract:
    """What every store must read for decisions."""

    def test_reads_see_every_commit(self, persistence: Persistence) -> None:
        """Each read sees everything that was acknowledged before it."""
        stand(persistence, created())
        assert the_run(persistence).status is RunStatus.PENDING
        stand(persistence, started())
        snapshot = the_snapshot(persistence)
        assert snapshot.run == the_run(persistence)
        assert snapshot.stages == (the_stage(persistence),)
        lease = take(persistence)
        assert the_stage(persistence).status is StageStatus.RUNNING
        stand(persistence, completed(lease, output="17"))
        assert run_sync(persistence.get_outputs(run_id(), ("a",))) == {"a": payload("17")}

    def test_reads_change_nothing(self, persistence: Persistence) -> None:
        """Reading twice gives the same twice."""
        begin(persistence)
        assert the_snapshot(persistence) == the_snapshot(persistence)
        assert the_run(persistence) == the_run(persistence)

    def test_parity_149_an_unknown_run_is_none(self, persistence: Persistence) -> None:
        """A run that does not exist is None, also as a snapshot."""
        begin(persistence)
        assert run_sync(persistence.find_run(run_id(2))) is None
        assert run_sync(persistence.find_snapshot(run_id(2))) is None

    def test_an_id_is_matched_whole(self, persistence: Persistence) -> None:
        """Neither a part of an id nor one with another case or a wildcard finds a run."""
        begin(persistence)
        for strange in (run_id()[:-1], run_id().upper() + " ", "%", "", run_id() + "\x00"):
            assert run_sync(persistence.find_run(strange)) is None

    def test_a_snapshot_without_stages(self, persistence: Persistence) -> None:
        """The snapshot of a PENDING run has no stages and no arrivals."""
        stand(persistence, created())
        snapshot = the_snapshot(persistence)
        assert (snapshot.run.status, snapshot.stages, snapshot.arrivals) == (RunStatus.PENDING, (), {})

    def test_a_snapshot_is_in_order_of_key(self, persistence: Persistence) -> None:
        """A snapshot holds the live and the done instances together, in order of key."""
        keys = [key("b", item=10), key("b", item=2), key("c"), key("a", turn=1), key("a"), key("a", item=1)]
        stand(persistence, created(), started(jobs=[job(at) for at in keys]))
        stand(persistence, completed(take(persistence, key("b", item=2))))
        stand(persistence, completed(take(persistence, key("a"))))
        assert [stage.key for stage in the_snapshot(persistence).stages] == sorted(keys)

    def test_a_snapshot_leaves_out_what_was_superseded(self, persistence: Persistence) -> None:
        """Records that a rerun superseded are not in a snapshot; the others of the old generation are."""
        begin(persistence, "a", "b")
        for name in "ab":
            stand(persistence, completed(take(persistence, key(name))))
        stand(persistence, ended(), rerun(supersede=("b",)))
        assert [stage.key for stage in the_snapshot(persistence).stages] == [key("a"), key("b", generation=2)]

    def test_a_snapshot_is_of_one_run(self, persistence: Persistence) -> None:
        """A snapshot holds nothing of other runs."""
        begin(persistence)
        begin(persistence, "a", "b", run=2)
        assert {stage.key.run_id for stage in the_snapshot(persistence, 2).stages} == {run_id(2)}
        assert len(the_snapshot(persistence).stages) == 1

    def test_arrivals_are_those_of_closed_gates_of_the_generation(self, persistence: Persistence) -> None:
        """A snapshot counts arrivals at gates that have not opened; a rerun starts with none."""
        begin(persistence)
        gates = [gate_rule(f"g{n}", arity=n, opens=Step()) for n in (1, 2, 3)]
        stand(persistence, reaching(noted(), *gates))
        assert the_snapshot(persistence).arrivals == {"g2": 1, "g3": 1}
        stand(persistence, ended(), rerun())
        assert the_snapshot(persistence).arrivals == {}

    def test_an_unknown_stage_is_none(self, persistence: Persistence) -> None:
        """A stage instance is found by its whole key alone."""
        begin(persistence)
        for other in (key("b"), key(run=2), key(generation=2), key(turn=1), key(item=1)):
            assert run_sync(persistence.find_stage(other)) is None

    def test_a_stage_is_found_live_done_and_superseded(self, persistence: Persistence, clock: FakeClock) -> None:
        """A stage instance is found by key whatever became of it."""
        begin(persistence)
        assert the_stage(persistence).status is StageStatus.READY
        clock.advance("1s")
        stand(persistence, completed(take(persistence), output="1"), ended(), rerun())
        old, new = the_stage(persistence), the_stage(persistence, key(generation=2))
        assert (old.status, old.superseded, old.output) == (StageStatus.COMPLETED, True, payload("1"))
        assert (new.status, new.superseded, new.output) == (StageStatus.READY, False, None)

    def test_outputs_are_of_the_named_stages(self, persistence: Persistence) -> None:
        """Outputs come for the stages named and no others, in whatever order they are named."""
        begin(persistence, "a", "b", "c")
        for name in "abc":
            stand(persistence, completed(take(persistence, key(name)), output=f'"{name}"'))
        outputs = run_sync(persistence.get_outputs(run_id(), ("c", "a")))
        assert outputs == {"a": payload('"a"'), "c": payload('"c"')}
        assert run_sync(persistence.get_outputs(run_id(), ())) == {}

    def test_stages_without_a_visible_output_are_left_out(self, persistence: Persistence) -> None:
        """Live, failed, skipped and unknown stages, and ones that completed without an output, are left out."""
        begin(persistence, "live", "retried", "failed", "skipped", "silent")
        stand(persistence, settled(take(persistence, key("retried")), Requeue(delay=ZERO, attempt=1)))
        for name, status in (
            ("failed", StageStatus.FAILED),
            ("skipped", StageStatus.SKIPPED),
            ("silent", StageStatus.COMPLETED),
        ):
            stand(persistence, settled(take(persistence, key(name)), Finish(status=status, failure=failure())))
        names = ("live", "retried", "failed", "skipped", "silent", "unknown")
        assert run_sync(persistence.get_outputs(run_id(), names)) == {}
        assert run_sync(persistence.get_outputs(run_id(9), names)) == {}

    def test_a_rerun_replaces_outputs(self, persistence: Persistence) -> None:
        """A superseded output is invisible at once, and the new generation's takes its place."""
        begin(persistence, "a", "b")
        for name in "ab":
            stand(persistence, completed(take(persistence, key(name)), output='"old"'))
        stand(persistence, ended(), rerun(supersede=("b",)))
        assert run_sync(persistence.get_outputs(run_id(), ("a", "b"))) == {"a": payload('"old"')}
        stand(persistence, completed(take(persistence, key("b", generation=2)), output='"new"'))
        outputs = run_sync(persistence.get_outputs(run_id(), ("a", "b")))
        assert outputs == {"a": payload('"old"'), "b": payload('"new"')}

    def test_outputs_are_of_the_latest_turn(self, persistence: Persistence) -> None:
        """Of several turns the highest counts, in whatever order they completed, and a later generation before it."""
        keys = [key(), key(turn=1), key(turn=2)]
        stand(persistence, created(), started(jobs=[job(at) for at in keys]))

        def output() -> Payload | None:
            return run_sync(persistence.get_outputs(run_id(), ("a",))).get("a")

        seen: list[Payload | None] = [output()]
        for turn in (1, 0):
            stand(persistence, completed(take(persistence, keys[turn]), output=f"{turn}"))
            seen.append(output())
        stand(persistence, settled(take(persistence, keys[2]), Finish(status=StageStatus.COMPLETED)))
        seen.append(output())
        assert seen == [None, payload("1"), payload("1"), payload("1")]
        stand(persistence, Change(run_id=run_id(), step=Step(jobs=(job(key(generation=2)),))))
        stand(persistence, completed(take(persistence, key(generation=2)), output='"new"'))
        assert output() == payload('"new"')

    def test_outputs_are_of_one_item(self, persistence: Persistence) -> None:
        """For stages within a map the outputs of the asked item come, else those of item 0."""
        keys = [key(name, item=item) for name in "ab" for item in range(2)]
        stand(persistence, created(), started(jobs=[job(at) for at in keys]))
        for at in keys[:3]:
            stand(persistence, completed(take(persistence, at), output=f'"{at.stage_id}{at.item}"'))
        names = ("a", "b")
        assert run_sync(persistence.get_outputs(run_id(), names, item=1)) == {"a": payload('"a1"')}
        assert run_sync(persistence.get_outputs(run_id(), names)) == {"a": payload('"a0"'), "b": payload('"b0"')}
        assert run_sync(persistence.get_outputs(run_id(), names, item=2)) == {}

    def test_item_outputs_are_paged_in_order_of_item(self, persistence: Persistence) -> None:
        """Records of one map come in order of item in pages of at most *limit*, whatever their order of completion."""
        stand(persistence, created(), started(jobs=[job(key(item=item)) for item in range(12)]))
        for item in (11, 3, 0, 7, 10, 2, 1, 9, 4, 8, 6, 5):
            stand(persistence, completed(take(persistence, key(item=item)), output=f"{item}"))
        pages: list[list[int]] = []
        after = -1
        while page := list(run_sync(persistence.list_item_outputs(key(), after=after, limit=5))):
            assert [output for _, output in page] == [payload(f"{item}") for item, _ in page]
            pages.append([item for item, _ in page])
            after = page[-1][0]
        assert pages == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]
        assert not run_sync(persistence.list_item_outputs(key(), after=-1, limit=0))

    def test_items_that_did_not_complete_have_no_output(self, persistence: Persistence) -> None:
        """Failed, skipped and cancelled items are listed without an output; live ones are left out."""
        stand(persistence, created(), started(jobs=[job(key(item=item)) for item in range(5)]))
        finishes = {
            0: Finish(status=StageStatus.COMPLETED, output=payload("0")),
            1: Finish(status=StageStatus.FAILED, failure=failure()),
            3: Finish(status=StageStatus.COMPLETED),
        }
        for item, finish in finishes.items():
            stand(persistence, settled(take(persistence, key(item=item)), finish))
        stand(persistence, Change(run_id=run_id(), step=Step(skips=(key(item=5),))))

        def found() -> list[tuple[int, Payload | None]]:
            return list(run_sync(persistence.list_item_outputs(key(), after=-1, limit=MANY)))

        done = [(0, payload("0")), (1, None), (3, None), (5, None)]
        assert found() == done
        stand(persistence, ended())
        assert found() == sorted([*done, (2, None), (4, None)])

    def test_item_outputs_are_of_one_turn_and_generation(self, persistence: Persistence) -> None:
        """Items of another stage, generation, turn or run are not listed."""
        keys = [key(name, generation=g, turn=t) for name in "ab" for g in (1, 2) for t in (0, 1)]
        stand(persistence, created(), started(jobs=[job(at) for at in keys]))
        for number, at in enumerate(keys):
            stand(persistence, completed(take(persistence, at), output=f"{number}"))
        for number, at in enumerate(keys):
            found = run_sync(persistence.list_item_outputs(at, after=-1, limit=MANY))
            assert list(found) == [(0, payload(f"{number}"))]
        assert not run_sync(persistence.list_item_outputs(key("c"), after=-1, limit=MANY))
        assert not run_sync(persistence.list_item_outputs(key(run=2), after=-1, limit=MANY))

    def test_items_are_found_one_by_one(self, persistence: Persistence) -> None:
        """Each instance of a map has the input at its place, which counts up from the first; others have none."""
        begin(persistence)
        blob = Payload(text=None, digest="d" * 64, size=10**6, blob="k")
        first = NewItems(key=key("m", turn=1), payloads=(payload("0"), blob, payload('"\\u0000 🦑"')))
        more = NewItems(key=key("m", turn=1, item=3), payloads=(payload("3"),))
        for items in (first, more):
            stand(persistence, Change(run_id=run_id(), step=Step(items=items)))
        for item, text in enumerate((*first.payloads, *more.payloads)):
            assert run_sync(persistence.find_item(key("m", turn=1, item=item))) == text
        others = (key("m"), key("m", turn=1, item=4), key("m", turn=1, generation=2), key("n", turn=1))
        for other in (*others, key("m", turn=1, run=2)):
            assert run_sync(persistence.find_item(other)) is None

    def test_a_thousand_items_are_kept_in_one_change(self, persistence: Persistence) -> None:
        """A change-set may bring the inputs of a large map, and each is found by itself."""
        begin(persistence)
        payloads = tuple(payload(f"{item}") for item in range(1000))
        stand(persistence, Change(run_id=run_id(), step=Step(items=NewItems(key=key("m"), payloads=payloads))))
        for item in (0, 1, 500, 999):
            assert run_sync(persistence.find_item(key("m", item=item))) == payloads[item]
        assert run_sync(persistence.find_item(key("m", item=1000))) is None

    def test_artifacts_are_in_order_of_name(self, persistence: Persistence) -> None:
        """Artifacts of the run come in order of name, whenever they were stored."""
        begin(persistence)
        begin(persistence, run=2)
        stand(
            persistence,
            attrs.evolve(noted(), artifacts=(artifact("b"), artifact("Z"))),
            attrs.evolve(noted(), artifacts=(artifact("a"),)),
            attrs.evolve(noted(2), artifacts=(artifact("other"),)),
        )
        assert list(run_sync(persistence.list_artifacts(run_id()))) == [artifact("Z"), artifact("a"), artifact("b")]

    def test_no_artifacts(self, persistence: Persistence) -> None:
        """A run without artifacts, and a run that does not exist, have none."""
        begin(persistence)
        assert list(run_sync(persistence.list_artifacts(run_id()))) == []
        assert list(run_sync(persistence.list_artifacts(run_id(2)))) == []

    def test_checkpoints_belong_to_one_stage_instance(self, persistence: Persistence) -> None:
        """The result comes back whole, inline or as a blob; another name, instance or run has none."""
        begin(persistence)
        blob = Payload(text=None, digest="d" * 64, size=10**6, blob="k")
        change = attrs.evolve(
            noted(),
            checkpoints=(
                NewCheckpoint(key=key("a"), name="n", result=payload('"\\u0000"')),
                NewCheckpoint(key=key("a", item=1), name="n", result=blob),
            ),
        )
        stand(persistence, change)
        assert run_sync(persistence.find_checkpoint(key("a"), name="n")) == payload('"\\u0000"')
        assert run_sync(persistence.find_checkpoint(key("a", item=1), name="n")) == blob
        for other in (key("b"), key("a", generation=2), key("a", item=2), key("a", run=2)):
            assert run_sync(persistence.find_checkpoint(other, name="n")) is None
        assert run_sync(persistence.find_checkpoint(key("a"), name="m")) is None
