"""The kit for testing workflows and adapters: fake time, a harness, faults, and the contracts of the ports."""

from holdfast_testing.clock import FakeClock
from holdfast_testing.harness import Ended, Harness
from holdfast_testing.sinks import CollectingSink

__all__ = ["CollectingSink", "Ended", "FakeClock", "Harness"]
