"""Decisions: pure functions from what is known to a change-set, without any port."""
