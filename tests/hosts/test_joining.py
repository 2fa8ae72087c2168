"""A kernel for transactions of the application's is made of a URL and connects to nothing."""

from __future__ import annotations

import pytest

from holdfast import Registry, stage, workflow
from holdfast.errors import UnusableStore
from holdfast_adapters.postgres import PostgresPersistence
from holdfast_hosts.joining import transactional_kernel


@stage
def one(given: int) -> int:
    """Return what was given."""
    return given


REGISTRY = Registry([workflow("one", input=int).pipe(one)])


def test_a_kernel_is_made_without_a_server() -> None:
    """Making the kernel needs neither a server nor an event loop."""
    kernel = transactional_kernel("postgresql://nobody@nowhere.invalid/nothing", registry=REGISTRY)
    assert isinstance(kernel.ports.persistence, PostgresPersistence)
    assert kernel.ports.definitions is REGISTRY


@pytest.mark.parametrize("url", ["memory:", "sqlite:///holdfast.db"])
def test_another_store_is_refused(url: str) -> None:
    """A store that has no transactions to share says which one has."""
    with pytest.raises(UnusableStore, match="postgresql://"):
        transactional_kernel(url, registry=REGISTRY)
