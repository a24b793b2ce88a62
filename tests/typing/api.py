"""The face of Mainspring for type checkers: what is accepted, what is inferred, and what must be refused.

Never run. mypy --strict and pyright check it; an error that is expected stands behind an ignore with its code, and
both fail when it does not occur. The lines follow the snippets that the face was decided on.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import Any, Literal, assert_type
from zoneinfo import ZoneInfo

from mainspring import (
    TRANSIENT,
    App,
    AsyncTask,
    BoundTask,
    Context,
    Cron,
    Daily,
    Every,
    Job,
    Once,
    Retry,
    Rule,
    Schedule,
    ScheduleOptions,
    ScheduleRun,
    ScheduleSpec,
    Service,
    Slot,
    Supervisor,
    SyncTask,
    Task,
    Tasks,
    Trigger,
    chain,
    exponential,
    group,
    retry,
    retrying,
)
from mainspring.retries import (
    BackgroundTask,
    BackgroundThread,
    Baseline,
    CircuitBreaker,
    Hooks,
    RetryBudget,
    background,
    background_done,
    is_testing,
    set_hooks,
    set_testing,
)


def seen(*values: object) -> None: ...
def asked(error: BaseException) -> float | None: ...


# --- 1 retry: alone, no app, no store


@dataclass
class Row:
    id: int


@retry(on=OSError, attempts=5, give_up_after=30)
async def fetch(url: str) -> bytes:
    return url.encode()


@retry(Retry(Rule(TRANSIENT, attempts=8), Rule((KeyError, ValueError), attempts=2), give_up_after=120))
def load(path: str) -> Row:
    return Row(len(path))


async def retries() -> None:
    assert_type(await fetch("https://example.com"), bytes)
    assert_type(load("a"), Row)
    load(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    for attempt in retrying(on=OSError):
        with attempt:
            load("a")
    async for attempt in retrying(on=OSError):
        with attempt:
            await fetch("a")
    assert_type(await retry(on=OSError)(fetch)("a"), bytes)
    Retry(on=OSError, backoff=exponential(1, cap=30), attempts=None)
    Retry(on=OSError, atempts=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    guarded = Retry(on=OSError, wait_hint=asked, budget=RetryBudget(), breaker=CircuitBreaker(name="billing"))
    told = Hooks(before_wait=seen, gave_up=lambda details: seen(details.name, details.wait))
    assert_type(retry(guarded, baseline=Baseline(), hooks=told)(load)("a"), Row)
    assert_type(await retry(on=OSError, baseline=Baseline(), hooks=told)(fetch)("a"), bytes)
    for attempt in retrying(guarded, baseline=Baseline(), hooks=told):
        with attempt:
            seen(attempt.number)
    assert_type(set_hooks(told), tuple[Hooks, ...])
    with set_testing(True, attempts=2):
        seen(is_testing())
    retry(guarded, on=OSError)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    retry(on=OSError, hooks=seen)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    retry(guarded, baseline=guarded)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    Hooks(on_retry=seen)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def in_the_background() -> None:
    task = background(partial(fetch, "https://example.com"), Retry(on=OSError), on_error=seen, name="fetch")
    assert_type(task, BackgroundTask[bytes])
    assert_type(await task.result(timeout=timedelta(seconds=3)), bytes)
    assert_type(await task.exception(), BaseException | None)
    thread = background(partial(load, "a"), Retry(on=OSError), wait_at_exit=5)
    assert_type(thread, BackgroundThread[Row])
    assert_type(thread.result(timeout=3), Row)
    assert_type((thread.name, thread.done, thread.attempts, thread.cancel()), tuple[str, bool, int, bool])
    assert_type(await background_done(timeout=5), tuple[BackgroundTask[object], ...])
    background(load)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
    background(fetch("a"))  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    background(partial(load, "a"), on_eror=seen)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    background(partial(load, "a"), wait_at_exit="5")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]


# --- 2 service: alone


async def poll() -> None: ...


async def services() -> None:
    async with Supervisor() as sup:
        sup.add(Service("poll", poll, every=30, retry=Retry(on=TRANSIENT, attempts=None)))
        await sup.run_until_signal()


# --- 3 task


class Smtp:
    async def send(self, to: str, subject: str) -> int:
        return len(to) + len(subject)


@asynccontextmanager
async def resources(app: App) -> AsyncGenerator[Smtp]:
    yield Smtp()


app = App("sqlite:///work.db", lifespan=resources, retry=Retry(on=TRANSIENT))


@app.task(retry=Retry(on=OSError, attempts=5), timeout=30)
async def send_email(ctx: Context, to: str, subject: str = "Hi") -> int:
    sent: int = await ctx.state.send(to, subject)
    return sent


@app.task
async def plain(n: int) -> str:
    return str(n)


@app.task
async def with_context(ctx: Context, n: int) -> str:
    return str(n + ctx.attempt)


@app.task(transaction=True)
async def debit(ctx: Context, account: str, cents: int) -> int:
    await ctx.connection.execute("UPDATE account SET cents = cents - $1 WHERE id = $2", cents, account)
    return cents


async def transactions() -> None:
    assert_type(await debit.enqueue("a", cents=3), Job[int])
    await debit.enqueue("a", "3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@app.task(process=True)
def thumbnail(path: str) -> list[str]:
    return [path]


@app.task
def threaded(ctx: Context, path: str) -> float:
    return len(path) / ctx.attempt


class Mailer:
    options = {"queue": "mail"}

    async def run(self, ctx: Context, to: str, *, copies: int = 1) -> bytes:
        return to.encode() * copies

    async def send(self, to: str) -> bool:
        return bool(to)


mail = app.add_task(Mailer())
method = app.task(Mailer().send)
apart = Tasks(prefix="apart.")


@apart.task
async def ping(host: str) -> float:
    return float(len(host))


@apart.task(name="pong", queue="net")
def pong(host: str) -> int:
    return len(host)


app.include(apart)


async def tasks() -> None:
    # Each is a task with the parameters of its function, the Context left out.
    as_task: Task[..., int] = send_email
    coroutine: Coroutine[Any, Any, int] = send_email("a@example.com")
    assert_type(await send_email("a@example.com", subject="Hi"), int)
    assert_type(await plain(1), str)
    assert_type(await with_context(1), str)
    assert_type(thumbnail("a.png"), list[str])
    assert_type(threaded("a"), float)
    assert_type(await mail("a", copies=2), bytes)
    assert_type(await method("a"), bool)
    assert_type(await ping("a"), float)
    assert_type(pong("a"), int)
    taken: Callable[[str], list[str]] = thumbnail
    sync: SyncTask[[str], list[str]] = thumbnail
    send_email(1)  # type: ignore[arg-type, unused-coroutine]  # pyright: ignore[reportArgumentType, reportUnusedCoroutine]
    send_email()  # type: ignore[call-arg, unused-coroutine]  # pyright: ignore[reportCallIssue]
    thumbnail(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    mail("a", copy=2)  # type: ignore[call-arg, unused-coroutine]  # pyright: ignore[reportCallIssue]
    app.task(name=1)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    app.task(retries=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    seen(as_task, taken, sync, await coroutine)


# --- 4 enqueue with options


async def enqueue(addresses: list[str], when: datetime) -> None:
    job = await send_email.enqueue("a@example.com", subject="Welcome")
    assert_type(job, Job[int])
    assert_type(await job.result(timeout=10), int)
    wide: Job[object] = job
    delayed = await send_email.options(
        delay=60, unique="welcome:42", unique_for="ever", priority=5, expires=timedelta(hours=1), tags=["a"]
    ).enqueue("a@example.com")
    assert_type(delayed, Job[int])
    await send_email.options(run_at=when, queue="mail", timeout=5, retry=Retry(on=OSError), metadata={"a": 1}).enqueue(
        "a"
    )
    await send_email.enqueue("a", subjct="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await send_email.enqueue()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await send_email.enqueue(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await send_email.options(dely=60).enqueue("a")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue, reportUnknownMemberType]
    await send_email.options(delay="60").enqueue("a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    send_email.enqueue("a")  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    assert_type(await app.remote("billing.invoice").options(queue="b").enqueue(order_id=7), Job[object])
    assert_type(await app.enqueue_many(send_email.bind(a) for a in addresses), list[Job[int]])
    assert_type(await app.enqueue(send_email.bind("a", "b")), Job[int])
    assert_type(send_email.bind("a"), BoundTask[int])
    send_email.bind(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(await send_email.options(tx=addresses).enqueue("a"), Job[int])  # any object: which one, is seen later
    assert_type(send_email.options(tx=addresses).sync.enqueue("a"), Job[int])
    assert_type(await app.enqueue(send_email.bind("a"), tx=addresses), Job[int])
    await app.enqueue(send_email)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(await (await app.jobs.get("id")).result(), object)
    seen(wide)


# --- 5 chain, group


@dataclass
class Order:
    id: int


@dataclass
class Charge:
    order: int
    cents: int


@app.task
async def validate(order: Order) -> Order:
    return order


@app.task
async def charge(order: Order, cents: int = 0) -> Charge:
    return Charge(order.id, cents)


@app.task
async def ship(ctx: Context, charge: Charge) -> None:
    seen(ctx.attempt, charge)


@app.task
async def count(path: str) -> int:
    return len(path)


@app.task
def total(xs: list[int]) -> float:
    return sum(xs)


@app.task
async def two(order: Order, other: Order) -> None: ...


async def flows(order: Order, files: list[str]) -> None:
    assert_type(await app.enqueue(chain(validate.bind(order), charge, ship)), Job[None])
    assert_type(chain(validate.bind(order), charge), BoundTask[Charge])
    assert_type(group(count.bind("a"), count.bind("b")), BoundTask[list[int]])
    assert_type(await app.enqueue(chain(group(*(count.bind(f) for f in files)), total)), Job[float])
    assert_type(chain(validate.bind(order), count.bind("a")), BoundTask[int])  # a bound task gets nothing passed
    assert_type(chain(validate.bind(order), charge, count.bind("a"), plain), BoundTask[str])
    chain(validate.bind(order), ship, charge)  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
    assert_type(chain(validate.bind(order), app.remote("elsewhere")), BoundTask[object])
    chain(validate.bind(order), two)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    chain(validate, charge)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    group(count)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# --- 6 schedules


@app.cron("0 9 * * 1-5", tz="Europe/Berlin")
async def report() -> int:
    return 1


@app.every(60, first="after", overlap="queue", max_runs=3)
async def look(ctx: Context, place: str = "here") -> str:
    return place * ctx.attempt


@apart.daily(time(3), tz="Europe/Berlin", id="clean")
def clean() -> float:
    return 1.0


@apart.scheduled(Every(60) | Once(datetime.now().astimezone()), jitter=timedelta(seconds=5))
def tidy(ctx: Context, *, days: int = 3) -> int:
    return ctx.attempt * days


@app.cron("@hourly")
@app.task(timeout=30)
async def stacked(limit: int = 10) -> bytes:
    return bytes(limit)


@app.cron(minute=30, hour="9-17", name="count")
def by_name(ctx: Context) -> int:
    return ctx.attempt


@app.every(60)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType, reportUntypedFunctionDecorator]
async def of_whom(name: str) -> None: ...


async def apart_from_both() -> str:
    return "apart"


def with_required(name: str) -> None: ...
def with_context_and_required(ctx: Context, name: str) -> None: ...


async def schedules(when: datetime, trigger: Trigger, options: ScheduleOptions) -> None:
    assert_type(report, AsyncTask[[], int])
    assert_type(await report(), int)
    assert_type(await look("there"), str)
    assert_type(await look.enqueue(place="there"), Job[str])
    assert_type(clean(), float)
    assert_type(tidy(days=1), int)
    assert_type(await (await stacked.enqueue(limit=3)).result(), bytes)
    assert_type(by_name, SyncTask[[], int])
    assert_type(app.every(60, name="a")(apart_from_both), AsyncTask[[], str])
    assert_type(apart.daily(time(3), name="b")(apart_from_both), AsyncTask[[], str])
    assert_type(app.scheduled(trigger, name="c", id="d")(apart_from_both), AsyncTask[[], str])
    app.cron(minute=2.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    app.cron(minutes=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    app.every(60, name=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    look(1)  # type: ignore[arg-type, unused-coroutine]  # pyright: ignore[reportArgumentType, reportUnusedCoroutine]
    app.every(60)(with_required)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
    app.every(60)(with_context_and_required)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
    app.every(60)(plain)  # type: ignore[type-var]  # pyright: ignore[reportCallIssue, reportArgumentType]
    app.cron("@daily", ZoneInfo("Europe/Berlin"))
    app.daily(time(3), UTC)
    app.daily(time(3), tz=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    app.every("60")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    app.every(60, overlap="never")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    app.cron("@daily", misfre="all")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    app.daily("03:00")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    nightly = Daily(time(3), tz="Europe/Berlin").except_(Cron("* * 25 12 *"))
    put = await app.schedules.put("eu", nightly, count.bind("eu"), misfire="once", overlap="skip", start_at=when)
    assert_type(put, Schedule)
    assert_type(put.next, datetime | None)
    assert_type(await app.schedules.add(None, trigger, count.bind("eu"), **options), Schedule)
    assert_type(await app.schedules.put(put.id, put.trigger, count.bind("us"), **put.options), Schedule)
    assert_type(await app.schedules.put_many(ScheduleSpec(f, trigger, count.bind(f)) for f in "ab"), list[Schedule])
    assert_type(await app.schedules.trigger("eu"), Job[object] | None)
    assert_type(await app.schedules.remove("eu", wait=True), bool)
    assert_type(await app.schedules.list(states=["paused"]), list[Schedule])
    assert_type(await app.schedules.runs("eu", states=["dead"], order="duration", newest=3), list[ScheduleRun])
    assert_type(await app.schedules.next_fires("eu", 3), tuple[Slot, ...])
    assert_type((await app.jobs.find(schedule="eu")).jobs, list[Job[object]])
    assert_type(app.schedules.sync.get("eu"), Schedule)
    assert_type(app.schedules.sync.put("eu", nightly, report.bind(), keep=10), Schedule)
    await app.schedules.put("eu", nightly, count)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await app.schedules.put("eu", 60, count.bind("eu"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await app.schedules.put("eu", nightly, count.bind("eu"), stat_at=when)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await app.schedules.put("eu", nightly, count.bind("eu"), misfire="never")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await app.schedules.runs("eu", order="id; drop table")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await app.schedules.list(states=["dead"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    assert_type((await app.check())[0].level, Literal["ok", "warning", "error"])
    App(on_restart="resume", vanished="remove", triggers=[Every])
    App(on_restart="stop")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# --- 11 blocking code


def blocking(order: Order) -> None:
    job = send_email.options(delay=1).sync.enqueue("a")
    assert_type(job, Job[int])
    assert_type(job.sync.result(timeout=10), int)
    send_email.sync.enqueue(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(app.sync.enqueue(chain(validate.bind(order), charge)), Job[Charge])
    assert_type(app.jobs.sync.find(states=["dead"]).jobs, list[Job[object]])
    app.jobs.sync.find(states=["ded"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    app.queues.sync.pause("mail")


def in_a_thread(ctx: Context) -> None:
    assert_type(ctx.sync.last_completed(), datetime | None)


async def in_the_loop(ctx: Context) -> None:
    assert_type(await ctx.last_completed(), datetime | None)


# --- 12 workers


async def workers() -> None:
    async with app:
        await plain.enqueue(1)
    async with app.running(concurrency=50, queues=["mail"], grace=timedelta(seconds=5)):
        await app.idle()


@app.service(every=30)
async def refresh() -> None: ...


@app.service
async def stay_up() -> None: ...


@app.service
def watch(stop: threading.Event) -> None: ...


async def services_stay_functions() -> None:
    assert_type(await refresh(), None)
    assert_type(await stay_up(), None)
    assert_type(watch(threading.Event()), None)
    app.service("poll")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    app.service(evry=30)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
