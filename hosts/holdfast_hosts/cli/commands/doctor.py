"""`holdfast doctor`: what one types."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from holdfast_hosts.cli.looping import carry_out
from holdfast_hosts.cli.options import DEFAULTS, Common


def doctor(
    modules: Annotated[tuple[str, ...], Parameter(help="Modules whose workflows shall cover every live run.")] = (),
    /,
    *,
    common: Common = DEFAULTS,
) -> int:
    """Check the store and everything in it.

    Ends in 6 when something is wrong. A warning is worth a look but ends in 0.
    """
    from holdfast_hosts.cli.acts.doctor import doctor as act

    return carry_out(act(modules, common=common))
