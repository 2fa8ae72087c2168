"""`holdfast queues pause`: what one types."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from holdfast_hosts.cli.looping import carry_out
from holdfast_hosts.cli.options import DEFAULTS, Common


def pause(queue: Annotated[str, Parameter(help="The queue.")], /, *, common: Common = DEFAULTS) -> int:
    """Hold a queue back: what executes goes on, and no other job of it begins.

    Pausing a paused queue again changes nothing.
    """
    from holdfast_hosts.cli.acts.queues import hold

    return carry_out(hold(queue, paused=True, common=common))
