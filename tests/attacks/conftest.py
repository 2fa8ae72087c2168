"""What all attacks are run against."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of each kind of store."""
    return "memory:" if request.param == "memory" else f"sqlite:///{tmp_path / 'attacked.db'}"
