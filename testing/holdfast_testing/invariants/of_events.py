"""What the delivery of events must keep to: all of them, none invented, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from holdfast_testing.invariants.history import History
from holdfast_testing.invariants.ledger import Ledger, Violation


def every_event_arrives(runs: Sequence[History], ledger: Ledger) -> Iterator[Violation]:
    """I16: once nothing is left to deliver, each sink took every committed event, and none that was not committed."""
    committed = {(event.run_id, event.number): event for history in runs for event in history.events}
    for sink, batches in ledger.delivered.items():
        taken = {(event.run_id, event.number): event for batch in batches for event in batch}
        for place in sorted(committed.keys() - taken.keys()):
            found = f"event {place[1]} {committed[place].type.value} was never delivered to {sink}"
            yield _lost(place[0], found)
        for batch in batches:
            for event in batch:
                if committed.get((event.run_id, event.number)) != event:
                    yield _lost(event.run_id, f"{sink} took {event}, which was never committed")


def _lost(run_id: str, found: str) -> Violation:
    return Violation(invariant="I16", promise="every committed event arrives", subject=f"run {run_id}", found=found)


def events_arrive_in_order(ledger: Ledger) -> Iterator[Violation]:
    """I17: first deliveries of a run's events are 1, 2, 3…; repeats begin at a number already taken."""
    for sink, batches in ledger.delivered.items():
        newest: dict[str, int] = {}
        for batch in batches:
            run_id = batch[0].run_id
            numbers = [event.number for event in batch]
            last = newest.get(run_id, 0)
            if numbers != list(range(numbers[0], numbers[0] + len(numbers))) or numbers[0] > last + 1:
                yield Violation(
                    invariant="I17",
                    promise="events of a run arrive in order",
                    subject=f"run {run_id}",
                    found=f"{sink} took {numbers} after {last}",
                )
            newest[run_id] = max(last, numbers[-1])
