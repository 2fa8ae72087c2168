"""What a rerun or a retry keeps, by the reference interpreter: it walks from instance to instance along the arrows."""

from __future__ import annotations

from typing import Any

from tests.kernel.graphs.interpreter import Done, Interpreter
from tests.kernel.graphs.plans import Arrow, At


def rerun(was: Interpreter, stage: str) -> Interpreter | None:
    """Return the generation that does *stage* again; None if nothing leads to it at once."""
    plan = was.plan
    node = plan.nodes[stage]
    begin = node.within or (plan.nodes[node.sources[0]].within if node.kind == "collect" else None) or stage
    there = [at for at in (*was.begun, *was.done) if at.stage == begin and not _is_skipped(was, at)]
    target = max(there, key=lambda at: at.turn, default=At(begin, tuple(0 for _ in plan.loops(begin))))
    leading = _leading_to(was, target)
    kept = {at: done for at, done in was.done.items() if at in leading and _stands(was, at, done)}
    again = Interpreter(plan, was.script, was.value, generation=was.generation + 1, kept=kept)
    return again if target in again.live else None


def retried(was: Interpreter) -> Interpreter:
    """Return the generation that goes on where the run failed."""
    kept: dict[At, Done] = {}
    remembered: dict[At, Any] = {}
    for at, done in was.done.items():
        node = was.plan.nodes[at.stage]
        split = node.within or (at.stage if node.kind == "split" else None)
        end = None if split is None else was.done.get(At(was.plan.nodes[split].collect, at.turn))
        is_whole = end is not None and end.status == "COMPLETED"
        if is_whole or (done.status == "FAILED" and split is None and _is_over(was, at)):
            kept[at] = done
        elif done.status != "COMPLETED" or node.kind == "split":
            continue
        elif split is not None or done.stranded:
            remembered[at] = done.output
        else:
            kept[at] = done
    remembered |= {at: output for at, output in was.remembered.items() if at not in kept}
    return Interpreter(was.plan, was.script, was.value, generation=was.generation + 1, kept=kept, remembered=remembered)


def _is_skipped(was: Interpreter, at: At) -> bool:
    done = was.done.get(at)
    return done is not None and done.status == "SKIPPED"


def _is_over(was: Interpreter, at: At) -> bool:
    """Return whether all joins that heard of the failure went on without its stage and are done."""
    joins = [At(join, at.turn) for join in was.absorbers(at.stage) or ()]
    return bool(joins) and all(join in was.done and was.done[join].status == "COMPLETED" for join in joins)


def _stands(was: Interpreter, at: At, done: Done) -> bool:
    node = was.plan.nodes[at.stage]
    split = node.within or (at.stage if node.kind == "split" else None)
    if split is not None and At(was.plan.nodes[split].collect, at.turn) not in was.done:
        return False
    if done.status == "FAILED":
        return was.absorbed(at.stage)
    return done.status == "COMPLETED" and not done.stranded


def _leading_to(was: Interpreter, target: At) -> set[At]:
    """Return the instances from which arrows lead to *target*, through instances that could have come to be."""
    there = {*was.places(), *was.begun, *was.done, target}
    found: set[At] = set()
    ahead = [target]
    while ahead:
        at = ahead.pop()
        for one in there - found - {target}:
            if any(at in _next(was, one, arrow) for arrow in was.plan.leaving[one.stage]):
                found.add(one)
                ahead.append(one)
    return found


def _next(was: Interpreter, at: At, arrow: Arrow) -> list[At]:
    """Return the instances that hear of it when the arrow is taken, or is not."""
    plan = was.plan
    found: list[At] = []
    if plan.nodes[at.stage].kind == "split":
        # Without items nothing stands between a map's beginning and its end.
        found.append(At(plan.nodes[at.stage].collect, at.turn))
    for target in arrow.targets:
        if plan.is_back(arrow, target):
            depth = plan.loops(at.stage).index(target)
            found.append(At(target, (*at.turn[:depth], at.turn[depth] + 1)))
            continue
        found += _instances(was, at, target)
        for loop in plan.loops(at.stage):
            if loop not in plan.loops(target):
                found += [one for way in _exits(was, loop) for one in _instances(was, at, way)]
    return found


def _exits(was: Interpreter, loop: str) -> set[str]:
    """Return where the loop can be left to: whoever leaves it decides about all of these."""
    plan = was.plan
    inside = [arrow for arrow in plan.arrows if loop in plan.loops(arrow.source)]
    targets = {(arrow, target) for arrow in inside for target in arrow.targets if loop not in plan.loops(target)}
    return {target for arrow, target in targets if not plan.is_back(arrow, target)}


def _instances(was: Interpreter, at: At, target: str) -> list[At]:
    around, own = was.plan.loops(target), was.plan.loops(at.stage)
    shared = len([one for one in own if one in around])
    turn = (*at.turn[:shared], *(0 for _ in around[shared:]))
    node = was.plan.nodes.get(target)
    if node is None or node.within is None:
        return [At(target, turn)]
    if was.plan.nodes[at.stage].kind == "split":
        return [one for one in (*was.begun, *was.done) if one.stage == target and one.turn == turn]
    return [At(target, turn, at.item)]
