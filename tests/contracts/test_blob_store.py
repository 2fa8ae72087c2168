"""The blob store contract on every adapter, over each kind of store that needs no network."""

from __future__ import annotations

from pathlib import Path

import pytest
from obstore.store import LocalStore, MemoryStore

from holdfast.ports.blob_store import BlobStore
from holdfast_adapters.blobs import LocalBlobStore, MemoryBlobStore, ObstoreBlobStore
from holdfast_testing.contracts.blob_store import BlobStoreContract


class TestMemoryBlobStore(BlobStoreContract):
    @pytest.fixture
    def blob_store(self) -> BlobStore:
        return MemoryBlobStore()


class TestLocalBlobStore(BlobStoreContract):
    @pytest.fixture
    def blob_store(self, tmp_path: Path) -> BlobStore:
        return LocalBlobStore(tmp_path / "blobs")


class TestObstoreBlobStoreInMemory(BlobStoreContract):
    @pytest.fixture
    def blob_store(self) -> BlobStore:
        return ObstoreBlobStore(MemoryStore())


class TestObstoreBlobStoreInDirectory(BlobStoreContract):
    @pytest.fixture
    def blob_store(self, tmp_path: Path) -> BlobStore:
        return ObstoreBlobStore(LocalStore(tmp_path / "blobs", mkdir=True))
