"""The shape of a workflow as a whole: what can be reached, loops and joins, and what each node's input is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations

import attrs

from holdfast.authoring import misroutes
from holdfast.authoring.concurrency import Concurrency
from holdfast.authoring.draft import ALL, Draft, Node
from holdfast.authoring.routes import calls_of
from holdfast.authoring.source import Source
from holdfast.entities.definition import Shape
from holdfast.entities.graph import DEEPEST_LOOP, END, START, Edge, EdgeOn, Graph, Loop, LoopError, Way, survey


def check_reach(draft: Draft, edges: Iterable[Edge]) -> None:
    """Check that every node can be reached from the beginning, and the end from every node.

    Raises:
        DefinitionError: If one cannot.
    """
    ahead: dict[str, set[str]] = {}
    behind: dict[str, set[str]] = {}
    for edge in edges:
        for target in edge.targets:
            ahead.setdefault(edge.source, set()).add(target)
            behind.setdefault(target, set()).add(edge.source)
    reached, leading = _spread(START, ahead), _spread(END, behind)
    lost = [node_id for node_id in draft.nodes if node_id not in reached]
    if lost:
        raise misroutes.unreachable(lost, call=draft.nodes[lost[0]].call)
    caught = [node_id for node_id in draft.nodes if node_id not in leading]
    if caught:
        raise misroutes.no_way_out(caught, call=draft.nodes[caught[0]].call)


def _spread(start: str, arrows: Mapping[str, set[str]]) -> set[str]:
    found, work = {start}, [start]
    while work:
        news = arrows.get(work.pop(), set()) - found
        found |= news
        work += news
    return found


def surveyed(draft: Draft, edges: tuple[Edge, ...]) -> Graph:
    """Return what follows from the edges.

    Raises:
        DefinitionError: If a loop has two entries, or loops stand too deep one within the other.
    """
    try:
        return survey(draft.nodes, edges)
    except LoopError as error:
        is_deep = "within" in error.problem
        fix = (
            f"At most {DEEPEST_LOOP} loops can stand one within the other; start a child run for the inner work."
            if is_deep
            else "Let every way into the loop lead to one of them, its head, such as a stage that only hands on."
        )
        call = draft.nodes[error.stages[0]].call if error.stages[0] in draft.nodes else draft.header.call
        problem = f"{error.problem[0].upper()}{error.problem[1:]}"
        raise misroutes.bad_loop(problem, error.stages, call=call, fix=fix) from None


def shaped(draft: Draft, graph: Graph) -> dict[str, Node]:
    """Return the nodes, each with what its input is made of where the draft leaves that open."""
    if all(node.shape is not None for node in draft.nodes.values()):
        return draft.nodes
    incoming, concurrency = _incoming(graph), Concurrency(graph)
    return {
        node.id: node
        if node.shape is not None
        else _shaped(node, incoming[node.id], draft=draft, concurrency=concurrency)
        for node in draft.nodes.values()
    }


def ending(draft: Draft, graph: Graph) -> Node:
    """Return what the end of a run would be if it were a node."""
    node = Node(id=END, call=draft.header.call)
    return _shaped(node, _incoming(graph)[END], draft=draft, concurrency=Concurrency(graph))


def _incoming(graph: Graph) -> dict[str, list[Way]]:
    incoming: dict[str, list[Way]] = {}
    for some in graph.outgoing.values():
        for edge in some:
            for target in edge.targets:
                incoming.setdefault(target, []).append(Way(edge=edge, target=target))
    return incoming


def _shaped(node: Node, ways: list[Way], *, draft: Draft, concurrency: Concurrency) -> Node:
    order = {node_id: place for place, node_id in enumerate(draft.nodes)}
    sources = sorted({way.edge.source for way in ways if way.edge.source != START}, key=lambda one: order[one])
    meets = any(concurrency.together(one, other) for one, other in combinations(ways, 2))
    late = {way.edge.source for way in ways if way.edge.on is EdgeOn.TIMEOUT}
    timely = {way.edge.source for way in ways if way.edge.on is not EdgeOn.TIMEOUT}
    return attrs.evolve(
        node,
        shape=Shape.NAMED if meets else Shape.ONE,
        sources=tuple(sources),
        is_entry=any(way.edge.source == START for way in ways),
        expired=frozenset(late - timely),
    )


def check_topology(draft: Draft, graph: Graph) -> None:
    """Check loops and joins.

    Raises:
        DefinitionError: If one of them cannot be followed.
    """
    for node in draft.nodes.values():
        if node.join != ALL:
            _check_join(node, graph)
    if not graph.loops:
        return
    calls = calls_of(draft)
    for some in graph.outgoing.values():
        for edge in some:
            if len(edge.targets) > 1:
                _check_fork(edge, graph, call=calls.get((edge.source, edge.targets[0]), draft.header.call))
    concurrency = Concurrency(graph)
    for loop in graph.loops.values():
        _check_turns(loop, graph, concurrency, calls=calls)


def _check_join(node: Node, graph: Graph) -> None:
    join, ways = node.join, graph.arity[node.id]
    if join.need is not None and join.need > ways:
        problem = f"needs {join.need} ways, and {ways} lead to it"
        raise misroutes.bad_join(node.id, problem, call=node.call, fix=f"Ask for need={ways} or less.")
    if join.tolerate > ways:
        problem = f"tolerates {join.tolerate} failures, and {ways} ways lead to it"
        raise misroutes.bad_join(node.id, problem, call=node.call, fix=f"Ask for tolerate={ways} or less.")
    if graph.nests[node.id]:
        raise misroutes.bad_join(
            node.id,
            "stands in a loop, where need and tolerate cannot be counted",
            call=node.call,
            fix="Start a child run for the part that may fail, or move it out of the loop.",
        )


def _check_fork(edge: Edge, graph: Graph, *, call: Source) -> None:
    ways = [Way(edge=edge, target=target) for target in edge.targets]
    if any(graph.is_back(way) for way in ways):
        raise misroutes.bad_loop(
            "An edge begins a loop again and leads elsewhere at the same time",
            [edge.source, *edge.targets],
            call=call,
            fix="Let it lead back alone; begin the other stages at the head of the loop or behind it.",
        )
    if len({graph.leaves(way) for way in ways}) > 1:
        raise misroutes.bad_loop(
            "An edge leaves a loop and stays in it at the same time",
            [edge.source, *edge.targets],
            call=call,
            fix="Let all its targets stand in the loop, or all behind it.",
        )


def _check_turns(
    loop: Loop, graph: Graph, concurrency: Concurrency, *, calls: Mapping[tuple[str, str], Source]
) -> None:
    """Check that nothing of a turn is under way when the next one begins or the loop is left."""
    backs = [
        Way(edge=edge, target=loop.head)
        for source in loop.members
        for edge in graph.outgoing[source]
        if loop.head in edge.targets
    ]
    for way in (*backs, *loop.exits):
        beside = sorted(one for one in loop.members if concurrency.beside(way, one))
        if beside:
            target = "the end" if way.target == END else f'"{way.target}"'
            raise misroutes.bad_loop(
                f'The way from "{way.edge.source}" to {target} can be taken while others of its loop are under way',
                beside,
                call=calls[way.edge.source, way.target],
                fix="Let the ways of a fork inside the loop meet in one stage before the loop goes on or ends.",
            )
