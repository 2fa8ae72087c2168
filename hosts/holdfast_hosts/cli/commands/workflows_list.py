"""`holdfast workflows list`: what one types."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from holdfast_hosts.cli.options import DEFAULTS, Common


def list_workflows(
    *modules: Annotated[str, Parameter(help="A module: package.module or path/to/file.py.")],
    common: Common = DEFAULTS,
) -> int:
    """List the workflows that modules define, with every version."""
    from holdfast_hosts.cli.acts.workflows_list import list_workflows as act

    return act(modules, common=common)
