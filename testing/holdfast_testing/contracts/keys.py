"""The contract of keys: one stage instance executes under a key, and its result is shared."""

from __future__ import annotations

import attrs
import pytest

from holdfast.change import ZERO, Change, Committed, Finish, Held, Requeue, Step, Suspend
from holdfast.driving import run_sync
from holdfast.entities.keyed import KeyedResult
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageStatus
from holdfast.errors import StaleVersion
from holdfast.ports.persistence import Persistence
from holdfast.ports.queries import RunFilter
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.samples import (
    HOUR,
    MANY,
    TTL,
    answered,
    begin,
    commit,
    completed,
    ended,
    failure,
    job,
    key,
    moved,
    parked,
    payload,
    refuse,
    rerun,
    reserved,
    run_id,
    scope,
    sent,
    settled,
    stand,
    take,
    the_stage,
)

FAIL = Finish(status=StageStatus.FAILED, failure=failure())
#: What the first instance of a leaves when it holds the key.
HOLDING = KeyedResult(scope=scope(), fingerprint="f" * 64, holder=key(), output=None)


class KeysContract:
    """What every store must do with keys."""

    def _is_free(self, persistence: Persistence, *, name: str = "k") -> bool:
        """Return whether a run of its own could take the key; it does so in a call whose whole effect is that."""
        number = 900 + len(run_sync(persistence.list_runs(RunFilter(), limit=MANY)))
        begin(persistence, run=number)
        (outcome,) = commit(persistence, reserved(take(persistence, key(run=number)), name=name))
        return isinstance(outcome, Committed)

    # Who may take a key.

    def test_check_8_a_key_is_held_by_one(self, persistence: Persistence) -> None:
        """While one stage instance holds a key, any other, of whatever run, learns who does."""
        begin(persistence, "a", "b")
        begin(persistence, run=2)
        stand(persistence, Change(run_id=run_id(), step=Step(jobs=(job(key(item=1)), job(key(turn=1))))))
        stand(persistence, reserved(take(persistence)))
        for other in (key("b"), key(item=1), key(turn=1), key(run=2)):
            assert refuse(persistence, reserved(take(persistence, other))) == Held(result=HOLDING)

    def test_check_8_of_two_in_one_call_the_first(self, persistence: Persistence) -> None:
        """Of two instances that take one key in one call the first gets it."""
        begin(persistence, "a", "b")
        a, b = (take(persistence, key(name)) for name in "ab")
        first, second = commit(persistence, reserved(a), reserved(b))
        assert isinstance(first, Committed)
        assert second == Held(result=HOLDING)

    def test_the_holder_may_take_its_key_again(self, persistence: Persistence, clock: FakeClock) -> None:
        """The holder takes its key again under the same lease, after a retry, and after it was reaped."""
        begin(persistence)
        lease = take(persistence)
        stand(persistence, reserved(lease), reserved(lease))
        stand(persistence, settled(lease, Requeue(delay=ZERO, attempt=1, failure=failure())))
        lease = take(persistence)
        stand(persistence, reserved(lease))
        clock.advance(TTL)
        stand(persistence, settled(lease, Requeue(delay=ZERO, attempt=1), expired=True))
        stand(persistence, reserved(take(persistence)))

    def test_a_job_that_waits_keeps_its_key(self, persistence: Persistence) -> None:
        """A holder that is requeued, parked or suspended holds its key on."""
        begin(persistence)
        for settle in (
            Requeue(delay=ZERO, attempt=0),
            Suspend(state=payload("1"), delay=ZERO, give_up_after=HOUR),
        ):
            lease = take(persistence)
            stand(persistence, reserved(lease), settled(lease, settle))
            assert not self._is_free(persistence)
        begin(persistence, run=2)
        lease = take(persistence, key(run=2))
        stand(persistence, reserved(lease, name="other"), parked(lease))
        assert not self._is_free(persistence, name="other")

    def test_another_generation_of_the_holder_may_take_its_key(self, persistence: Persistence) -> None:
        """The instance of a later generation takes over the key of its holder, which cannot free it any more."""
        begin(persistence)
        lease = take(persistence)
        stand(persistence, reserved(lease), Change(run_id=run_id(), step=Step(jobs=(job(key(generation=2)),))))
        stand(persistence, reserved(take(persistence, key(generation=2))))
        stand(persistence, settled(lease, FAIL))
        assert not self._is_free(persistence)

    def test_scopes_are_told_apart(self, persistence: Persistence) -> None:
        """Keys of another tenant, workflow, stage or name are other keys; one instance may hold several."""
        begin(persistence)
        lease = take(persistence)
        change = reserved(lease)
        reservation = change.reservation
        assert reservation is not None
        stand(persistence, change)
        others = ({"tenant": "x"}, {"workflow_id": "x"}, {"stage_id": "x"}, {"key": "x"})
        begin(persistence, run=2)
        other = reserved(take(persistence, key(run=2)))
        for names in others:
            elsewhere = attrs.evolve(reservation, scope=attrs.evolve(scope(), **names))
            stand(persistence, attrs.evolve(other, reservation=elsewhere))

    def test_check_8_comes_last(self, persistence: Persistence) -> None:
        """A change-set that is stale as well is refused as stale."""
        begin(persistence, "a", "b")
        stand(persistence, reserved(take(persistence)))
        held = reserved(take(persistence, key("b")))
        stand(persistence, sent())
        stale = (
            attrs.evolve(held, fired="none"),
            attrs.evolve(held, answers=answered("none").answers),
            attrs.evolve(held, messages=sent().messages),
        )
        for change in stale:
            assert isinstance(refuse(persistence, change), StaleVersion)
        assert isinstance(refuse(persistence, held), Held)

    def test_a_refused_reservation_takes_nothing(self, persistence: Persistence) -> None:
        """A reservation in a change-set that is refused for something else leaves the key free."""
        begin(persistence)
        lease = take(persistence)
        refuse(persistence, attrs.evolve(reserved(lease), fired="none"))
        assert self._is_free(persistence)

    # Results.

    def test_a_result_is_shared(self, persistence: Persistence) -> None:
        """A result that was kept is found by everybody, the instance that made it included, word for word."""
        begin(persistence)
        begin(persistence, run=2)
        lease = take(persistence)
        stand(persistence, reserved(lease), reserved(lease, output='{"n":1}'))
        done = Held(result=attrs.evolve(HOLDING, output=payload('{"n":1}')))
        assert the_stage(persistence).output == payload('{"n":1}')
        assert refuse(persistence, reserved(take(persistence, key(run=2)))) == done
        stand(persistence, ended(), rerun())
        assert refuse(persistence, reserved(take(persistence, key(generation=2)))) == done

    def test_a_result_may_be_kept_without_taking_the_key_first(self, persistence: Persistence) -> None:
        """A result for a key that nobody holds is kept; of two in one call the first stands."""
        begin(persistence, "a", "b")
        a, b = (take(persistence, key(name)) for name in "ab")
        first, second = commit(persistence, reserved(a, output="1"), reserved(b, output="2"))
        assert isinstance(first, Committed)
        assert second == Held(result=attrs.evolve(HOLDING, output=payload("1")))
        assert the_stage(persistence, key("b")).status is StageStatus.RUNNING

    def test_a_result_may_be_a_blob(self, persistence: Persistence) -> None:
        """A result that is a reference to a blob is found as that reference."""
        begin(persistence, "a", "b")
        blob = attrs.evolve(payload("1"), text=None, blob="runs/1/abc")
        change = reserved(take(persistence), output="1")
        assert change.reservation is not None
        stand(persistence, attrs.evolve(change, reservation=attrs.evolve(change.reservation, output=blob)))
        found = refuse(persistence, reserved(take(persistence, key("b"))))
        assert found == Held(result=attrs.evolve(HOLDING, output=blob))

    # Keys become free.

    @pytest.mark.parametrize("status", [StageStatus.FAILED, StageStatus.CANCELLED, StageStatus.SKIPPED])
    def test_an_instance_that_ends_frees_its_key(self, persistence: Persistence, status: StageStatus) -> None:
        """An instance that ends otherwise than COMPLETED frees its keys."""
        begin(persistence, "a", "b")
        lease = take(persistence)
        stand(persistence, reserved(lease), reserved(lease, name="second"))
        stand(persistence, settled(lease, Finish(status=status, failure=failure())))
        assert self._is_free(persistence)
        assert self._is_free(persistence, name="second")

    @pytest.mark.parametrize(
        "status", [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.COMPENSATING]
    )
    def test_a_run_that_closes_frees_its_keys(self, persistence: Persistence, status: RunStatus) -> None:
        """Keys without a result of all instances of a run that closes are free; those of other runs are not."""
        begin(persistence, "a", "b")
        begin(persistence, run=2)
        done, live = (take(persistence, key(name)) for name in "ab")
        stand(persistence, reserved(done, name="done"), completed(done), reserved(live, name="live"))
        stand(persistence, reserved(take(persistence, key(run=2)), name="other"))
        assert not self._is_free(persistence, name="done")
        stand(persistence, moved(status=status))
        assert self._is_free(persistence, name="done")
        assert self._is_free(persistence, name="live")
        assert not self._is_free(persistence, name="other")

    def test_results_outlive_everything(self, persistence: Persistence) -> None:
        """A result stays when its run fails."""
        begin(persistence)
        stand(persistence, reserved(take(persistence), output="1"), ended(status=RunStatus.FAILED))
        assert not self._is_free(persistence)

    def test_a_key_that_is_taken_with_the_end_is_free(self, persistence: Persistence) -> None:
        """A key that is taken by the change-set that ends its instance, or its run, is free behind it."""
        begin(persistence, "a", "b")
        a, b = (take(persistence, key(name)) for name in "ab")
        stand(persistence, attrs.evolve(reserved(a), settle=FAIL))
        assert self._is_free(persistence)
        stand(persistence, attrs.evolve(reserved(b, name="b"), step=ended().step))
        assert self._is_free(persistence, name="b")
