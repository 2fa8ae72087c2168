"""What a run lacks: the step that should have followed from what is already done.

Every commit leaves a run with what advances it, so normally nothing is lacking. `run.transition` applies this for
recovery, single-stepping and tests, and the simulator checks with it that no commit left a gap.
"""

from __future__ import annotations

import attrs

from holdfast.change import Change, Require, Step
from holdfast.decide.fail import failing
from holdfast.decide.open import Opened, open_gate
from holdfast.entities.definition import Definition, Gate
from holdfast.entities.run import Failure, RunStatus
from holdfast.entities.snapshot import RunSnapshot
from holdfast.entities.stage import StageInstance, StageStatus


def derive(snapshot: RunSnapshot, *, definition: Definition) -> Change | None:
    """Return the change-set that the run lacks, or None when it lacks nothing.

    Only a RUNNING run without live stage instances can lack something: a failed stage fails it, else the first gate
    whose sources are all completed and whose targets do not exist opens.
    """
    run = snapshot.run
    if run.status is not RunStatus.RUNNING or any(not stage.status.is_terminal for stage in snapshot.stages):
        return None
    require = Require(statuses=frozenset({RunStatus.RUNNING}), version=run.version)
    for stage in snapshot.stages:
        if stage.status is StageStatus.FAILED and stage.failure is not None:
            return Change(run_id=run.id, require=require, step=_failed(stage, failure=stage.failure))
    gate = _unopened(snapshot, definition=definition)
    if gate is None:
        return None
    opened = Opened()
    open_gate(gate, opened, definition=definition, header=run.header, generation=run.generation)
    return Change(run_id=run.id, require=require, step=opened.step())


def _failed(stage: StageInstance, *, failure: Failure) -> Step:
    # The stage's own event was written with its record; only the run's is lacking.
    told = failing(failure, key=stage.key, attempt=stage.attempt)
    return attrs.evolve(told, events=told.events[-1:])


def _unopened(snapshot: RunSnapshot, *, definition: Definition) -> Gate | None:
    there = {stage.key.stage_id for stage in snapshot.stages}
    done = {stage.key.stage_id for stage in snapshot.stages if stage.status is StageStatus.COMPLETED}
    for gate in definition.gates:
        if done.issuperset(gate.sources) and there.isdisjoint(gate.targets):
            return gate
    return None
