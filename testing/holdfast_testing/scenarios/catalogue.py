"""The scenarios: every one of them has to end well, whatever call of whatever port goes wrong in whatever way."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import attrs

from holdfast.authoring.flow import Flow
from holdfast.commands.plugin_replay_dlq import PluginReplayDlq
from holdfast.commands.run_cancel import RunCancel
from holdfast.commands.run_create import RunCreate
from holdfast.commands.run_rerun_from import RunRerunFrom
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageStatus
from holdfast_testing.scenarios import flows
from holdfast_testing.scenarios.scenario import SETTINGS, HasEnded, Moment, Quiet, Said, Scenario, Send, StageIs


def _create(
    name: str, flow: Flow[Any, Any], *, text: str = "x", key: str | None = None, operation: str | None = None
) -> Send:
    command = RunCreate(
        workflow_id=flow.id, input=text, idempotency_key=key, operation_id=operation or f"create {name}"
    )
    return Send(name=name, command=lambda _: command)


def _cancel(name: str, run: str, *, when: Moment) -> Send:
    def command(said: Said) -> RunCancel:
        return RunCancel(run_id=said[run].run_id, operation_id=name)

    return Send(name=name, command=command, when=when)


def _rerun(name: str, run: str, *, stage_id: str, when: Moment) -> Send:
    def command(said: Said) -> RunRerunFrom:
        return RunRerunFrom(run_id=said[run].run_id, from_stage_id=stage_id, operation_id=name)

    return Send(name=name, command=command, when=when)


def _replay(_: Said) -> PluginReplayDlq:
    return PluginReplayDlq()


LINEAR: Final = Scenario(
    name="linear",
    flows=(flows.LINEAR,),
    script=(_create("run", flows.LINEAR, key="once"),),
    ends={"run": RunStatus.COMPLETED},
)

PARALLEL: Final = Scenario(
    name="parallel",
    flows=(flows.PARALLEL,),
    script=(_create("run", flows.PARALLEL),),
    ends={"run": RunStatus.COMPLETED},
)

#: The same, each job executed by whoever gets a message that names it.
BY_MESSAGE: Final = Scenario(
    name="by message",
    flows=(flows.PARALLEL,),
    script=(_create("run", flows.PARALLEL),),
    ends={"run": RunStatus.COMPLETED},
    by_message=True,
)

RETRY: Final = Scenario(
    name="retry",
    flows=(flows.FLAKY,),
    script=(_create("run", flows.FLAKY),),
    ends={"run": RunStatus.COMPLETED},
)

#: Attempts that fail until none is left, beside a sibling that does not.
EXHAUSTED: Final = Scenario(
    name="exhausted",
    flows=(flows.HOPELESS,),
    script=(_create("run", flows.HOPELESS),),
    ends={"run": RunStatus.FAILED},
)

#: Attempts that end with the death of their process until none is left.
DEADLY: Final = Scenario(
    name="deadly",
    flows=(flows.DEADLY,),
    script=(_create("run", flows.DEADLY),),
    ends={"run": RunStatus.FAILED},
)

SUSPEND: Final = Scenario(
    name="suspend",
    flows=(flows.BATCH,),
    script=(_create("run", flows.BATCH),),
    ends={"run": RunStatus.COMPLETED},
    # A poll that is late finds the batch done later than the first that is due after its end.
    slack=timedelta(seconds=60),
)

CANCEL: Final = Scenario(
    name="cancel",
    flows=(flows.PARALLEL,),
    script=(
        _create("run", flows.PARALLEL),
        _cancel("cancel", "run", when=StageIs(run="run", stage_id="left", status=StageStatus.COMPLETED)),
        _cancel("cancel what has ended", "run", when=HasEnded(run="run")),
    ),
    ends={"run": RunStatus.CANCELLED},
)

RERUN: Final = Scenario(
    name="rerun",
    flows=(flows.LINEAR,),
    script=(
        _create("run", flows.LINEAR),
        _rerun("rerun", "run", stage_id="second", when=HasEnded(run="run")),
        _cancel(
            "cancel", "run", when=StageIs(run="run", stage_id="second", status=StageStatus.COMPLETED, generation=2)
        ),
        _rerun("rerun again", "run", stage_id="second", when=HasEnded(run="run", generation=2)),
    ),
    ends={"run": RunStatus.COMPLETED},
)

IDEMPOTENT_CREATE: Final = Scenario(
    name="idempotent create",
    flows=(flows.SHORT,),
    script=(
        _create("run", flows.SHORT, key="once"),
        _create("the same", flows.SHORT, key="once", operation="another operation"),
        _create("not the same", flows.SHORT, key="once", text="y", operation="a third operation"),
        _create("one more", flows.SHORT, text="y"),
    ),
    ends={"run": RunStatus.COMPLETED, "the same": RunStatus.COMPLETED, "one more": RunStatus.COMPLETED},
)

TIMEOUT: Final = Scenario(
    name="timeout",
    flows=(flows.SLOW,),
    script=(_create("run", flows.SLOW),),
    ends={"run": RunStatus.COMPLETED},
    slack=timedelta(seconds=30),
)

#: A run that takes longer than its workflow allows.
DEADLINE: Final = Scenario(
    name="deadline",
    flows=(flows.ENDLESS,),
    script=(_create("run", flows.ENDLESS),),
    ends={"run": RunStatus.FAILED},
)

BLOB_OUTPUT: Final = Scenario(
    name="blob output",
    flows=(flows.LARGE,),
    script=(_create("run", flows.LARGE, text="x" * 100),),
    ends={"run": RunStatus.COMPLETED},
    settings=attrs.evolve(SETTINGS, blob_threshold=64),
)

#: A step inside a stage that no later attempt does again once it is kept.
CHECKPOINT: Final = Scenario(
    name="checkpoint",
    flows=(flows.PAID,),
    script=(_create("run", flows.PAID),),
    ends={"run": RunStatus.COMPLETED},
    settings=attrs.evolve(SETTINGS, blob_threshold=64),
)

EVENT_FLUSH: Final = Scenario(
    name="event flush",
    flows=(flows.SHORT,),
    script=(
        _create("run", flows.SHORT),
        Send(name="replay", command=_replay, when=Quiet()),
        _create("another", flows.SHORT),
        Send(name="replay again", command=_replay, when=Quiet()),
    ),
    ends={"run": RunStatus.COMPLETED, "another": RunStatus.COMPLETED},
    settings=attrs.evolve(SETTINGS, delivery_attempts=2),
    sink_failures=2,
    max_events=2,
)

SCENARIOS: Final = (
    LINEAR,
    PARALLEL,
    BY_MESSAGE,
    RETRY,
    EXHAUSTED,
    DEADLY,
    SUSPEND,
    CANCEL,
    RERUN,
    IDEMPOTENT_CREATE,
    TIMEOUT,
    DEADLINE,
    BLOB_OUTPUT,
    CHECKPOINT,
    EVENT_FLUSH,
)
