"""The reference interpreter: says by plain recomputation what a workflow must do next, whatever happened so far.

It is told which instance completed or failed and looks at every stage in every turn until nothing new follows. It
knows no gates, counts nothing up and shares no code with the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import attrs

from tests.kernel.graphs.plans import BEGIN, END, Arrow, At, Node, Plan, Script

Word = Literal["taken", "skipped", "failed"]


@attrs.frozen(kw_only=True)
class Done:
    """How an instance ended."""

    status: Literal["COMPLETED", "FAILED", "SKIPPED"]
    output: Any = None
    #: Id of the arrow that was taken; None if there is none, as behind a split or where none could be chosen.
    arrow: str | None = None
    #: Of a skipped one: whether it lies behind something that failed.
    lost: bool = False
    #: Whether no arrow could be chosen.
    stranded: bool = False


@attrs.frozen(kw_only=True)
class Heard:
    """What a stage knows of one arrow that leads to it."""

    arrow: Arrow
    word: Word
    #: The instance that took it; None for the start.
    source: At | None = None


class Interpreter:
    """One generation of a run.

    Args:
        plan: The workflow.
        script: What its stages decide.
        value: The input of the run.
        generation: From 1.
        kept: What earlier generations did and this one leaves as it is.
        remembered: Outputs of instances that complete again without being executed.
    """

    def __init__(
        self,
        plan: Plan,
        script: Script,
        value: Any,
        *,
        generation: int = 1,
        kept: Mapping[At, Done] | None = None,
        remembered: Mapping[At, Any] | None = None,
    ) -> None:
        self.plan = plan
        self.script = script
        self.value = value
        self.generation = generation
        self.done: dict[At, Done] = dict(kept or {})
        self.remembered = dict(remembered or {})
        #: Inputs of the instances that may execute now.
        self.live: dict[At, Any] = {}
        #: Inputs of all that ever could.
        self.begun: dict[At, Any] = {}
        self.status: Literal["RUNNING", "COMPLETED", "FAILED"] = "RUNNING"
        self.code: str | None = None
        self.output: Any = None
        self._settle()

    # What is told.

    def outcome(self, at: At, *, attempt: int, lost: bool) -> Literal["COMPLETED", "FAILED", "AGAIN"]:
        """Return what must become of the instance after an attempt, or after nobody heard the end of one."""
        node = self.plan.nodes[at.stage]
        if lost:
            return "FAILED" if attempt >= node.attempts and not self.absorbed(at.stage) else "AGAIN"
        if attempt > node.attempts:
            return "FAILED"
        if at in self.remembered or node.kind != "body" or not self.script.fails(at, self.generation, attempt):
            return "COMPLETED"
        return "FAILED" if attempt == node.attempts else "AGAIN"

    def completed(self, at: At) -> Any:
        """Let a live instance complete and return its output."""
        value = self.live.pop(at)
        output = self.remembered[at] if at in self.remembered else self._made(at, value)
        matching = self._matching(at, output)
        arrow = matching[0].id if len(matching) == 1 else None
        stranded = self.plan.nodes[at.stage].kind != "split" and arrow is None
        self.done[at] = Done(status="COMPLETED", output=output, arrow=arrow, stranded=stranded)
        if stranded:
            self._fail("AMBIGUOUS_EDGE" if matching else "NO_EDGE")
        self._settle()
        return output

    def failed(self, at: At) -> None:
        """Let a live instance fail for good."""
        del self.live[at]
        self.done[at] = Done(status="FAILED")
        if not self.absorbed(at.stage):
            self._fail(None)
        self._settle()

    def absorbed(self, stage: str) -> bool:
        """Return whether only joins and maps that tolerate failures hear of the stage's failure."""
        return self.absorbers(stage) is not None

    def absorbers(self, stage: str) -> set[str] | None:
        """Return the joins and ends of maps that hear of the stage's failure; None if something else does."""
        node = self.plan.nodes[stage]
        if node.within is not None:
            split = self.plan.nodes[node.within]
            return {split.collect} if split.losses > 0 else None
        if node.kind == "split":
            return self.absorbers(node.collect)
        found: set[str] = set()
        for arrow in self.plan.leaving[stage]:
            for target in arrow.targets:
                if target == END or self.plan.is_back(arrow, target) or self.plan.left(arrow, target) is not None:
                    return None
                if self.plan.nodes[target].tolerate:
                    found.add(target)
                    continue
                further = self.absorbers(target) if len(self.plan.entering[target]) == 1 else None
                if further is None:
                    return None
                found |= further
        return found

    # What follows.

    def _fail(self, code: str | None) -> None:
        if self.status == "RUNNING":
            self.status, self.code = "FAILED", code

    def _settle(self) -> None:
        """Look at everything again until nothing new follows; nothing follows from what fails the run."""
        goes_on = self.status == "RUNNING"
        while goes_on:
            goes_on = False
            for at in self.places():
                if at not in self.done and at not in self.begun:
                    goes_on = self._look(at) or goes_on
        if self.status == "RUNNING":
            self._end()
        if self.status != "RUNNING":
            self.live.clear()

    def places(self) -> list[At]:
        """Return every instance that may come to be, as far as can be told now."""
        return [
            At(node.id, turn, item)
            for node in self.plan.nodes.values()
            for turn in self._turns(node.loops)
            for item in range(self._items(node, turn))
        ]

    def _turns(self, loops: tuple[str, ...]) -> Iterator[tuple[int, ...]]:
        if not loops:
            yield ()
            return
        for outer in self._turns(loops[:-1]):
            turn = (*outer, 0)
            yield turn
            while self._again(loops[-1], turn) is not None:
                turn = (*outer, turn[-1] + 1)
                yield turn

    def _again(self, head: str, turn: tuple[int, ...]) -> At | None:
        """Return the instance that ended the turn of the loop by beginning another one."""
        for at, arrow in self._taken():
            if head in arrow.targets and self.plan.is_back(arrow, head) and at.turn[: len(turn)] == turn:
                return at
        return None

    def _taken(self) -> Iterator[tuple[At, Arrow]]:
        for at, done in self.done.items():
            for arrow in self.plan.leaving[at.stage]:
                if done.arrow == arrow.id:
                    yield at, arrow

    def _items(self, node: Node, turn: tuple[int, ...]) -> int:
        if node.within is None:
            return 1
        split = self.done.get(At(node.within, turn))
        if split is None or split.status != "COMPLETED":
            return 1
        return int(split.output)

    def _look(self, at: At) -> bool:
        """Decide about an instance and return whether there was something to decide."""
        node = self.plan.nodes[at.stage]
        if node.within is not None or node.kind == "collect":
            split = self._split_of(node, at.turn)
            if split is None:
                return False
            if split.status != "COMPLETED":
                return self._skip(at, lost=split.status == "FAILED" or split.lost)
        if node.kind == "collect":
            return self._look_at_collect(at)
        if node.within is not None and node.id == self.plan.nodes[node.within].body[0]:
            return at.item < self._window(node.within, at.turn) and self._begin(at, [])
        if at.turn and at.turn[-1] > 0 and node.loops[-1] == node.id:
            source = self._again(node.id, (*at.turn[:-1], at.turn[-1] - 1))
            if source is None:
                return False
            return self._begin(at, [Heard(arrow=self._arrow_of(source), word="taken", source=source)])
        return self._join(at, node)

    def _join(self, at: At, node: Node) -> bool:
        entering = self.plan.entering[at.stage]
        heard = self._heard_of(at)
        taken = [one for one in heard if one.word == "taken"]
        failed = sum(one.word == "failed" for one in heard)
        if len(entering) == 1 and failed and not node.tolerate:
            return self._skip(at, lost=True)
        if failed > node.tolerate:
            return self._too_many(at)
        if node.need is not None and len(taken) >= node.need:
            # More than needed are there at once only in a rerun; then the first ones count, by id.
            first = sorted(taken, key=lambda one: one.source or At(""))[: node.need]
            return self._begin(at, first)
        if len(heard) < len(entering):
            return False
        if not taken and not failed:
            return self._skip(at, lost=False)
        return self._begin(at, taken) if node.need is None else self._too_many(at)

    def _too_many(self, at: At) -> bool:
        self._fail("TOO_MANY_FAILED")
        self.begun[at] = None
        return True

    def _skip(self, at: At, *, lost: bool) -> bool:
        self.done[at] = Done(status="SKIPPED", lost=lost)
        return True

    def _begin(self, at: At, taken: list[Heard]) -> bool:
        self.begun[at] = self.live[at] = self._input(at, taken)
        return True

    def _look_at_collect(self, at: At) -> bool:
        split = self.plan.nodes[self._split_id(self.plan.nodes[at.stage])]
        count = int(self.done[At(split.id, at.turn)].output)
        words = self._item_words(split, at.turn)
        allowed = split.losses if isinstance(split.losses, int) else int(split.losses * count)
        if words.count("failed") > allowed:
            return self._too_many(at)
        return len(words) == count and self._begin(at, [])

    def _window(self, split_id: str, turn: tuple[int, ...]) -> int:
        split = self.plan.nodes[split_id]
        return split.limit + len(self._item_words(split, turn))

    def _item_words(self, split: Node, turn: tuple[int, ...]) -> list[Word]:
        """Return how each item ended that has ended."""
        (arrow,) = self.plan.entering[split.collect]
        count = int(self.done[At(split.id, turn)].output)
        words: list[Word] = []
        for item in range(count):
            heard = self._heard(arrow, split.collect, At(split.collect, turn, item))
            if heard is not None:
                words.append(heard.word)
        return words

    def _split_id(self, node: Node) -> str:
        if node.within is not None:
            return node.within
        within = self.plan.nodes[node.sources[0]].within
        assert within is not None
        return within

    def _split_of(self, node: Node, turn: tuple[int, ...]) -> Done | None:
        return self.done.get(At(self._split_id(node), turn))

    def _end(self) -> None:
        heard = self._heard_of(At(END))
        if len(heard) < len(self.plan.entering[END]):
            return
        sources = {one.source.stage: one.source for one in heard if one.word == "taken" and one.source is not None}
        if not sources:
            self._fail("NO_END")
            return
        outputs = [self.done[sources[stage]].output for stage in self.plan.nodes if stage in sources]
        self.status = "COMPLETED"
        self.output = outputs[0] if len(outputs) == 1 else outputs

    # What is known of an arrow.

    def _heard_of(self, at: At) -> list[Heard]:
        found = (self._heard(arrow, at.stage, at) for arrow in self.plan.entering[at.stage])
        return [one for one in found if one is not None]

    def _heard(self, arrow: Arrow, target: str, at: At) -> Heard | None:
        """Return what became of the arrow for the instance that it leads to; None while that is open."""
        if arrow.source == BEGIN:
            return Heard(arrow=arrow, word="taken")
        left = self.plan.left(arrow, target)
        if left is not None:
            return self._departed(left, arrow, at.turn[: self.plan.loops(arrow.source).index(left)])
        source = self.plan.nodes[arrow.source]
        instance = At(source.id, at.turn[: len(source.loops)], at.item if source.within is not None else 0)
        return self._word(arrow, instance)

    def _word(self, arrow: Arrow, instance: At) -> Heard | None:
        done = self.done.get(instance)
        if done is None or done.stranded:
            return None
        if done.status == "COMPLETED":
            if done.arrow == arrow.id:
                return Heard(arrow=arrow, word="taken", source=instance)
            return Heard(arrow=arrow, word="skipped")
        return Heard(arrow=arrow, word="failed" if done.status == "FAILED" or done.lost else "skipped")

    def _departed(self, loop: str, arrow: Arrow, outer: tuple[int, ...]) -> Heard | None:
        """Return what became of an arrow out of a loop: the loop is left by one, or was never entered."""
        for at, other in self._taken():
            around = self.plan.loops(at.stage)
            if loop not in around or at.turn[: len(outer)] != outer:
                continue
            if any(loop not in self.plan.loops(target) for target in other.targets):
                if other is arrow:
                    return Heard(arrow=arrow, word="taken", source=at)
                return Heard(arrow=arrow, word="skipped")
        head = self.done.get(At(loop, (*outer, 0)))
        if head is None or head.status != "SKIPPED":
            return None
        return Heard(arrow=arrow, word="failed" if head.lost else "skipped")

    def _arrow_of(self, at: At) -> Arrow:
        return next(arrow for one, arrow in self._taken() if one == at)

    # Values.

    def _input(self, at: At, taken: list[Heard]) -> Any:
        node = self.plan.nodes[at.stage]
        if node.kind == "collect" or node.form == "nothing":
            return None
        if node.form == "item":
            split = At(self._split_id(node), at.turn)
            items: list[Any] = self.begun[split]
            return items[at.item]
        outputs = {one.source.stage: self.done[one.source].output for one in taken if one.source is not None}
        if node.form == "named":
            return outputs
        if node.form == "tuple":
            return [outputs.get(source) for source in node.sources]
        if any(one.source is None for one in taken):
            return self.value
        (only,) = outputs.values()
        return only

    def _made(self, at: At, value: Any) -> Any:
        node = self.plan.nodes[at.stage]
        if node.kind == "pass":
            return value
        if node.kind == "split":
            return len(value)
        if node.kind == "collect":
            count = int(self.done[At(self._split_id(node), at.turn)].output)
            ends = [self.done.get(At(node.sources[0], at.turn, item)) for item in range(count)]
            return [one.output if one is not None and one.status == "COMPLETED" else None for one in ends]
        return self.script.gives(at, self.generation, value)

    def _matching(self, at: At, output: Any) -> list[Arrow]:
        """Return the arrows of the highest priority that may be taken."""
        arrows = self.plan.leaving[at.stage]
        if self.plan.nodes[at.stage].kind == "split":
            return []
        choice = output["choice"] if isinstance(output, dict) and "choice" in output else None
        fitting = [arrow for arrow in arrows if arrow.when is None or choice in arrow.when]
        return [arrow for arrow in fitting if arrow.priority == max(one.priority for one in fitting)]
