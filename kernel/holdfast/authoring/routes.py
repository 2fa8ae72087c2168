"""From the links of a draft to the edges of a definition: their ids and priorities, and the mistakes in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from holdfast.authoring import misroutes
from holdfast.authoring.draft import Draft, Link
from holdfast.authoring.source import Source
from holdfast.entities.definition import Act
from holdfast.entities.graph import END, START, Edge, EdgeOn


def routed(draft: Draft) -> tuple[Edge, ...]:
    """Return the edges of the workflow, that from its beginning first.

    Raises:
        DefinitionError: If the links of a node do not make sense together.
    """
    header = draft.header
    _check_ends(draft)
    begins = [link for link in draft.links if link.source == START]
    if not begins:
        raise misroutes.no_entry(header.subject.name, call=header.call)
    entry = tuple(dict.fromkeys(target for link in begins for target in link.targets))
    edges = [Edge(id=_edge_id(START, entry), source=START, targets=entry)]
    seen = {edges[0].id}
    outgoing: dict[str, list[Link]] = {node_id: [] for node_id in draft.nodes}
    for link in draft.links:
        if link.source != START:
            outgoing[link.source].append(link)
    for source, links in outgoing.items():
        if not links:
            raise misroutes.dead_end(source, call=draft.nodes[source].call)
        priorities = _priorities(source, links, is_limited=_is_limited(draft, source))
        for link, priority in zip(links, priorities, strict=True):
            edges.append(_edge(link, priority=priority, seen=seen))
    return tuple(edges)


def _check_ends(draft: Draft) -> None:
    for link in draft.links:
        for end in (link.source, *link.targets):
            if end not in draft.nodes and end not in {START, END}:
                raise misroutes.unknown_node(end, known=[one for one in draft.nodes if "~" not in one], call=link.call)


def _is_limited(draft: Draft, source: str) -> bool:
    node = draft.nodes[source]
    return node.act is Act.WAIT and node.wait is not None and node.wait.timeout is not None


def _priorities(source: str, links: Sequence[Link], *, is_limited: bool) -> list[int]:
    """Return the priority of each link; those taken otherwise come below all conditions."""
    by_outcome = {on: [link for link in links if link.on is on] for on in EdgeOn}
    late = by_outcome[EdgeOn.TIMEOUT]
    if late and not is_limited:
        raise misroutes.no_timeout(source, call=late[0].call)
    lowest: dict[EdgeOn, int] = {}
    for on, some in by_outcome.items():
        if some or on is EdgeOn.OUTPUT:
            lowest[on] = _check_choice(source, some or links, on=on, is_missing=not some)
    return [
        link.priority if link.priority is not None else 0 if link.condition is not None else lowest[link.on]
        for link in links
    ]


def _check_choice(source: str, links: Sequence[Link], *, on: EdgeOn, is_missing: bool) -> int:
    """Check the links for one outcome of a node, and return the priority of the one that is taken otherwise."""
    defaults = [link for link in links if link.condition is None]
    if is_missing or not defaults:
        raise misroutes.no_default(source, on=on.value, call=links[-1].call)
    if len(defaults) > 1:
        raise misroutes.two_defaults(source, on=on.value, first=defaults[0].call, call=defaults[1].call)
    default = defaults[0]
    seen: dict[tuple[object, int], Source] = {}
    lowest = 1 if default.priority is None else default.priority + 1
    for link in links:
        if link.condition is None:
            continue
        priority = link.priority or 0
        if default.priority is not None and priority <= default.priority:
            label = link.condition.label
            raise misroutes.shadowed(source, priority=default.priority, label=label, other=priority, call=link.call)
        same = (link.condition.function, priority)
        if same in seen:
            raise misroutes.same_edge_twice(source, label=link.condition.label, first=seen[same], call=link.call)
        seen[same] = link.call
        lowest = min(lowest, priority)
    return lowest - 1 if default.priority is None else default.priority


def _edge(link: Link, *, priority: int, seen: set[str]) -> Edge:
    wanted = _edge_id(link.source, link.targets)
    number, found = 1, wanted
    while found in seen:
        number += 1
        found = f"{wanted}#{number}"
    seen.add(found)
    return Edge(
        id=found,
        source=link.source,
        targets=tuple(dict.fromkeys(link.targets)),
        condition=link.condition,
        priority=priority,
        on=link.on,
    )


def _edge_id(source: str, targets: Sequence[str]) -> str:
    """Return what the edge is known by in events; the same after a change of its condition."""
    more = f"+{len(targets) - 1}" if len(targets) > 1 else ""
    return f"{source}>{targets[0]}{more}"


def calls_of(draft: Draft) -> Mapping[tuple[str, str], Source]:
    """Return where each way was written, by its source and target."""
    return {(link.source, target): link.call for link in draft.links for target in link.targets}
