"""What a run lacks: the step that should have followed from what is already done.

Every commit leaves a run with what advances it, so normally nothing is lacking. `run.transition` applies this for
recovery, single-stepping and tests, and the simulator checks with it that no commit left a gap.
"""

from __future__ import annotations

from holdfast.change import Change, Require
from holdfast.decide.again import follow, newest_of
from holdfast.decide.ending import failing
from holdfast.entities.definition import Definition
from holdfast.entities.run import RunStatus
from holdfast.entities.snapshot import RunSnapshot
from holdfast.entities.stage import StageStatus


def derive(snapshot: RunSnapshot, *, definition: Definition) -> Change | None:
    """Return the change-set that the run lacks, or None when it lacks nothing.

    Only a RUNNING run without live stage instances can lack something: a failed stage fails it, else whatever its done
    stages lead to and is not there begins.
    """
    run = snapshot.run
    if run.status is not RunStatus.RUNNING or any(not stage.status.is_terminal for stage in snapshot.stages):
        return None
    require = Require(statuses=frozenset({RunStatus.RUNNING}), version=run.version)
    newest = newest_of(snapshot.stages)
    for stage in newest:
        failure = stage.failure
        if stage.status is StageStatus.FAILED and failure is not None and not definition.absorbs(stage.key.stage_id):
            step = failing(failure, header=run.header, generation=run.generation)
            return Change(run_id=run.id, require=require, step=step)
    step = follow(newest, snapshot=snapshot, definition=definition, generation=run.generation).settled()
    if step.run is None and not step.jobs:
        return None
    return Change(run_id=run.id, require=require, step=step)
