"""The pytest plugin: the fixture `mainspring`, async tests in virtual time, forgotten `await`s as errors.

It is loaded by every pytest run where Mainspring is installed, so it imports nothing of Mainspring until a test asks.
Switch it off with `-p no:mainspring`.
"""

from __future__ import annotations

import gc
import inspect
import sys
import warnings
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from mainspring.testing.harness import Harness

FIXTURE: Final = "mainspring"
OPTION: Final = "mainspring_never_awaited"
CHOICES: Final = ("fixture", "all", "off")
NEVER_AWAITED: Final = "was never awaited"

AsyncTest = Callable[..., Coroutine[Any, Any, None]]
ORIGINAL: Final = pytest.StashKey[AsyncTest]()


@pytest.fixture(scope="session", name=FIXTURE)
def harness() -> Harness:
    """Call it with your app: `async with mainspring(app) as h:` gives the app a memory store in virtual time.

    An async test that takes this fixture runs on a loop whose clock jumps, so hours pass in milliseconds. It needs
    no other plugin, and no mark. Async fixtures of other plugins run on a loop of their own.
    """
    from mainspring.testing.harness import Harness  # noqa: PLC0415  # only tests that ask for it pay for it

    return Harness()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the ini option `mainspring_never_awaited`."""
    parser.addini(
        OPTION,
        "Which tests fail when a coroutine was never awaited: those with the fixture `mainspring` (fixture, the"
        " default), all of them (all), none (off).",
        default=CHOICES[0],
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuses a value of the option that means nothing."""
    chosen = config.getini(OPTION)
    if chosen not in CHOICES:
        raise pytest.UsageError(f"{OPTION} must be one of {', '.join(CHOICES)}, not {chosen!r}")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Remembers the async function before other plugins wrap it, and watches for forgotten `await`s."""
    if isinstance(item, pytest.Function) and uses_fixture(item):
        original = async_test(item.obj)
        if original is not None:
            item.stash[ORIGINAL] = original
    if not watched(item):
        return (yield)
    with watching() as forgotten:
        try:
            answer = yield
        except BaseException as error:
            gc.collect(0)
            if forgotten:
                error.add_note("\n".join(forgotten))
            raise
    if forgotten:
        pytest.fail("\n".join(forgotten), pytrace=False)
    return answer


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Runs an async test with the fixture on a `VirtualLoop`.

    Being a wrapper it comes before every plugin that would run the test itself; they then see a plain function.
    """
    original = pyfuncitem.stash.get(ORIGINAL, None)
    if original is None:
        return (yield)
    with in_place_of_the_test(pyfuncitem, in_virtual_time(original)):
        return (yield)


def uses_fixture(item: pytest.Item) -> bool:
    """Whether the test asks for the fixture, itself or through another one."""
    return FIXTURE in getattr(item, "fixturenames", ())


def watched(item: pytest.Item) -> bool:
    """Whether a coroutine that was never awaited fails this test."""
    chosen = item.config.getini(OPTION)
    return chosen == "all" or (chosen == "fixture" and uses_fixture(item))


def async_test(function: object) -> AsyncTest | None:
    """The coroutine function that is the test, also that inside of hypothesis' `@given`; None for a sync test."""
    inner = getattr(getattr(function, "hypothesis", None), "inner_test", function)
    return inner if inspect.iscoroutinefunction(inner) else None


def in_virtual_time(test: AsyncTest) -> Callable[..., None]:
    """The test as a plain function that runs it to its end on a loop of its own."""

    @wraps(test)
    def plain(*args: object, **kwargs: object) -> None:
        from mainspring.testing.virtual import run_virtual  # noqa: PLC0415  # asyncio is slow to load

        run_virtual(test(*args, **kwargs))

    # `inspect` and other plugins look through __wrapped__, and would find the coroutine function again.
    del plain.__wrapped__
    return plain


@contextmanager
def in_place_of_the_test(item: pytest.Function, plain: Callable[..., None]) -> Generator[None]:
    """While the block lasts, pytest calls `plain` for this test."""
    given = getattr(item.obj, "hypothesis", None)
    target, name = (item, "obj") if given is None else (given, "inner_test")
    before = getattr(target, name)
    setattr(target, name, plain)
    try:
        yield
    finally:
        setattr(target, name, before)


@contextmanager
def watching() -> Generator[list[str]]:
    """Collects what Python says of coroutines that were never awaited, each with the line that made it.

    The warning is raised where the coroutine is thrown away, which no caller can catch; so it is turned into an
    error, which arrives at `sys.unraisablehook`.
    """
    forgotten: list[str] = []
    tell_others = sys.unraisablehook
    depth = sys.get_coroutine_origin_tracking_depth()

    def note(event: sys.UnraisableHookArgs) -> None:
        if isinstance(event.exc_value, RuntimeWarning) and NEVER_AWAITED in str(event.exc_value):
            forgotten.append(f"{event.exc_value}\nDid you forget `await`?")
        else:
            tell_others(event)

    with warnings.catch_warnings():
        warnings.filterwarnings("error", rf"coroutine .* {NEVER_AWAITED}", RuntimeWarning)
        sys.unraisablehook = note
        sys.set_coroutine_origin_tracking_depth(max(depth, 1))
        try:
            yield forgotten
            gc.collect(0)  # those in a reference cycle
        finally:
            sys.set_coroutine_origin_tracking_depth(depth)
            sys.unraisablehook = tell_others
