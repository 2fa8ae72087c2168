"""`holdfast workflows list`."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast_hosts.cli.loading import load_registry
from holdfast_hosts.cli.options import Common
from holdfast_hosts.cli.output import answer, note, show
from holdfast_hosts.cli.shapes import workflow_shape
from holdfast_hosts.cli.spelling import counted
from holdfast_hosts.cli.usage import misused


def list_workflows(modules: Sequence[str], *, common: Common) -> int:
    """List the workflows of *modules*.

    Raises:
        DefinitionError: If a workflow cannot be built.
        Told: If no module is named, or one cannot be loaded.
    """
    if not modules:
        raise misused("No module is named.", fix="Name one, such as: holdfast workflows list flows.py")
    definitions = load_registry(modules).definitions()
    if common.json:
        answer({"workflows": [workflow_shape(one) for one in definitions]})
        return 0
    from holdfast_hosts.cli.rendering.workflow_table import workflow_table

    show(workflow_table(definitions))
    note(counted(len(definitions), "workflow"))
    return 0
