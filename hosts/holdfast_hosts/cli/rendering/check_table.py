"""What the doctor found, as a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rich.table import Table
from rich.text import Text

from holdfast_hosts.cli.checks import Check, Verdict
from holdfast_hosts.cli.spelling import clean

_LOOKS: Final = {
    Verdict.OK: ("✓ ok", "green"),
    Verdict.LOOK: ("! look", "yellow"),
    Verdict.WRONG: ("✕ wrong", "bold red"),
}


def check_table(checks: Iterable[Check]) -> Table:
    """Return the table of *checks*, each with why it matters and what to do below."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for check in checks:
        word, style = _LOOKS[check.verdict]
        lines = [check.words, *([check.why] if check.why else []), *([f"→ {check.fix}"] if check.fix else [])]
        table.add_row(Text(word, style=style), Text(check.name), Text(clean("\n".join(lines))))
    return table
