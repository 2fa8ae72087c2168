"""Which of the edges that lead away from a stage is taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from holdfast.entities.graph import Edge


class Unroutable(Exception):
    """Raise when no edge can be chosen; the stage keeps its output, and the run can be retried after a fix."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)


def choose(edges: Sequence[Edge], *, of: str, matches: Callable[[Edge], bool]) -> Edge:
    """Return the one edge of the highest priority that matches.

    Args:
        edges: The edges to choose from.
        of: The stage that they lead away from, for the error.
        matches: Whether the condition of an edge is true; asked for edges that have one, the highest priority first.

    Raises:
        Unroutable: If several of the highest priority match, or none does.
    """
    if len(edges) == 1 and edges[0].condition is None:
        return edges[0]
    by_priority = sorted(edges, key=lambda edge: -edge.priority)
    for priority, group in groupby(by_priority, key=lambda edge: edge.priority):
        matching = [edge for edge in group if edge.condition is None or matches(edge)]
        if len(matching) == 1:
            return matching[0]
        if matching:
            named = " and ".join(f'"{described(edge)}"' for edge in matching)
            raise Unroutable(
                "AMBIGUOUS_EDGE",
                f'Behind "{of}" the edges {named} match, all with priority {priority}. '
                "Give one a higher priority, or make the conditions exclude each other; then retry the run.",
            )
    raise Unroutable("NO_EDGE", f'Behind "{of}" no edge matches. Add one without a condition; then retry the run.')


def described(edge: Edge) -> str:
    """Return the edge as a person would say it: where it leads and when."""
    targets = " and ".join("the end" if target == "~end" else target for target in edge.targets)
    return f"to {targets} if {edge.condition.label}" if edge.condition else f"to {targets} otherwise"
