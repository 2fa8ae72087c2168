"""The kit for testing workflows and adapters: clock, harness, faults, simulator and contract suites."""
