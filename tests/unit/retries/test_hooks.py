from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from mainspring.errors import RetryDefinitionError
from mainspring.retries import (
    RetriesExhausted,
    Retry,
    RetryTimeout,
    attempts_of,
    constant,
    exponential,
    retry,
)
from mainspring.retries.awaiting import call_async
from mainspring.retries.decorate import attempts_sync
from mainspring.retries.failures import Failures, Terms
from mainspring.retries.hooks import Hooks, RetryDetails, set_hooks
from mainspring.testing.virtual import run_virtual
from tests.unit.retries.conftest import Told, raising

if TYPE_CHECKING:
    from tests.unit.retries.conftest import Paced, Way

STEADY = Retry(on=OSError, attempts=3, backoff=exponential(1, cap=None))


# --- when, and with what --------------------------------------------------------------------------------


def test_RET_020_before_each_wait_and_not_for_the_success(way: Way) -> None:
    told, errors = Told(), [OSError("one"), OSError("two")]
    assert way(raising(*errors), STEADY, hooks=told.hooks) == 3
    assert told.moments == ["before_wait", "before_wait", "recovered"]
    first, second, end = (details for _, details in told.of)
    assert (first.attempt, first.error, first.seconds, first.wait, first.degraded) == (1, errors[0], 0.0, 1.0, False)
    assert (second.attempt, second.error, second.seconds, second.wait) == (2, errors[1], 1.0, 2.0)
    assert (end.attempt, end.error, end.seconds, end.wait) == (3, errors[1], 3.0, None)


def test_a_success_at_once_is_told_to_nobody(way: Way) -> None:
    told = Told()
    assert way(raising(), STEADY, hooks=told.hooks) == 1
    assert way(raising(), Retry(on=OSError, give_up_after=5), hooks=told.hooks) == 1
    assert told.of == []


def test_RET_020_the_last_failure_is_told_as_the_end(way: Way) -> None:
    told, last = Told(), OSError("three")
    seen: list[int] = []
    hooks = Hooks(gave_up=lambda details: seen.append(len(attempts_of(details.error))))
    set_hooks(hooks)
    with pytest.raises(OSError, match="three"):
        way(raising(OSError(), OSError(), last), STEADY, hooks=told.hooks)
    assert told.moments == ["before_wait", "before_wait", "gave_up"]
    _, end = told.of[-1]
    assert (end.attempt, end.error, end.seconds, end.wait) == (3, last, 3.0, None)
    assert seen == [3], "the record is on the error by then"


def test_an_error_that_no_rule_matches_is_no_giving_up(way: Way) -> None:
    told = Told()
    with pytest.raises(KeyError):
        way(raising(OSError(), KeyError()), STEADY, hooks=told.hooks)
    assert told.moments == ["before_wait"]


def test_a_wait_of_0_is_told_too(way: Way) -> None:
    told = Told()
    way(raising(OSError(), OSError()), Retry(on=OSError, backoff=constant(0)), hooks=told.hooks)
    assert [details.wait for _, details in told.of] == [0.0, 0.0, None]


def test_the_name_is_that_of_the_function(paced: Paced) -> None:
    told = Told()

    class Client:
        def __call__(self) -> int:
            raise OSError

    for fn in (Client(), raising(OSError())):
        with pytest.raises(OSError):
            retry(Retry(on=OSError, attempts=1), hooks=told.hooks)(fn)()
    assert [details.name.split(".")[-1] for _, details in told.of] == ["Client", "call"]


def test_a_group_is_told_of_by_its_last_error(way: Way) -> None:
    told, last = Told(), OSError("last")
    policy = Retry(on=OSError, attempts=2, backoff=constant(0), raise_group=True)
    with pytest.raises(RetriesExhausted):
        way(raising(OSError(), last), policy, hooks=told.hooks)
    assert told.moments == ["before_wait", "gave_up"]
    assert told.of[-1][1].error is last


def test_an_attempt_that_was_cut_short_has_given_up() -> None:
    told = Told()

    @retry(on=OSError, give_up_after=5, hooks=told.hooks)
    async def call() -> None:
        await asyncio.sleep(60)

    with pytest.raises(RetryTimeout):
        run_virtual(call())
    assert told.moments == ["gave_up"]
    assert isinstance(told.of[0][1].error, RetryTimeout)
    assert told.of[0][1].seconds == 5.0


def test_cancellation_is_told_to_nobody_but_the_wait_before_it() -> None:
    told = Told()

    @retry(on=OSError, backoff=constant(60), hooks=told.hooks)
    async def call() -> None:
        raise OSError

    async def main() -> None:
        task = asyncio.ensure_future(call())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])

    run_virtual(main())
    assert told.moments == ["before_wait"]


# --- a hook that fails ----------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["before_wait", "recovered", "gave_up"])
def test_a_hook_that_raises_is_logged_and_hurts_nothing(
    way: Way, moment: str, caplog: pytest.LogCaptureFixture
) -> None:
    told, last = Told(), OSError("last")

    def broken(details: RetryDetails) -> None:
        raise ValueError("the hook is broken")

    set_hooks(told.hooks)
    hooks = Hooks(**{moment: broken})
    assert way(raising(OSError()), STEADY, hooks=hooks) == 2
    with pytest.raises(OSError, match="last") as caught:
        way(raising(OSError(), OSError(), last), STEADY, hooks=hooks)
    assert caught.value is last
    assert caught.value.__context__ is None
    assert last.__notes__ == ["gave up after 3 attempts in 3.0 s"]
    assert told.moments == ["before_wait", "recovered", "before_wait", "before_wait", "gave_up"]
    assert f"the hook {moment} failed" in caplog.text
    assert "the hook is broken" in caplog.text


def test_an_exit_from_a_hook_goes_through(way: Way) -> None:
    def leave(_: RetryDetails) -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        way(raising(OSError()), STEADY, hooks=Hooks(before_wait=leave))


# --- hooks of the process -------------------------------------------------------------------------------


def test_hooks_of_the_process_are_told_beside_those_of_the_call(way: Way) -> None:
    one, two, own = Told(), Told(), Told()
    assert set_hooks(one.hooks, two.hooks) == ()
    assert way(raising(OSError()), STEADY, hooks=own.hooks) == 2
    assert one.of == two.of == own.of
    assert set_hooks() == (one.hooks, two.hooks)
    assert way(raising(OSError()), STEADY) == 2
    assert len(one.of) == 2


def test_they_are_told_from_every_thread() -> None:
    told = Told()
    set_hooks(told.hooks)
    quick = Retry(on=OSError, backoff=constant(0))
    threads = [threading.Thread(target=retry(quick)(raising(OSError()))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(told.moments) == ["before_wait"] * 16 + ["recovered"] * 16


async def no_hook(_: RetryDetails) -> None: ...


class AsyncHook:
    async def __call__(self, _: RetryDetails) -> None: ...


@pytest.mark.parametrize("hook", [no_hook, AsyncHook()])
def test_an_async_hook_is_refused(hook: Callable[[RetryDetails], object]) -> None:
    with pytest.raises(RetryDefinitionError, match=r"recovered: .* is async"):
        Hooks(recovered=hook)


def test_what_is_no_hook_is_refused_at_once() -> None:
    with pytest.raises(RetryDefinitionError, match="before_wait must be a function"):
        Hooks(before_wait=3)  # type: ignore[arg-type]  # the mistake in question
    with pytest.raises(RetryDefinitionError, match="hooks must be Hooks"):
        retry(STEADY, hooks=print)  # type: ignore[call-overload]  # the mistake in question
    with pytest.raises(RetryDefinitionError, match="hooks must be Hooks"):
        set_hooks(print)  # type: ignore[arg-type]  # the mistake in question
    with pytest.raises(RetryDefinitionError, match="baseline must be a Baseline"):
        retry(STEADY, baseline=STEADY)  # type: ignore[call-overload]  # the mistake in question


def test_hooks_are_values() -> None:
    assert Hooks(print) == Hooks(before_wait=print)


# --- the log ----------------------------------------------------------------------------------------------


def test_the_log_tells_of_waits_and_ends(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mainspring.retries")
    way(raising(OSError("down")), STEADY)
    with pytest.raises(OSError, match="gone"):
        way(raising(OSError("down"), OSError("down"), OSError("gone")), STEADY)
    lines = [record.getMessage().split(": ", 1)[1] for record in caplog.records]
    assert lines == [
        "attempt 1 failed, again in 1 s: OSError: down",
        "attempt 2 succeeded after 1 s",
        "attempt 1 failed, again in 1 s: OSError: down",
        "attempt 2 failed, again in 2 s: OSError: down",
        "gave up after attempt 3 in 3 s: OSError: gone",
    ]
    assert {(record.name, record.levelno) for record in caplog.records} == {("mainspring.retries", logging.INFO)}


def test_nobody_who_listens_no_line(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "mainspring.retries")
    assert way(raising(OSError()), STEADY) == 2
    assert caplog.records == []


def test_arguments_and_results_are_never_logged(paced: Paced, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mainspring.retries")
    tries = raising(OSError("down"))

    @retry(STEADY)
    def log_in(name: str, *, password: str) -> str:
        tries()
        return "token-4711"

    assert log_in("me", password="secret") == "token-4711"
    assert len(caplog.records) == 2
    assert "secret" not in caplog.text
    assert "4711" not in caplog.text


def test_an_error_that_cannot_be_shown_is_named(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    class Silent(OSError):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    caplog.set_level(logging.INFO, "mainspring.retries")
    assert way(raising(Silent()), STEADY) == 2
    assert caplog.records[0].getMessage().endswith("again in 1 s: " + Silent.__qualname__)


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


FAILS_TWICE = """
import sys
from mainspring.retries import Baseline, Retry, constant, retry
answers = [OSError(), OSError(), "up"]
def ask():
    answer = answers.pop(0)
    if isinstance(answer, OSError):
        raise answer
    return answer
"""


def test_a_program_without_logging_is_not_made_to_load_it() -> None:
    code = FAILS_TWICE + "retry(on=OSError, backoff=constant(0))(ask)(); print('logging' in sys.modules)"
    assert run_python(code).strip() == "False"


def test_a_degraded_wait_is_logged_even_there() -> None:
    code = FAILS_TWICE + (
        "nothing = Retry(on=KeyError)\n"
        "baseline = Baseline({}, unknown=Retry(on=Exception, backoff=constant(0)))\n"
        "retry(nothing, baseline=baseline)(ask)(); print('logging' in sys.modules)"
    )
    told = run_python(code)
    assert told.startswith("True")
    assert told.count("unknown error, again in 0 s: OSError") == 2


# --- loops of Mainspring itself ---------------------------------------------------------------------------


def test_inner_loops_tell_their_own_hooks_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mainspring.retries")
    process, own = Told(), Told()
    set_hooks(process.hooks)
    failures = Failures(Terms(STEADY, "claim", hooks=own.hooks, inner=True))
    assert failures.add(OSError(), 0.0) == 1.0
    failures.succeeded(lambda: 1.0)
    assert own.moments == ["before_wait", "recovered"]
    assert process.of == []
    assert caplog.records == []


def test_on_failure_hears_of_every_error(way: Way) -> None:
    heard: list[BaseException] = []
    failures = Failures(Terms(STEADY, on_failure=heard.append))
    errors = [OSError(1), OSError(2), KeyError()]
    for error in errors:
        failures.add(error, 0.0)
    assert heard == errors


def test_inner_attempts_are_never_cut_short() -> None:
    """What a store was asked, it shall answer, however long that takes; the limit ends the questions."""
    policy = Retry(on=OSError, backoff=constant(1), give_up_after=5)
    calls = 0

    async def ask() -> str:
        nonlocal calls
        calls += 1
        await asyncio.sleep(60)
        if calls == 1:
            raise OSError("down")
        return "answered"

    async def main() -> None:
        assert Failures(Terms(policy), 0.0).ends == 5.0
        with pytest.raises(OSError, match="down") as caught:
            await call_async(ask, Terms(policy, inner=True))
        assert caught.value.__notes__ == ["gave up after 1 attempt in 60.0 s, give_up_after=5"]
        assert await call_async(ask, Terms(policy, inner=True)) == "answered"
        assert asyncio.get_running_loop().time() == 120.0

    run_virtual(main())


def test_who_begins_to_listen_during_a_wait_hears_of_the_next(paced: Paced) -> None:
    told = Told()

    def ask() -> int:
        if paced.waits:
            set_hooks(told.hooks)
        return tries()

    tries = raising(OSError(), OSError())
    assert retry(STEADY)(ask)() == 3
    assert told.moments == ["before_wait", "recovered"]


def test_a_waiter_of_its_own_is_called_before_every_attempt_and_may_end_the_loop() -> None:
    """As a thread in the background waits: by an event, which is looked at even when there is nothing to wait for."""
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 4:
            raise InterruptedError

    quick = Retry(on=KeyError, backoff=constant(0))
    with pytest.raises(InterruptedError):
        attempts_sync(raising(*[KeyError()] * 9), Failures(Terms(quick)), 0.0, wait)
    assert waits == [0.0] * 4
