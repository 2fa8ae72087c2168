"""The blob store contract on every adapter, over each kind of store that needs no network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from obstore.store import LocalStore, MemoryStore

from holdfast.driving import run_sync
from holdfast.ports.blob_store import BlobStore
from holdfast_adapters.blobs import LocalBlobStore, MemoryBlobStore, ObstoreBlobStore
from holdfast_adapters.postgres import PostgresPersistence
from holdfast_testing.contracts.blob_store import BlobStoreContract
from tests.postgres import Bridge, bridged, empty_url


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


@pytest.mark.postgres
class TestPostgresBlobStore(BlobStoreContract):
    @pytest.fixture
    def blob_store(self) -> Iterator[BlobStore]:
        persistence = PostgresPersistence(empty_url())
        run_sync(bridged(persistence).open())
        yield cast(BlobStore, Bridge(persistence.blob_store))
        run_sync(bridged(persistence).close())
