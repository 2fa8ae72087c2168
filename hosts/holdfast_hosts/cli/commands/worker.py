"""`holdfast worker`: what one types."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from holdfast_hosts.cli.options import DEFAULTS, Common


def worker(
    module: Annotated[
        str, Parameter(help="A module with workflows: package.module or path/to/file.py, or one workflow: module:name.")
    ],
    /,
    *modules: Annotated[str, Parameter(help="Further modules.")],
    concurrency: Annotated[int, Parameter(help="How many jobs are executed at once.")] = 16,
    queue: Annotated[list[str] | None, Parameter(help="A queue to serve; may be repeated.  [default: default]")] = None,
    common: Common = DEFAULTS,
) -> int:
    """Execute the runs of your workflows until stopped.

    Ctrl-C or SIGTERM lets attempts finish and hands back the rest; a second one stops at once. What a killed worker
    left behind comes back by itself when its leases end.
    """
    from holdfast_hosts.cli.acts.worker import worker as act

    return act((module, *modules), concurrency=concurrency, queues=queue or (), common=common)
