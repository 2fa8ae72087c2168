"""`holdfast db sql`: what one types."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from holdfast_hosts.cli.looping import carry_out
from holdfast_hosts.cli.options import DEFAULTS, Common


def sql(
    *,
    first: Annotated[int, Parameter(name="--from", help="The first migration to print, by its number.")] = 1,
    common: Common = DEFAULTS,
) -> int:
    """Print the migrations as SQL, for review or for whoever may change the schema.

    Each is a transaction of its own that ends with noting itself, so that psql -f, or sqlite3 -bail, leaves what
    db migrate would. The store is not looked at; --store says for which kind the SQL is.
    """
    from holdfast_hosts.cli.acts.db import sql as act

    return carry_out(act(first=first, common=common))
