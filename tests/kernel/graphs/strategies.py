"""Random workflows: branches, forks, joins, loops in loops and maps, with a script of what happens in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import attrs
from hypothesis import strategies as st

from tests.kernel.graphs.plans import BEGIN, END, Arrow, Kind, Mishap, Node, Plan, Script

T = TypeVar("T")

MOST_STAGES: Final = 30
_CHOICES: Final = range(4)
#: A map with everything that it needs takes so many stages at most.
_MAP: Final = 7
_LOOPS_DEEP: Final = 3


@attrs.define
class _Way:
    """An arrow to be: its targets, and whether it begins another turn."""

    targets: tuple[str, ...]
    back: bool = False


@attrs.define
class _Cell:
    """A stage, a map or a loop, as a part of a region."""

    entry: str
    #: Stages that must lead on from here.
    out: str
    #: Further stages that may do so.
    also: list[str] = attrs.field(factory=list)
    #: Whether `out` can choose between arrows.
    chooses: bool = True


class _Builder:
    """Grows a plan; every decision is drawn, so that a failing one shrinks."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any], most: int, *, plain: bool) -> None:
        self._draw = draw
        self.left = most
        self.plain = plain
        self.nodes: dict[str, Node] = {}
        self.ways: dict[str, list[_Way]] = {}
        self.choices: dict[str, tuple[int, ...]] = {}
        self.lengths: dict[str, tuple[int, int]] = {}
        #: Stages that no two tokens can meet at.
        self.single: set[str] = set()

    def number(self, least: int, most: int) -> int:
        """Draw a number."""
        number: int = self._draw(st.integers(least, most))
        return number

    def chance(self, one_in: int) -> bool:
        """Draw whether something rare happens; it does not in the simplest example."""
        return self.number(1, one_in) == one_in

    def some(self, among: Sequence[T], *, least: int = 0) -> list[T]:
        """Draw some of *among*, in order."""
        picked = [one for one in among if self.chance(2)]
        return picked if len(picked) >= least else [among[self.number(0, len(among) - 1)]]

    def stage(self, loops: tuple[str, ...], *, name: str | None = None, **options: Any) -> str:
        """Add a stage and return its id."""
        self.left -= 1
        stage_id = name or f"s{len(self.nodes)}"
        kind: Kind = options.pop("kind", "body")
        self.nodes[stage_id] = Node(id=stage_id, kind=kind, loops=loops, attempts=self.number(1, 3), **options)
        self.ways[stage_id] = []
        if kind == "body":
            self.choices[stage_id] = tuple(self.number(0, _CHOICES[-1]) for _ in range(self.number(1, 3)))
        return stage_id

    # Cells.

    def cell(self, loops: tuple[str, ...], *, forks: bool) -> _Cell:
        """Add a stage, a map or a loop."""
        kind = self.number(0, 5)
        if self.plain and kind in {3, 4}:
            kind = 0
        if kind == 5 and self.left >= 2 and len(loops) < _LOOPS_DEEP:
            return self.loop(loops)
        if kind == 4 and self.left >= _MAP:
            return self.map(loops)
        if kind == 3 and forks and not self.chance(3):
            stage = self.stage(loops, kind="pass")
            return _Cell(entry=stage, out=stage, chooses=False)
        stage = self.stage(loops)
        return _Cell(entry=stage, out=stage)

    def map(self, loops: tuple[str, ...]) -> _Cell:
        """Add a map behind the stage that gives its list."""
        lister = self.stage(loops)
        self.lengths[lister] = (self.number(0, 4), self.number(0, 4))
        split = self.stage(loops, name=f"{lister}~split", kind="split")
        body = self._line(loops, split)
        collect = self.stage(loops, name=f"{lister}~join", kind="collect", form="nothing", sources=(body[-1],))
        losses = (0, 0, 1, 2, 0.5)[self.number(0, 4)]
        changed = attrs.evolve(
            self.nodes[split], body=tuple(body), collect=collect, limit=self.number(1, 3), losses=losses
        )
        self.nodes[split] = changed
        self.ways[lister] = [_Way((split,))]
        self.ways[split] = [_Way((body[0],))]
        self.ways[body[-1]] = [_Way((collect,))]
        return _Cell(entry=lister, out=collect, chooses=False)

    def _line(self, loops: tuple[str, ...], split: str) -> list[str]:
        first = self.stage(loops, form="item", within=split)
        shape = self.number(0, 3)
        if shape == 0:
            return [first]
        second = self.stage(loops, within=split)
        if shape == 1:
            self.ways[first] = [_Way((second,))]
            return [first, second]
        third = self.stage(loops, within=split)
        both = shape == 2
        end = self.stage(loops, kind="pass", within=split)
        if both:
            self.nodes[end] = attrs.evolve(self.nodes[end], form="tuple", sources=(second, third))
        self.ways[first] = [_Way((second, third))] if both else [_Way((second,)), _Way((third,))]
        self.ways[second], self.ways[third] = [_Way((end,))], [_Way((end,))]
        return [first, second, third, end]

    def loop(self, loops: tuple[str, ...]) -> _Cell:
        """Add a loop; only where nothing runs beside them do stages begin it again or leave it."""
        head = f"s{len(self.nodes)}"
        inside = (*loops, head)
        self.stage(inside)
        forks = self.chance(2)
        rest = (
            [] if self.left < 2 else [self.cell(inside, forks=forks) for _ in range(self.number(0, 3)) if self.left > 2]
        )
        tail = head if not rest and self.chance(2) else self.stage(inside)
        begin = _Cell(entry=head, out=head)
        if tail != head:
            self.wire([begin, *rest], [tail], forks=forks)
        leavers = [head] if tail != head else []
        if not forks:
            if tail != head:
                self.single.update({tail, *(cell.entry for cell in rest)})
            leavers += [one for cell in rest for one in (*([cell.out] if cell.chooses else []), *cell.also)]
        for one in {*leavers, tail}:
            if one == tail or self.chance(4):
                self.ways[one].append(_Way((head,), back=True))
        return _Cell(entry=head, out=tail, also=leavers)

    # Regions.

    def wire(self, cells: Sequence[_Cell], behind: Sequence[str], *, forks: bool) -> None:
        """Let every cell be led to by an earlier one and lead to later ones, or to what stands *behind* them all."""
        must: list[list[str]] = [[] for _ in cells]
        for index in range(1, len(cells)):
            fit = [one for one in range(index) if forks or cells[one].chooses or not must[one]]
            must[fit[self.number(0, len(fit) - 1)]].append(cells[index].entry)
        for index, cell in enumerate(cells):
            later = [*(one.entry for one in cells[index + 1 :]), *behind]
            for one in cell.also:
                if self.chance(3):
                    self.ways[one] += self._ways([], later, forks=forks, chooses=True)[:1]
            self.ways[cell.out] += self._ways(must[index], later, forks=forks, chooses=cell.chooses)

    def _ways(self, must: Sequence[str], later: Sequence[str], *, forks: bool, chooses: bool) -> list[_Way]:
        if not forks:
            targets = list(must) or [later[self.number(0, len(later) - 1)]]
            if chooses and self.chance(2):
                targets.append(later[self.number(0, len(later) - 1)])
            return [_Way((one,)) for one in targets]
        groups: list[set[str]] = [set() for _ in range(self.number(1, 3) if chooses else 1)]
        for one in must:
            groups[self.number(0, len(groups) - 1)].add(one)
        for group in groups:
            group.update(self.some(later, least=0 if group else 1)[: 4 - len(group)])
            if self.plain and len(group) > 1:
                group.discard(END)
        return [_Way(tuple(one for one in later if one in group)) for group in groups]


def _arrows(builder: _Builder) -> list[Arrow]:
    """Give the ways conditions and priorities; what begins no turn is taken otherwise."""
    arrows: list[Arrow] = []
    for source, ways in builder.ways.items():
        if len(ways) == 1:
            arrows.append(Arrow(id=f"{source}:0", source=source, targets=ways[0].targets))
            continue
        ordered = sorted(ways, key=lambda way: not way.back)
        is_tie = builder.chance(12)
        for rank, way in enumerate(ordered):
            name = f"{source}:{rank}"
            if rank == len(ordered) - 1:
                arrows.append(Arrow(id=name, source=source, targets=way.targets, priority=-1))
                continue
            least = 1 if way.back else 0
            when = frozenset(builder.some([one for one in _CHOICES if one >= least], least=1))
            priority = 0 if is_tie else builder.number(0, 3) * 10 + rank
            arrows.append(Arrow(id=name, source=source, targets=way.targets, when=when, priority=priority))
    return arrows


def _joined(builder: _Builder, plan: Plan) -> Plan:
    """Give the stages where ways meet a form and a rule."""
    nodes: dict[str, Node] = {}
    for node in plan.nodes.values():
        nodes[node.id] = node
        entering = plan.entering[node.id]
        if len(entering) < 2 or node.within is not None or node.id in builder.single:
            continue
        sources = tuple(one for one in plan.nodes if any(arrow.source == one for arrow in entering))
        is_mixed = any(arrow.source == BEGIN for arrow in entering) or node.id in node.loops
        is_tuple = not is_mixed and builder.chance(2)
        rule = builder.number(0, 5) if not node.loops and node.kind in {"body", "pass"} else 0
        nodes[node.id] = attrs.evolve(
            node,
            form="tuple" if is_tuple else "named",
            sources=sources,
            need=builder.number(1, len(entering)) if rule in {3, 5} else None,
            tolerate=builder.number(1, len(entering)) if rule in {4, 5} else 0,
        )
    return Plan(nodes=nodes, arrows=plan.arrows)


def _mishaps(builder: _Builder, plan: Plan) -> tuple[Mishap, ...]:
    bodies = [node for node in plan.nodes.values() if node.kind == "body"]
    found: list[Mishap] = []
    expected = [node for node in bodies if _may_fail(plan, node)]
    for _ in range(builder.number(0, 4) if bodies else 0):
        among = expected if expected and builder.chance(2) else bodies
        node = among[builder.number(0, len(among) - 1)]
        attempts = frozenset(range(1, 1 + builder.number(1, 3)))
        found.append(
            Mishap(
                stage=node.id,
                turn=builder.number(0, 1) if node.loops else 0,
                item=builder.number(0, 3) if node.within is not None else 0,
                generations=frozenset({1, 2} if builder.chance(4) else {1}),
                attempts=attempts,
            )
        )
    return tuple(found)


def _may_fail(plan: Plan, node: Node) -> bool:
    """Return whether a join or a map stands behind the stage that tolerates failures."""
    if node.within is not None:
        return plan.nodes[node.within].losses > 0
    targets = {target for arrow in plan.leaving[node.id] for target in arrow.targets}
    return all(target != END and plan.nodes[target].tolerate > 0 for target in targets)


@st.composite
def plans(draw: st.DrawFn, most: int = MOST_STAGES, *, plain: bool = False) -> tuple[Plan, Script]:
    """Draw a workflow and what happens in it.

    Args:
        draw: Given by hypothesis.
        most: So many stages at most.
        plain: Whether it has stages with bodies only, and no edge that ends the run and leads elsewhere at once.
    """
    builder = _Builder(draw, draw(st.integers(1, most)), plain=plain)
    forks = not builder.chance(4)
    cells: list[_Cell] = []
    while not cells or (builder.left > 0 and len(cells) < 14 and not builder.chance(9)):
        cells.append(builder.cell((), forks=forks))
    builder.wire(cells, [END], forks=forks)
    if not forks:
        builder.single.update(cell.entry for cell in cells)
    entry = [cells[0].entry]
    if forks and builder.chance(3):
        entry += builder.some([cell.entry for cell in cells[1:]])
    begin = Arrow(id="begin", source=BEGIN, targets=tuple(entry))
    bare = Plan(nodes=builder.nodes, arrows=(begin, *_arrows(builder)))
    plan = _joined(builder, bare)
    script = Script(choices=builder.choices, lengths=builder.lengths, mishaps=_mishaps(builder, plan))
    return plan, script
