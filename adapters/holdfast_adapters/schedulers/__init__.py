"""Ways to remember when a host must wake up."""

from __future__ import annotations

from holdfast_adapters.schedulers.heap import HeapScheduler
from holdfast_adapters.schedulers.telling import TellingScheduler

__all__ = ["HeapScheduler", "TellingScheduler"]
