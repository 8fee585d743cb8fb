"""Circuit breakers, with the limits of the gateway."""

from __future__ import annotations

from contextlib import ExitStack, suppress

import pytest

from chassis import errors
from chassis.circuit_breaker import CircuitBreaker
from gateway.clients.service import MAX_TRIES, MAX_TRIES_PER_USER


def new() -> CircuitBreaker:
    return CircuitBreaker(
        "demo", max_tries=MAX_TRIES, max_tries_per_user=MAX_TRIES_PER_USER, silence=(errors.DeadlineExceeded,)
    )


def fail(breaker: CircuitBreaker, error: errors.Error, rpc: str = "Get") -> None:
    with suppress(errors.Error), breaker.call(rpc, "someone"):
        raise error


def passes(breaker: CircuitBreaker, stack: ExitStack, user: str, rpc: str = "Get") -> bool:
    """Return whether a call may begin; it then lasts as long as the stack."""
    try:
        stack.enter_context(breaker.call(rpc, user))
    except errors.Unavailable:
        return False
    return True


def opened() -> CircuitBreaker:
    breaker = new()
    fail(breaker, errors.DeadlineExceeded())
    return breaker


def test_open_rpc_passes_one_try_of_each_user_and_few_of_all() -> None:
    breaker = opened()
    with ExitStack() as stack:
        assert [passes(breaker, stack, user) for user in ("a", "a", "b", "b", "", "")] == [True, False] * 2 + [True] * 2
        others = [passes(breaker, stack, str(user)) for user in range(MAX_TRIES)]
        assert others == [True] * 4 + [False] * 4
        # Other rpcs are not affected.
        assert passes(breaker, stack, "a", "List")


def test_open_rpcs_pass_all_calls_of_a_page_but_not_all_tries_of_one_user() -> None:
    breaker = new()
    rpcs = [f"Get{number}" for number in range(MAX_TRIES)]
    for rpc in rpcs:
        fail(breaker, errors.DeadlineExceeded(), rpc)
    with ExitStack() as stack:
        of_page = [passes(breaker, stack, "a", rpc) for rpc in rpcs]
        assert of_page == [True] * MAX_TRIES_PER_USER + [False] * 4
        assert passes(breaker, stack, "b", rpcs[0])
    # Each try was answered.
    with ExitStack() as stack:
        assert all(passes(breaker, stack, "a", rpc) for rpc in rpcs[:4] * 5)


@pytest.mark.parametrize("error", [None, errors.NotFound(), errors.Unavailable(code="database_unavailable")])
def test_answer_closes_the_rpc(error: errors.Error | None) -> None:
    breaker = opened()
    with suppress(errors.Error), breaker.call("Get", "a"):
        if error is not None:
            raise error
    with ExitStack() as stack:
        assert all(passes(breaker, stack, "a") for _ in range(20))


@pytest.mark.parametrize("error", [errors.DeadlineExceeded(), errors.Unavailable()])
def test_call_without_an_answer_leaves_the_rpc_open(error: errors.Error) -> None:
    breaker = opened()
    fail(breaker, error)
    with ExitStack() as stack:
        assert [passes(breaker, stack, "a") for _ in range(2)] == [True, False]


def test_service_that_is_down_opens_nothing() -> None:
    """Such calls fail at once, or wait for its restart."""
    breaker = new()
    fail(breaker, errors.Unavailable())
    with ExitStack() as stack:
        assert all(passes(breaker, stack, "a") for _ in range(20))
