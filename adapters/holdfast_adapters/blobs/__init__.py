"""Places for large payloads: this process, a directory, or any object store that obstore reaches."""

from __future__ import annotations

from holdfast_adapters.blobs.directory import LocalBlobStore
from holdfast_adapters.blobs.memory import MemoryBlobStore
from holdfast_adapters.blobs.objects import ObstoreBlobStore

__all__ = ["LocalBlobStore", "MemoryBlobStore", "ObstoreBlobStore"]
