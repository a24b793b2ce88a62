"""The store in memory."""

from mainspring.store.memory.store import MemoryStore

__all__ = ["MemoryStore"]
