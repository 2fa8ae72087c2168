"""What clients of scenarios send: each command under one operation, so that it can be sent again and again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from holdfast.authoring.flow import Flow
from holdfast.command import Command
from holdfast.commands.plugin_replay_dlq import PluginReplayDlq
from holdfast.commands.queue_configure import QueueConfigure
from holdfast.commands.run_cancel import RunCancel
from holdfast.commands.run_create import RunCreate
from holdfast.commands.run_pause import RunPause
from holdfast.commands.run_rerun_from import RunRerunFrom
from holdfast.commands.run_resume import RunResume
from holdfast.commands.run_retry import RunRetry
from holdfast.commands.run_unpause import RunUnpause
from holdfast.creating import SingletonPolicy
from holdfast_testing.scenarios.scenario import Moment, Said, Send


def create(
    name: str,
    flow: Flow[Any, Any],
    *,
    text: str = "x",
    key: str | None = None,
    operation: str | None = None,
    start_at: datetime | None = None,
) -> Send:
    """Create a run, known to the script by *name*."""
    command = RunCreate(
        workflow_id=flow.id,
        input=text,
        idempotency_key=key,
        operation_id=operation or f"create {name}",
        start_at=start_at,
    )
    return Send(name=name, command=lambda _: command)


def create_single(
    name: str, flow: Flow[Any, Any], *, policy: SingletonPolicy = SingletonPolicy.QUEUE, when: Moment | None = None
) -> Send:
    """Create a run of which one goes on at a time."""
    command = RunCreate(
        workflow_id=flow.id, input="x", operation_id=f"create {name}", singleton="s", singleton_policy=policy
    )
    return Send(name=name, command=lambda _: command, when=when)


def limit(name: str, queue: str, *, concurrency: int | None, when: Moment | None = None) -> Send:
    """Give the queue that limit and no other."""
    command = QueueConfigure(queue=queue, concurrency=concurrency, per_key=concurrency)
    return Send(name=name, command=lambda _: command, when=when)


def cancel(name: str, run: str, *, when: Moment) -> Send:
    """Cancel the run that was created under the name *run*."""
    return Send(name=name, command=lambda said: RunCancel(run_id=said[run].run_id, operation_id=name), when=when)


def rerun(name: str, run: str, *, stage_id: str, when: Moment) -> Send:
    """Do the run again from one of its stages."""

    def command(said: Said) -> Command[Any]:
        return RunRerunFrom(run_id=said[run].run_id, from_stage_id=stage_id, operation_id=name)

    return Send(name=name, command=command, when=when)


def retry(name: str, run: str, *, when: Moment) -> Send:
    """Let the failed run go on."""
    return Send(name=name, command=lambda said: RunRetry(run_id=said[run].run_id, operation_id=name), when=when)


def pause(name: str, run: str, *, when: Moment) -> Send:
    """Hold the run back."""
    return Send(name=name, command=lambda said: RunPause(run_id=said[run].run_id, operation_id=name), when=when)


def unpause(name: str, run: str, *, when: Moment) -> Send:
    """Let the run go on that was held back."""
    return Send(name=name, command=lambda said: RunUnpause(run_id=said[run].run_id, operation_id=name), when=when)


def resume(
    name: str, run: str, *, wait: str, payload: str = "yes", when: Moment | None = None, is_named: bool = True
) -> Send:
    """Answer a wait of the run; whoever does not name the operation is told of his own answer when he repeats it."""

    def command(said: Said) -> Command[Any]:
        operation = name if is_named else None
        return RunResume(run_id=said[run].run_id, name=wait, payload=payload, actor=name, operation_id=operation)

    return Send(name=name, command=command, when=when)


def replay(name: str, *, when: Moment) -> Send:
    """Deliver what was parked."""
    return Send(name=name, command=lambda _: PluginReplayDlq(), when=when)
