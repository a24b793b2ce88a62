"""What a test asserts about enqueued jobs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from unittest.mock import ANY

import pytest

from mainspring import App, Context, Retry, chain
from mainspring.testing import Harness, days, hours, minutes


@dataclass
class Order:
    number: int
    urgent: bool = False


@pytest.fixture
def app() -> App:
    return App()


async def test_arguments_are_compared_in_part_and_by_their_types(mainspring: Harness, app: App) -> None:
    @app.task(name="ship")
    async def ship(ctx: Context, order: Order, weight: float = 1.0, *, note: str = "") -> None: ...

    async with mainspring(app) as h:
        await ship.enqueue(Order(7), note="fragile")
        assert len(h.assert_enqueued(ship)) == 1
        h.assert_enqueued(ship, Order(7))
        h.assert_enqueued(ship, order=Order(7), note="fragile")
        h.assert_enqueued(ship, order={"number": 7, "urgent": False})
        h.assert_enqueued(ship, note=ANY)
        h.assert_not_enqueued(ship, Order(8))
        h.assert_not_enqueued(ship, note="heavy")
        with pytest.raises(TypeError, match="ordr"):
            h.assert_enqueued(ship, ordr=Order(7))
        with pytest.raises(TypeError, match="too many"):
            h.assert_enqueued(ship, Order(7), 1.0, "note")


async def test_options_are_compared(mainspring: Harness, app: App) -> None:
    @app.task(name="mail", queue="post")
    async def mail(to: str) -> None: ...

    given = mail.options(
        delay=minutes(5), priority=3, unique="a", unique_for=days(1), tags=["x", "y"], metadata={"by": "me", "n": 1},
        expires=hours(2), timeout=9, correlation="c",
    )  # fmt: skip
    async with mainspring(app) as h:
        await given.enqueue("a")
        h.assert_enqueued(given)
        fitting = [
            mail, mail.options(delay=300), mail.options(priority=3), mail.options(tags=["y"]),
            mail.options(unique="a"), mail.options(unique="a", unique_for=86_400), mail.options(metadata={"by": "me"}),
            mail.options(expires=7200), mail.options(expires=h.now + hours(2)), mail.options(timeout=9),
            mail.options(correlation="c"), mail.options(run_at=h.now + minutes(5)), mail.options(queue="post"),
        ]  # fmt: skip
        for task in fitting:
            h.assert_enqueued(task, "a")
        others = [
            mail.options(delay=301), mail.options(priority=0), mail.options(tags=["x", "z"]), mail.options(unique="b"),
            mail.options(unique="a", unique_for="ever"), mail.options(metadata={"by": "you"}),
            mail.options(expires=7201), mail.options(expires=h.now), mail.options(timeout=8),
            mail.options(correlation="d"), mail.options(run_at=h.now), mail.options(queue="default"),
            mail.options(retry=Retry(on=OSError)),
        ]  # fmt: skip
        for task in others:
            h.assert_not_enqueued(task, "a")


async def test_a_failure_lists_what_was_enqueued_and_what_is_different(mainspring: Harness, app: App) -> None:
    @app.task(name="mail")
    async def mail(to: str, subject: str = "Hi") -> None: ...

    @app.task(name="bill")
    async def bill(number: int) -> None: ...

    async with mainspring(app) as h:
        with pytest.raises(AssertionError, match=r"no job mail\(to='b'\) was enqueued; nothing was"):
            h.assert_enqueued(mail, to="b")
        await bill.options(queue="money", priority=2, delay=timedelta(seconds=90)).enqueue(7)
        await mail.enqueue("a")
        with pytest.raises(AssertionError) as caught:
            h.assert_enqueued(mail.options(queue="post"), to="b")
        assert str(caught.value).splitlines() == [
            "no job mail(to='b') with queue='post' was enqueued; these were:",
            "  mail(to='a')  ready    <- to is 'a', queue is 'default'",
            "  bill(number=7)  scheduled in 90 s, queue 'money', priority 2",
        ]
        with pytest.raises(AssertionError, match=r"1 job\(s\) mail\(\) were enqueued:\n  mail\(to='a'\)"):
            h.assert_not_enqueued(mail)


async def test_many_jobs_are_listed_in_part(mainspring: Harness, app: App) -> None:
    @app.task(name="mail")
    async def mail(to: int) -> None: ...

    async with mainspring(app) as h:
        await app.enqueue_many(mail.bind(n) for n in range(1500))
        assert len(h.jobs(mail)) == 1500
        with pytest.raises(AssertionError, match="and 1480 more"):
            h.assert_enqueued(mail, to=1500)


async def test_remote_tasks_can_be_asked_for(mainspring: Harness, app: App) -> None:
    invoice = app.remote("billing.invoice")
    async with mainspring(app) as h:
        await invoice.options(queue="b").enqueue(order_id=7)
        h.assert_enqueued(invoice, order_id=7)
        h.assert_enqueued(app.remote("billing.invoice").options(queue="b"))
        h.assert_not_enqueued(invoice, order_id=8)
        assert len(h.jobs("billing.invoice")) == 1
        with pytest.raises(TypeError, match="name its arguments"):
            h.assert_enqueued(invoice, 7)
        assert await h.drain() == 0
        assert h.jobs(invoice)[0].state == "ready"


async def test_later_steps_of_a_chain_are_listed_without_their_first_argument(mainspring: Harness, app: App) -> None:
    @app.task(name="first")
    async def first(n: int) -> int:
        return n

    @app.task(name="second")
    async def second(n: int) -> int:
        return n

    async with mainspring(app) as h:
        await app.enqueue(chain(first.bind(1), second))
        h.assert_enqueued(second)
        with pytest.raises(AssertionError, match="<- n is not given"):
            h.assert_enqueued(second, n=1)
