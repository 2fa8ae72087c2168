"""The graph of a workflow: its edges, its loops, and where each stage stands among them.

Rules, in short. Of the edges that lead away from a stage exactly one is taken; an edge with several targets is a fork.
An edge that is not taken is skipped, and a stage all of whose edges were skipped is skipped itself, so that every
stage where branches meet hears of every edge that leads to it. A loop is entered at one stage, its head; the edges
that lead back to it begin the next turn. A loop is left by one edge, and with it all its other ways out are skipped.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import attrs

#: The pseudo stage that every run begins at.
START: Final = "~start"
#: The pseudo stage that every run ends at.
END: Final = "~end"
#: Bits of a turn for each loop around a stage, the outermost loop in the highest ones.
TURN_BITS: Final = 20
#: So many loops may stand one within the other, for a turn has to fit into a signed integer of 64 bits.
DEEPEST_LOOP: Final = 3


class EdgeOn(enum.Enum):
    """Which outcome of its source an edge is for."""

    OUTPUT = "output"
    #: The wait reached its limit.
    TIMEOUT = "timeout"

    @property
    def said(self) -> str:
        """Why an edge without a condition is taken."""
        return "otherwise" if self is EdgeOn.OUTPUT else "timeout"


@attrs.frozen(kw_only=True)
class Condition:
    """What must be true for an edge to be taken: a pure function of the output, and of the run if it asks."""

    function: Callable[..., Any]
    #: Whether the function takes what the run knows as its second argument.
    takes_run: bool
    #: Its source text, for people.
    label: str
    #: The source line that errors point at, as ``file:line``.
    source: str


@attrs.frozen(kw_only=True)
class Edge:
    """A way from a stage to another one, or to several at once."""

    #: Unique within the workflow.
    id: str
    source: str
    #: In definition order; `END` for the end of the run.
    targets: tuple[str, ...]
    #: None to be taken when no edge of a higher priority is.
    condition: Condition | None = None
    #: The highest of those that match is taken.
    priority: int = 0
    on: EdgeOn = EdgeOn.OUTPUT


@attrs.frozen(kw_only=True)
class Way:
    """One target of one edge."""

    edge: Edge
    target: str


@attrs.frozen(kw_only=True)
class Loop:
    """Stages that may execute again and again."""

    head: str
    members: frozenset[str]
    #: Every way out of the loop.
    exits: tuple[Way, ...]


class LoopError(Exception):
    """Raise for a loop that cannot be understood; *stages* are those it is about."""

    def __init__(self, problem: str, stages: Iterable[str]) -> None:
        self.problem = problem
        self.stages = tuple(stages)
        super().__init__(problem)


@attrs.frozen(kw_only=True)
class Graph:
    """What follows from the edges alone; made by `survey`."""

    #: Edges by the stage they lead away from, `START` included.
    outgoing: Mapping[str, tuple[Edge, ...]]
    #: How many ways lead to each stage and to `END`, those that begin a next turn aside.
    arity: Mapping[str, int]
    #: The heads of the loops around each stage, the outermost first.
    nests: Mapping[str, tuple[str, ...]]
    #: By head.
    loops: Mapping[str, Loop]
    #: What can be reached from each stage within one turn, itself aside.
    reach: Mapping[str, frozenset[str]]

    def is_back(self, way: Way) -> bool:
        """Return whether the way begins the next turn of a loop."""
        return way.target in self.nests[way.edge.source] and way.target in self.loops

    def leaves(self, way: Way) -> str | None:
        """Return the head of the outermost loop that the way leaves, or None if it leaves none."""
        inside = self.nests.get(way.target, ())
        return next((head for head in self.nests[way.edge.source] if head not in inside), None)

    def turn(self, way: Way, *, turn: int) -> int:
        """Return the turn of the target when the way is gone from its source in *turn*."""
        nest, inside = self.nests[way.edge.source], self.nests.get(way.target, ())
        if not nest and not inside:
            # Outside of all loops there is one turn, and most stages are there.
            return 0
        digits = _digits(turn, len(nest))
        if self.is_back(way):
            depth = nest.index(way.target)
            return _encoded([*digits[:depth], digits[depth] + 1])
        shared = 0
        while shared < min(len(nest), len(inside)) and nest[shared] == inside[shared]:
            shared += 1
        return _encoded([*digits[:shared], *[0] * (len(inside) - shared)])

    def at(self, stage_id: str, *, of: str, turn: int) -> int:
        """Return the turn of *stage_id* that belongs to *turn* of the stage *of*: loops around both are in the same."""
        nest, inside = self.nests[of], self.nests[stage_id]
        digits = _digits(turn, len(nest))
        shared = 0
        while shared < min(len(nest), len(inside)) and nest[shared] == inside[shared]:
            shared += 1
        return _encoded([*digits[:shared], *[0] * (len(inside) - shared)])

    def precedes(self, stage_id: str, turn: int, *, of: str, of_turn: int) -> bool:
        """Return whether *stage_id* in *turn* lies on a way to *of* in *of_turn*."""
        nest, inside = self.nests[stage_id], self.nests[of]
        shared = 0
        while shared < min(len(nest), len(inside)) and nest[shared] == inside[shared]:
            shared += 1
        mine, others = _digits(turn, len(nest))[:shared], _digits(of_turn, len(inside))[:shared]
        # From within a loop that is not around the other stage, a later turn of it may lead there.
        starts = (stage_id, *nest[shared:])
        return mine < others or (mine == others and any(of in self.reach[one] for one in starts))


def turns(turn: int, *, depth: int) -> tuple[int, ...]:
    """Return the turn of each of *depth* loops around a stage, the outermost first, from 0."""
    return tuple(_digits(turn, depth))


def _digits(turn: int, depth: int) -> list[int]:
    mask = (1 << TURN_BITS) - 1
    return [(turn >> (TURN_BITS * place)) & mask for place in reversed(range(depth))]


def _encoded(digits: list[int]) -> int:
    turn = 0
    for digit in digits:
        turn = (turn << TURN_BITS) | digit
    return turn


def survey(stage_ids: Iterable[str], edges: Iterable[Edge]) -> Graph:
    """Return what follows from *edges*, that from `START` included.

    Raises:
        LoopError: If a loop has two entries, or loops stand too deep one within the other.
    """
    outgoing: dict[str, list[Edge]] = {stage_id: [] for stage_id in (START, *stage_ids)}
    for edge in edges:
        outgoing[edge.source].append(edge)
    nests: dict[str, list[str]] = {stage_id: [] for stage_id in (*outgoing, END)}
    arrows = {source: {target for edge in some for target in edge.targets} for source, some in outgoing.items()}
    members: dict[str, frozenset[str]] = {}
    backs: set[tuple[str, str]] = set()
    _find_loops(frozenset(outgoing), arrows, nests=nests, members=members, backs=backs)
    forward = {
        source: [target for target in sorted(targets) if (source, target) not in backs]
        for source, targets in arrows.items()
    }
    ways = [Way(edge=edge, target=target) for some in outgoing.values() for edge in some for target in edge.targets]
    arity = dict.fromkeys((*outgoing, END), 0)
    for way in ways:
        if (way.edge.source, way.target) not in backs:
            arity[way.target] += 1
    loops = {
        head: Loop(
            head=head,
            members=inside,
            exits=tuple(way for way in ways if way.edge.source in inside and way.target not in inside),
        )
        for head, inside in members.items()
    }
    return Graph(
        outgoing={source: tuple(some) for source, some in outgoing.items()},
        arity=arity,
        nests={stage_id: tuple(nest) for stage_id, nest in nests.items()},
        loops=loops,
        reach=_reach(forward),
    )


def _find_loops(
    within: frozenset[str],
    arrows: Mapping[str, set[str]],
    *,
    nests: dict[str, list[str]],
    members: dict[str, frozenset[str]],
    backs: set[tuple[str, str]],
) -> None:
    """Find the loops among the stages *within*, then those inside of each."""
    inner = {
        source: {target for target in arrows[source] if target in within and (source, target) not in backs}
        for source in within
    }
    for component in _components(inner):
        if len(component) == 1 and not any(one in inner[one] for one in component):
            continue
        inside = frozenset(component)
        entered = {
            target
            for source in arrows
            if source not in inside
            for target in arrows[source]
            if target in inside and (source, target) not in backs
        }
        if len(entered) != 1:
            problem = "is entered at more than one stage" if entered else "cannot be reached"
            raise LoopError(f"a loop {problem}", sorted(entered or inside))
        head = next(iter(entered))
        members[head] = inside
        for stage_id in inside:
            nests[stage_id].append(head)
            if len(nests[stage_id]) > DEEPEST_LOOP:
                raise LoopError(f"more than {DEEPEST_LOOP} loops stand one within the other", sorted(inside))
        backs.update((source, head) for source in inside if head in inner[source])
        _find_loops(inside, arrows, nests=nests, members=members, backs=backs)


def _components(arrows: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected components (Tarjan 1972, without recursion)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    found: list[list[str]] = []
    for root in sorted(arrows):
        if root in index:
            continue
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        work = [(root, iter(sorted(arrows[root])))]
        while work:
            at, targets = work[-1]
            target = next(targets, None)
            if target is not None:
                if target not in index:
                    index[target] = low[target] = len(index)
                    stack.append(target)
                    on_stack.add(target)
                    work.append((target, iter(sorted(arrows[target]))))
                elif target in on_stack:
                    low[at] = min(low[at], index[target])
                continue
            work.pop()
            if work:
                low[work[-1][0]] = min(low[work[-1][0]], low[at])
            if low[at] == index[at]:
                component: list[str] = []
                while not component or component[-1] != at:
                    component.append(stack.pop())
                    on_stack.discard(component[-1])
                found.append(component)
    return found


def _reach(forward: Mapping[str, list[str]]) -> dict[str, frozenset[str]]:
    """Return everything that lies ahead of each stage; *forward* has no cycle."""
    reach: dict[str, frozenset[str]] = {END: frozenset()}
    for root in forward:
        work = [root]
        while work:
            at = work[-1]
            missing = [target for target in forward.get(at, ()) if target not in reach]
            if at in reach:
                work.pop()
            elif missing:
                work += missing
            else:
                ahead: set[str] = set()
                for target in forward[at]:
                    ahead.add(target)
                    ahead |= reach[target]
                reach[at] = frozenset(ahead)
                work.pop()
    return reach
