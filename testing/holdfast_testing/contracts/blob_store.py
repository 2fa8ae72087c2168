"""The contract of the BlobStore port: one test for each sentence of its docstrings, in their order."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from holdfast.errors import BlobMissing, InvalidInput
from holdfast.ports.blob_store import BlobStore
from holdfast_testing.contracts.drives import Drive, DrivenContract

RUN: Final = "01940000-0000-7000-8000-000000000001"
KEY: Final = f"{RUN}/split/1.0/1-{'a' * 64}"
OTHER: Final = f"{RUN}/split/1.0/2-{'a' * 64}"
#: More than the part size of multipart uploads, which are not create-only.
LARGE: Final = 6 * 1024 * 1024
UNFIT: Final = {
    "empty": "",
    "upwards": "../outside",
    "upwards inside": f"{RUN}/../../outside",
    "here": f"{RUN}/./x",
    "absolute": "/outside",
    "folder": f"{RUN}/",
    "empty part": f"{RUN}//x",
    "hidden": f"{RUN}/.x",
    "backslash": "a\\..\\..\\outside",
    "drive": "C:x",
    "escape": "a%2e%2e",
    "NUL": "a\x00b",
    "line": "a\n",
    "space": "a b",
    "wildcard": "a*",
    "surrogate": "a\ud800",
    "long part": "a" * 251,
    "long part in bytes": "ä" * 126,
    "long": "/".join(["a" * 250] * 5),
}


class BlobStoreContract(DrivenContract):
    """What every blob store must do; the `blob_store` fixture is empty."""

    # Keys.

    @pytest.mark.parametrize("key", ["a", "a/b", "1.0", "ä/ß-1", "a@1=2+3~4_5", "x/" * 100 + "x", "ä" * 125])
    def test_key_of_letters_digits_and_some_signs_is_taken(self, blob_store: BlobStore, drive: Drive, key: str) -> None:
        """A key made of parts that every store can hold is taken and listed as it is."""
        drive(blob_store.put(key, b"x"))
        assert drive(blob_store.get(key)) == b"x"
        assert list(drive(blob_store.list("", limit=10))) == [key]

    @pytest.mark.parametrize("key", UNFIT.values(), ids=UNFIT.keys())
    def test_any_other_key_is_refused(self, blob_store: BlobStore, drive: Drive, key: str) -> None:
        """A key that could leave the root, or that some store cannot hold, is refused by every method."""
        for call in (blob_store.put(key, b"x"), blob_store.get(key), blob_store.delete(key)):
            with pytest.raises(InvalidInput, match="blob key"):
                drive(call)
        assert list(drive(blob_store.list("", limit=10))) == []

    # Put.

    @pytest.mark.parametrize(
        "data", [b"", b"x", bytes(range(256)), b"\x00" * LARGE], ids=["empty", "byte", "all bytes", "large"]
    )
    def test_put_stores_the_bytes(self, blob_store: BlobStore, drive: Drive, data: bytes) -> None:
        """What was put is what is got, whatever the bytes and however many."""
        drive(blob_store.put(KEY, data))
        got = drive(blob_store.get(KEY))
        assert got == data
        assert type(got) is bytes

    @pytest.mark.parametrize("size", [5, LARGE])
    def test_existing_key_keeps_its_bytes(self, blob_store: BlobStore, drive: Drive, size: int) -> None:
        """A second put under a key succeeds and changes nothing."""
        drive(blob_store.put(KEY, b"first"))
        drive(blob_store.put(KEY, b"n" * size))
        assert drive(blob_store.get(KEY)) == b"first"

    def test_one_of_many_puts_at_once_wins(self, blob_store: BlobStore) -> None:
        """Of puts that race for a key all succeed, and the bytes of exactly one of them stay."""
        rivals = [bytes([n]) * 10_000 for n in range(16)]

        async def race() -> set[bytes]:
            await asyncio.gather(*(blob_store.put(KEY, data) for data in rivals))
            return {await blob_store.get(KEY) for _ in range(3)}

        (winner,) = asyncio.run(race())
        assert winner in rivals

    # Get.

    def test_missing_key_is_blob_missing(self, blob_store: BlobStore, drive: Drive) -> None:
        """Getting what was never put raises BlobMissing with the key."""
        drive(blob_store.put(KEY, b"x"))
        with pytest.raises(BlobMissing) as caught:
            drive(blob_store.get(OTHER))
        assert caught.value.key == OTHER

    def test_folder_is_no_blob(self, blob_store: BlobStore, drive: Drive) -> None:
        """A key that others begin with is missing."""
        drive(blob_store.put(KEY, b"x"))
        with pytest.raises(BlobMissing):
            drive(blob_store.get(RUN))

    # Delete.

    def test_delete_removes_the_key_alone(self, blob_store: BlobStore, drive: Drive) -> None:
        """A deleted key is missing and no longer listed; its neighbours stay."""
        drive(blob_store.put(KEY, b"x"))
        drive(blob_store.put(OTHER, b"y"))
        drive(blob_store.delete(KEY))
        with pytest.raises(BlobMissing):
            drive(blob_store.get(KEY))
        assert list(drive(blob_store.list("", limit=10))) == [OTHER]
        assert drive(blob_store.get(OTHER)) == b"y"

    def test_delete_of_a_missing_key_is_harmless(self, blob_store: BlobStore, drive: Drive) -> None:
        """Deleting a key that is not there, or a second time, changes nothing."""
        drive(blob_store.put(KEY, b"x"))
        for missing in (OTHER, OTHER, KEY[:-1]):
            drive(blob_store.delete(missing))
        assert drive(blob_store.get(KEY)) == b"x"

    def test_deleted_key_can_be_put_again(self, blob_store: BlobStore, drive: Drive) -> None:
        """A key that was deleted is free."""
        drive(blob_store.put(KEY, b"first"))
        drive(blob_store.delete(KEY))
        drive(blob_store.put(KEY, b"second"))
        assert drive(blob_store.get(KEY)) == b"second"

    # List.

    def test_list_is_in_order_of_key(self, blob_store: BlobStore, drive: Drive) -> None:
        """Keys are listed in order of their characters, slashes included, whatever the order of their puts."""
        keys = ["b", "a/b", "a.b", "a/a/z", "a-b", "a/a", "aa", "A", "a0", "ä"]
        # A name that is both a blob and a folder does not exist in every store.
        keys.remove("a/a")
        for key in keys:
            drive(blob_store.put(key, b"x"))
        assert list(drive(blob_store.list("", limit=100))) == sorted(keys)

    @pytest.mark.parametrize(
        ("prefix", "expected"),
        [
            ("", ["r1/a", "r1/ab", "r1/b/c", "r10/a", "r2"]),
            ("r1", ["r1/a", "r1/ab", "r1/b/c", "r10/a"]),
            ("r1/", ["r1/a", "r1/ab", "r1/b/c"]),
            ("r1/a", ["r1/a", "r1/ab"]),
            ("r1/b/c", ["r1/b/c"]),
            ("r1/a/", []),
            ("r3", []),
            ("r3/a", []),
            ("../", []),
            ("../r1", []),
            ("/", []),
        ],
    )
    def test_list_keeps_to_the_prefix(
        self, *, blob_store: BlobStore, drive: Drive, prefix: str, expected: list[str]
    ) -> None:
        """Listed is what begins with the prefix as text, also in the middle of a part; an unfit prefix has no keys."""
        for key in ("r1/a", "r1/ab", "r1/b/c", "r10/a", "r2"):
            drive(blob_store.put(key, b"x"))
        assert list(drive(blob_store.list(prefix, limit=100))) == expected

    @pytest.mark.parametrize(
        ("after", "expected"),
        [
            ("r1/a", ["r1/b/c", "r10/a", "r2"]),
            ("r1/b", ["r1/b/c", "r10/a", "r2"]),
            ("r1/b/c", ["r10/a", "r2"]),
            ("r1/z/z", ["r10/a", "r2"]),
            ("r0", ["r1/a", "r1/b/c", "r10/a", "r2"]),
            ("r2", []),
        ],
    )
    def test_list_begins_after_the_given_key(
        self, *, blob_store: BlobStore, drive: Drive, after: str, expected: list[str]
    ) -> None:
        """Listed is what comes after a key, which need not exist and is not listed itself."""
        for key in ("r1/a", "r1/b/c", "r10/a", "r2"):
            drive(blob_store.put(key, b"x"))
        assert list(drive(blob_store.list("", limit=100, after=after))) == expected

    def test_list_is_bounded_and_pages_meet(self, blob_store: BlobStore, drive: Drive) -> None:
        """Pages of at most the limit, each after the last key of the one before, give every key once."""
        keys = [f"r{n % 3}/s{n:02}/{n}" for n in range(23)]
        for key in keys:
            drive(blob_store.put(key, b"x"))
        pages: list[list[str]] = [list(drive(blob_store.list("r", limit=5)))]
        while pages[-1]:
            pages.append(list(drive(blob_store.list("r", limit=5, after=pages[-1][-1]))))
        assert [len(page) for page in pages] == [5, 5, 5, 5, 3, 0]
        assert [key for page in pages for key in page] == sorted(keys)

    def test_list_of_none_is_empty(self, blob_store: BlobStore, drive: Drive) -> None:
        """A limit of zero gives no keys."""
        drive(blob_store.put(KEY, b"x"))
        assert list(drive(blob_store.list("", limit=0))) == []
