"""Which store URLs are understood, and what is said to the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.errors import UnusableStore
from holdfast_hosts.store_url import StoreKind, StoreUrl


def test_memory_is_a_store_without_a_file() -> None:
    """The URL memory: names a store in memory."""
    for text in ("memory:", "memory://", "MEMORY:"):
        url = StoreUrl.parse(text)
        assert (url.kind, url.path, str(url)) == (StoreKind.MEMORY, None, "memory:")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("sqlite:///holdfast.db", "holdfast.db"),
        ("sqlite:///data/holdfast.db", "data/holdfast.db"),
        ("sqlite:////var/lib/holdfast.db", "/var/lib/holdfast.db"),
        ("SQLite:///with%20space.db", "with space.db"),
        ("sqlite:///C:/data/holdfast.db", "C:/data/holdfast.db"),
    ],
)
def test_three_slashes_are_relative_and_four_absolute(text: str, path: str) -> None:
    """A SQLite URL names a file, relative behind three slashes and absolute behind four."""
    url = StoreUrl.parse(text)
    assert (url.kind, url.path) == (StoreKind.SQLITE, Path(path))
    assert StoreUrl.parse(str(url)) == url


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a store URL"),
        ("holdfast.db", "not a store URL"),
        ("mysql://host/db", 'no kind of store "mysql"'),
        ("sqlite:", "names no database file"),
        ("sqlite:///", "names no database file"),
        ("sqlite://host/x.db", "names no database file"),
        ("sqlite:///:memory:", "Use memory:"),
        ("sqlite:///x.db?mode=ro", "no options"),
        ("memory:///x", "has no name"),
    ],
)
def test_other_urls_are_refused_with_the_way_out(text: str, words: str) -> None:
    """A URL that names no store is refused; nothing else is opened instead."""
    with pytest.raises(UnusableStore) as caught:
        StoreUrl.parse(text)
    assert words in str(caught.value)
    assert "memory:" in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_postgres_keeps_its_password_to_itself(scheme: str) -> None:
    """A Postgres URL names a database by whichever scheme; what is shown of it holds no password."""
    url = StoreUrl.parse(f"{scheme}://user:hunter2@host/db?sslmode=require&password=hunter2")
    assert (url.kind, url.path) == (StoreKind.POSTGRES, None)
    assert url.address == "postgresql://user:hunter2@host/db?sslmode=require&password=hunter2"
    assert str(url) == "postgresql://user:…@host/db?sslmode=require&password=…"
    assert "hunter2" not in repr(url)
    assert StoreUrl.parse(str(StoreUrl.parse("postgresql://user@host/db"))).address == "postgresql://user@host/db"


@pytest.mark.parametrize("rest", ["", "db", "user:hunter2@host/db"])
def test_postgres_without_a_database_is_refused_without_its_password(rest: str) -> None:
    """A Postgres URL that names no database is refused with the form, and what it held is not repeated."""
    with pytest.raises(UnusableStore, match="postgresql://user@host/database") as caught:
        StoreUrl.parse(f"postgresql:{rest}")
    assert "hunter2" not in str(caught.value)


def test_postgres_words_of_ours_are_not_for_libpq() -> None:
    """What a URL says of notifications is taken out of the address, and the rest of it stays as it was written."""
    plain = StoreUrl.parse("postgresql://user:p%40ss@/db?host=%2Frun&host=b")
    assert (plain.notify, plain.listen_at) == (True, None)
    assert plain.address == "postgresql://user:p%40ss@/db?host=%2Frun&host=b"
    off = StoreUrl.parse("postgresql://user@host/db?notify=off&sslmode=require")
    assert (off.notify, off.address) == (False, "postgresql://user@host/db?sslmode=require")
    assert StoreUrl.parse("postgresql://user@host/db?notify=on").address == "postgresql://user@host/db"


def test_postgres_listens_past_a_pooler() -> None:
    """The listening connection goes to the server that is named, as the same user to the same database."""
    url = StoreUrl.parse("postgresql://user:hunter2@pooler:6432/db?sslmode=require&listen=server:5432")
    assert url.address == "postgresql://user:hunter2@pooler:6432/db?sslmode=require"
    assert url.listen_at == "postgresql://user:hunter2@server:5432/db?sslmode=require"
    assert "hunter2" not in repr(url)
    other = StoreUrl.parse("postgresql:///db?listen=%2Frun&host=pooler&port=6432&user=u")
    assert other.listen_at == "postgresql://%2Frun/db?user=u"


@pytest.mark.parametrize("words", ["notify=perhaps", "notify=", "listen=", "listen=a/b", "listen=u:hunter2@h"])
def test_postgres_words_that_make_no_sense_are_refused(words: str) -> None:
    """A word of ours with a value that it cannot have is refused by name, without the password."""
    with pytest.raises(UnusableStore, match=words.partition("=")[0]) as caught:
        StoreUrl.parse(f"postgresql://user:hunter2@host/db?{words}")
    assert "hunter2" not in str(caught.value)
