"""What an error of a service leads to: its own rules, then the baseline of its supervisor."""

from __future__ import annotations

import asyncio
import logging
from itertools import pairwise

import pytest

from mainspring.errors import AttemptTimeout
from mainspring.retries.backoff import constant
from mainspring.retries.classify import SERVICE, TRANSPORT, Baseline, Classification
from mainspring.retries.policy import Retry, Rule
from mainspring.service import Service, Supervisor
from mainspring.testing.virtual import run_virtual
from tests.unit.service.test_life import Scripted, supervised


def anything(attempts: int | None, wait: float = 1.0) -> Retry:
    return Retry(on=Exception, attempts=attempts, backoff=constant(wait))


def test_CLS_006_a_one_shot_without_rules_fails_at_once() -> None:
    for error in (OSError(), ValueError(), TimeoutError()):
        work = Scripted(error)
        with pytest.raises(type(error)):
            supervised(Service("a", work))
        assert len(work.runs) == 1


def test_CLS_013_a_rule_that_has_given_up_is_final_the_baseline_is_not_asked() -> None:
    """S1-15."""
    asked: list[BaseException] = []

    def classify(error: BaseException) -> Classification | None:
        asked.append(error)
        return None

    baseline = Baseline({TRANSPORT: anything(None)}, classifier=classify)
    work = Scripted(ConnectionResetError())
    with pytest.raises(ConnectionResetError):
        supervised(
            Service("a", work, retry=Retry(on=ConnectionError, attempts=2, backoff=constant(1))),
            supervisor=Supervisor(baseline=baseline),
        )
    assert len(work.runs) == 2
    assert asked == []


def test_CLS_019_without_a_policy_for_the_unknown_it_is_permanent() -> None:
    """S1-35."""
    work = Scripted(ValueError("unknown"))
    with pytest.raises(ValueError, match="unknown"):
        supervised(Service("a", work), supervisor=Supervisor(baseline=Baseline({TRANSPORT: anything(None)})))
    assert len(work.runs) == 1


def test_CLS_020_with_one_it_is_retried_and_logged_as_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """S1-36; an error that is known waits with a warning."""
    baseline = Baseline({TRANSPORT: anything(5)}, unknown=anything(5))
    work = Scripted(ValueError("unknown"), ConnectionResetError(), 0.0)
    supervised(Service("a", work), supervisor=Supervisor(baseline=baseline))
    assert work.runs == [0.0, 1.0, 2.0]
    assert [each.levelno for each in caplog.records] == [logging.ERROR, logging.WARNING]


def test_CLS_021_a_category_without_a_policy_gets_that_of_the_unknown() -> None:
    """S1-37: two runs, success."""
    baseline = Baseline({}, unknown=anything(5), classifier=lambda error: Classification("tenants"))
    work = Scripted(ValueError(), 0.0)
    sup = supervised(Service("a", work), supervisor=Supervisor(baseline=baseline))
    assert (len(work.runs), sup.health()[0].state) == (2, "ended")


def test_CLS_025_a_policy_of_a_category_has_its_own_attempts() -> None:
    """Two retries are three runs, counted apart from the rules of the service."""
    baseline = Baseline({TRANSPORT: anything(3)})
    work = Scripted(KeyError(), ConnectionResetError(), KeyError(), ConnectionResetError())
    with pytest.raises(ConnectionResetError):
        supervised(
            Service("a", work, retry=Retry(Rule(KeyError, attempts=3, backoff=constant(1)))),
            supervisor=Supervisor(baseline=baseline),
        )
    assert len(work.runs) == 5


def test_CLS_029_a_timeout_is_of_the_transport_and_retried() -> None:
    work = Scripted(60.0, 0.0)
    sup = supervised(Service("a", work, timeout=2), supervisor=Supervisor(baseline=Baseline({TRANSPORT: anything(3)})))
    assert work.runs == [0.0, 3.0]
    assert (sup.health()[0].restarts, sup.health()[0].last_error) == (
        1,
        f"{AttemptTimeout.__name__}: service 'a' ran longer than its timeout of 2 s",
    )


def test_CLS_017_a_category_of_the_users_own_with_its_wait() -> None:
    """S1-39: the classifier knows how long the other side wants to be left alone."""
    baseline = Baseline({SERVICE: anything(3, wait=100)}, classifier=lambda error: Classification(SERVICE, 7.5))
    work = Scripted(ValueError(), 0.0)
    supervised(Service("a", work), supervisor=Supervisor(baseline=baseline))
    assert work.runs == [0.0, 7.5]


def test_its_own_logger_gets_what_is_said_of_a_service(caplog: pytest.LogCaptureFixture) -> None:
    """S1-27; of the others nothing."""
    mine = logging.LoggerAdapter(logging.getLogger("mine"), {"tenant": "a"})
    retry = Retry(on=OSError, attempts=2, backoff=constant(1))
    sup = Supervisor(on_failure="isolate")
    with caplog.at_level(logging.INFO):
        supervised(
            Service("a", Scripted(OSError("of a")), retry=retry, logger=mine),
            Service("b", Scripted(OSError("of b")), retry=retry, logger=logging.getLogger("yours")),
            Service("c", Scripted(OSError("of c")), retry=retry),
            supervisor=sup,
        )
    names = {name: [each.getMessage() for each in caplog.records if each.name == name] for name in ("mine", "yours")}
    assert [len(each) for each in names.values()] == [2, 2]
    assert all("'a'" in each for each in names["mine"])
    assert all("'b'" in each for each in names["yours"])
    rest = [each for each in caplog.records if each.name == "mainspring.service"]
    assert all("'c'" in each.getMessage() for each in rest)
    assert {getattr(each, "tenant", None) for each in caplog.records if each.name == "mine"} == {"a"}


def test_one_that_ends_at_once_in_a_loop_leaves_the_others_their_turn() -> None:
    """An interval of next to nothing, and a failure without a wait: time goes on, and the brake holds."""
    quick, other = Scripted(0.0), Scripted(0.0)
    failing = Scripted(OSError())

    async def at_once() -> None:
        quick.runs.append(0.0)

    supervised(
        Service("quick", at_once, every=0.001),
        Service("failing", failing, retry=Retry(on=OSError, attempts=None, backoff=constant(0))),
        Service("other", other, every=1),
        lasting=30.5,
    )
    assert len(other.runs) == 31
    assert 20_000 < len(quick.runs) <= 30_501
    assert len(failing.runs) < 60  # 21 at once, then at most one more each time the count has decayed
    waits = [later - earlier for earlier, later in pairwise(failing.runs)]
    assert waits[:20] == [0.0] * 20
    assert waits[20] == 10.0


def test_a_run_that_is_over_in_no_time_yields_to_the_loop() -> None:
    """With a wait of 0 s as well: the block gets its turn."""
    work = Scripted(OSError())

    async def main() -> int:
        async with Supervisor() as sup:
            sup.add(Service("failing", work, retry=Retry(on=OSError, attempts=None, backoff=constant(0))))
            for _ in range(10):
                await asyncio.sleep(0)
            return len(work.runs)

    assert 1 <= run_virtual(main()) <= 10
