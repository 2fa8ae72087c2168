"""`holdfast runs list`: what one types."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from holdfast_hosts.cli.looping import carry_out
from holdfast_hosts.cli.options import DEFAULTS, Common


def list_runs(
    *,
    status: Annotated[
        list[str] | None, Parameter(help="Only runs of this status, such as failed; may be repeated.")
    ] = None,
    workflow: Annotated[str | None, Parameter(help="Only runs of this workflow.")] = None,
    key: Annotated[str | None, Parameter(help="Only the run of this idempotency key.")] = None,
    limit: Annotated[int, Parameter(help="How many runs to list, at most 1000.")] = 20,
    before: Annotated[str | None, Parameter(help="Only runs older than this one: the next page.")] = None,
    common: Common = DEFAULTS,
) -> int:
    """List runs, newest first."""
    from holdfast_hosts.cli.acts.runs_list import list_runs as act

    return carry_out(act(status or (), workflow=workflow, key=key, limit=limit, before=before, common=common))
