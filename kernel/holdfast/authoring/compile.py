"""From a draft to the definition of its workflow, with every check on the way."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from holdfast.authoring import misroutes, mistakes
from holdfast.authoring.checks import check_nodes, check_waits
from holdfast.authoring.draft import FOLLOWS, Draft, Header, Node, resolved
from holdfast.authoring.fit import fits
from holdfast.authoring.mistakes import Endpoint
from holdfast.authoring.routes import calls_of, routed
from holdfast.authoring.shapes import check_reach, check_topology, ending, shaped, surveyed
from holdfast.authoring.signature import declared
from holdfast.authoring.values import Values, list_of, union_of
from holdfast.codec import JsonType
from holdfast.entities.definition import (
    DEFAULT_QUEUE,
    UNDO,
    UNDO_RETRY,
    Act,
    Definition,
    PayloadType,
    Shape,
    StageSpec,
    WaitSpec,
)
from holdfast.entities.graph import Edge, Graph
from holdfast.entities.retry import Retry

#: The input of a stage that takes none, and what leaves one that gives nothing to look at.
NOTHING: Final = JsonType(name="nothing")


def compiled(draft: Draft, names: Mapping[str, Any]) -> Definition:
    """Return the definition of the workflow that *draft* holds.

    Args:
        draft: A draft whose header is a `Header`.
        names: What annotations may refer to if their own module does not have it.

    Raises:
        DefinitionError: If the workflow cannot be built.
    """
    header = draft.header
    assert isinstance(header, Header), "only workflows are compiled"
    if not draft.nodes:
        raise mistakes.empty_workflow(header.id, call=header.call)
    given = header.declared_input()
    whole = draft.copy()
    whole.nodes = resolved(draft.nodes.values(), names)
    edges = routed(whole)
    check_reach(whole, edges)
    graph = surveyed(whole, edges)
    whole.nodes = shaped(whole, graph)
    check_topology(whole, graph)
    check_waits(whole)
    check_nodes(whole, whole.nodes.values(), calls=calls_of(whole))
    return Definition(
        id=header.id,
        version=header.version,
        description=header.description,
        input=given.payload,
        output=_run_output(whole, header, graph),
        stages=MappingProxyType(_specs(whole, edges)),
        edges=edges,
        timeout=header.timeout,
        step_limit=header.step_limit,
        compensates=_compensates(whole),
        stateful=header.state or any(edge.condition is not None and edge.condition.takes_run for edge in edges),
    )


def _compensates(draft: Draft) -> bool:
    return any(node.plan is not None and node.plan.compensate is not None for node in draft.nodes.values())


def _specs(draft: Draft, edges: tuple[Edge, ...]) -> dict[str, StageSpec]:
    values, queues = Values(draft), _Queues(draft, edges)
    specs = {
        node.id: _spec(node, index=index, values=values)
        if node.plan is not None
        else _spec_between(node, index=index, values=values, queue=queues.of(node.id), draft=draft)
        for index, node in enumerate(draft.nodes.values())
    }
    if _compensates(draft):
        specs[UNDO] = StageSpec(
            id=UNDO,
            index=len(specs),
            act=Act.UNDO,
            body=None,
            input=NOTHING,
            output=NOTHING,
            shape=Shape.NOTHING,
            retry=UNDO_RETRY,
            queue=DEFAULT_QUEUE,
        )
    return specs


def _spec(node: Node, *, index: int, values: Values) -> StageSpec:
    plan = node.plan
    assert plan is not None, "every stage was read"
    options = plan.options
    takes_input = plan.input is not None
    sources = node.sources if takes_input else ()
    return StageSpec(
        id=node.id,
        index=index,
        body=plan.body,
        polling=plan.polling,
        input=NOTHING if plan.input is None else plan.input.payload,
        output=plan.output.payload,
        config=None if plan.config is None else plan.config.payload,
        shape=(node.shape or Shape.ONE) if takes_input else Shape.NOTHING,
        sources=sources,
        needs=tuple(need for need in options.needs if need not in sources),
        retry=options.retry,
        timeout=options.timeout,
        queue=options.queue,
        join=node.join,
        key=options.key,
        waits=plan.waits,
        compensate=plan.compensate,
        weight=options.weight,
        within=node.within,
    )


def _spec_between(node: Node, *, index: int, values: Values, queue: str, draft: Draft) -> StageSpec:
    """Return what a node becomes that nobody wrote a function for."""
    leaving = _payload(values.leaving(node.id), f'the output of "{node.id}"', draft)
    is_handing_on = node.act in {Act.PASS, Act.WAIT, Act.SPLIT}
    arriving = _payload(values.arriving(node), f'the input of "{node.id}"', draft) if is_handing_on else NOTHING
    wait = None
    if node.wait is not None:
        what = f'the payload that "{node.id}" waits for'
        wait = WaitSpec(
            name=node.wait.name,
            payload=_payload(node.wait.payload, what, draft),
            timeout=node.wait.timeout,
            reason=node.wait.reason,
        )
    return StageSpec(
        id=node.id,
        index=index,
        act=node.act,
        body=None,
        input=arriving,
        output=leaving,
        shape=node.shape or Shape.ONE,
        sources=node.sources,
        retry=Retry(),
        queue=queue,
        join=node.join,
        wait=wait,
        mapped=node.mapped,
        within=node.within,
    )


def _payload(annotation: Any, what: str, draft: Draft) -> PayloadType:
    return declared(annotation, what, draft.header.subject).payload


class _Queues:
    """The queues of what stands between stages: that of the stage before, else of the one behind."""

    def __init__(self, draft: Draft, edges: tuple[Edge, ...]) -> None:
        self._draft = draft
        self._before: dict[str, list[str]] = {}
        self._behind: dict[str, list[str]] = {}
        for edge in edges:
            for target in edge.targets:
                self._before.setdefault(target, []).append(edge.source)
                self._behind.setdefault(edge.source, []).append(target)

    def of(self, node_id: str) -> str:
        """Return the queue of the nearest stage."""
        return self._nearest(node_id, self._before) or self._nearest(node_id, self._behind) or DEFAULT_QUEUE

    def _nearest(self, node_id: str, ways: Mapping[str, list[str]]) -> str | None:
        seen, work = {node_id}, [node_id]
        while work:
            for one in ways.get(work.pop(0), ()):
                node = self._draft.nodes.get(one)
                if node is not None and node.plan is not None:
                    return node.plan.options.queue
                if one not in seen:
                    seen.add(one)
                    work.append(one)
        return None


def _run_output(draft: Draft, header: Header, graph: Graph) -> PayloadType:
    annotation = draft.output
    if annotation is FOLLOWS or header.output is not FOLLOWS:
        annotation = _ending(draft, header, graph)
    return _payload(annotation, f"the output of {header.subject.name}", draft)


def _ending(draft: Draft, header: Header, graph: Graph) -> Any:
    """Return the type of what the ends of a run give, or the declared one if they fit it."""
    values, node = Values(draft), ending(draft, graph)
    # Several ends of one run give a list of what each of them gave.
    is_list = node.shape is Shape.NAMED
    each = union_of([one.annotation for one in values.givers(node)])
    given = list_of(each) if is_list else each
    if header.output is FOLLOWS:
        return given
    taken = Endpoint(
        name=f"the end of {header.subject.name}", verb="takes", annotation=header.output, source=header.call
    )
    if not is_list:
        values.check_fit(node, taken, call=header.call)
    elif not fits(given, header.output):
        raise misroutes.several_ends(given, values.givers(node), taken, call=header.call)
    return header.output
