"""Every call of every port of a scenario goes wrong once in every way, and afterwards every promise must hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

import attrs

from holdfast_testing.invariants import Violation
from holdfast_testing.scenarios.scenario import REAP_AFTER, Scenario, Way
from holdfast_testing.scenarios.trial import Disturbance, Ended, Trial
from holdfast_testing.scenarios.world import MemoryStore, StoreMaker


@attrs.frozen(kw_only=True)
class Case:
    """A scenario with one disturbance, played to its end."""

    scenario: str
    disturbance: Disturbance
    violations: tuple[Violation, ...]
    trace: str

    def describe(self) -> str:
        """Return the case with what was broken and every call, for the message of a failing test."""
        broken = "\n".join(map(str, self.violations)) or "nothing is broken"
        head = f"scenario {self.scenario!r}, call {self.disturbance.number}: {self.disturbance.way.value}"
        return f"{head}\n{broken}\n{self.trace}"


def calm(scenario: Scenario, make_store: StoreMaker = MemoryStore) -> Ended:
    """Play *scenario* without a disturbance."""
    return Trial(scenario, make_store).play()


def systematic(
    scenario: Scenario, make_store: StoreMaker = MemoryStore, *, ways: Sequence[Way] = tuple(Way), stride: int = 1
) -> Iterator[Case]:
    """Play *scenario* once for each of its port calls and each of *ways*, until a call is not reached any more.

    Args:
        scenario: The story.
        make_store: Makes the store for each time it is played.
        ways: What happens at the call.
        stride: 1 to disturb every call; n for the first and every n-th behind it, where time is short.
    """
    usual = calm(scenario, make_store).took
    for way in ways:
        bound = usual + scenario.settings.lease_ttl + REAP_AFTER + scenario.slack
        if way is Way.SLEEP:
            bound += 2 * (scenario.settings.lease_ttl + REAP_AFTER)
        for number in count(1, stride):
            disturbance = Disturbance(number=number, way=way)
            ended = Trial(scenario, make_store, disturbance).play(bound=bound)
            if not ended.reached:
                break
            yield Case(scenario=scenario.name, disturbance=disturbance, violations=ended.violations, trace=ended.trace)
