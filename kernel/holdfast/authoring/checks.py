"""What is checked of each node of a draft: what it needs, what arrives at it, its waits, and what undoes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from holdfast.authoring import misroutes, mistakes
from holdfast.authoring.draft import Draft, Header, Node
from holdfast.authoring.mistakes import Subject
from holdfast.authoring.source import Source
from holdfast.authoring.values import Values
from holdfast.entities.definition import Act


def check_nodes(draft: Draft, nodes: Iterable[Node], *, calls: Mapping[tuple[str, str], Source] | None = None) -> None:
    """Check what is known of *nodes*, all of which stand in the draft.

    Args:
        draft: The draft.
        nodes: The nodes to check.
        calls: Where ways were written, by source and target.

    Raises:
        DefinitionError: If one of them cannot stand where it does.
    """
    values = Values(draft, calls=calls)
    for node in nodes:
        if node.plan is not None:
            _check_needs(draft, node)
            _check_undoing(draft, node)
        values.check(node)


def _check_needs(draft: Draft, node: Node) -> None:
    assert node.plan is not None, "only what is known is checked"
    needs = node.plan.options.needs
    # What stands before a line is known where the line stands.
    if not needs or not isinstance(draft.header, Header):
        return
    behind = draft.behind(node.id)
    seen = [one for one in draft.nodes.values() if one.id in behind and one.id != node.id and _offers(draft, one, node)]
    earlier = [one.id for one in seen]
    for need in needs:
        if need not in earlier:
            subject = Subject(f'stage "{node.id}"', node.plan.source)
            shown = [one.id for one in seen if one.act in {Act.BODY, Act.WAIT}]
            raise mistakes.unknown_need(need, subject, call=node.call, earlier=shown, beside=need in draft.nodes)


def _offers(draft: Draft, one: Node, node: Node) -> bool:
    """Return whether *node* can see the output of *one*: what stands in a map is seen as a list, from behind it."""
    if one.within is None or one.within == node.within:
        return True
    mapped = draft.nodes[one.within].mapped
    return mapped is not None and mapped.body[-1] == one.id


def _check_undoing(draft: Draft, node: Node) -> None:
    header = draft.header
    assert node.plan is not None, "only what is known is checked"
    if node.plan.compensate is not None and isinstance(header, Header) and not header.compensate:
        raise misroutes.never_undone(node.id, header.subject.name, call=node.call)


def check_waits(draft: Draft) -> None:
    """Check that no two waits have one name.

    Raises:
        DefinitionError: If two have.
    """
    seen: dict[str, Node] = {}
    for node in draft.nodes.values():
        for name in _waits(node):
            if name in seen:
                raise misroutes.two_waits(name, first=seen[name].call, call=node.call)
            seen[name] = node


def _waits(node: Node) -> Iterator[str]:
    if node.wait is not None:
        yield node.wait.name
    stage: Any = node.plan
    if stage is not None:
        yield from stage.waits
