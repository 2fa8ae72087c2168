"""Ways to remember when a host must wake up."""

from __future__ import annotations

from holdfast_adapters.schedulers.heap import HeapScheduler

__all__ = ["HeapScheduler"]
