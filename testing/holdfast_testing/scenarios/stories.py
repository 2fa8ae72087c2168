"""The scenarios of runs that branch, meet, loop, fan out, wait, have children, are held back, and are undone."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import attrs

from holdfast.creating import SingletonPolicy
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageStatus
from holdfast_testing.clock import START
from holdfast_testing.scenarios import flows, graphs
from holdfast_testing.scenarios.scenario import HasEnded, IsOpen, Quiet, Scenario, StageIs
from holdfast_testing.scenarios.sending import (
    cancel,
    create,
    create_single,
    limit,
    pause,
    rerun,
    resume,
    retry,
    unpause,
)

#: Two inputs for which the conditions of the workflows go different ways.
ONE_WAY: Final = "a"
OTHER_WAY: Final = "b"

BRANCH: Final = Scenario(
    name="branch",
    flows=(graphs.BRANCH,),
    script=(create("run", graphs.BRANCH, text=ONE_WAY), create("other", graphs.BRANCH, text=OTHER_WAY)),
    ends={"run": RunStatus.COMPLETED, "other": RunStatus.COMPLETED},
)

#: A join of three ways, one of which is skipped.
JOIN: Final = Scenario(
    name="join",
    flows=(graphs.JOIN,),
    script=(create("run", graphs.JOIN, text=ONE_WAY), create("other", graphs.JOIN, text=OTHER_WAY)),
    ends={"run": RunStatus.COMPLETED, "other": RunStatus.COMPLETED},
)

#: A join of four ways that needs two and tolerates that one fails.
QUORUM: Final = Scenario(
    name="quorum",
    flows=(graphs.QUORUM,),
    script=(create("run", graphs.QUORUM),),
    ends={"run": RunStatus.COMPLETED},
)

#: A join that tolerates a stage whose attempts are used up by the death of its processes.
TOLERANT: Final = Scenario(
    name="tolerant",
    flows=(graphs.TOLERANT,),
    script=(create("run", graphs.TOLERANT),),
    ends={"run": RunStatus.COMPLETED},
)

#: A loop, and what becomes of it when a stage behind it, or its last turn, is done again.
LOOP: Final = Scenario(
    name="loop",
    flows=(graphs.LOOP,),
    script=(
        create("run", graphs.LOOP),
        rerun("rerun", "run", stage_id="judged", when=HasEnded(run="run")),
    ),
    ends={"run": RunStatus.COMPLETED},
)

#: A map with an item that fails and is tolerated.
MAP: Final = Scenario(
    name="map",
    flows=(graphs.MAP,),
    script=(create("run", graphs.MAP),),
    ends={"run": RunStatus.COMPLETED},
)

#: A wait that is answered, and answered again.
ANSWERED: Final = Scenario(
    name="answered",
    flows=(graphs.APPROVAL,),
    script=(
        create("run", graphs.APPROVAL),
        resume("somebody", "run", wait="approval", when=IsOpen(run="run", name="approval"), is_named=False),
        resume("somebody else", "run", wait="approval", payload="no"),
    ),
    ends={"run": RunStatus.COMPLETED},
)

#: Answers that come before anybody asks.
EARLY: Final = Scenario(
    name="early",
    flows=(graphs.APPROVAL,),
    script=(
        create("run", graphs.APPROVAL),
        resume("somebody", "run", wait="approval"),
        resume("somebody else", "run", wait="approval", payload="no"),
    ),
    ends={"run": RunStatus.COMPLETED},
)

#: A wait that nobody answers in time, and somebody too late.
EXPIRED: Final = Scenario(
    name="expired",
    flows=(graphs.ESCALATION,),
    script=(
        create("run", graphs.ESCALATION),
        resume("too late", "run", wait="approval", when=HasEnded(run="run")),
    ),
    ends={"run": RunStatus.COMPLETED},
)

#: A wait and a sleep inside a stage.
ASKING: Final = Scenario(
    name="asking",
    flows=(graphs.ASKING,),
    script=(
        create("run", graphs.ASKING),
        resume("somebody", "run", wait="answer", when=IsOpen(run="run", name="answer")),
    ),
    ends={"run": RunStatus.COMPLETED},
)

CHILD: Final = Scenario(
    name="child",
    flows=(graphs.PARENT, flows.SHORT),
    script=(create("run", graphs.PARENT),),
    ends={"run": RunStatus.COMPLETED},
)

#: A child that waits for what never comes is cancelled with its parent.
FORSAKEN: Final = Scenario(
    name="forsaken",
    flows=(graphs.FORSAKEN, graphs.APPROVAL),
    script=(create("run", graphs.FORSAKEN), cancel("cancel", "run", when=Quiet())),
    ends={"run": RunStatus.CANCELLED},
)

UNDONE: Final = Scenario(
    name="undone",
    flows=(graphs.UNDONE,),
    script=(create("run", graphs.UNDONE),),
    ends={"run": RunStatus.FAILED},
)

#: The same when somebody cancels it.
REGRETTED: Final = Scenario(
    name="regretted",
    flows=(graphs.REGRETTED,),
    script=(
        create("run", graphs.REGRETTED),
        cancel("cancel", "run", when=IsOpen(run="run", name="approval")),
        cancel("cancel what is undone", "run", when=HasEnded(run="run")),
    ),
    ends={"run": RunStatus.CANCELLED},
)

#: Runs that ask for the same, the first of which is cancelled with the key in its hands, and one for something else.
SHARED: Final = Scenario(
    name="shared",
    flows=(graphs.SHARED,),
    script=(
        create("run", graphs.SHARED, text="same"),
        create("other", graphs.SHARED, text="same"),
        create("third", graphs.SHARED, text="else"),
        cancel("cancel", "run", when=StageIs(run="run", stage_id="shared", status=StageStatus.READY)),
        create("late", graphs.SHARED, text="same"),
    ),
    ends={
        "run": RunStatus.CANCELLED,
        "other": RunStatus.COMPLETED,
        "third": RunStatus.COMPLETED,
        "late": RunStatus.COMPLETED,
    },
    # Whoever finds the key in use looks again after twice as long each time.
    slack=timedelta(seconds=70),
)

#: A run that is held back while a stage executes, and again while its siblings are ready.
PAUSED: Final = Scenario(
    name="paused",
    flows=(flows.PARALLEL,),
    script=(
        create("run", flows.PARALLEL),
        pause("pause", "run", when=StageIs(run="run", stage_id="first", status=StageStatus.RUNNING)),
        unpause("go on", "run", when=Quiet()),
        pause("pause again", "run", when=StageIs(run="run", stage_id="left", status=StageStatus.RUNNING)),
        unpause("go on again", "run", when=Quiet()),
    ),
    ends={"run": RunStatus.COMPLETED},
)

RETRIED: Final = Scenario(
    name="retried",
    flows=(graphs.RETRIED,),
    script=(create("run", graphs.RETRIED), retry("retry", "run", when=HasEnded(run="run"))),
    ends={"run": RunStatus.COMPLETED},
)

#: A run that is created to start later.
DELAYED: Final = Scenario(
    name="delayed",
    flows=(flows.SHORT,),
    script=(create("run", flows.SHORT, start_at=START + timedelta(hours=1)),),
    ends={"run": RunStatus.COMPLETED},
)

#: Runs that are handed out one job at a time, until the limit is lifted.
LIMITED: Final = Scenario(
    name="limited",
    flows=(flows.PARALLEL, flows.SHORT),
    script=(
        limit("limit", "default", concurrency=1),
        create("run", flows.PARALLEL),
        create("other", flows.SHORT),
        limit("lift", "default", concurrency=None, when=HasEnded(run="run")),
        attrs.evolve(create("last", flows.SHORT), when=HasEnded(run="other")),
    ),
    ends={"run": RunStatus.COMPLETED, "other": RunStatus.COMPLETED, "last": RunStatus.COMPLETED},
)

#: Runs of one singleton key, of which one goes on at a time, and one that is cancelled while it is held.
SINGLE: Final = Scenario(
    name="single",
    flows=(flows.SHORT,),
    script=(
        create_single("run", flows.SHORT),
        create_single("second", flows.SHORT),
        create_single("third", flows.SHORT),
        cancel("cancel", "second", when=HasEnded(run="run")),
        create_single("skipped", flows.SHORT, policy=SingletonPolicy.SKIP, when=HasEnded(run="third")),
    ),
    ends={"run": RunStatus.COMPLETED, "third": RunStatus.COMPLETED, "skipped": RunStatus.COMPLETED},
)

#: A run that takes the place of those before it.
REPLACED: Final = Scenario(
    name="replaced",
    flows=(flows.LINEAR,),
    script=(
        create_single("run", flows.LINEAR),
        create_single("held", flows.LINEAR),
        create_single(
            "new",
            flows.LINEAR,
            policy=SingletonPolicy.REPLACE,
            when=StageIs(run="run", stage_id="first", status=StageStatus.COMPLETED),
        ),
    ),
    ends={"held": RunStatus.CANCELLED, "new": RunStatus.COMPLETED},
)

STORIES: Final = (
    BRANCH,
    JOIN,
    QUORUM,
    TOLERANT,
    LOOP,
    MAP,
    ANSWERED,
    EARLY,
    EXPIRED,
    ASKING,
    CHILD,
    FORSAKEN,
    UNDONE,
    REGRETTED,
    SHARED,
    PAUSED,
    RETRIED,
    DELAYED,
    LIMITED,
    SINGLE,
    REPLACED,
)
