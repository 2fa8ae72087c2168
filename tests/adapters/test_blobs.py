"""What is true of one blob store only: a directory that is private and durable, an object store out of reach."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest
from obstore.store import HTTPStore, S3Store

from holdfast.driving import run_sync
from holdfast.errors import BlobMissing, Unavailable
from holdfast_adapters.blobs import LocalBlobStore, ObstoreBlobStore

KEY: Final = "run/split/1.0/1-abc"
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has neither modes nor handles on directories")


def files(root: Path) -> list[str]:
    """Return every file below *root*, hidden ones too."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@posix
def test_directory_is_private(tmp_path: Path) -> None:
    """The directory and its files belong to their owner alone."""
    root = tmp_path / "deep" / "blobs"
    run_sync(LocalBlobStore(root).put(KEY, b"secret"))
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert stat.S_IMODE((root / KEY).stat().st_mode) == 0o600


@posix
def test_directory_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    """A directory that the operator made is used as it is."""
    root = tmp_path / "blobs"
    root.mkdir(mode=0o750)
    LocalBlobStore(root)
    assert stat.S_IMODE(root.stat().st_mode) == 0o750


def test_store_is_found_again(tmp_path: Path) -> None:
    """Another process that opens the directory sees the blobs."""
    run_sync(LocalBlobStore(tmp_path / "blobs").put(KEY, b"x"))
    assert run_sync(LocalBlobStore(tmp_path / "blobs").get(KEY)) == b"x"


@posix
def test_blob_is_durable_before_it_is_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes are synced before they get their name, and every directory up to the root after it."""
    root = tmp_path / "blobs"
    store = LocalBlobStore(root)
    done: list[str] = []
    fsync, link = os.fsync, Path.hardlink_to

    def recorded_fsync(handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        done.append("bytes" if path.parent.name == ".unfinished" else str(path.relative_to(root)))
        fsync(handle)

    def recorded_link(self: Path, target: Path) -> None:
        done.append("name")
        link(self, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(Path, "hardlink_to", recorded_link)
    run_sync(store.put(KEY, b"x"))
    assert done == ["bytes", "name", "run/split/1.0", "run/split", "run", "."]


@posix
def test_repeated_put_waits_for_durability_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A put that finds the key syncs the directories: whoever made the key may not have come so far."""
    store = LocalBlobStore(tmp_path / "blobs")
    run_sync(store.put(KEY, b"x"))
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    run_sync(store.put(KEY, b"x"))
    assert len(synced) == 4


@pytest.mark.parametrize("step", ["sync", "link"])
def test_failed_put_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """A put that fails, because the disk is full for example, leaves no blob and no temporary file."""
    store = LocalBlobStore(tmp_path / "blobs")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if step == "sync":
            patch.setattr(os, "fsync", full)
        else:
            patch.setattr(Path, "hardlink_to", full)
        with pytest.raises(Unavailable, match="No space left") as caught:
            run_sync(store.put(KEY, b"x"))
    assert isinstance(caught.value.__cause__, OSError)
    assert files(tmp_path) == []
    with pytest.raises(BlobMissing):
        run_sync(store.get(KEY))
    assert list(run_sync(store.list("", limit=10))) == []
    run_sync(store.put(KEY, b"y"))
    assert run_sync(store.get(KEY)) == b"y"


def test_file_of_a_process_that_died_is_invisible_and_swept(tmp_path: Path) -> None:
    """What a put left behind when its process died is never listed, and is removed once it is a day old."""
    root = tmp_path / "blobs"
    LocalBlobStore(root)
    old, young = root / ".unfinished" / "old", root / ".unfinished" / "young"
    for path in (old, young):
        path.write_bytes(b"half")
    yesterday = time.time() - 25 * 3600
    os.utime(old, (yesterday, yesterday))
    store = LocalBlobStore(root)
    assert list(run_sync(store.list("", limit=10))) == []
    assert files(root) == [str(Path(".unfinished", "young"))]


def test_vanished_directory_is_no_empty_store(tmp_path: Path) -> None:
    """A volume that is not mounted is reported, not taken for a store without blobs, and nothing is written below."""
    store = LocalBlobStore(tmp_path / "blobs")
    run_sync(store.put(KEY, b"x"))
    shutil.rmtree(tmp_path / "blobs")
    for call in (store.get(KEY), store.put("other/key", b"x"), store.list("", limit=10)):
        with pytest.raises(Unavailable) as caught:
            run_sync(call)
        assert not isinstance(caught.value, BlobMissing)
    assert list(tmp_path.iterdir()) == []


def test_unusable_directory_is_reported(tmp_path: Path) -> None:
    """A path that cannot be a directory is refused when the store is made."""
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "file" / "blobs"):
        with pytest.raises(Unavailable, match="for blobs"):
            LocalBlobStore(path)


def test_key_that_is_a_folder_cannot_be_put(tmp_path: Path) -> None:
    """A put that the file system cannot hold beside other keys is refused rather than taken for done."""
    store = LocalBlobStore(tmp_path / "blobs")
    run_sync(store.put(KEY, b"x"))
    for key in ("run", f"{KEY}/more"):
        with pytest.raises(Unavailable):
            run_sync(store.put(key, b"y"))


def test_empty_folders_go_with_their_last_blob(tmp_path: Path) -> None:
    """Deleting the last blob of a run leaves no folder behind, and never removes the root."""
    root = tmp_path / "blobs"
    store = LocalBlobStore(root)
    for key in (KEY, "run/split/2.0/1-abc"):
        run_sync(store.put(key, b"x"))
    run_sync(store.delete(KEY))
    assert (root / "run" / "split" / "2.0").is_dir()
    assert not (root / "run" / "split" / "1.0").exists()
    run_sync(store.delete("run/split/2.0/1-abc"))
    assert [path.name for path in root.iterdir()] == [".unfinished"]


def test_folder_that_vanishes_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A put goes on when a delete removes its empty folder just before the name is given."""
    store = LocalBlobStore(tmp_path / "blobs")
    vanished: list[Path] = []
    link = Path.hardlink_to

    def late_link(self: Path, target: Path) -> None:
        if len(vanished) < 3:
            self.parent.rmdir()
            vanished.append(self.parent)
        link(self, target)

    monkeypatch.setattr(Path, "hardlink_to", late_link)
    run_sync(store.put(KEY, b"x"))
    assert len(vanished) == 3
    assert run_sync(store.get(KEY)) == b"x"


def test_puts_and_deletes_may_race(tmp_path: Path) -> None:
    """Threads that put and delete in one folder do not disturb each other."""
    store = LocalBlobStore(tmp_path / "blobs")

    def work(n: int) -> None:
        for turn in range(40):
            run_sync(store.put(f"run/{n}-{turn}", b"x"))
            assert run_sync(store.get(f"run/{n}-{turn}")) == b"x"
            run_sync(store.delete(f"run/{n}-{turn}"))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [None] * 4


def test_foreign_files_are_not_listed(tmp_path: Path) -> None:
    """A file that no key can name does not show up among the keys."""
    store = LocalBlobStore(tmp_path / "blobs")
    run_sync(store.put(KEY, b"x"))
    (tmp_path / "blobs" / ".DS_Store").write_bytes(b"")
    (tmp_path / "blobs" / "not a key").write_bytes(b"")
    assert list(run_sync(store.list("", limit=10))) == [KEY]


def test_event_loop_is_not_held_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a disk is slow, other tasks of the loop go on."""
    store = LocalBlobStore(tmp_path / "blobs")
    release = threading.Event()
    fsync = os.fsync

    def slow(handle: int) -> None:
        assert release.wait(10)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", slow)

    async def main() -> None:
        put = asyncio.create_task(store.put(KEY, b"x"))
        for _ in range(5):
            await asyncio.sleep(0.001)
        assert not put.done()
        release.set()
        await put

    asyncio.run(main())


def test_object_store_out_of_reach_is_unavailable() -> None:
    """Every method tells that the store cannot be reached, which is never a missing blob or an empty list."""
    s3 = S3Store(
        "bucket",
        endpoint="http://127.0.0.1:1",
        region="here",
        access_key_id="id",
        secret_access_key="key",
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
    store = ObstoreBlobStore(s3)
    for call in (store.put(KEY, b"x"), store.get(KEY), store.delete(KEY), store.list("", limit=1)):
        with pytest.raises(Unavailable) as caught:
            run_sync(call)
        assert not isinstance(caught.value, BlobMissing)
        assert caught.value.__cause__ is not None


def test_object_store_that_cannot_create_is_refused() -> None:
    """A store without create-only puts fails the first put rather than overwrite."""
    http = HTTPStore.from_url("http://127.0.0.1:1", client_options={"allow_http": True})
    with pytest.raises(Unavailable, match="could not put"):
        run_sync(ObstoreBlobStore(http).put(KEY, b"x"))
