"""`holdfast db status`: what one types."""

from __future__ import annotations

from holdfast_hosts.cli.looping import carry_out
from holdfast_hosts.cli.options import DEFAULTS, Common


def status(*, common: Common = DEFAULTS) -> int:
    """Show which migrations are applied.

    Ends in 6 when some are lacking. Nothing is changed.
    """
    from holdfast_hosts.cli.acts.db import status as act

    return carry_out(act(common))
