"""Ways from the store to the workers: straight from the database, or hinted at through this process's memory."""

from __future__ import annotations

from holdfast_adapters.transports.database import DatabaseTransport
from holdfast_adapters.transports.memory import MemoryTransport
from holdfast_adapters.transports.telling import TellingTransport

__all__ = ["DatabaseTransport", "MemoryTransport", "TellingTransport"]
