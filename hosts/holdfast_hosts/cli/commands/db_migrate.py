"""`holdfast db migrate`: what one types."""

from __future__ import annotations

from holdfast_hosts.cli.looping import carry_out
from holdfast_hosts.cli.options import DEFAULTS, Common


def migrate(*, common: Common = DEFAULTS) -> int:
    """Create the store or bring its schema up to date.

    Migrations only go forward. Several processes may do this at once; each migration is applied once.
    """
    from holdfast_hosts.cli.acts.db import migrate as act

    return carry_out(act(common))
