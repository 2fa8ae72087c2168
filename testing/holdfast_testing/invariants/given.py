"""What the input of a stage instance has to be, told from the definition and from what came before it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

from holdfast.codec import from_json, to_json
from holdfast.entities.definition import Shape
from holdfast.entities.stage import StageInstance, StageKey
from holdfast_testing.invariants.history import History


def input_texts(history: History, key: StageKey, *, until: int) -> set[str]:
    """Return the texts of all inputs that can be made for a stage instance; one for its own generation alone.

    Args:
        history: The run.
        key: The stage instance.
        until: The newest generation that outputs are taken from; its own or a later one.
    """
    spec = history.known.stages[key.stage_id]
    row = history.stages.get(key)
    via = () if row is None else row.via
    if spec.shape is Shape.ITEM:
        return _items(history, key, until=until)
    if spec.shape is Shape.TUPLE:
        members = [_outputs(history, source, key, until=until) or {"null"} for source in spec.sources]
        return {f"[{','.join(texts)}]" for texts in product(*members)}
    if spec.shape is Shape.NAMED:
        sources = sorted(via)
        members = [_outputs(history, source, key, until=until) for source in sources]
        return {_object(sources, texts) for texts in product(*members)}
    if not via:
        return set() if history.input is None else {history.input}
    return _outputs(history, via[0], key, until=until)


def _object(names: Iterable[str], texts: Iterable[str]) -> str:
    return "{" + ",".join(f"{to_json(name)}:{text}" for name, text in zip(names, texts, strict=True)) + "}"


def _items(history: History, key: StageKey, *, until: int) -> set[str]:
    """Return the item of every list that the map may have been given."""
    split = history.known.stages[key.stage_id].within
    assert split is not None, "items are those of a map"
    at = StageKey(run_id=key.run_id, stage_id=split, generation=key.generation, turn=key.turn)
    lists = [from_json(text, what="input of a map") for text in input_texts(history, at, until=until)]
    return {to_json(values[key.item]) for values in lists if key.item < len(values)}


def _outputs(history: History, source: str, key: StageKey, *, until: int) -> set[str]:
    """Return the texts of the outputs of *source* that the instance may be given."""
    found = history.leading(source, key, until=until) or _beside(history, source, key)
    if until == key.generation:
        found = found[-1:]
    texts = {history.texts.get(stage.key) for stage in found}
    return {text for text in texts if text is not None}


def _beside(history: History, source: str, key: StageKey) -> list[StageInstance]:
    """Return what the source gave that lies further back: it leads here by way of others."""
    if any(key.stage_id in edge.targets for edge in history.known.graph.outgoing[source]):
        return []
    there = history.completed(source, generation=key.generation)
    return [] if there is None or not history.beside(there.key, key) else [there]
