"""Defining tasks: names, contexts, objects, and what is refused."""

from __future__ import annotations

import functools
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

import mainspring
from mainspring import App, AsyncTask, Context, Retry, SyncTask, Tasks
from mainspring.errors import AppError, InvalidOption, TaskDefinitionError

if TYPE_CHECKING:
    from mainspring import Context as Hidden


@pytest.fixture
def app() -> App:
    return App("memory://")


async def asynchronous(n: int) -> int:
    return n * n


def synchronous(n: int) -> int:
    return n * n


async def quiet() -> None: ...


class Mailer:
    options: ClassVar = {"queue": "mail", "priority": 2}

    def __init__(self, sent: list[str]) -> None:
        self.sent = sent

    async def run(self, ctx: Context, to: str) -> int:
        self.sent.append(f"{to} {ctx.attempt}")
        return len(self.sent)

    def send(self, to: str) -> None:
        self.sent.append(to)


# --- D10: a task is still a function


async def test_D10_calling_a_task_runs_the_function_here(app: App) -> None:
    assert await app.task(asynchronous)(3) == 9
    assert app.task(synchronous)(3) == 9


def test_D10_tasks_keep_their_call_type(app: App) -> None:
    assert isinstance(app.task(asynchronous), AsyncTask)
    assert isinstance(app.task(synchronous), SyncTask)


async def test_D10_a_detached_context_is_injected(app: App) -> None:
    @app.task(name="a")
    async def run(ctx: Context, n: int) -> tuple[str, int, int]:
        assert Context.current() is ctx
        return ctx.task, ctx.attempt, n

    @app.task(name="b")
    def blocking(ctx: Context) -> str:
        return ctx.task

    assert await run(5) == ("a", 1, 5)
    assert blocking() == "b"
    with pytest.raises(AppError):
        Context.current()


# --- D3: only the first parameter is the Context


def test_D3_the_first_parameter_annotated_context_is_injected(app: App) -> None:
    @app.task(name="plain")
    def plain(ctx: Context) -> None: ...

    @app.task(name="dotted")
    def dotted(ctx: mainspring.Context) -> None: ...

    @app.task(name="hidden")
    def hidden(ctx: Hidden) -> None: ...

    @app.task(name="other")
    def other(ctx: int) -> None: ...

    found = {task.name: task.takes_context for task in app.registry}
    assert found == {"plain": True, "dotted": True, "other": False, "hidden": False}


def test_D3_a_context_that_cannot_be_resolved_yet_is_known_by_its_name(app: App) -> None:
    def late(ctx: Any, n: int) -> None: ...

    late.__annotations__["ctx"] = "unknown_yet.Context"
    app.task(name="late")(late)
    assert app.registry.get("late").takes_context


def test_D3_anywhere_else_it_is_refused(app: App) -> None:
    def second(n: int, ctx: Context) -> None: ...
    def keyword(n: int, *, ctx: Context) -> None: ...
    def only_keyword(*, ctx: Context) -> None: ...
    def optional(n: int, ctx: Context | None = None) -> None: ...

    for fn in (second, keyword, only_keyword, optional):
        with pytest.raises(TaskDefinitionError, match=r"'ctx' is annotated Context.*move ctx first"):
            app.task(name="t")(fn)


# --- D22: names


def test_D22_the_default_name_is_module_and_qualname(app: App) -> None:
    assert app.task(synchronous).name == f"{__name__}.synchronous"
    assert app.task(Mailer([]).send).name == f"{__name__}.Mailer.send"


def test_D22_main_needs_a_name(app: App) -> None:
    def script() -> None: ...

    script.__module__ = "__main__"
    with pytest.raises(TaskDefinitionError, match=r'@app.task\(name="'):
        app.task(script)
    assert app.task(name="script")(script).name == "script"
    assert Tasks(prefix="s.").task(script).name.startswith("s.")


def test_D22_duplicates_are_refused(app: App) -> None:
    """SCD-043; SCD-044: there is no replacing, either. A test that needs another task makes another app."""
    app.task(name="a")(synchronous)
    with pytest.raises(TaskDefinitionError, match="'a' already"):
        app.task(name="a")(asynchronous)


@pytest.mark.parametrize("name", ["", "x" * 300, "a\0b"])
def test_SCD_043_SCD_045_names_that_no_store_takes_are_refused(app: App, name: str) -> None:
    """An empty one, too: neither a task can have it, nor a job be of it."""
    ways: list[Callable[[], object]] = [
        lambda: app.remote(name),
        lambda: app.task(name=name)(synchronous),
        lambda: app.every(60, name=name)(quiet),
        lambda: app.add_task(Mailer([]), name=name),
        lambda: Tasks("p.").task(name=name)(synchronous),
    ]
    for way in ways:
        with pytest.raises(InvalidOption, match="name of a task"):
            way()


# --- what cannot be a task


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("thing", "says"),
    [
        (Mailer, r"app.add_task\(Mailer"),
        (generator, "generator"),
        (async_generator, "generator"),
        (3, "not callable"),
        (staticmethod(synchronous), "under @staticmethod"),
        (print, "name"),
    ],
)
def test_what_cannot_be_a_task_is_refused(app: App, thing: Any, says: str) -> None:
    if thing is print:
        assert app.task(thing).name == "builtins.print"
        return
    with pytest.raises(TaskDefinitionError, match=says):
        app.task(thing)


def test_a_task_is_no_function_for_another_app(app: App) -> None:
    task = app.task(synchronous)
    with pytest.raises(TaskDefinitionError, match="is a task already"):
        App("memory://").task(task)


def test_process_tasks_are_plain_functions(app: App) -> None:
    with pytest.raises(TaskDefinitionError, match="process=True is for plain functions"):
        app.task(process=True)(asynchronous)
    assert app.task(process=True)(synchronous).registered.mode == "process"


@pytest.mark.parametrize(
    ("defaults", "says"),
    [
        ({"retries": 3}, "no option 'retries'"),
        ({"concurrency": 0}, "concurrency"),
        ({"timeout": -1}, "timeout"),
        ({"retry": 5}, "Retry"),
        ({"priority": "high"}, "priority"),
        ({"queue": ""}, "queue"),
        ({"expires": 0}, "expires"),
    ],
)
def test_defaults_are_checked(app: App, defaults: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        app.task(**defaults)(synchronous)


def test_defaults_are_registered(app: App) -> None:
    retry = Retry(on=OSError)
    app.task(name="t", queue="q", priority=3, retry=retry, timeout=5, concurrency=2, store_result=False)(asynchronous)
    known = app.registry.get("t")
    assert (known.queue, known.priority, known.retry, known.timeout) == ("q", 3, retry, 5.0)
    assert (known.concurrency, known.store_result, known.mode) == (2, False, "async")


def test_D13_the_policy_of_the_app_is_for_tasks_without_one() -> None:
    own, default = Retry(on=OSError), Retry(on=ValueError)
    app = App("memory://", retry=default)
    app.task(name="own", retry=own)(synchronous)
    app.task(name="none")(asynchronous)
    assert (app.registry.get("own").retry, app.registry.get("none").retry) == (own, default)
    assert App("memory://").task(synchronous).registered.retry is None


def test_partials_and_objects_are_seen_through(app: App) -> None:
    class Callable:
        async def __call__(self, n: int) -> int:
            return n

    assert isinstance(app.task(name="p")(functools.partial(asynchronous, 1)), AsyncTask)
    assert isinstance(app.task(name="o")(Callable()), AsyncTask)


# --- D21: task objects


async def test_D21_an_object_with_run_is_a_task(app: App) -> None:
    sent: list[str] = []
    task = app.add_task(Mailer(sent))
    assert task.name == f"{__name__}.Mailer"
    assert await task("a") == 1
    assert sent == ["a 1"]
    known = app.registry.get(task.name)
    assert (known.queue, known.priority) == ("mail", 2)


def test_D21_a_prefix_comes_once_before_the_name_of_an_object() -> None:
    assert Tasks("mail.").add_task(Mailer([])).name == "mail.Mailer"
    assert Tasks("mail.").add_task(Mailer([]), name="send").name == "mail.send"


def test_D21_keywords_win_over_the_options_of_the_object(app: App) -> None:
    task = app.add_task(Mailer([]), name="m", queue="other")
    assert (task.registered.queue, task.registered.priority) == ("other", 2)


def test_D21_an_object_without_run_is_refused(app: App) -> None:
    with pytest.raises(TaskDefinitionError, match="no run"):
        app.add_task(object())  # type: ignore[arg-type]  # the case


# --- D23: tasks apart from the app


def test_D23_tasks_are_included_also_those_that_come_later(app: App) -> None:
    tasks = Tasks(prefix="mail.")
    tasks.task(name="early")(synchronous)
    app.include(tasks)
    tasks.task(name="late")(asynchronous)
    assert [task.name for task in app.registry] == ["mail.early", "mail.late"]
    assert [task.name for task in tasks] == ["mail.early", "mail.late"]


async def test_D23_enqueue_finds_the_app() -> None:
    tasks = Tasks(prefix="x.")
    task = tasks.task(name="t")(synchronous)
    with pytest.raises(AppError, match="belong to no app"):
        await task.enqueue(1)
    one = App("memory://")
    one.include(tasks)
    async with one:
        await task.enqueue(1)
        two = App("memory://")
        two.include(tasks)
        await task.enqueue(2)  # the one that is open here
        async with two:
            with pytest.raises(AppError, match="included in 2 apps"):
                await task.enqueue(3)
            await two.enqueue(task.bind(3))
        assert len((await one.jobs.find()).jobs) == 2


async def test_D23_an_app_that_is_gone_is_forgotten() -> None:
    tasks = Tasks(prefix="x.")
    task = tasks.task(name="t")(synchronous)
    gone = App("memory://")
    gone.include(tasks)
    del gone
    gc.collect()
    app = App("memory://")
    app.include(tasks)
    async with app:
        assert (await task.enqueue(1)).created


def test_D23_a_name_that_is_taken_is_refused(app: App) -> None:
    tasks = Tasks()
    tasks.task(name="a")(synchronous)
    app.task(name="a")(asynchronous)
    with pytest.raises(TaskDefinitionError, match="'a' in this app already"):
        app.include(tasks)


# --- D8: remote tasks


def test_D8_a_remote_task_has_no_code(app: App) -> None:
    remote = app.remote("billing.invoice")
    with pytest.raises(AppError, match="remote task"):
        _ = remote.fn
    assert "billing.invoice" not in app.registry


def test_services_have_names_of_their_own(app: App) -> None:
    async def beside() -> None: ...

    assert app.service(name="s", every=30)(beside) is beside
    with pytest.raises(InvalidOption, match="'s' already"):
        app.service(name="s")(beside)


def test_a_function_may_come_with_options(app: App) -> None:
    """Type checkers want `app.task(queue=…)(fn)`; at run time nothing is lost of what was meant."""
    task = app.task(asynchronous, name="t", queue="slow")  # type: ignore[call-overload]
    assert (task.registered.name, task.registered.queue) == ("t", "slow")
