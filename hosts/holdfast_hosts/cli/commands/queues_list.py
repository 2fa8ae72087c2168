"""`holdfast queues list`: what one types."""

from __future__ import annotations

from holdfast_hosts.cli.looping import carry_out
from holdfast_hosts.cli.options import DEFAULTS, Common


def list_queues(*, common: Common = DEFAULTS) -> int:
    """List the queues that have limits or live jobs, with what waits in them."""
    from holdfast_hosts.cli.acts.queues import list_queues as act

    return carry_out(act(common=common))
