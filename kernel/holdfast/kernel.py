"""The kernel: every state change of every host goes through `Kernel.dispatch`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast

from holdfast.authoring.context import Services
from holdfast.codec import converter, structure
from holdfast.codec.problems import cut
from holdfast.command import Command, Ports, Settings, unable_to_block
from holdfast.commands import (
    blob_collect,
    job_execute,
    job_heartbeat,
    lease_reap_stale,
    outbox_flush,
    plugin_replay_dlq,
    queue_configure,
    run_cancel,
    run_claim_pending,
    run_create,
    run_pause,
    run_prune,
    run_rerun_from,
    run_resume,
    run_retry,
    run_transition,
    run_unpause,
    stage_poll_suspended,
    timer_fire_due,
)
from holdfast.errors import InvalidCommand, UnknownCommand
from holdfast.executing import InlineExecutor
from holdfast.naming import MAX_NAME
from holdfast.ports.blob_store import BlobStore
from holdfast.ports.clock import Clock
from holdfast.ports.definitions import Definitions
from holdfast.ports.event_sink import EventSink
from holdfast.ports.executor import Executor
from holdfast.ports.ids import Ids
from holdfast.ports.job_transport import JobTransport
from holdfast.ports.persistence import Persistence
from holdfast.ports.scheduler import Scheduler

R = TypeVar("R")

#: The handler of each command class; every module of `holdfast.commands` stands here exactly once.
HANDLERS: Final[Mapping[type[Command[Any]], Callable[[Any, Ports], Awaitable[Any]]]] = MappingProxyType(
    {
        blob_collect.BlobCollect: blob_collect.handle,
        job_execute.JobExecute: job_execute.handle,
        job_heartbeat.JobHeartbeat: job_heartbeat.handle,
        lease_reap_stale.LeaseReapStale: lease_reap_stale.handle,
        outbox_flush.OutboxFlush: outbox_flush.handle,
        plugin_replay_dlq.PluginReplayDlq: plugin_replay_dlq.handle,
        queue_configure.QueueConfigure: queue_configure.handle,
        run_cancel.RunCancel: run_cancel.handle,
        run_claim_pending.RunClaimPending: run_claim_pending.handle,
        run_create.RunCreate: run_create.handle,
        run_pause.RunPause: run_pause.handle,
        run_prune.RunPrune: run_prune.handle,
        run_rerun_from.RunRerunFrom: run_rerun_from.handle,
        run_resume.RunResume: run_resume.handle,
        run_retry.RunRetry: run_retry.handle,
        run_transition.RunTransition: run_transition.handle,
        run_unpause.RunUnpause: run_unpause.handle,
        stage_poll_suspended.StagePollSuspended: stage_poll_suspended.handle,
        timer_fire_due.TimerFireDue: timer_fire_due.handle,
    }
)

#: The commands by their wire names.
COMMANDS: Final[Mapping[str, type[Command[Any]]]] = MappingProxyType({kind.type: kind for kind in HANDLERS})


class Kernel:
    """Turns commands into change-sets. It knows no timers, threads or signals: hosts wrap it with those."""

    __slots__ = ("ports",)

    def __init__(  # noqa: PLR0913 - one argument for each port
        self,
        *,
        persistence: Persistence,
        blob_store: BlobStore,
        job_transport: JobTransport,
        scheduler: Scheduler,
        clock: Clock,
        ids: Ids,
        registry: Definitions,
        event_sink: EventSink | Sequence[EventSink] = (),
        executor: Executor | None = None,
        services: Mapping[type[Any], object] | None = None,
        settings: Settings | None = None,
        block_on: Callable[[Awaitable[Any]], Any] = unable_to_block,
    ) -> None:
        self.ports = Ports(
            persistence=persistence,
            blob_store=blob_store,
            job_transport=job_transport,
            event_sinks=tuple(event_sink) if isinstance(event_sink, Sequence) else (event_sink,),
            scheduler=scheduler,
            clock=clock,
            ids=ids,
            executor=executor or InlineExecutor(clock),
            definitions=registry,
            services=Services(services),
            settings=settings or Settings(),
            block_on=block_on,
        )

    async def dispatch(self, command: Command[R]) -> R:
        """Carry out *command* and return its result.

        Raises:
            UnknownCommand: If its class has no handler.
            Rejected: If the caller is wrong.
            Conflict: If somebody else was faster.
            Unavailable: If a port cannot be reached.
        """
        handler = HANDLERS.get(type(command))
        if handler is None:
            raise UnknownCommand(type(command).__name__, known=sorted(COMMANDS))
        return cast(R, await handler(command, self.ports))

    async def dispatch_json(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out the command that *message* describes, such as ``{"type": "run.cancel", "runId": …}``.

        Raises:
            UnknownCommand: If its ``type`` is not the wire name of a command.
            InvalidCommand: If it is no object, or its fields are not the command's.
        """
        # What comes from outside may be anything, whatever its declared type.
        if not isinstance(message, Mapping):
            raise InvalidCommand("command", ["it should be an object"])
        name = message.get("type")
        kind = COMMANDS.get(name) if isinstance(name, str) else None
        if kind is None:
            raise UnknownCommand(_shown(name), known=sorted(COMMANDS))
        fields = {name: value for name, value in message.items() if name != "type"}
        result = await self.dispatch(structure(fields, kind, what=kind.type))
        answer = converter.unstructure(result)
        if not isinstance(answer, dict):
            raise InvalidCommand(kind.type, ["its result has no JSON form"])
        return answer


def _shown(name: object) -> object:
    """Return the wire name as an error may show it: neither its length nor its own methods are to be trusted."""
    if isinstance(name, str):
        return cut(name, MAX_NAME)
    return None if name is None else f"of type {type(name).__name__}"
