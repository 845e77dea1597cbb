"""The judge of waits itself: a refusal for a circle that may have been passes, one for a circle that was not is found.

Once nine refusals were called groundless in one campaign: the circle was there, and the judge did not see who held.
"""

from __future__ import annotations

from dataclasses import replace

from tests.coordination import circles
from tests.coordination.history import History, Operation

CIRCLE = ("p", "a", "q", "b")
"""Of who is told so: p waits for a, which q holds, who waits for b, which p holds."""


def take(holder: str, name: str, begun: float, ended: float, token: int = 0, ttl: float = 10) -> Operation:
    """Return what was had, with a token; without one, what was not had in time."""
    answer = "ok" if token else "refused"
    return Operation(
        "one", "acquire", name, begun, ended, answer, token, wait=5, ttl=ttl, expires=begun + ttl, holder=holder
    )


def renew(name: str, begun: float, ended: float, token: int, answer: str = "ok", ttl: float = 10) -> Operation:
    return Operation("one", "renew", name, begun, ended, answer, token, ttl=ttl, expires=begun + ttl)


def give(name: str, begun: float, ended: float, token: int, answer: str = "ok") -> Operation:
    return Operation("one", "release", name, begun, ended, answer, token)


def together(*some: Operation) -> tuple[Operation, ...]:
    return tuple(replace(one, together=True) for one in some)


def refused(begun: float, ended: float) -> Operation:
    return replace(take("p", "a", begun, ended), circle=CIRCLE)


def wrong(*operations: Operation) -> list[str]:
    return circles.faults(History(operations))


class TestGood:
    """No false alarm."""

    def test_one_by_one(self) -> None:
        assert not wrong(take("p", "b", 0, 0.1, 1), take("q", "a", 0, 0.1, 2), take("q", "b", 1, 5, 3), refused(2, 2.1))

    def test_a_holding_that_was_renewed(self) -> None:
        held = take("p", "b", 0, 0.1, 1, ttl=1), renew("b", 0.9, 1, 1, ttl=1), renew("b", 1.9, 2, 1, ttl=1)
        assert not wrong(*held, take("q", "a", 2, 2.1, 2), take("q", "b", 2.2, 4, 3), refused(2.5, 2.6))

    def test_a_holding_of_which_nobody_knows_whether_it_was_renewed_or_given_back(self) -> None:
        unknown = renew("b", 0.9, 2, 1, "unknown", ttl=1), give("b", 2.1, 2.2, 1, "unknown")
        assert not wrong(
            take("p", "b", 0, 0.1, 1, ttl=1),
            *unknown,
            take("q", "a", 2.3, 2.4, 2),
            take("q", "b", 2.5, 4),
            refused(3, 4),
        )

    def test_a_holding_whose_time_counts_from_late_in_the_call(self) -> None:
        """The keeper was slow: the time it gave began when it gave, its holder counts from when it asked."""
        assert not wrong(
            take("p", "b", 0, 3, 1, ttl=1), take("q", "a", 3, 3.1, 2), take("q", "b", 3.2, 5), refused(3.5, 3.6)
        )

    def test_a_wait_of_which_the_keeper_was_not_told_that_it_is_over(self) -> None:
        unanswered = replace(take("q", "b", 1, 1.5), answer="unknown")
        assert not wrong(take("p", "b", 0, 0.1, 1), take("q", "a", 0, 0.1, 2), unanswered, refused(2, 2.1))
        assert wrong(take("p", "b", 0, 0.1, 1), take("q", "a", 0, 0.1, 2), unanswered, refused(4, 4.1))

    def test_what_is_had_of_several_while_the_rest_is_waited_for(self) -> None:
        """Nobody tells what was had of those that were not all had in time."""
        both = together(take("q", "a", 1, 3), take("q", "b", 1, 3))
        assert not wrong(take("p", "b", 0, 0.1, 1), *both, refused(2, 2.1))

    def test_several_at_once_that_are_refused_themselves(self) -> None:
        mine = together(take("p", "a", 1, 3), take("p", "b", 1, 3))
        refusal = [replace(one, circle=("p", "b", "q", "a")) for one in mine]
        assert not wrong(take("q", "b", 0, 0.1, 1), take("q", "a", 1.5, 4, 2), *refusal)


class TestBad:
    """No circle was there."""

    def test_one_that_held_nothing(self) -> None:
        assert wrong(take("p", "b", 0, 0.1, 1), take("q", "b", 1, 5, 3), refused(2, 2.1))

    def test_one_that_waited_for_nothing(self) -> None:
        assert wrong(take("p", "b", 0, 0.1, 1), take("q", "a", 0, 0.1, 2), refused(2, 2.1))

    def test_one_that_had_given_it_back(self) -> None:
        held = take("p", "b", 0, 0.1, 1), renew("b", 0.5, 0.6, 1), give("b", 1, 1.1, 1)
        assert wrong(*held, take("q", "a", 0, 0.1, 2), take("q", "b", 1, 5), refused(2, 2.1))

    def test_one_whose_time_was_up(self) -> None:
        held = take("p", "b", 0, 0.1, 1, ttl=1), renew("b", 0.9, 1, 1, ttl=1)
        assert wrong(*held, take("q", "a", 0, 0.1, 2, ttl=30), take("q", "b", 1, 9), refused(5, 5.1))

    def test_several_at_once_are_had_in_order(self) -> None:
        """Of those that were not all had, the last never was: such circles cannot come."""
        both = together(take("p", "a", 1, 3), take("p", "b", 1, 3))
        others = together(take("q", "a", 1, 3), take("q", "b", 1, 3))
        assert wrong(*[replace(one, circle=CIRCLE) for one in both], *others)

    def test_one_without_who_is_refused(self) -> None:
        assert "without it" in wrong(replace(take("r", "a", 2, 3), circle=CIRCLE))[0]
