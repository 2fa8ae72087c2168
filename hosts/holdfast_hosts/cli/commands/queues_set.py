"""`holdfast queues set`: what one types."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from holdfast_hosts.cli.looping import carry_out
from holdfast_hosts.cli.options import DEFAULTS, Common


def set_queue(
    queue: Annotated[str, Parameter(help="The queue.")],
    /,
    *,
    concurrency: Annotated[str | None, Parameter(help="How many of its jobs execute at once; none for any.")] = None,
    per_key: Annotated[
        str | None, Parameter(help="How many of those of one tenant and concurrency key; none for any.")
    ] = None,
    rate: Annotated[
        str | None, Parameter(help="How many tokens a period gives, such as 100/1m; none for no rate.")
    ] = None,
    burst: Annotated[
        str | None, Parameter(help="How many tokens are saved up at most; none for as many as a period gives.")
    ] = None,
    common: Common = DEFAULTS,
) -> int:
    """Change the limits of a queue; those that are left out stay.

    They hold for every worker of the store at once. Jobs that execute already go on.
    """
    from holdfast_hosts.cli.acts.queues import Wish
    from holdfast_hosts.cli.acts.queues import set_queue as act

    wish = Wish(concurrency=concurrency, per_key=per_key, rate=rate, burst=burst)
    return carry_out(act(queue, wish, common=common))
