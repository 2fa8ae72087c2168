"""`holdfast workflows show`: what one types."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from holdfast_hosts.cli.options import DEFAULTS, Common


def show_workflow(
    target: Annotated[str, Parameter(help="The workflow: package.module:name or path/to/file.py:name.")],
    /,
    *,
    version: Annotated[str | None, Parameter(help="The workflow's version; the latest if left out.")] = None,
    common: Common = DEFAULTS,
) -> int:
    """Show one workflow with its stages."""
    from holdfast_hosts.cli.acts.workflows_show import show_workflow as act

    return act(target, version=version, common=common)
