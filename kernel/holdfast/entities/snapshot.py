"""A run with its stage instances, read at one instant, as whole-run decisions need it."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from holdfast.entities.run import Run
from holdfast.entities.stage import StageInstance


@attrs.frozen(kw_only=True)
class RunSnapshot:
    """A run and all stage instances of it that are live or visible, read at one instant."""

    run: Run
    #: Live instances and records that no rerun superseded, in order of key.
    stages: tuple[StageInstance, ...]
    #: Edges resolved so far at gates of the present generation that have not opened, by gate id.
    arrivals: Mapping[str, int]
