"""The real clock and the real chance of this machine."""

from __future__ import annotations

from holdfast_adapters.system.clock import SystemClock
from holdfast_adapters.system.ids import SystemIds

__all__ = ["SystemClock", "SystemIds"]
