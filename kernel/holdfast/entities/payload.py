"""A value as it is stored: canonical JSON text in the row, or a reference to a blob that holds the text."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Payload:
    """Canonical JSON text with its digest; large text lives in a blob and only the reference stays."""

    #: The text itself; None when it lives in a blob.
    text: str | None
    #: SHA-256 of the text's bytes, hex.
    digest: str
    #: Length of the text in bytes.
    size: int
    #: Key of the blob that holds the text; None when the text is inline.
    blob: str | None = None


@attrs.frozen(kw_only=True)
class Artifact:
    """A blob that a user named inside a stage; visible to the run once the stage's outcome is committed."""

    name: str
    blob: str
    digest: str
    #: Length in bytes.
    size: int
    #: ``application/json`` for values, ``application/octet-stream`` for bytes.
    media_type: str
