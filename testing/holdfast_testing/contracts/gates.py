"""The contract of gates: what arrivals bring about through the Journal, in every order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Final, NamedTuple

import attrs
import pytest

from holdfast.change import Change, Committed, Finish, NewGate, Refill, Resolution, Rule, Step
from holdfast.driving import run_sync
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageStatus
from holdfast.errors import LeaseLost
from holdfast.events import EventType
from holdfast.ports.persistence import Persistence
from holdfast_testing.clock import START, FakeClock
from holdfast_testing.contracts.samples import (
    SECOND,
    begin,
    commit,
    completed,
    ended,
    events_of,
    gate_rule,
    job,
    key,
    made,
    noted,
    payload,
    progress,
    reach,
    reaching,
    ready_event,
    rules,
    run_id,
    settled,
    stand,
    take,
    take_all,
    the_run,
    the_snapshot,
    the_stage,
)

TAKEN, SKIPPED, FAILED = Resolution.TAKEN, Resolution.SKIPPED, Resolution.FAILED


def outcome(name: str) -> Step:
    """Return a step that can be recognised afterwards: a job and an event of that name."""
    return Step(jobs=(job(key(name)),), events=(progress(text=name),))


def judged(gate: str = "g", *, arity: int | None, need: int | None = None, tolerate: int = 0) -> Rule:
    """Return a rule from each of whose three ends something else follows."""
    return Rule(
        gate=gate,
        generation=1,
        arity=arity,
        need=need,
        tolerate=tolerate,
        opens=outcome("opens"),
        skips=outcome("skips"),
        fails=outcome("fails"),
    )


def arriving(rule: Rule, *resolutions: Resolution) -> Change:
    """Return a change-set of nothing but arrivals at one gate, in order."""
    arrivals = tuple(reach(rule, resolution) for resolution in resolutions)
    return Change(run_id=run_id(), step=Step(arrivals=arrivals), rules=rules(rule))


def told(persistence: Persistence) -> list[object]:
    """Return the texts of the progress events of the first run, in order."""
    return [event.data["message"] for event in events_of(persistence) if event.type is EventType.STAGE_PROGRESS]


class Case(NamedTuple):
    """How the three edges into a gate are resolved, and what follows from each of them."""

    need: int | None
    tolerate: int
    resolutions: tuple[Resolution, ...]
    follows: tuple[str | None, ...]


CASES: Final = (
    Case(None, 0, (TAKEN, TAKEN, TAKEN), (None, None, "opens")),
    Case(None, 0, (TAKEN, SKIPPED, SKIPPED), (None, None, "opens")),
    Case(None, 0, (SKIPPED, SKIPPED, TAKEN), (None, None, "opens")),
    Case(None, 0, (SKIPPED, SKIPPED, SKIPPED), (None, None, "skips")),
    Case(None, 0, (SKIPPED, FAILED, TAKEN), (None, "fails", None)),
    Case(None, 1, (FAILED, TAKEN, SKIPPED), (None, None, "opens")),
    Case(None, 1, (FAILED, TAKEN, FAILED), (None, None, "fails")),
    Case(None, 1, (FAILED, SKIPPED, SKIPPED), (None, None, "opens")),
    Case(None, 3, (FAILED, FAILED, FAILED), (None, None, "opens")),
    Case(1, 0, (TAKEN, FAILED, TAKEN), ("opens", None, None)),
    Case(2, 0, (TAKEN, SKIPPED, TAKEN), (None, None, "opens")),
    Case(2, 0, (TAKEN, SKIPPED, SKIPPED), (None, None, "fails")),
    Case(2, 0, (SKIPPED, SKIPPED, SKIPPED), (None, None, "skips")),
    Case(2, 1, (FAILED, TAKEN, TAKEN), (None, None, "opens")),
    Case(2, 1, (FAILED, TAKEN, SKIPPED), (None, None, "fails")),
)


class GatesContract:
    """What every store must make of arrivals."""

    def _one_by_one(self, persistence: Persistence, rule: Rule, resolutions: Sequence[Resolution]) -> list[list[str]]:
        return [made(stand(persistence, arriving(rule, resolution))) for resolution in resolutions]

    # Counting.

    def test_arrivals_count_until_the_arity(self, persistence: Persistence) -> None:
        """Arrivals short of the arity are counted and open nothing; the last one opens the gate."""
        begin(persistence)
        rule = gate_rule(arity=3)
        for number in (1, 2):
            assert stand(persistence, reaching(noted(), rule)).steps == ()
            assert the_snapshot(persistence).arrivals == {"g": number}
        assert run_sync(persistence.find_stage(key("c"))) is None
        assert stand(persistence, reaching(noted(), rule)).steps == (rule.opens,)
        assert the_snapshot(persistence).arrivals == {}
        assert the_stage(persistence, key("c")).status is StageStatus.READY

    def test_an_opened_gate_stays_open(self, persistence: Persistence) -> None:
        """An arrival beyond the arity opens nothing again, whatever the arity."""
        begin(persistence)
        for rule in (gate_rule("one", arity=1, opens=outcome("one")), gate_rule("two", opens=outcome("two"))):
            arity = rule.arity or 0
            for number in range(1, arity + 3):
                expected = [rule.gate] if number == arity else []
                assert made(stand(persistence, reaching(noted(), rule))) == expected

    @pytest.mark.parametrize("order", list(permutations(("a", "b", "d"))))
    def test_siblings_in_one_call_open_the_gate_once(self, persistence: Persistence, order: tuple[str, ...]) -> None:
        """Siblings that complete in one call open their gate exactly once, with the last of them, in every order."""
        begin(persistence, "a", "b", "d")
        leases = {lease.key.stage_id: lease for lease in take_all(persistence)}
        rule = gate_rule(arity=3)
        outcomes = commit(persistence, *(reaching(completed(leases[name]), rule) for name in order))
        assert [made(one) for one in outcomes] == [[], [], ["c"]]
        events = [event for event in events_of(persistence) if event.key == key("c")]
        assert [event.type for event in events] == [EventType.STAGE_READY]
        assert events[0].number == len(events_of(persistence))

    @pytest.mark.parametrize("order", list(permutations(("a", "b", "d"))))
    def test_siblings_one_after_another_open_the_gate_once(
        self, persistence: Persistence, order: tuple[str, ...]
    ) -> None:
        """Siblings that complete one after another open their gate exactly once, in every order."""
        begin(persistence, "a", "b", "d")
        leases = {lease.key.stage_id: lease for lease in take_all(persistence)}
        rule = gate_rule(arity=3)
        opened = [made(stand(persistence, reaching(completed(leases[name]), rule))) for name in order]
        assert opened == [[], [], ["c"]]

    def test_a_lost_arrival_does_not_count(self, persistence: Persistence) -> None:
        """An arrival whose change-set is refused does not bring its gate nearer to opening."""
        begin(persistence, "a", "b")
        change = reaching(completed(take(persistence)), gate_rule())
        first, second = commit(persistence, change, change)
        assert isinstance(first, Committed)
        assert isinstance(second, LeaseLost)
        assert the_snapshot(persistence).arrivals == {"g": 1}

    def test_gates_of_two_runs_are_two_gates(self, persistence: Persistence) -> None:
        """Arrivals at gates of one id in two runs do not add up."""
        begin(persistence)
        begin(persistence, run=2)
        stand(persistence, reaching(noted(), gate_rule()))
        assert made(stand(persistence, reaching(noted(2), gate_rule()))) == []

    def test_gates_of_two_generations_are_two_gates(self, persistence: Persistence) -> None:
        """Arrivals at gates of one id in two generations do not add up, and only the run's own is in a snapshot."""
        begin(persistence)
        stand(persistence, reaching(noted(), gate_rule()))
        assert made(stand(persistence, reaching(noted(), gate_rule(generation=2)))) == []
        assert the_snapshot(persistence).arrivals == {"g": 1}

    def test_gates_of_two_turns_are_two_gates(self, persistence: Persistence) -> None:
        """Arrivals at gates of one id in two turns do not add up, and each opens in its own turn."""
        begin(persistence)
        first, second = gate_rule(), gate_rule(turn=1)
        assert made(stand(persistence, reaching(noted(), first, second))) == []
        (opened,) = stand(persistence, reaching(noted(), second)).steps
        assert [new.key for new in opened.jobs] == [key("c", turn=1)]
        (opened,) = stand(persistence, reaching(noted(), first)).steps
        assert [new.key for new in opened.jobs] == [key("c")]

    # What follows, by how the edges were resolved.

    @pytest.mark.parametrize("case", CASES)
    @pytest.mark.parametrize("how", ["together", "one by one"])
    def test_a_gate_judges(self, persistence: Persistence, case: Case, how: str) -> None:
        """A gate of three edges opens, is skipped or fails as its rule says, once, in one change-set or in three."""
        begin(persistence)
        rule = judged(arity=3, need=case.need, tolerate=case.tolerate)
        follows = [name for name in case.follows if name is not None]
        if how == "together":
            assert made(stand(persistence, arriving(rule, *case.resolutions))) == follows
        else:
            steps = [[] if name is None else [name] for name in case.follows]
            assert self._one_by_one(persistence, rule, case.resolutions) == steps
        assert told(persistence) == follows
        assert the_snapshot(persistence).arrivals == {}

    def test_a_made_gate_has_its_own_number(self, persistence: Persistence) -> None:
        """A gate that was made with its number opens after so many, and its own tolerance counts, not the rule's."""
        begin(persistence)
        new = (
            NewGate(gate="map", generation=1, turn=0, arity=2, tolerate=1),
            NewGate(gate="map", generation=1, turn=1, arity=3),
        )
        stand(persistence, Change(run_id=run_id(), step=Step(gates=new)))
        rule = judged("map", arity=None)
        assert self._one_by_one(persistence, rule, (FAILED, TAKEN)) == [[], ["opens"]]
        assert self._one_by_one(persistence, attrs.evolve(rule, turn=1, tolerate=9), (TAKEN, FAILED)) == [[], ["fails"]]

    def test_a_gate_may_be_made_and_reached_at_once(self, persistence: Persistence) -> None:
        """Arrivals of a change-set find the gates that its own step makes."""
        begin(persistence)
        rule = judged("map", arity=None)
        change = arriving(rule, TAKEN)
        new = NewGate(gate="map", generation=1, turn=0, arity=1)
        assert made(stand(persistence, attrs.evolve(change, step=attrs.evolve(change.step, gates=(new,))))) == ["opens"]

    # The work list.

    def test_several_gates_in_one_change(self, persistence: Persistence) -> None:
        """A change-set may arrive at several gates and open some of them, in the order of its arrivals."""
        begin(persistence)
        given = [
            gate_rule(f"g{number}", arity=arity, opens=outcome(f"g{number}"))
            for number, arity in ((1, 1), (2, 2), (3, 3), (4, 1))
        ]
        stand(persistence, reaching(Change(run_id=run_id()), given[1], given[2]))
        committed = stand(persistence, reaching(Change(run_id=run_id()), *given))
        assert committed.steps == tuple(rule.opens for rule in (given[0], given[1], given[3]))
        assert told(persistence) == ["g1", "g2", "g4"]
        assert the_snapshot(persistence).arrivals == {"g3": 2}

    def test_a_skip_cascades(self, persistence: Persistence) -> None:
        """A branch that is skipped skips all that lies behind it in one change-set, up to a gate that waits."""
        begin(persistence)
        end = gate_rule("end", opens=outcome("end"))
        stand(persistence, reaching(Change(run_id=run_id()), end))
        second = attrs.evolve(
            judged("second", arity=1), skips=Step(skips=(key("b2"),), arrivals=(reach(end, SKIPPED),))
        )
        first = attrs.evolve(
            judged("first", arity=1), skips=Step(skips=(key("b1"),), arrivals=(reach(second, SKIPPED),))
        )
        change = attrs.evolve(arriving(first, SKIPPED), rules=rules(first, second, end))
        committed = stand(persistence, change)
        assert committed.steps == (first.skips, second.skips, end.opens)
        assert the_stage(persistence, key("b1")).status is StageStatus.SKIPPED
        assert the_stage(persistence, key("b2")).status is StageStatus.SKIPPED
        assert the_stage(persistence, key("end")).status is StageStatus.READY

    def test_what_arrivals_bring_about_arrives_last(self, persistence: Persistence) -> None:
        """The arrivals of a step that follows come after those which are there already; the step itself at once."""
        begin(persistence)
        far = gate_rule("far", arity=1, opens=outcome("far"))
        near = gate_rule("near", arity=1, opens=attrs.evolve(outcome("near"), arrivals=(reach(far),)))
        other = gate_rule("other", arity=1, opens=outcome("other"))
        change = attrs.evolve(reaching(noted(), near, other), rules=rules(near, other, far))
        committed = stand(persistence, change)
        assert committed.steps == (near.opens, other.opens, far.opens)
        assert told(persistence) == ["step 0", "near", "other", "far"]

    def test_a_gate_opens_for_an_earlier_arrival_of_its_own_cascade(self, persistence: Persistence) -> None:
        """Two edges into one gate may be resolved by one change-set, one of them further down its own cascade."""
        begin(persistence)
        join = gate_rule("join", opens=outcome("join"))
        side = gate_rule("side", arity=1, opens=attrs.evolve(outcome("side"), arrivals=(reach(join, SKIPPED),)))
        committed = stand(persistence, reaching(Change(run_id=run_id()), join, side))
        assert committed.steps == (side.opens, join.opens)

    def test_parity_067_jobs_behind_a_gate_know_the_way(self, persistence: Persistence) -> None:
        """The jobs that an opening gate makes get the sources of the taken edges in the order of their arrival."""
        begin(persistence)
        rule = gate_rule(arity=4)
        for source, resolution in (("y", TAKEN), ("x", SKIPPED), ("b", TAKEN)):
            stand(
                persistence,
                Change(
                    run_id=run_id(), step=Step(arrivals=(reach(rule, resolution, source=source),)), rules=rules(rule)
                ),
            )
        committed = stand(persistence, reaching(Change(run_id=run_id()), rule))
        assert [new.via for step in committed.steps for new in step.jobs] == [("y", "b")]
        assert the_stage(persistence, key("c")).via == ("y", "b")
        assert take(persistence, key("c")).via == ("y", "b")

    def test_a_gate_may_end_the_run(self, persistence: Persistence) -> None:
        """The step of a gate may fail the run, which takes the other live jobs with it."""
        begin(persistence, "a", "b")
        rule = attrs.evolve(judged(arity=2), fails=ended(status=RunStatus.FAILED).step)
        stand(persistence, arriving(rule, FAILED))
        assert the_run(persistence).status is RunStatus.FAILED
        assert the_stage(persistence, key("b")).status is StageStatus.CANCELLED

    def test_a_run_that_a_gate_closed_hears_of_no_more_arrivals(self, persistence: Persistence) -> None:
        """Arrivals behind the one that ends the run bring nothing about, so that its end is the last it tells."""
        begin(persistence, "a", "b")
        failing = attrs.evolve(judged("one", arity=1), fails=ended(status=RunStatus.FAILED).step)
        opening = gate_rule("two", arity=1, opens=outcome("late"))
        step = Step(arrivals=(reach(failing, FAILED), reach(opening)))
        committed = stand(persistence, Change(run_id=run_id(), step=step, rules=rules(failing, opening)))
        assert committed.steps == (failing.fails,)
        assert events_of(persistence)[-1].type is EventType.RUN_FAILED
        assert run_sync(persistence.find_stage(key("late"))) is None

    def test_the_end_of_the_run_is_heard_of_last(self, persistence: Persistence) -> None:
        """An arrival at the gate that ends the run waits for all others, also those that they bring about."""
        begin(persistence)
        end = gate_rule("end", arity=1, opens=ended(status=RunStatus.COMPLETED).step)
        later = gate_rule("later", arity=1, opens=Step(skips=(key("x"),), events=(progress(text="x"),)))
        other = gate_rule("other", arity=1, opens=Step(arrivals=(reach(later),)))
        step = Step(arrivals=(reach(end), reach(other)))
        stand(persistence, Change(run_id=run_id(), step=step, rules=rules(end, later, other)))
        assert the_stage(persistence, key("x")).status is StageStatus.SKIPPED
        assert [event.type for event in events_of(persistence)[-2:]] == [
            EventType.STAGE_PROGRESS,
            EventType.RUN_COMPLETED,
        ]

    # Maps.

    def test_a_map_is_refilled(self, persistence: Persistence) -> None:
        """The k-th edge into a map's gate makes item window + k - 1 live, if there is one; the last opens it."""
        begin(persistence)
        first = job(key("m"))
        refill = Refill(window=2, job=first, event=ready_event(first.key))
        rule = attrs.evolve(judged("map", arity=None), refill=refill)
        new = NewGate(gate="map", generation=1, turn=0, arity=5, tolerate=1)
        stand(
            persistence,
            Change(run_id=run_id(), step=Step(jobs=(first, job(key("m", item=1))), gates=(new,))),
        )
        for number, resolution in enumerate((TAKEN, FAILED, TAKEN), 2):
            (step,) = stand(persistence, arriving(rule, resolution)).steps
            assert [job.key for job in step.jobs] == [key("m", item=number)]
            assert events_of(persistence)[-1].key == key("m", item=number)
            assert the_stage(persistence, key("m", item=number)).status is StageStatus.READY
        assert stand(persistence, arriving(rule, TAKEN)).steps == ()
        assert made(stand(persistence, arriving(rule, TAKEN))) == ["opens"]
        assert run_sync(persistence.find_stage(key("m", item=5))) is None

    def test_a_map_is_refilled_by_every_order_of_completion(self, persistence: Persistence) -> None:
        """Items that complete in one call, the last first, make each further item live exactly once."""
        begin(persistence)
        first = job(key("m"))
        rule = attrs.evolve(judged("map", arity=None), refill=Refill(window=3, job=first, event=ready_event(first.key)))
        jobs = tuple(job(key("m", item=item)) for item in range(3))
        new = NewGate(gate="map", generation=1, turn=0, arity=7)
        stand(persistence, Change(run_id=run_id(), step=Step(jobs=jobs, gates=(new,))))
        done: list[int] = []
        while leases := [lease for lease in take_all(persistence) if lease.key.stage_id == "m"]:
            commit(persistence, *(reaching(completed(lease), rule) for lease in reversed(leases)))
            done.extend(lease.key.item for lease in leases)
        assert done == list(range(7))
        assert told(persistence) == ["opens"]

    def test_a_failed_map_is_not_refilled(self, persistence: Persistence) -> None:
        """A gate that failed makes no further item live, whatever arrives."""
        begin(persistence)
        refill = Refill(window=1, job=job(key("m")), event=ready_event(key("m")))
        rule = attrs.evolve(judged("map", arity=9), refill=refill)
        assert self._one_by_one(persistence, rule, (FAILED, TAKEN)) == [["fails"], []]

    # Records of what does not execute.

    def test_skipped_instances_are_records(self, persistence: Persistence, clock: FakeClock) -> None:
        """A skipped instance is a SKIPPED record at once: never live, never leased, without an output."""
        begin(persistence)
        clock.advance("1s")
        skipped = (key("b"), key("b", turn=1), key("b", item=1))
        stand(persistence, Change(run_id=run_id(), step=Step(skips=skipped)))
        for at in skipped:
            stage = the_stage(persistence, at)
            assert (stage.status, stage.attempt, stage.epoch, stage.superseded) == (StageStatus.SKIPPED, 0, 0, False)
            assert (stage.worker, stage.output, stage.failure, stage.due_at) == (None, None, None, None)
            assert (stage.started_at, stage.finished_at) == (None, START + SECOND)
        assert [lease.key for lease in take_all(persistence)] == [key()]
        assert run_sync(persistence.get_outputs(run_id(), ("b",))) == {}
        stand(persistence, ended())
        assert the_stage(persistence, key("b")).status is StageStatus.SKIPPED

    def test_the_taken_edge_is_kept(self, persistence: Persistence) -> None:
        """A record tells which edge was taken behind it; None where there is none."""
        begin(persistence, "a", "b")
        finish = Finish(status=StageStatus.COMPLETED, output=payload("1"), edge="a>b")
        stand(persistence, settled(take(persistence), finish), completed(take(persistence, key("b"))))
        assert (the_stage(persistence).edge, the_stage(persistence, key("b")).edge) == ("a>b", None)
