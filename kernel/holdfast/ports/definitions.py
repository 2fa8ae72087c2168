"""The port that knows which workflow versions this process can execute."""

from __future__ import annotations

from typing import Protocol

from holdfast.entities.definition import Definition
from holdfast.ports.work import KnownWorkflow


class Definitions(Protocol):
    """The registered workflow versions."""

    def get(self, workflow_id: str, version: str | None = None) -> Definition:
        """Return the definition; the latest version when *version* is None.

        Raises:
            UnknownWorkflow: If it is not registered here.
        """
        ...

    def known(self) -> frozenset[KnownWorkflow]:
        """Return every registered (workflow id, version)."""
        ...
