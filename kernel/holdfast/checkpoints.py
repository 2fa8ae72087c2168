"""Checkpoints inside a stage: the result of a step is journalled, so that a later attempt does not do it again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from inspect import isawaitable
from typing import Any, Final, get_type_hints

from holdfast.change import Change, Fence, NewCheckpoint
from holdfast.codec import JsonType, payload_type
from holdfast.command import Ports
from holdfast.entities.definition import PayloadType
from holdfast.entities.payload import Payload
from holdfast.entities.stage import Lease
from holdfast.errors import CommitUnknown, DefinitionError
from holdfast.payloads import attempt_prefix, keep, text_of
from holdfast.settling import checked

#: Functions whose result types are remembered; a stage calls few.
_REMEMBERED: Final = 512


class JournalledSteps:
    """Does a step once for each stage instance and name, and keeps its result in the store."""

    __slots__ = ("_ports",)

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def once(
        self,
        lease: Lease,
        name: str,
        function: Callable[..., Any],
        *,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """Return the kept result of the step, or call *function* and keep what it returns."""
        what = f'checkpoint "{name}" of stage "{lease.key.stage_id}"'
        kind = _result_type(function)
        found = await self._ports.persistence.find_checkpoint(lease.key, name=name)
        if found is None:
            value = function(*args, **kwargs)
            if isawaitable(value):
                value = await value
            found = await self._keep(lease, name, kind.encode(value, what=what), what=what)
        # Read back even when it is new, so that the first attempt sees exactly what later ones will.
        return kind.decode(await text_of(found, blob_store=self._ports.blob_store), what=what)

    async def _keep(self, lease: Lease, name: str, text: str, *, what: str) -> Payload:
        ports = self._ports
        prefix = attempt_prefix(lease.key, epoch=lease.epoch)
        result = await keep(text, prefix=prefix, what=what, blob_store=ports.blob_store, settings=ports.settings)
        change = Change(
            run_id=lease.key.run_id,
            fence=Fence(key=lease.key, epoch=lease.epoch),
            checkpoints=(NewCheckpoint(key=lease.key, name=name, result=result),),
        )
        unknown: CommitUnknown | None = None
        for _ in range(ports.settings.commit_tries):
            try:
                checked((await ports.persistence.commit((change,)))[0])
            except CommitUnknown as error:
                # Committing again is harmless: the first result of a name stands, and it is this one.
                unknown = error
            else:
                return result
        raise CommitUnknown(f"{what} could not be committed or looked up") from unknown


@lru_cache(maxsize=_REMEMBERED)
def _result_type(function: Callable[..., Any]) -> PayloadType:
    """Return the type that *function* says it returns, plain JSON if it does not say."""
    target = getattr(function, "__func__", function)
    if not hasattr(target, "__annotations__"):
        return JsonType()
    try:
        returned = get_type_hints(target).get("return", Any)
        name = getattr(target, "__qualname__", repr(target))
        return payload_type(returned, what=f"the result of {name}", source=getattr(target, "__module__", ""))
    except (NameError, DefinitionError):
        return JsonType()
