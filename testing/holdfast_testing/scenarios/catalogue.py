"""The scenarios: every one of them has to end well, whatever call of whatever port goes wrong in whatever way."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import attrs

from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageStatus
from holdfast_testing.scenarios import flows
from holdfast_testing.scenarios.scenario import SETTINGS, HasEnded, Quiet, Scenario, StageIs
from holdfast_testing.scenarios.sending import cancel, create, replay, rerun
from holdfast_testing.scenarios.stories import STORIES

LINEAR: Final = Scenario(
    name="linear",
    flows=(flows.LINEAR,),
    script=(create("run", flows.LINEAR, key="once"),),
    ends={"run": RunStatus.COMPLETED},
)

PARALLEL: Final = Scenario(
    name="parallel",
    flows=(flows.PARALLEL,),
    script=(create("run", flows.PARALLEL),),
    ends={"run": RunStatus.COMPLETED},
)

#: The same, each job executed by whoever gets a message that names it.
BY_MESSAGE: Final = Scenario(
    name="by message",
    flows=(flows.PARALLEL,),
    script=(create("run", flows.PARALLEL),),
    ends={"run": RunStatus.COMPLETED},
    by_message=True,
)

RETRY: Final = Scenario(
    name="retry",
    flows=(flows.FLAKY,),
    script=(create("run", flows.FLAKY),),
    ends={"run": RunStatus.COMPLETED},
)

#: Attempts that fail until none is left, beside a sibling that does not.
EXHAUSTED: Final = Scenario(
    name="exhausted",
    flows=(flows.HOPELESS,),
    script=(create("run", flows.HOPELESS),),
    ends={"run": RunStatus.FAILED},
)

#: Attempts that end with the death of their process until none is left.
DEADLY: Final = Scenario(
    name="deadly",
    flows=(flows.DEADLY,),
    script=(create("run", flows.DEADLY),),
    ends={"run": RunStatus.FAILED},
)

SUSPEND: Final = Scenario(
    name="suspend",
    flows=(flows.BATCH,),
    script=(create("run", flows.BATCH),),
    ends={"run": RunStatus.COMPLETED},
    # A poll that is late finds the batch done later than the first that is due after its end.
    slack=timedelta(seconds=60),
)

CANCEL: Final = Scenario(
    name="cancel",
    flows=(flows.PARALLEL,),
    script=(
        create("run", flows.PARALLEL),
        cancel("cancel", "run", when=StageIs(run="run", stage_id="left", status=StageStatus.COMPLETED)),
        cancel("cancel what has ended", "run", when=HasEnded(run="run")),
    ),
    ends={"run": RunStatus.CANCELLED},
)

RERUN: Final = Scenario(
    name="rerun",
    flows=(flows.LINEAR,),
    script=(
        create("run", flows.LINEAR),
        rerun("rerun", "run", stage_id="second", when=HasEnded(run="run")),
        cancel("cancel", "run", when=StageIs(run="run", stage_id="second", status=StageStatus.COMPLETED, generation=2)),
        rerun("rerun again", "run", stage_id="second", when=HasEnded(run="run", generation=2)),
    ),
    ends={"run": RunStatus.COMPLETED},
)

IDEMPOTENT_CREATE: Final = Scenario(
    name="idempotent create",
    flows=(flows.SHORT,),
    script=(
        create("run", flows.SHORT, key="once"),
        create("the same", flows.SHORT, key="once", operation="another operation"),
        create("not the same", flows.SHORT, key="once", text="y", operation="a third operation"),
        create("one more", flows.SHORT, text="y"),
    ),
    ends={"run": RunStatus.COMPLETED, "the same": RunStatus.COMPLETED, "one more": RunStatus.COMPLETED},
)

TIMEOUT: Final = Scenario(
    name="timeout",
    flows=(flows.SLOW,),
    script=(create("run", flows.SLOW),),
    ends={"run": RunStatus.COMPLETED},
    slack=timedelta(seconds=30),
)

#: A run that takes longer than its workflow allows.
DEADLINE: Final = Scenario(
    name="deadline",
    flows=(flows.ENDLESS,),
    script=(create("run", flows.ENDLESS),),
    ends={"run": RunStatus.FAILED},
)

BLOB_OUTPUT: Final = Scenario(
    name="blob output",
    flows=(flows.LARGE,),
    script=(create("run", flows.LARGE, text="x" * 100),),
    ends={"run": RunStatus.COMPLETED},
    settings=attrs.evolve(SETTINGS, blob_threshold=64),
)

#: A step inside a stage that no later attempt does again once it is kept.
CHECKPOINT: Final = Scenario(
    name="checkpoint",
    flows=(flows.PAID,),
    script=(create("run", flows.PAID),),
    ends={"run": RunStatus.COMPLETED},
    settings=attrs.evolve(SETTINGS, blob_threshold=64),
)

EVENT_FLUSH: Final = Scenario(
    name="event flush",
    flows=(flows.SHORT,),
    script=(
        create("run", flows.SHORT),
        replay("replay", when=Quiet()),
        create("another", flows.SHORT),
        replay("replay again", when=Quiet()),
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
    *STORIES,
)
