"""What a condition may know of its run besides the output that it is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from holdfast.entities.definition import Definition
from holdfast.errors import OutputMissing

if TYPE_CHECKING:
    from holdfast.authoring.stage import Stage

T = TypeVar("T")


class Seen:
    """What a condition is given as its second argument.

    Attributes:
        state: The run's state, the patch of the stage that has just ended included.
    """

    __slots__ = ("_definition", "_outputs", "_run_input", "state")

    def __init__(
        self, definition: Definition, *, state: Mapping[str, Any], outputs: Mapping[str, str], run_input: str | None
    ) -> None:
        self.state = state
        self._definition = definition
        self._outputs = outputs
        self._run_input = run_input

    @property
    def input(self) -> Any:
        """The run's input, typed as the workflow declares it; None if it is too large for its row."""
        text = self._run_input
        return None if text is None else self._definition.input.decode(text, what="input of the run")

    @property
    def outputs(self) -> Mapping[str, Any]:
        """The outputs that the stage which has just ended could see, its own included, by stage id."""
        return {stage_id: self.require(stage_id) for stage_id in self._outputs}

    def output(self, stage: Stage[Any, T]) -> T:
        """Return the output of a stage that the one which has just ended could see.

        Raises:
            OutputMissing: If it could not see it.
        """
        found: T = self.require(stage.id)
        return found

    def require(self, stage_id: str) -> Any:
        """Return the output of the stage of that id, as `output` does.

        Raises:
            OutputMissing: If the stage which has just ended could not see it.
        """
        giver = self._definition.giving(stage_id)
        text = self._outputs.get(giver)
        if text is None:
            reason = "which the stage before the condition does not declare in needs=[…]"
            raise OutputMissing(stage_id, asked_by="a condition", available=tuple(self._outputs), reason=reason)
        return self._definition.stages[giver].output.decode(text, what=f'output of stage "{stage_id}"')
