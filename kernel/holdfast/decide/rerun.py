"""The decision to do a finished run again from one of its stages, in a new generation."""

from __future__ import annotations

import attrs

from holdfast.change import Change, Require, RunPatch
from holdfast.decide.admit import deadline
from holdfast.decide.open import Opened, ready
from holdfast.entities.definition import Definition
from holdfast.entities.run import TERMINAL_RUN, RunStatus
from holdfast.entities.snapshot import RunSnapshot
from holdfast.entities.stage import StageStatus
from holdfast.errors import IllegalTransition, UnknownStage
from holdfast.events import EventType, NewEvent


@attrs.frozen(kw_only=True)
class Rerun:
    """The change-set of a rerun and what it means for a person."""

    change: Change
    generation: int
    #: Stages that are done again, in definition order.
    stage_ids: tuple[str, ...]


def rerun(snapshot: RunSnapshot, *, definition: Definition, stage_id: str) -> Rerun:
    """Return the decision to do the execution group of *stage_id* and everything behind it again.

    Outputs of earlier stages are kept and used; what is done again is superseded, never deleted.

    Raises:
        UnknownStage: If the workflow has no such stage.
        IllegalTransition: If the run has not ended, or a stage before *stage_id* never completed.
    """
    run = snapshot.run
    if stage_id not in definition.stages:
        raise UnknownStage(stage_id, workflow_id=definition.id, known=tuple(definition.stages))
    if run.status not in TERMINAL_RUN:
        raise IllegalTransition(
            f"Run {run.id}", source=run.status.value, target="rerun", hint="Cancel it first, or wait until it ends."
        )
    again = definition.from_stage_on(stage_id)
    _require_completed(snapshot, definition=definition, again=again, stage_id=stage_id)
    generation = run.generation + 1
    group = definition.groups[definition.stages[stage_id].group - 1]
    told = {"fromStage": stage_id, "generation": generation, "stages": list(again)}
    opened = Opened(
        run=RunPatch(status=RunStatus.RUNNING, generation=generation),
        events=[NewEvent(type=EventType.RUN_RERUN, data=told)],
    )
    ready(group, opened, definition=definition, header=run.header, generation=generation)
    change = Change(
        run_id=run.id,
        require=Require(statuses=TERMINAL_RUN, version=run.version),
        step=opened.step(timers=deadline(definition)),
        supersede=again,
    )
    return Rerun(change=change, generation=generation, stage_ids=again)


def _require_completed(snapshot: RunSnapshot, *, definition: Definition, again: tuple[str, ...], stage_id: str) -> None:
    done = {stage.key.stage_id for stage in snapshot.stages if stage.status is StageStatus.COMPLETED}
    missing = [before for before in definition.stages if before not in again and before not in done]
    if missing:
        raise IllegalTransition(
            f"Run {snapshot.run.id}",
            source=snapshot.run.status.value,
            target=f'rerun from "{stage_id}"',
            hint=f"Stages before it never completed: {', '.join(missing)}. Rerun from one of them.",
        )
