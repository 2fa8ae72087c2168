"""`holdfast workflows graph`: what one types."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import attrs
from cyclopts import Parameter

from holdfast_hosts.cli.looping import carry_out
from holdfast_hosts.cli.options import DEFAULTS, Common


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class GraphOptions:
    """What is drawn, and how, as it was typed."""

    version: Annotated[str | None, Parameter(help="The workflow's version; the latest if left out.")] = None
    format: Annotated[
        Literal["mermaid", "svg"] | None,
        Parameter(help="Text for Mermaid, or a drawing; that of the file's name if left out, else mermaid."),
    ] = None
    output: Annotated[Path | None, Parameter(help="The file to write instead of standard output.")] = None
    run: Annotated[
        str | None,
        Parameter(help="Show what became of this run: its id, a unique prefix of it, or its idempotency key."),
    ] = None


PLAIN: Final = GraphOptions()


def graph(
    target: Annotated[str, Parameter(help="The workflow: package.module:name or path/to/file.py:name.")],
    /,
    *,
    options: GraphOptions = PLAIN,
    common: Common = DEFAULTS,
) -> int:
    """Draw a workflow, as Mermaid text or as SVG.

    With --run the version is that of the run, and the drawing shows how far the run came and which ways it took.
    """
    from holdfast_hosts.cli.acts.workflows_graph import graph as act

    return carry_out(act(target, options, common=common))
