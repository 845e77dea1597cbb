"""The checkers themselves: what is good passes, what is bad is found."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from tests.coordination import intervals, linearizable
from tests.coordination.history import History, Operation


def take(process: str, begun: float, ended: float, token: int, expires: float = 100.0, permits: int = 1) -> Operation:
    return Operation(process, "acquire", "a", begun, ended, "ok", token, permits=permits, expires=expires, ttl=10)


def give(process: str, begun: float, ended: float, token: int, answer: str = "ok") -> Operation:
    return Operation(process, "release", "a", begun, ended, answer, token)


def refused(process: str, begun: float, ended: float) -> Operation:
    return Operation(process, "acquire", "a", begun, ended, "refused")


def renew(begun: float, ended: float, token: int, expires: float, answer: str = "ok") -> Operation:
    return Operation("p", "renew", "a", begun, ended, answer, token, expires=expires, ttl=10)


def wrong(*operations: Operation, deaths: dict[str, float] | None = None) -> tuple[bool, bool]:
    """Return whether the interval check, and whether the search for an order finds fault."""
    history = History(tuple(sorted(operations, key=lambda one: one.invoked)), deaths or {})
    return bool(intervals.faults(history)), bool(linearizable.faults(history))


class TestGood:
    """No false alarm."""

    def test_one_after_the_other(self) -> None:
        assert wrong(take("p", 0, 1, 1), give("p", 2, 3, 1), take("q", 2.5, 4, 2)) == (False, False)

    def test_a_grant_while_the_release_is_under_way(self) -> None:
        assert wrong(take("p", 0, 1, 1), give("p", 2, 9, 1), take("q", 3, 4, 2), give("q", 5, 6, 2)) == (False, False)

    def test_calls_at_once_whose_tokens_tell_their_order(self) -> None:
        assert wrong(take("p", 0, 7, 2), take("q", 0.5, 5, 1), give("q", 5.5, 6, 1)) == (False, False)

    def test_a_refusal_while_it_is_held(self) -> None:
        assert wrong(take("p", 0, 1, 1), refused("q", 2, 3), give("p", 4, 5, 1)) == (False, False)

    def test_a_lease_whose_time_was_up(self) -> None:
        assert wrong(take("p", 0, 1, 1, expires=5), take("q", 5.5, 6, 2), give("p", 7, 8, 1, "lost")) == (False, False)

    def test_a_lease_whose_time_was_up_before_it_was_had(self) -> None:
        """It was asked for at 1, for 1 s, and waited for until 5: nobody may rely on it, nor on its not having been."""
        first = [take("p", 0, 0.5, 1), give("p", 4, 4.5, 1)]
        assert wrong(*first, take("q", 1, 5, 2, expires=2), take("r", 6, 7, 3)) == (False, False)

    def test_a_renewal(self) -> None:
        assert wrong(take("p", 0, 1, 1, expires=5), renew(4, 4.5, 1, 9), refused("q", 6, 7), take("q", 9.5, 10, 2)) == (
            False,
            False,
        )

    def test_a_holder_that_was_killed_before_and_after_its_answer(self) -> None:
        unanswered = Operation("p", "acquire", "a", 0, math.inf)
        assert wrong(unanswered, refused("q", 1, 2), take("q", 3, 4, 2), deaths={"p": 0.5}) == (False, False)
        assert wrong(take("p", 0, 1, 1), take("q", 3, 4, 2), deaths={"p": 2}) == (False, False)

    def test_two_permits(self) -> None:
        two = [take("p", 0, 1, 1, permits=2), take("q", 2, 3, 2, permits=2)]
        assert wrong(*two, replace(refused("r", 4, 5), permits=2)) == (False, False)

    def test_a_loss_of_all_data(self) -> None:
        history = History((take("p", 0, 1, 1), take("q", 3, 4, 2)), losses=((1.5, 2),))
        assert intervals.faults(history) == linearizable.faults(history) == []


class TestBad:
    """Each is found by one of the two at least."""

    def test_an_answer_before_the_release_of_a_lower_token(self) -> None:
        assert wrong(take("p", 0, 5, 2), take("q", 0.5, 5, 1), give("q", 5.5, 6, 1)) == (True, True)

    def test_two_inside(self) -> None:
        assert wrong(take("p", 0, 1, 1), take("q", 2, 3, 2), give("p", 4, 5, 1)) == (True, True)

    def test_three_inside_where_two_may(self) -> None:
        three = [take("pqr"[token - 1], token, token + 0.5, token, permits=2) for token in (1, 2, 3)]
        assert wrong(*three) == (True, True)

    def test_a_token_given_twice(self) -> None:
        assert wrong(take("p", 0, 1, 1), give("p", 2, 3, 1), take("q", 4, 5, 1)) == (True, True)

    def test_a_token_that_fell(self) -> None:
        assert wrong(take("p", 0, 1, 7), give("p", 2, 3, 7), take("q", 4, 5, 6)) == (True, True)

    def test_a_refusal_of_what_was_free(self) -> None:
        assert wrong(take("p", 0, 1, 1), give("p", 2, 3, 1), refused("q", 4, 5)) == (False, True)

    def test_a_lease_that_never_ends(self) -> None:
        assert wrong(take("p", 0, 1, 1, expires=5), refused("q", 6, 7)) == (False, True)

    def test_a_late_release_that_is_silent(self) -> None:
        assert wrong(take("p", 0, 1, 1, expires=5), give("p", 6, 7, 1)) == (False, True)

    def test_a_renewal_of_what_another_has(self) -> None:
        late = renew(8, 9, 1, 18)
        assert wrong(take("p", 0, 1, 1, expires=5), take("q", 6, 7, 2), late) == (True, True)

    def test_a_lease_lost_for_nothing(self) -> None:
        assert wrong(take("p", 0, 1, 1), renew(2, 3, 1, 0, "lost")) == (True, True)

    def test_a_second_release_that_is_silent(self) -> None:
        assert wrong(take("p", 0, 1, 1), give("p", 2, 3, 1), give("p", 4, 5, 1)) == (False, True)


def made_up(seed: int, permits: int, count: int) -> list[Operation]:
    """Return what ``count`` calls of six clients saw of a right lock: each call happened at a moment within."""
    chance = random.Random(seed)
    free_at = [0.0] * 6
    moment, token, found = 0.0, 0, list[Operation]()
    held: dict[int, int] = {}
    for _ in range(count):
        moment += chance.random() * 0.2
        client = chance.randrange(6)
        begun = max(free_at[client], moment - chance.random())
        if begun >= moment:
            continue
        ended = free_at[client] = moment + chance.random()
        who = f"client {client}"
        if client in held:
            found.append(give(who, begun, ended, held.pop(client)))
        elif len(held) < permits:
            token += 1
            held[client] = token
            found.append(take(who, begun, ended, token, expires=1e6, permits=permits))
        else:
            found.append(replace(refused(who, begun, ended), permits=permits))
    return found


@pytest.mark.parametrize("permits", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_histories_of_hundreds_of_calls(seed: int, permits: int) -> None:
    """A right one passes; one in which a single answer was turned round does not."""
    right = made_up(seed, permits, 400)
    assert wrong(*right) == (False, False)
    chance = random.Random(seed)
    granted = [number for number, one in enumerate(right) if one.call == "acquire" and one.answer == "ok"]
    # A release that nobody was given a lease for, long after all that could explain it.
    number = chance.choice(granted[: len(granted) // 2])
    turned = [one for one in right if one is not right[number]]
    assert True in wrong(*turned)
    # The same token to two.
    first, second = sorted(chance.sample(granted, 2))
    turned = [replace(one, token=right[first].token) if number == second else one for number, one in enumerate(right)]
    assert True in wrong(*turned)


def test_a_release_that_was_done_and_forgotten_with_all_else_is_no_fault() -> None:
    """Its answer was lost, then all data; asked again, the keeper knows of no such lease."""
    told = (take("p", 0, 1, 5), give("p", 2, 4, 5, "lost"), take("q", 2.5, 2.6, 6), give("q", 2.7, 2.8, 6))
    doubtful = History(told, losses=((3, 3.1),))
    assert intervals.overlaps(intervals.intervals(doubtful))
    assert not intervals.faults(doubtful.in_doubt())
    assert not linearizable.faults(doubtful.in_doubt())
    certain = History(told, losses=((5, 5.1),)).in_doubt()
    assert intervals.faults(certain)
    assert linearizable.faults(certain)
