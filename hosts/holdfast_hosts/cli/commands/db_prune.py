"""`holdfast db prune`: what one types."""

from __future__ import annotations

from typing import Annotated, Final

import attrs
from cyclopts import Parameter

from holdfast_hosts.cli.looping import carry_out
from holdfast_hosts.cli.options import DEFAULTS, Common


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class PruneOptions:
    """What may go, as it was typed."""

    older_than: Annotated[str, Parameter(help="Runs go that ended so long ago, such as 90d.")] = "30d"
    keep_results: Annotated[str, Parameter(help="Runs that made results under keys stay at least so long.")] = "30d"
    keep_operations: Annotated[
        str, Parameter(help="Idempotency keys and operation ids are kept so long after their run has gone.")
    ] = "30d"
    batch: Annotated[int, Parameter(help="Runs that are looked at in one transaction.")] = 500
    blobs: Annotated[bool, Parameter(help="Then look through all blobs for those whose run is not there.")] = False
    grace: Annotated[str, Parameter(help="With --blobs: leave those alone whose run id is younger.")] = "1d"
    forget_sink: Annotated[
        tuple[str, ...], Parameter(help="Sinks that are gone for good: what they have not taken keeps no run.")
    ] = ()
    dry_run: Annotated[bool, Parameter(help="Say how much would go, and remove nothing.")] = False
    yes: Annotated[bool, Parameter(help="Do not ask.")] = False


MONTH: Final = PruneOptions()


def prune(*, options: PruneOptions = MONTH, common: Common = DEFAULTS) -> int:
    """Remove runs that ended long ago, with everything that belongs to them.

    A run stays while its parent or a child is live, while a sink has not taken all its events, and while its results
    under keys are kept. Workers may go on meanwhile. It may be interrupted and repeated at any time.
    """
    from holdfast_hosts.cli.acts.db_prune import prune as act

    return carry_out(act(options, common=common))
