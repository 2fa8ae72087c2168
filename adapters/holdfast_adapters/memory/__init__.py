"""The Persistence port in memory."""

from holdfast_adapters.memory.persistence import MemoryPersistence

__all__ = ["MemoryPersistence"]
