"""What runs must keep to that have something to do with each other: results under one key, and children."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageInstance, StageStatus
from holdfast.events import EventType
from holdfast_testing.invariants.given import input_texts
from holdfast_testing.invariants.history import History
from holdfast_testing.invariants.ledger import Violation

#: What ends a run otherwise than well.
_CUTS = (EventType.RUN_FAILED, EventType.RUN_CANCELLED, EventType.RUN_COMPENSATING)
_BEGINS = (EventType.RUN_STARTED, EventType.RUN_RERUN, EventType.RUN_RETRIED)
_ENDS = (EventType.RUN_COMPLETED, EventType.RUN_FAILED, EventType.RUN_CANCELLED)
#: Tenant, workflow, stage and key.
_Scope = tuple[str, str, str, str]


def keyed_results_are_made_once(runs: Sequence[History]) -> Iterator[Violation]:
    """I11: of all instances with one key one makes the result, and every other is given just that."""
    found: dict[_Scope, list[tuple[History, StageInstance]]] = {}
    for history in runs:
        for stage in history.stages.values():
            scope = _scope(history, stage)
            if scope is not None:
                found.setdefault(scope, []).append((history, stage))
    for scope, stages in found.items():
        made = [stage for history, stage in stages if not _is_cached(history, stage)]
        outputs = {stage.output.digest for _, stage in stages if stage.output is not None}
        if len(made) != 1 or len(outputs) != 1:
            yield Violation(
                invariant="I11",
                promise="a keyed result is made once",
                subject=f"key {scope}",
                found=f"it was made by {[str(stage.key) for stage in made]}, and has the outputs {sorted(outputs)}",
            )


def children_follow_their_parents(runs: Sequence[History]) -> Iterator[Violation]:
    """I25: a child is told of by its parent once, and has ended when its parent did so otherwise than well."""
    by_id = {history.run.id: history for history in runs}
    for history in runs:
        parent = by_id.get(history.run.header.parent_id or "")
        if parent is None:
            continue
        told = [one for one in parent.of_type(EventType.STAGE_CHILD_STARTED) if one.data["child"] == history.run.id]
        # What was cut off between the start of a child and the record of it tells of none.
        if len(told) > 1 or not (told or parent.of_type(*_CUTS)):
            yield _lost(history, f"its parent told {len(told)} times that it was started")
        if parent.run.status in {RunStatus.FAILED, RunStatus.CANCELLED} and not history.run.status.is_terminal:
            yield _lost(history, f"it is {history.run.status.value}, and its parent {parent.run.status.value}")


def singletons_follow_each_other(runs: Sequence[History]) -> Iterator[Violation]:
    """I33: of the runs of one singleton key one goes on at a time."""
    spans: dict[tuple[str, str, str], list[tuple[datetime, datetime, str]]] = {}
    for history in runs:
        run = history.run
        if run.singleton is not None:
            key = (run.header.tenant, run.header.workflow_id, run.singleton)
            spans.setdefault(key, []).extend((begun, ended, run.id) for begun, ended in _spans(history))
    for key, found in spans.items():
        found.sort()
        for (_, ended, earlier), (begun, _, later) in itertools.pairwise(found):
            if begun < ended:
                yield Violation(
                    invariant="I33",
                    promise="limits hold",
                    subject=f"singleton {key}",
                    found=f"run {later} began at {begun}, and run {earlier} ended at {ended}",
                )


def _spans(history: History) -> Iterator[tuple[datetime, datetime]]:
    """Yield when the run began and ended, once for each generation that was admitted."""
    begun: datetime | None = None
    for event in history.events:
        if event.type in _BEGINS:
            begun = event.at
        elif event.type in _ENDS and begun is not None:
            yield begun, event.at
            begun = None
    if begun is not None:
        yield begun, datetime.max.replace(tzinfo=UTC)


def _lost(history: History, found: str) -> Violation:
    promise = "every live run has something that advances it"
    return Violation(invariant="I25", promise=promise, subject=f"child run {history.run.id}", found=found)


def _scope(history: History, stage: StageInstance) -> _Scope | None:
    """Return what the completed instance is unique by, if its stage has a key."""
    if history.definition is None or stage.status is not StageStatus.COMPLETED:
        return None
    spec = history.definition.stages[stage.key.stage_id]
    if spec.key is None:
        return None
    (text,) = input_texts(history, stage.key, counts=True)
    header = history.run.header
    return header.tenant, header.workflow_id, spec.id, spec.key(spec.input.decode(text, what="input"))


def _is_cached(history: History, stage: StageInstance) -> bool:
    return any(event.data.get("cached") for event in history.about(stage.key, EventType.STAGE_COMPLETED))
