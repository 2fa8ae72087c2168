"""Payloads on their way in and out: limits, digests, and the blob for what is too large for a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from holdfast.codec import digest, from_json, to_json
from holdfast.command import Ports, Settings
from holdfast.entities.payload import Artifact, Payload
from holdfast.entities.run import Run, RunStatus
from holdfast.entities.stage import Lease, StageKey
from holdfast.errors import ArtifactNotFound, PayloadTooLarge
from holdfast.ports.blob_store import BlobStore
from holdfast.ports.persistence import Persistence

JSON_TYPE: Final = "application/json"
BYTES_TYPE: Final = "application/octet-stream"


def attempt_prefix(key: StageKey, *, epoch: int) -> str:
    """Return the key prefix of everything that one attempt may put into the blob store.

    The epoch is part of it, so a stale attempt can never overwrite what a newer one wrote.
    """
    return f"{key.run_id}/{key.stage_id}/{key.generation}.{key.item}/{epoch}"


def is_small(text: str, settings: Settings) -> bool:
    """Return whether *text* stays in its row."""
    # Canonical text is ASCII, so characters are bytes.
    return len(text) <= settings.blob_threshold


def inline(text: str) -> Payload:
    """Return *text*, which is small, as a payload."""
    return Payload(text=text, digest=digest(text), size=len(text))


async def keep(text: str, *, prefix: str, what: str, blob_store: BlobStore, settings: Settings) -> Payload:
    """Return *text* as a payload, moved to a blob when it is above the threshold.

    Raises:
        PayloadTooLarge: If it is above the limit.
        Unavailable: If the blob store cannot be reached.
    """
    if is_small(text, settings):
        return inline(text)
    size = len(text)
    if size > settings.max_payload_bytes:
        raise PayloadTooLarge(what, size=size, limit=settings.max_payload_bytes)
    hashed = digest(text)
    blob = f"{prefix}-{hashed}"
    await blob_store.put(blob, text.encode("ascii"))
    return Payload(text=None, digest=hashed, size=size, blob=blob)


async def text_of(payload: Payload, *, blob_store: BlobStore) -> str:
    """Return the text of *payload*, from its blob if it has one.

    Raises:
        BlobMissing: If its blob is gone.
    """
    if payload.text is not None:
        return payload.text
    assert payload.blob is not None, "a payload is inline or has a blob"
    data = await blob_store.get(payload.blob)
    return data.decode("ascii")


async def run_output(
    output_of: tuple[str, ...], *, run_id: str, persistence: Persistence, blob_store: BlobStore
) -> str | None:
    """Return the canonical text of a run's output, or None while it has none.

    One final stage gives its output; several give a JSON array of theirs, in definition order.
    """
    if not output_of:
        return None
    outputs = await persistence.get_outputs(run_id, output_of)
    texts = [await text_of(outputs[stage_id], blob_store=blob_store) for stage_id in output_of]
    return texts[0] if len(texts) == 1 else f"[{','.join(texts)}]"


async def child_result(child: Run, *, persistence: Persistence, blob_store: BlobStore) -> str:
    """Return how a run that has ended did so, as canonical text that its parent reads."""
    output: str | None = None
    if child.status is RunStatus.COMPLETED:
        output = await run_output(child.output_of, run_id=child.id, persistence=persistence, blob_store=blob_store)
    failure = child.failure
    told = {
        "status": child.status.value,
        "failure": None if failure is None else {"code": failure.code, "message": failure.message},
        "output": output,
    }
    return to_json(told, what="result of a child run")


def unreadable_result(code: str, message: str) -> str:
    """Return what a parent reads of a child whose result cannot be handed to it."""
    told = {"status": RunStatus.FAILED.value, "failure": {"code": code, "message": message}, "output": None}
    return to_json(told, what="result of a child run")


class BlobArtifacts:
    """Saves and loads what stages name, scoped to their run and attempt."""

    __slots__ = ("_ports",)

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def save(self, lease: Lease, name: str, value: object) -> Artifact:
        """Store *value* under a key of this attempt and content."""
        if isinstance(value, (bytes, bytearray)):
            data, media_type = bytes(value), BYTES_TYPE
        else:
            data, media_type = to_json(value, what=f'artifact "{name}"').encode("ascii"), JSON_TYPE
        hashed = digest(data)
        key = f"{attempt_prefix(lease.key, epoch=lease.epoch)}-artifact-{hashed}"
        await self._ports.blob_store.put(key, data)
        return Artifact(name=name, blob=key, digest=hashed, size=len(data), media_type=media_type)

    async def load(self, lease: Lease, name: str, pending: Mapping[str, Artifact]) -> Any:
        """Return the value of the attempt's own artifact of that name, else of the run's."""
        artifact = pending.get(name)
        if artifact is None:
            committed = {there.name: there for there in await self._ports.persistence.list_artifacts(lease.key.run_id)}
            artifact = committed.get(name)
            if artifact is None:
                raise ArtifactNotFound(name, run_id=lease.key.run_id, known=sorted({*committed, *pending}))
        data = await self._ports.blob_store.get(artifact.blob)
        if artifact.media_type == JSON_TYPE:
            return from_json(data.decode("ascii"), what=f'artifact "{name}"')
        return data
