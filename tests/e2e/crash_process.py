"""The processes that the crash test starts and kills: a worker, and a client that creates runs and logs every answer.

Usage: ``python crash_process.py worker PLAN`` or ``python crash_process.py client PLAN``; the plan is a JSON object.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Self

import attrs
import structlog

from holdfast import Context, Registry, Retry, RunCreate, Settings, stage, workflow
from holdfast.codec import digest, to_json
from holdfast.entities.operation import OPERATION_SCOPE, OperationRecord
from holdfast.errors import Unavailable
from holdfast_hosts.settings import HeartbeatSettings, WorkerSettings
from holdfast_hosts.wiring import Opened, open_kernel
from holdfast_hosts.worker import exit_process, run_worker

STAGES: Final = 5
#: A lease that ends without a word counts as an attempt, since nobody can tell a crash from a stage that kills its
#: worker; a job that its worker hands back does not. What the faults of a performance can use up is therefore at most
#: its length over the lease, and this is above that: no run fails because of what happened to machines.
ATTEMPTS: Final = 40
#: How long a client rests after an answer that left the outcome open.
PAUSE_SECONDS: Final = 0.1


@attrs.frozen(kw_only=True)
class Plan:
    """What all processes of one performance know."""

    store: str
    folder: Path = attrs.field(converter=Path)
    runs: int
    #: Runs that are created per second.
    pace: float
    lease: float
    reap: float
    drain: float
    #: How long a stage pretends to work, so that there is always work in the middle of which to kill.
    work: Sequence[float]

    def dump(self) -> str:
        """Return the plan as text that `load` reads."""
        return json.dumps(attrs.asdict(self), default=str)

    @classmethod
    def load(cls, text: str) -> Self:
        """Return the plan that a text says."""
        return cls(**json.loads(text))

    @property
    def ledger(self) -> Path:
        """Where stages write what they do."""
        return self.folder / "ledger"

    @property
    def log(self) -> Path:
        """Where the client writes what it sends and what it is told."""
        return self.folder / "requests"

    def settings(self) -> Settings:
        """Return the settings of every kernel."""
        return Settings(lease_ttl=timedelta(seconds=self.lease))


class Diary:
    """A file outside of the engine that is only ever appended to, one whole line at a time."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, **said: object) -> None:
        """Append one line; a single write to a file opened for appending is not torn by a kill."""
        line = json.dumps({"at": time.time(), "pid": os.getpid(), **said})
        os.write(self._file, line.encode() + b"\n")


class Work:
    """What a stage does: an effect in the ledger, and some time."""

    def __init__(self, plan: Plan) -> None:
        self._diary = Diary(plan.ledger)
        self._chance = random.Random()
        self._shortest, self._longest = plan.work

    async def do(self, text: str, ctx: Context[None]) -> str:
        """Write the effect down and return a text that no other execution returns."""
        nonce = f"{self._chance.getrandbits(64):016x}"
        self._diary.write(
            run=ctx.run_id,
            stage=ctx.stage_id,
            epoch=ctx.fence,
            attempt=ctx.attempt,
            key=ctx.idempotency_key,
            seen=digest(to_json(text)),
            nonce=nonce,
        )
        await asyncio.sleep(self._chance.uniform(self._shortest, self._longest))
        return nonce


@stage(name="step1", retry=Retry(ATTEMPTS, base="10ms"))
async def work(text: str, ctx: Context[None]) -> str:
    """Do the work of one stage."""
    return await ctx.services[Work].do(text, ctx)


steps = workflow("steps", input=str, version="1").pipe(work)
for position in range(2, STAGES + 1):
    steps = steps.pipe(work.using(name=f"step{position}"))
REGISTRY: Final = Registry([steps])


async def serve(plan: Plan) -> None:
    """Be a worker until told to stop, or killed."""
    settings = WorkerSettings(
        reap_interval=timedelta(seconds=plan.reap),
        heartbeat=HeartbeatSettings(tick=timedelta(seconds=min(1.0, plan.lease / 10))),
        drain_timeout=timedelta(seconds=plan.drain),
    )
    async with open_kernel(
        plan.store, registry=REGISTRY, services={Work: Work(plan)}, settings=plan.settings()
    ) as opened:
        await run_worker(opened, settings=settings)


def request(number: int) -> RunCreate:
    """Return the request for one run, the same whenever it is sent."""
    return RunCreate(
        workflow_id="steps", input=f"run {number}", idempotency_key=f"run-{number}", operation_id=f"create-{number}"
    )


class Client:
    """Creates runs and goes on about each until it knows that it is there."""

    def __init__(self, plan: Plan, opened: Opened) -> None:
        self._plan = plan
        self._opened = opened
        self._diary = Diary(plan.log)

    async def create_all(self) -> None:
        """Create every run that the log does not say of that it is there, a new one whenever the pace allows it."""
        known = _last_words(self._plan.log)
        began, sent = time.monotonic(), 0
        async with asyncio.TaskGroup() as group:
            for number in range(self._plan.runs):
                if known.get(number) in {"answer", "found"}:
                    continue
                # What an earlier process has sent without writing an answer down may have happened.
                group.create_task(self._create(number, is_open=number in known))
                sent += 1
                await asyncio.sleep(max(0.0, began + sent / self._plan.pace - time.monotonic()))

    async def _create(self, number: int, *, is_open: bool) -> None:
        while True:
            if is_open and await self._found(number):
                return
            self._diary.write(number=number, what="sent")
            try:
                created = await self._opened.kernel.dispatch(request(number))
            except Unavailable as error:
                self._diary.write(number=number, what="error", kind=type(error).__name__, text=str(error))
                is_open = True
            else:
                self._diary.write(number=number, what="answer", run=created.run_id)
                return

    async def _found(self, number: int) -> bool:
        """Return whether the run was created, as the store says once it says anything."""
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            try:
                record = await self._look_up(number)
            except Unavailable:
                continue
            self._diary.write(
                number=number,
                what="missing" if record is None else "found",
                record=None if record is None else attrs.asdict(record),
            )
            return record is not None

    async def _look_up(self, number: int) -> OperationRecord | None:
        key = request(number).operation_id
        assert key is not None, "every request has an operation id"
        return await self._opened.persistence.find_operation(tenant="", scope=OPERATION_SCOPE, key=key)


def _last_words(path: Path) -> dict[int, str]:
    words: dict[int, str] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        said = json.loads(line)
        words[said["number"]] = said["what"]
    return words


async def ask(plan: Plan) -> None:
    """Be the client until every run is known to be there."""
    async with open_kernel(plan.store, registry=REGISTRY, settings=plan.settings()) as opened:
        await Client(plan, opened).create_all()


def _log_as_json() -> None:
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(key="at", utc=True),
        structlog.processors.JSONRenderer(),
    ]
    structlog.configure(processors=processors, logger_factory=structlog.WriteLoggerFactory(sys.stdout))


if __name__ == "__main__":
    _log_as_json()
    role, plan_text = sys.argv[1:]
    asyncio.run({"worker": serve, "client": ask}[role](Plan.load(plan_text)))
    exit_process(0)
