"""`holdfast workflows show`."""

from __future__ import annotations

from holdfast_hosts.cli.loading import load_workflow
from holdfast_hosts.cli.options import Common
from holdfast_hosts.cli.output import answer, show
from holdfast_hosts.cli.shapes import edge_shape, spec_shape, workflow_shape


def show_workflow(target: str, *, version: str | None, common: Common) -> int:
    """Show the workflow that *target* names.

    Raises:
        DefinitionError: If it cannot be built.
        UnknownWorkflow: If it has no such version.
        Told: If it cannot be found.
    """
    registry, latest = load_workflow(target)
    definition = registry.get(latest.id, version)
    if common.json:
        answer(
            {
                **workflow_shape(definition),
                "stages": [spec_shape(spec) for spec in definition.stages.values()],
                "edges": [edge_shape(edge) for edge in definition.edges],
            }
        )
        return 0
    from holdfast_hosts.cli.rendering.workflow_table import workflow_page

    show(*workflow_page(definition))
    return 0
