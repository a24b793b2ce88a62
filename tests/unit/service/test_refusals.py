"""What a supervisor and a run refuse, and what they say to do instead."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import pytest

from mainspring.errors import InvalidOption
from mainspring.retries.classify import TRANSPORT, Baseline
from mainspring.retries.policy import Advice, Retry
from mainspring.service import Service, Supervisor
from mainspring.testing.virtual import run_virtual
from tests.unit.service.doubles import failing, forever, now

POLICY = Retry(on=OSError)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"grace": "x"}, "grace must be seconds or a timedelta, not 'x'"),
        ({"grace": "30"}, "grace must be seconds or a timedelta, not '30'"),
        ({"grace": float("nan")}, "grace must be 0 or more seconds, not nan"),
        ({"restarts": 5}, r"restarts must be a Restarts, .* not 5; how often .* retry=Retry"),
        ({"restarts": 0}, "restarts must be a Restarts"),
        ({"baseline": POLICY}, r"a Baseline, not a Retry: .*Baseline\(unknown=policy\).*Service\(…, retry=policy\)"),
        ({"baseline": {TRANSPORT: POLICY}}, r"a Baseline, or have an advise\(\) as it has, not {"),
        ({"baseline": Baseline}, r"a Baseline, or have an advise\(\)"),
    ],
)
def test_what_a_supervisor_is_given_is_looked_at_before_the_first_run(options: dict[str, object], says: str) -> None:
    """S1-43."""
    with pytest.raises(InvalidOption, match=says):
        Supervisor(**options)  # type: ignore[arg-type]  # that is the question


def test_a_fallback_of_the_users_own_is_a_baseline() -> None:
    class Mine:
        def advise(self, error: BaseException, /) -> Advice | None:
            return Advice(POLICY, "mine") if isinstance(error, OSError) else None

    async def main() -> None:
        sup = Supervisor(baseline=Mine())
        sup.add(Service("a", failing(OSError())))
        with pytest.raises(OSError):
            await sup.run()
        assert sup.health()[0].restarts == 4

    run_virtual(main())


@pytest.mark.parametrize("given", [forever, 3, None, "poll", Supervisor(), Service])
def test_what_is_no_service_is_not_added(given: Any) -> None:
    with pytest.raises(InvalidOption, match=r'add takes a service, as in add\(Service\("poll", poll\)\), not '):
        Supervisor().add(given)


def test_a_coroutine_in_place_of_a_service_is_closed() -> None:
    """Else Python would warn, besides, that nobody awaited it."""
    coroutine: Any = forever()
    with pytest.raises(InvalidOption, match=r"not <coroutine .*; pass the function itself, without calling it"):
        Supervisor().add(coroutine)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


# --- runs that run nothing ----


async def asynchronous() -> AsyncGenerator[int]:
    yield 1


async def async_returning_one() -> object:
    return asynchronous()


class Yields:
    def run(self) -> Iterator[int]:
        return iter(())

    def __call__(self) -> Iterator[int]:  # the function of the service is this one
        yield 1


@pytest.mark.parametrize("work", [lambda: (n for n in range(2)), lambda: asynchronous(), async_returning_one, Yields()])
def test_a_run_that_returns_a_generator_has_run_nothing_and_says_so(work: Callable[[], object]) -> None:
    """No policy retries it: the next run would be the same."""

    async def main() -> None:
        sup = Supervisor()
        sup.add(Service("poll", work, retry=Retry(on=Exception, attempts=None), every=10))
        with pytest.raises(InvalidOption, match="'poll' returned a generator, of which nothing has run"):
            await sup.run()
        (health,) = sup.health()
        assert (health.state, health.restarts) == ("failed", 0)
        assert now() == 0

    run_virtual(main())
