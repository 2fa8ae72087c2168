"""Planted bugs are found, each by the scenario and the invariant that is there for it."""

from __future__ import annotations

from collections import Counter

import pytest

from holdfast_testing.scenarios import SCENARIOS, Way, systematic
from tests.simulation.mutants import MUTANTS
from tests.simulation.planting import Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_planted_bug_is_found(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    """The systematic run of one scenario finds the bug and names the promise that it breaks."""
    (scenario,) = [one for one in SCENARIOS if one.name == mutant.scenario]
    mutant.plant(monkeypatch)
    seen: Counter[str] = Counter()
    for case in systematic(scenario, ways=tuple(Way)):
        seen.update(violation.invariant for violation in case.violations)
        if seen[mutant.breaks]:
            return
    pytest.fail(f"{mutant.name}: no case of {mutant.scenario!r} broke {mutant.breaks}; broken were {dict(seen)}")
