"""What a change-set leaves beside its decision: annotations, logs, artifacts, checkpoints and operation records."""

from __future__ import annotations

from holdfast_adapters.postgres import rare
from holdfast_adapters.postgres.found import Found
from holdfast_adapters.postgres.prepared import Prepared, job_key, payload_columns
from holdfast_adapters.postgres.runstate import RunState
from holdfast_adapters.postgres.writes import Writes


def note(prepared: Prepared, run: RunState, *, writes: Writes, found: Found) -> None:
    """Write what *prepared* leaves beside its decision."""
    change, n, now = prepared.change, run.n, writes.now
    writes.add(rare.INSERT_ANNOTATION, *((n, now, *each) for each in prepared.notes))
    writes.add(rare.INSERT_LOG, *((n, *log) for log in prepared.logs))
    for made in change.artifacts:
        kept_as = (n, made.name, made.blob, made.digest, made.size, made.media_type)
        writes.put(rare.SET_ARTIFACT, kept_as[:2], kept_as)
    for kept in change.checkpoints:
        writes.add(rare.KEEP_CHECKPOINT, (n, *job_key(kept.key), kept.name, *payload_columns(kept.result)))
    for identity, record in zip(prepared.operations, change.operations, strict=True):
        found.operations[identity] = record
        said = (record.command, record.fingerprint, record.result, record.run_id)
        writes.operations.append((*identity, *said, now))
