"""`holdfast demo`: what one types."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from holdfast_hosts.cli.looping import carry_out
from holdfast_hosts.cli.options import DEFAULTS, Common


def demo(
    *,
    orders: Annotated[Path | None, Parameter(help="A file of orders; a sample comes with the package.")] = None,
    fresh: Annotated[bool, Parameter(help="Cancel what earlier starts left unfinished and begin a new batch.")] = False,
    common: Common = DEFAULTS,
) -> int:
    """Run a sample workflow for a list of orders and watch it.

    Kill it half-way, even with kill -9, and start it again: it goes on where it was, and no finished stage runs twice.
    """
    from holdfast_hosts.cli.demo.act import demo as act

    return carry_out(act(orders, fresh=fresh, common=common))
