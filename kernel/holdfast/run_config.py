"""A run's config as one canonical text, and a stage's slice of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from holdfast.codec import from_json, to_json

#: Runs of one workflow mostly share their config, so few texts are taken apart again and again.
_REMEMBERED = 256


def combine(slices: Mapping[str, str]) -> str:
    """Return the canonical JSON object that holds each stage's canonical *slices* text under the stage's id."""
    members = (f"{to_json(stage_id, what='stage id')}:{text}" for stage_id, text in sorted(slices.items()))
    return f"{{{','.join(members)}}}"


def slice_of(config: str, stage_id: str) -> str:
    """Return the canonical text of the slice of *stage_id*, an empty object when the run has none."""
    return _slices(config).get(stage_id, "{}")


@lru_cache(maxsize=_REMEMBERED)
def _slices(config: str) -> Mapping[str, str]:
    parsed = from_json(config, what="run config")
    assert isinstance(parsed, dict), "a run's config is stored as an object"
    return {stage_id: to_json(value, what="config slice") for stage_id, value in parsed.items()}
