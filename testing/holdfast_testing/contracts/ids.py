"""The contract of the Ids port: one test for each sentence of its docstrings, in their order."""

from __future__ import annotations

import re
from typing import Final

from holdfast.ports.ids import Ids

UUID7: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
MANY: Final = 10_000


class IdsContract:
    """What every source of ids and randomness must do."""

    def test_id_is_a_uuid_of_version_7(self, ids: Ids) -> None:
        """An id is the lower-case hyphenated text of a UUID with version 7 and the RFC's variant."""
        assert all(UUID7.fullmatch(ids.new_id()) for _ in range(100))

    def test_ids_sort_by_when_they_were_made(self, ids: Ids) -> None:
        """Each id sorts after the one made before, also within a millisecond, and so none comes twice."""
        made = [ids.new_id() for _ in range(MANY)]
        assert made == sorted(set(made))

    def test_fraction_is_at_least_0_and_below_1(self, ids: Ids) -> None:
        """Random numbers keep to their range."""
        assert all(0 <= ids.fraction() < 1 for _ in range(MANY))

    def test_fraction_is_random(self, ids: Ids) -> None:
        """Random numbers reach every tenth of their range about equally often."""
        counts = [0] * 10
        for _ in range(MANY):
            counts[int(ids.fraction() * 10)] += 1
        # Ten standard deviations: chance alone will not fail this in the life of the universe.
        assert all(700 < count < 1_300 for count in counts)
