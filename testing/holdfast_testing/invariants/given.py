"""What the input of a stage instance has to be, told from the definition and from what came before it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

from holdfast.codec import from_json, to_json
from holdfast.entities.definition import Shape
from holdfast.entities.stage import StageInstance, StageKey
from holdfast_testing.invariants.history import History


def input_texts(history: History, key: StageKey, *, counts: bool) -> set[str]:
    """Return the texts of all inputs that a body may have been given; one if its attempt counts.

    Args:
        history: The run.
        key: The stage instance.
        counts: Whether the attempt settled the job. Others may come late, and see what came later.
    """
    spec = history.known.stages[key.stage_id]
    row = history.stages.get(key)
    via = () if row is None else row.via
    if spec.shape is Shape.ITEM:
        return _items(history, key, counts=counts)
    if spec.shape is Shape.TUPLE:
        # What did not lead here is no part of it, even if it is there: it went another way, or came too late.
        given = [source for source in spec.sources if source in via or not _leads(history, source, key)]
        found = {source: _outputs(history, source, key, counts=counts) for source in given}
        members = [found.get(source) or {"null"} for source in spec.sources]
        return {f"[{','.join(texts)}]" for texts in product(*members)}
    if spec.shape is Shape.NAMED:
        sources = sorted(via)
        members = [_outputs(history, source, key, counts=counts) for source in sources]
        return {_object(sources, texts) for texts in product(*members)}
    if not via:
        return set() if history.input is None else {history.input}
    return _outputs(history, via[0], key, counts=counts)


def _object(names: Iterable[str], texts: Iterable[str]) -> str:
    return "{" + ",".join(f"{to_json(name)}:{text}" for name, text in zip(names, texts, strict=True)) + "}"


def _items(history: History, key: StageKey, *, counts: bool) -> set[str]:
    """Return the item of every list that the map may have been given."""
    split = history.known.stages[key.stage_id].within
    assert split is not None, "items are those of a map"
    at = StageKey(run_id=key.run_id, stage_id=split, generation=key.generation, turn=key.turn)
    lists = [from_json(text, what="input of a map") for text in input_texts(history, at, counts=counts)]
    return {to_json(values[key.item]) for values in lists if key.item < len(values)}


def _outputs(history: History, source: str, key: StageKey, *, counts: bool) -> set[str]:
    """Return the texts of the outputs of *source* that the instance may be given."""
    if counts:
        found = (history.leading(source, key) or _beside(history, source, key))[-1:]
    else:
        found = [one for one in history.stages.values() if one.key.stage_id == source and history.beside(one.key, key)]
    texts = {history.texts.get(stage.key) for stage in found}
    return {text for text in texts if text is not None}


def _beside(history: History, source: str, key: StageKey) -> list[StageInstance]:
    """Return what the source gave that lies further back: it leads here by way of others."""
    if _leads(history, source, key):
        return []
    there = history.completed(source, generation=key.generation)
    return [] if there is None or not history.beside(there.key, key) else [there]


def _leads(history: History, source: str, key: StageKey) -> bool:
    return any(key.stage_id in edge.targets for edge in history.known.graph.outgoing[source])
