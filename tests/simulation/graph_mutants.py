"""Bugs that are planted in what waits, branches, meets, fans out, is held back, shared and undone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import attrs
import pytest

import holdfast.acts
import holdfast.creating
import holdfast.decide.again
from holdfast import gates
from holdfast.change import Arrival, Change, NewWait, Refill, Refusal, Resolution, Rule, Step
from holdfast.decide.create import Wanted, create
from holdfast.decide.route import Parts, Place, Routing
from holdfast.entities.keyed import KeyScope
from holdfast.entities.payload import Payload
from holdfast.entities.run import RunHeader, RunStatus
from holdfast.entities.stage import StageInstance, StageKey
from holdfast.entities.timer import Timer
from holdfast.errors import StaleVersion
from holdfast.gates import GateState
from holdfast.traces import Answer
from holdfast_adapters.memory import MemoryPersistence, application, journal
from holdfast_adapters.memory.application import Application
from holdfast_adapters.memory.rows import InstanceRow, RunRow, place
from holdfast_adapters.memory.waiting import Waiting
from tests.simulation.planting import Mutant


def waits_are_answered_whatever_they_are(patch: pytest.MonkeyPatch) -> None:
    def never(change: Change, run: RunRow) -> StaleVersion | None:
        return None

    patch.setattr(journal, "_answered", never)


def message_is_lost_when_its_wait_opens(patch: pytest.MonkeyPatch) -> None:
    opened = Waiting._open

    def unheard(self: Waiting, run: RunRow, row: InstanceRow, new: NewWait) -> Any:
        run.messages.pop(new.name, None)
        return opened(self, run, row, new)

    patch.setattr(Waiting, "_open", unheard)


def skipped_counts_as_taken(patch: pytest.MonkeyPatch) -> None:
    arrive = gates.arrive

    def taken(state: GateState | None, rule: Rule, arrival: Arrival) -> tuple[GateState, Step | None]:
        return arrive(state, rule, attrs.evolve(arrival, resolution=Resolution.TAKEN))

    patch.setattr(application, "arrive", taken)


def join_opens_too_early(patch: pytest.MonkeyPatch) -> None:
    arrive = gates.arrive

    def early(state: GateState | None, rule: Rule, arrival: Arrival) -> tuple[GateState, Step | None]:
        arity = rule.arity if rule.arity is None or rule.arity < 2 else rule.arity - 1
        return arrive(state, attrs.evolve(rule, arity=arity), arrival)

    patch.setattr(application, "arrive", early)


def skip_goes_no_further(patch: pytest.MonkeyPatch) -> None:
    def nowhere(self: Routing, parts: Parts, at: Place, resolution: Resolution) -> None:
        return

    patch.setattr(Routing, "_behind", nowhere)


def refill_is_off_by_one(patch: pytest.MonkeyPatch) -> None:
    refilled = gates._refilled

    def late(refill: Refill, state: GateState) -> Step | None:
        return refilled(attrs.evolve(refill, window=refill.window + 1), state)

    patch.setattr(gates, "_refilled", late)


def items_are_mixed_up(patch: pytest.MonkeyPatch) -> None:
    find_item = MemoryPersistence.find_item

    async def first(self: MemoryPersistence, key: StageKey) -> Payload | None:
        return await find_item(self, attrs.evolve(key, item=0))

    patch.setattr(MemoryPersistence, "find_item", first)


def timer_is_not_consumed(patch: pytest.MonkeyPatch) -> None:
    def kept(self: Application, run: RunRow, timer_id: str) -> None:
        return

    patch.setattr(Application, "_drop_timer", kept)


def timers_are_early(patch: pytest.MonkeyPatch) -> None:
    list_due_timers, stale = MemoryPersistence.list_due_timers, journal._stale
    hour = timedelta(hours=1)

    async def soon(self: MemoryPersistence, *, limit: int) -> Sequence[Timer]:
        due = await list_due_timers(self, limit=limit)
        ahead = [row.timer for run in self._store.runs.values() for row in run.timers.values()]
        return due or [timer for timer in ahead if timer.due_at <= self._store.now() + hour][:limit]

    def as_if_later(change: Change, run: RunRow, now: datetime) -> Refusal | None:
        return stale(change, run, now if change.fired is None else now + hour)

    patch.setattr(MemoryPersistence, "list_due_timers", soon)
    patch.setattr(journal, "_stale", as_if_later)


def waiting_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    def never(self: Application, run: RunRow, status: RunStatus) -> None:
        return

    patch.setattr(Application, "_turn", never)


def answer_wakes_nobody(patch: pytest.MonkeyPatch) -> None:
    def unheard(self: Application, run: RunRow, answer: Answer) -> None:
        self._end_wait(run, (place(answer.key), answer.name), answer)

    patch.setattr(Application, "_answer", unheard)


def pause_holds_nothing_back(patch: pytest.MonkeyPatch) -> None:
    def nothing(self: Application, run: RunRow) -> None:
        return

    patch.setattr(Application, "_hold_back", nothing)


def unpause_lets_nothing_go_on(patch: pytest.MonkeyPatch) -> None:
    def nothing(self: Application, run: RunRow) -> None:
        return

    patch.setattr(Application, "_let_on", nothing)


def key_is_not_released(patch: pytest.MonkeyPatch) -> None:
    def kept(self: Waiting, run: RunRow, scope: KeyScope, *, holder: StageKey) -> None:
        return

    patch.setattr(Waiting, "_free", kept)


def key_keeps_nobody_out(patch: pytest.MonkeyPatch) -> None:
    def free(*_: object) -> None:
        return None

    patch.setattr(journal, "_held", free)


def relatives_are_not_told(patch: pytest.MonkeyPatch) -> None:
    def silent(self: Application, run: RunRow) -> None:
        return

    patch.setattr(Application, "_tell_relatives", silent)


def undone_in_the_order_it_was_done(patch: pytest.MonkeyPatch) -> None:
    to_undo = holdfast.acts._to_undo

    def oldest_first(*given: Any) -> list[StageInstance]:
        return to_undo(*given)[::-1]

    patch.setattr(holdfast.acts, "_to_undo", oldest_first)


def retry_forgets_whose_place_it_takes(patch: pytest.MonkeyPatch) -> None:
    follow = holdfast.decide.again.follow

    def anew(kept: Any, **options: Any) -> Routing:
        options.pop("origins", None)
        return follow(kept, **options)

    patch.setattr(holdfast.decide.again, "follow", anew)


def delay_is_forgotten(patch: pytest.MonkeyPatch) -> None:

    def at_once(header: RunHeader, wanted: Wanted) -> Change:
        change = create(header, wanted)
        assert change.create is not None, "it creates the run"
        return attrs.evolve(change, create=attrs.evolve(change.create, held=False))

    patch.setattr(holdfast.creating, "create", at_once)


GRAPH_MUTANTS: Final = (
    Mutant(name="answered twice", plant=waits_are_answered_whatever_they_are, breaks="I23", scenario="answered"),
    Mutant(name="message lost", plant=message_is_lost_when_its_wait_opens, breaks="I23", scenario="early"),
    Mutant(name="skipped counts as taken", plant=skipped_counts_as_taken, breaks="I9", scenario="join"),
    Mutant(name="join too early", plant=join_opens_too_early, breaks="I9", scenario="join"),
    Mutant(name="skip goes no further", plant=skip_goes_no_further, breaks="I25", scenario="join"),
    Mutant(name="refill off by one", plant=refill_is_off_by_one, breaks="I25", scenario="map"),
    Mutant(name="items mixed up", plant=items_are_mixed_up, breaks="I8", scenario="map"),
    Mutant(name="timer not consumed", plant=timer_is_not_consumed, breaks="I21", scenario="expired"),
    Mutant(name="timers early", plant=timers_are_early, breaks="I21", scenario="expired"),
    Mutant(name="delay forgotten", plant=delay_is_forgotten, breaks="I21", scenario="delayed"),
    Mutant(name="waiting forgotten", plant=waiting_is_forgotten, breaks="I18", scenario="answered"),
    Mutant(name="answer wakes nobody", plant=answer_wakes_nobody, breaks="I25", scenario="asking"),
    Mutant(name="pause holds nothing", plant=pause_holds_nothing_back, breaks="I6", scenario="paused"),
    Mutant(name="pause never ends", plant=unpause_lets_nothing_go_on, breaks="the end", scenario="paused"),
    Mutant(name="key not released", plant=key_is_not_released, breaks="I26", scenario="shared"),
    Mutant(name="key keeps nobody out", plant=key_keeps_nobody_out, breaks="I11", scenario="shared"),
    Mutant(name="parent not told", plant=relatives_are_not_told, breaks="the end", scenario="child"),
    Mutant(name="children not told", plant=relatives_are_not_told, breaks="I25", scenario="forsaken"),
    Mutant(name="undone in wrong order", plant=undone_in_the_order_it_was_done, breaks="undo", scenario="undone"),
    Mutant(name="retry forgets names", plant=retry_forgets_whose_place_it_takes, breaks="I11", scenario="retried"),
)
