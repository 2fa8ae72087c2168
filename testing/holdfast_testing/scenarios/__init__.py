"""Stories that must end well whatever call of whatever port goes wrong, and the driver that plays them exhaustively.

for case in systematic(LINEAR, make_store):
    assert not case.violations, case.describe()
"""

from holdfast_testing.scenarios.catalogue import SCENARIOS
from holdfast_testing.scenarios.scenario import FAILURES, Scenario, Send, Way
from holdfast_testing.scenarios.systematic import Case, calm, systematic
from holdfast_testing.scenarios.world import MemoryStore, Store, StoreMaker

__all__ = [
    "FAILURES",
    "SCENARIOS",
    "Case",
    "MemoryStore",
    "Scenario",
    "Send",
    "Store",
    "StoreMaker",
    "Way",
    "calm",
    "systematic",
]
