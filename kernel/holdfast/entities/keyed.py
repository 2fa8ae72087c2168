"""A keyed result: what a stage returned for one key, shared by all runs of its workflow and tenant."""

from __future__ import annotations

import attrs

from holdfast.entities.payload import Payload
from holdfast.entities.stage import StageKey


@attrs.frozen(kw_only=True)
class KeyScope:
    """Where a key is unique."""

    tenant: str
    workflow_id: str
    stage_id: str
    key: str


@attrs.frozen(kw_only=True)
class KeyedResult:
    """The stage instance that executes, or executed, under a key."""

    scope: KeyScope
    #: Digest of the input; the same key with another input is an error.
    fingerprint: str
    #: Who holds the key, or held it when the result was made.
    holder: StageKey
    #: None while the holder is not done.
    output: Payload | None
