"""The workflows that a process can execute, by id and version."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from holdfast.authoring.classes import definition_of
from holdfast.authoring.flow import Flow
from holdfast.authoring.mistakes import different_definition
from holdfast.entities.definition import Definition
from holdfast.errors import UnknownWorkflow

_PARTS: Final = re.compile(r"[0-9]+|[A-Za-z]+")

#: The order of versions: what stands before the first hyphen, then whether it is a release, then the rest.
VersionOrder = tuple[Any, ...]


class Registry:
    """The registered workflow versions of a process."""

    __slots__ = ("_definitions",)

    def __init__(self, workflows: Iterable[Flow[Any, Any] | Definition | type[Any]] = ()) -> None:
        self._definitions: dict[str, dict[str, Definition]] = {}
        for one in workflows:
            self.add(one)

    def add(self, workflow: Flow[Any, Any] | Definition | type[Any]) -> None:
        """Register a workflow; registering the same one again changes nothing.

        A class that `flow` decorates is one too, whatever a type checker takes it for.

        Raises:
            DefinitionError: If it cannot be built, or another one has the same id and version.
        """
        definition = workflow if isinstance(workflow, Definition) else definition_of(workflow)
        versions = self._definitions.setdefault(definition.id, {})
        if versions.setdefault(definition.version, definition) is not definition:
            raise different_definition(definition)

    def get(self, workflow_id: str, version: str | None = None) -> Definition:
        """Return the definition; the latest version when *version* is None.

        Raises:
            UnknownWorkflow: If it is not registered here.
        """
        versions = self._definitions.get(workflow_id, {})
        wanted = max(versions, key=version_order, default=None) if version is None else version
        if wanted is None or wanted not in versions:
            known = tuple(definition.name for definition in self.definitions())
            raise UnknownWorkflow(workflow_id, version=version, known=known)
        return versions[wanted]

    def known(self) -> frozenset[tuple[str, str]]:
        """Return every registered (workflow id, version)."""
        return frozenset((one.id, one.version) for one in self.definitions())

    def definitions(self) -> tuple[Definition, ...]:
        """Return every registered definition, by id, older versions first."""
        return tuple(
            self._definitions[workflow_id][version]
            for workflow_id in sorted(self._definitions)
            for version in sorted(self._definitions[workflow_id], key=version_order)
        )


def version_order(version: str) -> VersionOrder:
    """Return what versions are sorted by: those of semantic versions, with numbers anywhere counted by value."""
    release, _, rest = version.partition("-")
    return _natural(release), not rest, _natural(rest), version


def _natural(text: str) -> tuple[tuple[bool, int, str], ...]:
    parts = _PARTS.findall(text)
    return tuple((False, int(part), "") if part.isdigit() else (True, 0, part) for part in parts)
