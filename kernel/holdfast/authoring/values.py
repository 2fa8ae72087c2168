"""What flows between the nodes of a draft: the types that leave each and those that arrive, and whether they fit."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Any, Union

from holdfast.authoring import misroutes, mistakes
from holdfast.authoring.draft import ALL, Draft, Node
from holdfast.authoring.fit import fits, item_of, misnamed
from holdfast.authoring.mistakes import Endpoint
from holdfast.authoring.source import Source
from holdfast.entities.definition import Act, Shape
from holdfast.entities.graph import START


class Values:
    """The types of what flows between the nodes of one draft; what is not known yet is Any."""

    def __init__(self, draft: Draft, *, calls: Mapping[tuple[str, str], Source] | None = None) -> None:
        self._draft = draft
        #: Where ways were written, by source and target.
        self._calls = calls or {}
        self._leaving: dict[str, Any] = {}

    def leaving(self, node_id: str) -> Any:
        """Return the type of a node's output; of the run's input for `START`."""
        if node_id == START:
            return self._draft.header.input
        if node_id not in self._leaving:
            # A loop of nodes that only hand on says nothing of what they hand on.
            self._leaving[node_id] = Any
            self._leaving[node_id] = self._output(self._draft.nodes[node_id])
        return self._leaving[node_id]

    def _output(self, node: Node) -> Any:
        if node.act is Act.BODY:
            return Any if node.plan is None else node.plan.output.annotation
        if node.act is Act.WAIT:
            assert node.wait is not None, "a WAIT node waits for something"
            return tuple_of([self.arriving(node), node.wait.payload])
        if node.act is Act.SPLIT:
            return int
        if node.act is Act.COLLECT:
            item = self.leaving(node.sources[0])
            split = self._draft.nodes[node.sources[0]].within
            mapped = None if split is None else self._draft.nodes[split].mapped
            return list_of(or_none(item) if mapped is not None and mapped.tolerate else item)
        return self.arriving(node)

    def arriving(self, node: Node) -> Any:
        """Return the type of what arrives at *node*."""
        if node.shape is Shape.ITEM:
            assert node.within is not None, "items are those of a map"
            return item_of(self.arriving(self._draft.nodes[node.within]))
        each = [self._given(source, node) for source in self._sources(node)]
        if node.shape is Shape.TUPLE:
            return tuple_of([or_none(one) for one in each] if node.join != ALL else each)
        if node.shape is Shape.NAMED:
            return dict[str, Any]
        return union_of(each)

    def givers(self, node: Node) -> list[Endpoint]:
        """Return who gives what arrives at *node*, each with the type that it gives."""
        return [one for source in self._sources(node) for one in self._endpoints(source, node)]

    def _sources(self, node: Node) -> tuple[str, ...]:
        return (*node.sources, START) if node.is_entry else node.sources

    def _endpoints(self, source: str, taker: Node) -> list[Endpoint]:
        """Return *source* as errors call it: what only hands on is not spoken of."""
        header = self._draft.header
        if source == START:
            name = f"the input of {header.subject.name}"
            return [Endpoint(name=name, verb="is", annotation=header.input, source=header.call)]
        node = self._draft.nodes[source]
        if node.act is Act.PASS and node.shape is Shape.ONE:
            return self.givers(node)
        name, verb, place, annotation = f'"{source}"', "gives", node.call, self.leaving(source)
        if source in taker.expired:
            name, annotation = f'"{source}" without an answer', self.arriving(node)
        elif node.act is Act.BODY:
            verb, place = "returns", node.call if node.plan is None else node.plan.source
        elif node.act is Act.COLLECT:
            name = f'the map of "{node.sources[0]}"'
        elif node.act is Act.PASS and node.shape is Shape.TUPLE:
            name, verb = " and ".join(one.name for one in self.givers(node)), "give"
        return [Endpoint(name=name, verb=verb, annotation=annotation, source=place)]

    def check(self, node: Node) -> None:
        """Check that what arrives at *node* fits what it takes.

        Raises:
            DefinitionError: If it does not.
        """
        if node.act is Act.SPLIT:
            arriving = self.arriving(node)
            if item_of(arriving) is None:
                raise misroutes.no_list(arriving, self.givers(node), call=node.call)
            return
        plan = node.plan
        if plan is None or plan.input is None:
            return
        taken = Endpoint(name=f'"{node.id}"', verb="takes", annotation=plan.input.annotation, source=plan.source)
        if node.shape is Shape.NAMED:
            given = {source: self.leaving(source) for source in node.sources}
            problem = misnamed(given, plan.input.annotation)
            if problem is not None:
                raise misroutes.named_unfit(node.id, problem, given=self.givers(node), taken=taken, call=node.call)
            return
        if node.shape is Shape.ITEM:
            assert node.within is not None, "items are those of a map"
            given = self.arriving(node)
            split = self._draft.nodes[node.within]
            if not fits(given, plan.input.annotation):
                item = Endpoint(name="an item of the map", verb="is", annotation=given, source=split.call)
                raise mistakes.cannot_follow([item], taken, call=node.call)
            return
        self.check_fit(node, taken, call=node.call)

    def check_fit(self, node: Node, taken: Endpoint, *, call: Source) -> None:
        """Check that what arrives at *node* fits what is *taken*.

        Raises:
            DefinitionError: If it does not.
        """
        if node.shape is Shape.TUPLE:
            if not fits(self.arriving(node), taken.annotation):
                raise mistakes.cannot_follow(self.givers(node), taken, call=call)
            return
        for source in self._sources(node):
            for one in self._endpoints(source, node):
                if not fits(one.annotation, taken.annotation):
                    raise mistakes.cannot_follow([one], taken, call=self._calls.get((source, node.id), call))

    def _given(self, source: str, taker: Node) -> Any:
        return self.arriving(self._draft.nodes[source]) if source in taker.expired else self.leaving(source)


def tuple_of(annotations: Sequence[Any]) -> Any:
    """Return the type of a tuple of values of these types."""
    return types.GenericAlias(tuple, tuple(annotations))


def list_of(annotation: Any) -> Any:
    """Return the type of a list of values of this type."""
    return types.GenericAlias(list, (annotation,))


def or_none(annotation: Any) -> Any:
    """Return the type of a value of this type, or None."""
    return Union[annotation, None]  # noqa: UP007  # the type is known at run time only


def union_of(annotations: Sequence[Any]) -> Any:
    """Return the type of a value of any of these types."""
    if not annotations or any(one is Any for one in annotations):
        return Any
    return Union[tuple(annotations)]  # noqa: UP007  # the members are known at run time only
