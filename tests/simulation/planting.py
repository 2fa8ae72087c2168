"""What a planted bug is."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

Plant = Callable[[pytest.MonkeyPatch], None]


@attrs.frozen(kw_only=True)
class Mutant:
    """A planted bug."""

    name: str
    plant: Plant
    #: The invariant that it breaks first of all.
    breaks: str
    #: The scenario that shows it.
    scenario: str
