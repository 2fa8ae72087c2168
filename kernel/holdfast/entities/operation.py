"""The stored outcome of a command, found again by operation id or by idempotency key."""

from __future__ import annotations

from typing import Final

import attrs

#: Scope of records that are found by the id of one dispatched command.
OPERATION_SCOPE: Final = "operation"


@attrs.frozen(kw_only=True)
class OperationRecord:
    """A command's result, written in the same change-set as its effect; unique by (tenant, scope, key)."""

    tenant: str
    #: `OPERATION_SCOPE`, or the wire name of the command whose idempotency key this is.
    scope: str
    key: str
    #: Wire name of the command.
    command: str
    #: SHA-256 over the canonical request; the same key with another fingerprint is a mismatch.
    fingerprint: str
    #: The result as canonical JSON text.
    result: str
    run_id: str
