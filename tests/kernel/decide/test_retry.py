"""How long a retry waits, and which errors are worth one."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import EventType, NeverRetry, Retry, RetryAfter, StageStatus
from holdfast.change import Finish, Requeue
from holdfast.decide.fail import fail, retry
from holdfast.entities.retry import span
from holdfast.entities.run import RunStatus
from tests.kernel.behaviour.flows import line
from tests.kernel.decide.made import FAILURE, lease

SPANS = st.timedeltas(min_value=timedelta(), max_value=timedelta(days=365))
FRACTIONS = st.floats(0, 1, exclude_max=True)
ATTEMPTS = st.integers(1, 10_000)


@st.composite
def policies(draw: st.DrawFn) -> Retry:
    """Draw any policy."""
    return Retry(
        draw(st.integers(1, 100)),
        backoff=draw(st.sampled_from(["exponential", "fixed"])),
        base=draw(SPANS),
        cap=draw(SPANS),
        jitter=draw(st.floats(0, 1)),
    )


@given(policy=policies(), attempt=ATTEMPTS, fraction=FRACTIONS)
def test_delay_is_between_nothing_and_the_cap(policy: Retry, attempt: int, fraction: float) -> None:
    """No delay is negative or above the cap, whatever policy, attempt and chance say."""
    assert timedelta() <= policy.delay(attempt=attempt, fraction=fraction) <= policy.cap


@given(policy=policies(), attempt=ATTEMPTS, fraction=FRACTIONS)
def test_jitter_takes_off_at_most_its_part(policy: Retry, attempt: int, fraction: float) -> None:
    """Chance only shortens a delay, and by no more than the policy's jitter."""
    full = policy.delay(attempt=attempt, fraction=0)
    delay = policy.delay(attempt=attempt, fraction=fraction)

    assert delay <= full
    assert delay >= full * (1 - policy.jitter) - timedelta(microseconds=1)


@given(policy=policies(), attempt=ATTEMPTS)
def test_delays_never_shrink_from_attempt_to_attempt(policy: Retry, attempt: int) -> None:
    """Chance aside, a later attempt waits at least as long as an earlier one."""
    assert policy.delay(attempt=attempt, fraction=0) <= policy.delay(attempt=attempt + 1, fraction=0)


def test_exponential_delays_double_up_to_the_cap() -> None:
    """Exponential backoff doubles from the base and stays at the cap, also at an attempt far beyond any float."""
    policy = Retry(10, base="1s", cap="10s", jitter=0)
    delays = [policy.delay(attempt=attempt, fraction=0.5).total_seconds() for attempt in (1, 2, 3, 4, 5, 6, 10_000)]

    assert delays == [1, 2, 4, 8, 10, 10, 10]
    assert Retry(base="365d", cap="365d", jitter=0).delay(attempt=10_000, fraction=0) == timedelta(days=365)


def test_fixed_delays_stay() -> None:
    """Fixed backoff waits for the base every time, but never above the cap."""
    policy = Retry(10, backoff="fixed", base="7s", jitter=0)

    assert {policy.delay(attempt=attempt, fraction=0.9) for attempt in (1, 2, 10_000)} == {timedelta(seconds=7)}
    assert Retry(backoff="fixed", base="7s", cap="5s", jitter=0).delay(attempt=1, fraction=0) == timedelta(seconds=5)


def test_full_jitter_can_take_off_everything() -> None:
    """With a jitter of 1 a delay lies anywhere between nothing and the whole."""
    policy = Retry(base="8s", jitter=1)

    assert policy.delay(attempt=1, fraction=0) == timedelta(seconds=8)
    assert policy.delay(attempt=1, fraction=0.75) == timedelta(seconds=2)


@pytest.mark.parametrize(
    ("error", "worth"),
    [
        (ConnectionError(), True),
        (TimeoutError(), True),
        (ConnectionResetError(), False),
        (ValueError(), False),
        (NeverRetry(), False),
        (RetryAfter("1s"), True),
        (KeyboardInterrupt(), False),
    ],
)
def test_policy_says_which_errors_are_worth_another_attempt(error: BaseException, worth: bool) -> None:
    """Errors named by `on` are retried, those named by `never` are not, and the two words of a stage beat both."""
    policy = Retry(on=(ConnectionError, TimeoutError), never=ConnectionResetError)

    assert policy.retries(error) is worth


@pytest.mark.parametrize(
    "wrong", [{"attempts": 0}, {"jitter": 1.1}, {"jitter": -0.1}, {"base": "-1s"}, {"cap": "soon"}, {"base": "1"}]
)
def test_policy_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    """A policy without attempts, with a jitter beyond the whole, or with a duration that is none cannot be made."""
    with pytest.raises(ValueError, match=r".+"):
        Retry(**wrong)  # type: ignore[arg-type]  # the wrong values are the point


@given(st.integers(0, 999), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999), st.sampled_from(["", " "]))
def test_durations_are_read_as_written(hours: int, minutes: int, seconds: int, milliseconds: int, pad: str) -> None:
    """A duration of hours, minutes, seconds and milliseconds is the sum of its parts."""
    text = f"{pad}{hours}h{minutes}m{seconds}s{milliseconds}ms{pad}"

    assert span(text) == timedelta(hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds)


def test_retried_attempt_stays_counted() -> None:
    """A retry makes the job due after its delay, keeps the attempt, and tells of code and delay."""
    change = retry(lease(attempt=2, epoch=5), failure=FAILURE, delay=timedelta(seconds=3))

    assert change.settle == Requeue(delay=timedelta(seconds=3), attempt=2, failure=FAILURE)
    assert change.fence is not None
    assert change.fence.epoch == 5
    assert change.step.run is None
    (event,) = change.step.events
    assert event.type is EventType.STAGE_RETRYING
    assert event.data == {"attempt": 2, "code": "STAGE_ERROR", "message": "no luck", "delaySeconds": 3.0}


def test_retried_poll_is_told_as_a_failed_poll() -> None:
    """A retry of a poll keeps the stage SUSPENDED, which its event says."""
    change = retry(lease(status=StageStatus.SUSPENDED), failure=FAILURE, delay=timedelta(seconds=3))

    assert [event.type for event in change.step.events] == [EventType.STAGE_POLL_FAILED]


def test_failure_for_good_ends_stage_and_run_at_once() -> None:
    """A stage that fails for good takes its run with it in one change, with the same failure."""
    change = fail(lease(attempt=3), failure=FAILURE, definition=line(1).definition())

    assert change.settle == Finish(status=StageStatus.FAILED, failure=FAILURE)
    assert change.step.run is not None
    assert (change.step.run.status, change.step.run.failure) == (RunStatus.FAILED, FAILURE)
    assert [event.type for event in change.step.events] == [EventType.STAGE_FAILED, EventType.RUN_FAILED]
