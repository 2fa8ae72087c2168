"""`holdfast queues unpause`: what one types."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from holdfast_hosts.cli.looping import carry_out
from holdfast_hosts.cli.options import DEFAULTS, Common


def unpause(queue: Annotated[str, Parameter(help="The queue.")], /, *, common: Common = DEFAULTS) -> int:
    """Let a paused queue go on, within its limits."""
    from holdfast_hosts.cli.acts.queues import hold

    return carry_out(hold(queue, paused=False, common=common))
