"""Exponential backoff with full jitter, on a clock and dice of the test's own."""

from __future__ import annotations

import random

import pytest

from modelwire._retry import BASE_SECONDS, CAP_SECONDS, Backoff


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def delays(backoff: Backoff, count: int) -> list[float]:
    found = [backoff.next_delay() for _ in range(count)]
    assert None not in found
    return [delay for delay in found if delay is not None]


def test_a_delay_is_drawn_between_zero_and_a_ceiling_that_doubles_up_to_the_cap() -> None:
    clock = Clock()
    draws = [delays(Backoff(60, random.Random(seed), clock), 12) for seed in range(400)]
    for attempt, drawn in enumerate(zip(*draws, strict=True)):
        ceiling = min(CAP_SECONDS, BASE_SECONDS * 2**attempt)
        assert 0 <= min(drawn) < 0.05 * ceiling
        assert 0.95 * ceiling < max(drawn) <= ceiling
        assert 0.4 * ceiling < sum(drawn) / len(drawn) < 0.6 * ceiling


def test_the_same_dice_give_the_same_delays_and_others_do_not() -> None:
    clock = Clock()
    first = delays(Backoff(60, random.Random(7), clock), 10)
    assert delays(Backoff(60, random.Random(7), clock), 10) == first
    assert delays(Backoff(60, random.Random(8), clock), 10) != first


def test_two_clients_that_fail_together_do_not_come_back_together() -> None:
    assert delays(Backoff(60), 5) != delays(Backoff(60), 5)


@pytest.mark.parametrize("budget", [0.5, 6.0, 90.0])
def test_it_gives_up_when_the_budget_is_spent_and_not_before(budget: float) -> None:
    clock = Clock()
    backoff = Backoff(budget, random.Random(1), clock)
    assert backoff.next_delay() is not None
    clock.now += budget * 0.999
    assert backoff.next_delay() is not None
    clock.now += budget * 0.001 + 1e-9
    assert backoff.next_delay() is None
    assert backoff.next_delay() is None


def test_the_budget_counts_from_the_first_failure_not_from_the_making() -> None:
    clock = Clock()
    backoff = Backoff(10, random.Random(1), clock)
    clock.now += 1_000_000
    assert backoff.next_delay() is not None


def test_success_starts_patience_and_ceiling_anew() -> None:
    clock = Clock()
    backoff = Backoff(10, random.Random(1), clock)
    delays(backoff, 8)
    clock.now += 9
    backoff.succeeded()
    clock.now += 9
    first = backoff.next_delay()
    assert first is not None
    assert first <= BASE_SECONDS
    clock.now += 9
    assert backoff.next_delay() is not None
    clock.now += 2
    assert backoff.next_delay() is None


def test_a_delay_that_the_service_asks_for_is_kept() -> None:
    clock = Clock()
    backoff = Backoff(60, random.Random(1), clock)
    assert backoff.next_delay(5.0) == 5.0
    assert 0 <= (backoff.next_delay(0.0) or 0.0) <= 2 * BASE_SECONDS


def test_without_a_budget_it_gives_up_at_once() -> None:
    assert Backoff(0, random.Random(1), Clock()).next_delay() is None


def test_endless_failing_never_overflows() -> None:
    backoff = Backoff(float("inf"), random.Random(1), Clock())
    assert max(delays(backoff, 5000)) <= CAP_SECONDS
