"""The one form in which everything that goes wrong is told: what – where – why – what to do – code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from holdfast_hosts.cli.exits import Exit


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that went wrong, ready to be told to a person or a script."""

    code: str
    #: What happened, one sentence.
    what: str
    #: Source lines, files or stores it is about.
    where: tuple[str, ...] = ()
    #: Why, one sentence each.
    why: tuple[str, ...] = ()
    #: What to do, one sentence or command each.
    fix: tuple[str, ...] = ()
    exit: Exit = Exit.FAILED

    def as_text(self) -> str:
        """Return the problem as lines for a terminal."""
        lines = [f"{self.code}  {self.what}"]
        lines += [f"  {line}" for part in (self.where, self.why) for text in part for line in text.splitlines()]
        lines += [f"  → {line}" for text in self.fix for line in text.splitlines()]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Return the problem as JSON values."""
        return {
            "error": {
                "code": self.code,
                "what": self.what,
                "where": list(self.where),
                "why": list(self.why),
                "fix": list(self.fix),
                "exit": int(self.exit),
            }
        }


class Told(Exception):
    """Raise to end a command with a problem that the command line itself has found."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.what)
