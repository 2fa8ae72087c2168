"""What the clients of a simulation want: runs of all kinds, and everything that one can do to a run."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from holdfast.command import Command
from holdfast.commands.run_cancel import RunCancel
from holdfast.commands.run_create import RunCreate
from holdfast.commands.run_pause import RunPause
from holdfast.commands.run_rerun_from import RunRerunFrom
from holdfast.commands.run_resume import RunResume
from holdfast.commands.run_retry import RunRetry
from holdfast.commands.run_unpause import RunUnpause
from holdfast.creating import SingletonPolicy
from holdfast_testing.scenarios import flows, graphs
from holdfast_testing.scenarios.scenario import REAP_AFTER, SETTINGS

#: Two attempts that each end with the death of a process, the second after the lease of the first.
_TWO_DEATHS: Final = 2 * (SETTINGS.lease_ttl + REAP_AFTER)

#: The workflows that clients start, with how long each takes by itself when nothing goes wrong. What waits for an
#: answer gets one within half a minute of good weather, and whoever awaits a key looks every minute at last.
FLOWS: Final[Mapping[Any, timedelta]] = {
    flows.LINEAR: timedelta(seconds=10),
    flows.PARALLEL: timedelta(seconds=15),
    flows.FORK: timedelta(seconds=10),
    flows.FLAKY: timedelta(seconds=20),
    flows.HOPELESS: timedelta(seconds=20),
    flows.DEADLY: _TWO_DEATHS,
    flows.BATCH: timedelta(minutes=4),
    flows.ENDLESS: timedelta(minutes=4),
    flows.LARGE: timedelta(seconds=10),
    flows.PAID: timedelta(seconds=15),
    flows.SHORT: timedelta(seconds=10),
    graphs.BRANCH: timedelta(seconds=15),
    graphs.JOIN: timedelta(seconds=15),
    graphs.QUORUM: timedelta(seconds=20),
    graphs.TOLERANT: _TWO_DEATHS + timedelta(seconds=15),
    graphs.LOOP: timedelta(seconds=30),
    graphs.MAP: timedelta(seconds=60),
    graphs.APPROVAL: timedelta(seconds=45),
    graphs.ESCALATION: timedelta(seconds=45),
    graphs.ASKING: timedelta(minutes=4),
    graphs.PARENT: timedelta(seconds=45),
    graphs.FORSAKEN: timedelta(seconds=90),
    graphs.UNDONE: timedelta(seconds=30),
    graphs.REGRETTED: timedelta(seconds=60),
    graphs.SHARED: timedelta(minutes=4),
    graphs.RETRIED: timedelta(seconds=20),
}

#: Those that are started more often than the others, because what is rare in them takes several runs at once.
_MORE: Final = (graphs.SHARED, graphs.SHARED, graphs.SHARED, graphs.MAP, graphs.RETRIED, graphs.REGRETTED)

#: How often good weather lets go on what is held back and answers what is asked, in seconds.
HELP_EVERY: Final = 20.0

#: Where reruns begin; refused where the workflow has no such stage.
_STAGES: Final = (
    *("first", "left", "second", "third", "swell", "Labels", "flaky", "hopeless"),
    *("gather", "judged", "attempted", "each", "total", "approval", "asks", "delegates", "charge", "shared"),
)
#: The names of waits; unknown where the workflow has no such wait.
_WAITS: Final = ("approval", "answer")
_DELAY: Final = (5.0, 60.0)
#: The concurrency keys that take turns.
_KEYS: Final = ("", "", "x", "y")


def wanted(name: str, run_ids: Sequence[str], *, work: random.Random, now: datetime) -> tuple[Command[Any], ...]:
    """Return what a client wants next, in order.

    Args:
        name: What its operations are named after.
        run_ids: The runs there are.
        work: The source of chance.
        now: The present instant.
    """
    doings = ("cancel", "rerun", "again", "pause", "retry", "resume", "resume")
    kind = work.choice(("create",) * 5 + doings) if run_ids else "create"
    if kind == "create":
        return (_creation(name, work=work, now=now),)
    run_id = work.choice(run_ids)
    if kind == "resume":
        answer, wait = work.choice(("yes", "no")), work.choice(_WAITS)
        return (RunResume(run_id=run_id, name=wait, payload=answer, operation_id=f"resume {name}"),)
    cancel = RunCancel(run_id=run_id, operation_id=f"cancel {name}")
    rerun = RunRerunFrom(run_id=run_id, from_stage_id=work.choice(_STAGES), operation_id=f"rerun {name}")
    pause = RunPause(run_id=run_id, operation_id=f"pause {name}")
    go_on = RunUnpause(run_id=run_id, operation_id=f"go on {name}")
    retry = RunRetry(run_id=run_id, operation_id=f"retry {name}")
    chosen: dict[str, tuple[Command[Any], ...]] = {
        "cancel": (cancel,),
        "rerun": (rerun,),
        "again": (cancel, rerun),
        "pause": (pause, go_on) if work.random() < 0.5 else (pause,),
        "retry": (retry,),
    }
    return chosen[kind]


def _creation(name: str, *, work: random.Random, now: datetime) -> RunCreate:
    flow = work.choice((*FLOWS, *_MORE))
    return RunCreate(
        workflow_id=flow.id,
        input=work.choice("abc") * 80,
        idempotency_key=f"key {work.randint(1, 3)}" if work.random() < 0.2 else None,
        operation_id=name,
        start_at=now + timedelta(seconds=work.uniform(*_DELAY)) if work.random() < 0.1 else None,
        concurrency_key=work.choice(_KEYS),
        # One that queues up would take as long as those before it, and how long a run may take is known by its kind.
        singleton="one" if work.random() < 0.1 else None,
        singleton_policy=SingletonPolicy.SKIP,
    )
