"""`holdfast run`: what one types."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import attrs
from cyclopts import Parameter

from holdfast_hosts.cli.looping import carry_out
from holdfast_hosts.cli.options import DEFAULTS, Common


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class RunOptions:
    """How a run is created and waited for, as it was typed."""

    input: Annotated[str, Parameter(allow_leading_hyphen=True, help="JSON, @file, or - for standard input.")] = "null"
    config: Annotated[
        str | None, Parameter(allow_leading_hyphen=True, help="Config slices by stage id: JSON, @file, or -.")
    ] = None
    key: Annotated[str | None, Parameter(help="Idempotency key: the same key is the same run.")] = None
    tenant: Annotated[str, Parameter(help="To whom the run belongs; tenants take turns.")] = ""
    concurrency_key: Annotated[
        str, Parameter(help="What its jobs count under in queues that limit how many of one key execute at once.")
    ] = ""
    singleton: Annotated[str | None, Parameter(help="Of the workflow's runs with this key one goes on at a time.")] = (
        None
    )
    if_taken: Annotated[
        Literal["queue", "skip", "replace"],
        Parameter(help="While another run has the singleton key: queue behind it, skip this one, or replace that one."),
    ] = "queue"
    priority: Annotated[int, Parameter(help="Runs of higher priority are admitted first.")] = 5
    version: Annotated[str | None, Parameter(help="The workflow's version; the latest if left out.")] = None
    state: Annotated[
        str | None, Parameter(allow_leading_hyphen=True, help="What the run's state is at first: JSON, @file, or -.")
    ] = None
    start_at: Annotated[
        str | None, Parameter(help="When the run may begin, such as 2026-01-31T09:00; local time unless it says more.")
    ] = None
    start_in: Annotated[str | None, Parameter(help="After how long the run may begin, such as 2h.")] = None
    wait: Annotated[bool, Parameter(help="Execute the run here and wait for its end.")] = False
    timeout: Annotated[
        str | None, Parameter(help="How long to wait, such as 30s; the run itself goes on after that.")
    ] = None
    until_waiting: Annotated[bool, Parameter(help="With --wait: end in 8 as soon as the run waits for somebody.")] = (
        False
    )


PLAIN: Final = RunOptions()


def run(
    target: Annotated[str, Parameter(help="The workflow: package.module:name or path/to/file.py:name.")],
    /,
    *,
    options: RunOptions = PLAIN,
    common: Common = DEFAULTS,
) -> int:
    """Create a run of a workflow, and wait for it if you like.

    Without --wait the run is left to the workers of the store. With --wait this process works on it too, so nothing
    else has to be running; it ends in 0 when the run completes, in 1 when it fails, in 7 when --timeout runs out. A run
    that waits for somebody is told of with the command that answers it, and goes on here once that is done anywhere.
    """
    from holdfast_hosts.cli.acts.run import run as act

    return carry_out(act(target, options, common=common))
