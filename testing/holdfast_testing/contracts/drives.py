"""The two ways in which the kernel is driven; an adapter must serve both."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar, cast

import pytest

from holdfast.driving import run_sync

T = TypeVar("T")


class Drive(Protocol):
    """Carries out a coroutine and returns its result."""

    def __call__(self, coroutine: Coroutine[Any, Any, T], /) -> T:
        """Return the result of *coroutine*."""
        ...


class DrivenContract:
    """A contract that holds with and without an event loop."""

    @pytest.fixture(params=[asyncio.run, run_sync], ids=["in a loop", "without a loop"])
    def drive(self, request: pytest.FixtureRequest) -> Drive:
        """Return the way in which the test calls the port."""
        return cast(Drive, request.param)
