"""What is to be said after a crash test: which promise was broken, and how long it took to recover."""

from __future__ import annotations

import bisect
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from holdfast.codec import converter, from_json
from holdfast.creating import RunCreated
from holdfast.entities.operation import OperationRecord
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageInstance, StageKey, StageStatus
from holdfast.events import Event, EventType
from holdfast_hosts.wiring import open_kernel
from holdfast_testing.invariants import Effect, Ledger, check_histories
from holdfast_testing.invariants.at_commit import nobody_is_orphaned
from holdfast_testing.invariants.history import History, histories
from tests.e2e.crash_nemesis import Fault, Kind, Theatre
from tests.e2e.crash_process import REGISTRY, STAGES, request

#: The most of one kind of complaint that is told.
TOLD: Final = 20
#: Creates whose traces are compared with each other.
PART: Final = 100
_LEFT: Final = frozenset(
    {
        EventType.STAGE_COMPLETED,
        EventType.STAGE_RELEASED,
        EventType.STAGE_LEASE_EXPIRED,
        EventType.STAGE_RETRYING,
        EventType.STAGE_FAILED,
    }
)


@attrs.frozen(kw_only=True)
class Held:
    """One lease on a stage instance, from its grant to its end."""

    worker: str
    began: float
    ended: float
    #: The event by which it ended.
    how: EventType


@attrs.frozen(kw_only=True)
class Verdict:
    """What came of a performance."""

    wrong: list[str]
    figures: dict[str, Any]
    #: Seconds from the end of each fault until what it had interrupted went on, and the database took commits.
    recovered: list[tuple[Fault, float]]

    def recovery(self, part: float) -> float:
        """Return the seconds within which that part of the faults was recovered from."""
        return quantile([seconds for _, seconds in self.recovered], part)

    def report(self) -> str:
        """Return the figures as text."""
        kinds = Counter(fault.kind for fault, _ in self.recovered)
        lines = [f"{name}: {value}" for name, value in self.figures.items()]
        for kind in Kind:
            took = [seconds for fault, seconds in self.recovered if fault.kind is kind]
            spread = ", ".join(f"{name} {quantile(took, part):.1f} s" for name, part in _PARTS) if took else "–"
            lines.append(f"recovery after {kinds[kind]} × {kind.value}: {spread}")
        lines.append("recovery after any fault: " + ", ".join(f"{n} {self.recovery(p):.1f} s" for n, p in _PARTS))
        return "\n".join(lines)


_PARTS: Final = (("p50", 0.5), ("p99", 0.99), ("longest", 1.0))


def quantile(values: Sequence[float], part: float) -> float:
    """Return the smallest of *values* that no more than the rest of them are above."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)]


async def judge(theatre: Theatre) -> Verdict:
    """Compare what is in the store with what is known outside of it."""
    effects = _read(theatre.plan.ledger)
    requests = _read(theatre.plan.log)
    wrong = [*_unknown(requests), *theatre.troupe.wrong, *theatre.check_server()]
    async with open_kernel(theatre.plan.store, registry=REGISTRY) as opened:
        runs = await histories(opened.persistence, definitions=REGISTRY, blob_store=opened.blob_store)
        found = nobody_is_orphaned(await opened.persistence.list_orphans(limit=TOLD))
        for some, ledger in _parts(runs, effects, requests):
            found += await check_histories(some, ledger, persistence=opened.persistence)
    wrong += [str(violation) for violation in found[:TOLD]]
    wrong += _complaints(runs, effects, wanted=theatre.plan.runs)
    leases = {key: list(_leases(history, key)) for history in runs for key in history.stages}
    story = Story(faults=theatre.faults, leases=leases, pids=theatre.troupe.pids())
    commits = sorted(event.at.timestamp() for history in runs for event in history.events)
    figures = {
        "runs": len(runs),
        "executions": f"{len(effects)}, {len(effects) - len(runs) * STAGES} of them repeated",
        **_figures(story, runs),
        **_of_creates(requests),
        "kills of the client": theatre.troupe.client_kills,
        "starts in vain": theatre.troupe.vain,
    }
    return Verdict(wrong=wrong, figures=figures, recovered=list(story.recovered(commits)))


@attrs.frozen(kw_only=True)
class Story:
    """Faults and leases side by side."""

    faults: Sequence[Fault]
    #: The leases that there were on each stage instance, in order.
    leases: dict[StageKey, list[Held]]
    #: The processes of the workers, by the workers' names.
    pids: dict[str, int]

    def is_struck(self, lease: Held, fault: Fault) -> bool:
        """Return whether the fault struck what was done under the lease."""
        return fault.strikes(lease.began, lease.ended, pid=self.pids.get(lease.worker))

    def expired(self) -> list[Held]:
        """Return the leases that ended without a word of their worker."""
        return [lease for held in self.leases.values() for lease in held if lease.how is EventType.STAGE_LEASE_EXPIRED]

    def recovered(self, commits: Sequence[float]) -> Iterator[tuple[Fault, float]]:
        """Return for each fault the seconds from its end until everything that it interrupted went on.

        What a worker that it struck had leased goes on when somebody has completed it, or, if another fault was faster,
        has begun it anew: the rest is that fault's. A lease whose worker was struck is lost by that, whatever befell
        the database besides. After faults of the database some commit has to stand, too. The time during which the
        database was away counts for none of them: nothing could go on meanwhile, and these are faults of their own.
        """
        absences = [fault for fault in self.faults if fault.pids is None]
        of_workers = [fault for fault in self.faults if fault.pids is not None]
        for fault in self.faults:
            seconds = [
                _without(absences, fault.over, _goes_on(held, index))
                for held in self.leases.values()
                for index, lease in enumerate(held)
                if self.is_struck(lease, fault)
                and (fault.pids is not None or not any(self.is_struck(lease, other) for other in of_workers))
            ]
            if fault.pids is None:
                later = bisect.bisect_right(commits, fault.over)
                seconds += [_without(absences, fault.over, commits[later])] if later < len(commits) else []
            yield fault, max(seconds, default=0.0)


def _without(absences: Sequence[Fault], since: float, until: float) -> float:
    away = sum(max(0.0, min(until, absence.over) - max(since, absence.at)) for absence in absences)
    return max(0.0, until - since - away)


def _goes_on(held: Sequence[Held], index: int) -> float:
    lease = held[index]
    if lease.how is EventType.STAGE_COMPLETED or index + 1 == len(held):
        return lease.ended
    after = held[index + 1]
    return after.ended if after.how is EventType.STAGE_COMPLETED else after.began


def _figures(story: Story, runs: Sequence[History]) -> dict[str, Any]:
    expired = story.expired()
    released = sum(lease.how is EventType.STAGE_RELEASED for held in story.leases.values() for lease in held)
    dead = {pid for fault in story.faults for pid in fault.pids or ()}
    living = sum(story.pids.get(lease.worker) not in dead for lease in expired)
    frozen = [fault for fault in story.faults if fault.kind is Kind.FREEZE]
    attempts = [stage.attempt for history in runs for stage in history.stages.values()]
    return {
        "leases that expired": f"{len(expired)}, {living} of them of workers that lived on",
        "leases that frozen workers lost": sum(story.is_struck(lease, fault) for fault in frozen for lease in expired),
        "jobs handed back": released,
        "attempts of one stage": f"{max(attempts)} at most, above 3 for {sum(each > 3 for each in attempts)}",
    }


def _of_creates(requests: Sequence[dict[str, Any]]) -> dict[str, Any]:
    said = Counter(entry["what"] for entry in requests)
    return {
        "creates": f"{said['sent']} sent, {said['answer']} answered, {said['error']} failed",
        "creates that were looked up": f"{said['found']} had happened, {said['missing']} had not",
    }


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _parts(
    runs: Sequence[History], effects: Sequence[dict[str, Any]], requests: Sequence[dict[str, Any]]
) -> Iterator[tuple[list[History], Ledger]]:
    """Return the runs, and what is known of them outside, in parts: by the numbers that their keys were made of."""
    parts: defaultdict[int, tuple[list[History], Ledger]] = defaultdict(lambda: ([], Ledger()))
    place: dict[str, int] = {}
    for history in runs:
        place[history.run.id] = part = int((history.run.idempotency_key or "-0").rpartition("-")[2]) // PART
        parts[part][0].append(history)
    for line in effects:
        parts[place.get(line["run"], 0)][1].effects.append(
            Effect(
                key=_key(line),
                idempotency_key=line["key"],
                fence=line["epoch"],
                attempt=line["attempt"],
                seen=line["seen"],
            )
        )
    for entry in requests:
        _enter(entry, parts[entry["number"] // PART][1])
    return iter(parts.values())


def _enter(entry: dict[str, Any], ledger: Ledger) -> None:
    """Enter what the client sent, or was told, into a ledger."""
    command = request(entry["number"])
    if entry["what"] == "sent":
        ledger.sent.append(command)
    elif entry["what"] == "answer":
        ledger.answer(command, RunCreated(run_id=entry["run"], workflow_id="steps", workflow_version="1"))
    elif entry["what"] == "found":
        record = OperationRecord(**entry["record"])
        ledger.looked_up[record.tenant, record.scope, record.key] = record
        ledger.answer(command, converter.structure(from_json(record.result), RunCreated))


def _unknown(requests: Sequence[dict[str, Any]]) -> list[str]:
    """Return what the client was told that is wrong in itself, and what it was never told."""
    wrong: list[str] = []
    final: set[int] = set()
    newest: dict[int, dict[str, Any]] = {}
    for entry in requests:
        number, what = entry["number"], entry["what"]
        before = newest.get(number)
        if what in {"answer", "found"}:
            final.add(number)
        if what == "found" and before is not None and before.get("kind") == "StoreUnavailable":
            wrong.append(f"create {number} was answered with {before['text']!r} and had happened")
        newest[number] = entry
    return wrong + [f"nobody knows what became of create {number}" for number in sorted(newest.keys() - final)]


def _key(line: dict[str, Any]) -> StageKey:
    return StageKey(run_id=line["run"], stage_id=line["stage"])


def _complaints(runs: Sequence[History], effects: Sequence[dict[str, Any]], *, wanted: int) -> list[str]:
    """Return where the store does not hold exactly what executions did."""
    wrong = [] if len(runs) == wanted else [f"there are {len(runs)} runs, {wanted} were created"]
    done: defaultdict[StageKey, list[dict[str, Any]]] = defaultdict(list)
    for line in effects:
        done[_key(line)].append(line)
    for history in runs:
        if history.run.status is not RunStatus.COMPLETED:
            wrong.append(f"{history.run.id} is {history.run.status.value}: {history.run.failure}")
        if [event.number for event in history.events] != list(range(1, history.run.events + 1)):
            wrong.append(f"{history.run.id} has gaps in its events")
        if len(history.stages) != STAGES:
            wrong.append(f"{history.run.id} has the stages {list(history.stages)}")
        for key, stage in history.stages.items():
            wrong += [f"{key} {said}: {done[key]}" for said in _faults_of(stage, history.texts[key], done[key])]
    known = {key for history in runs for key in history.stages}
    wrong += [f"{key} was executed and does not exist" for key in done.keys() - known]
    return wrong[:TOLD]


def _faults_of(stage: StageInstance, output: str | None, done: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Return what is wrong with an instance: it is to have the output of the one execution that was committed."""
    if stage.status is not StageStatus.COMPLETED:
        yield f"is {stage.status.value}"
    elif [json.dumps(line["nonce"]) for line in done if line["epoch"] == stage.epoch] != [output]:
        yield f"holds {output} under epoch {stage.epoch}"
    if max((line["epoch"] for line in done), default=0) > stage.epoch:
        yield f"was executed again after it was committed under epoch {stage.epoch}"
    if len({line["key"] for line in done}) != 1:
        yield "offered several idempotency keys"


def _leases(history: History, key: StageKey) -> Iterator[Held]:
    """Return the leases that there were on a stage instance, in order."""
    held: Event | None = None
    for event in history.about(key):
        if event.type is EventType.STAGE_STARTED:
            held = event
        elif event.type in _LEFT and held is not None:
            began, ended = held.at.timestamp(), event.at.timestamp()
            yield Held(worker=held.data["worker"], began=began, ended=ended, how=event.type)
            held = None
