"""How background threads end: failures that nobody reads, and the end of the program."""

from __future__ import annotations

import concurrent.futures
import gc
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from mainspring.retries import (
    Retry,
    background,
    constant,
)
from mainspring.retries.background_calls import calls
from tests.unit.retries.background_scene import PATIENT, Failing, Gate, logged, until, until_gone


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Whatever a test has started has ended."""
    yield
    until(lambda: calls.pending(None) == [])


# --- failures that nobody has read ------------------------------------------------------------------


def fail_alone(fn: Callable[[], object], **options: object) -> threading.Thread:
    """Start it and let go of the handle; returns its thread, ended."""
    begun = threading.Event()
    threads: list[threading.Thread] = []

    def call() -> object:
        threads.append(threading.current_thread())
        begun.set()
        return fn()

    background(call, name="alone")
    assert begun.wait(10)
    threads[0].join(10)
    return threads[0]


@pytest.mark.parametrize("error", [ValueError("unread"), SystemExit("unread")])
def test_an_unread_failure_is_logged_once(caplog: pytest.LogCaptureFixture, error: BaseException) -> None:
    gc.disable()  # it must not depend on the collector
    try:
        fail_alone(Failing(error))
    finally:
        gc.enable()
    assert logged(caplog) == ["background call alone failed in attempt 1, and nobody has read its result"]
    record = caplog.records[-1]
    assert (record.name, record.levelno) == ("mainspring.retries", logging.ERROR)
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    calls.end()
    assert len(logged(caplog)) == 1


def test_a_handle_that_is_kept_is_told_of_at_the_end_of_the_program(caplog: pytest.LogCaptureFixture) -> None:
    handle = background(Failing(ValueError("unread")), name="kept")
    assert handle._call.ended.wait(10)
    until(lambda: calls.pending(None) == [])
    assert logged(caplog) == []
    calls.end()
    calls.end()
    del handle
    assert logged(caplog) == ["background call kept failed in attempt 1, and nobody has read its result"]


@pytest.mark.parametrize("read", ["result", "exception"])
def test_a_failure_that_was_read_is_not_logged(caplog: pytest.LogCaptureFixture, read: str) -> None:
    handle = background(Failing(ValueError("read")))
    try:
        getattr(handle, read)(10)
    except ValueError:
        pass
    calls.end()
    del handle
    gc.collect()
    assert logged(caplog) == []


def test_a_wait_that_timed_out_has_read_nothing(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate(ValueError("unread"))
    handle = background(gate, name="gate")
    with pytest.raises(TimeoutError):
        handle.exception(0)
    gate.let.set()
    assert handle._call.ended.wait(10)
    until(lambda: calls.pending(None) == [])
    del handle
    assert len(logged(caplog)) == 1


def test_a_success_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    fail_alone(Failing())
    calls.end()
    assert caplog.records == []


def test_nothing_is_kept_when_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cycle and no list holds the errors, nor what the function holds."""
    monkeypatch.setattr(logging.getLogger("mainspring.retries"), "disabled", True)  # a record would hold the error

    class Big:
        def fail(self) -> None:
            raise OSError("down")

    big = Big()
    gone = weakref.ref(big)
    policy = Retry(on=OSError, attempts=3, backoff=constant(0))
    gc.collect()
    gc.disable()
    try:
        for read in (True, False):
            handle = background(big.fail, policy, name="big")
            assert handle._call.ended.wait(10)
            until_gone("big")
            if read:
                with pytest.raises(OSError, match="down"):
                    handle.result()
            del handle
        del big
        assert gone() is None
    finally:
        gc.enable()


def test_cancelling_in_a_wait_keeps_nothing() -> None:
    class Big:
        def __init__(self) -> None:
            self.failed = threading.Event()

        def fail(self) -> None:
            raise OSError("down")

        def told(self, error: Exception) -> None:
            self.failed.set()

    big = Big()
    gone = weakref.ref(big)
    gc.collect()
    gc.disable()
    try:
        handle = background(big.fail, PATIENT, on_error=big.told, name="big")
        assert big.failed.wait(10)
        handle.cancel()
        until_gone("big")
        del big, handle
        assert gone() is None
    finally:
        gc.enable()


# --- the end of the program (real ones in tests/process) --------------------------------------------


def test_S2_10_the_end_waits_for_those_that_want_it() -> None:
    gate = Gate()
    handle = background(gate, wait_at_exit=30)
    assert gate.begun.wait(10)
    threading.Timer(0.02, gate.let.set).start()
    calls.end()
    assert handle.done


def test_the_end_waits_so_many_seconds_in_all(caplog: pytest.LogCaptureFixture) -> None:
    gates = [Gate(), Gate(), Gate()]
    handles = [background(gate, name="gate", wait_at_exit=timedelta(milliseconds=50)) for gate in gates]
    assert all(gate.begun.wait(10) for gate in gates)
    started = time.monotonic()
    calls.end()
    assert 0.04 < time.monotonic() - started < 10
    assert not any(handle.done for handle in handles)
    assert logged(caplog) == ["background call gate is pending in attempt 1, and the program ends"] * 3
    for gate in gates:
        gate.let.set()


def test_the_end_does_not_wait_unasked_but_says_what_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    handle = background(gate, name="gate")
    assert gate.begun.wait(10)
    calls.end()
    assert not handle.done
    said = "background call gate is pending in attempt 1, and the program ends"
    assert logged(caplog) == [said + "; give it wait_at_exit=… seconds, or wait for its result"]
    gate.let.set()


def test_the_end_says_nothing_of_what_was_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    handle = background(gate)
    assert gate.begun.wait(10)
    handle.cancel()
    calls.end()
    assert logged(caplog) == []
    gate.let.set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_does_not_wait_for_threads_that_it_does_not_have() -> None:
    gate = Gate()
    handle = background(gate, wait_at_exit=60)
    failed = background(Failing(ValueError("the parent tells of it")))
    assert gate.begun.wait(10)
    assert failed._call.ended.wait(10)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            calls.end()
            try:
                handle.result(5)
            except concurrent.futures.CancelledError:
                code = 0 if failed._call.known and background(Failing()).result(5) == 1 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not handle.done
    gate.let.set()
    assert handle.result(10) == "through"
    failed.exception()


def test_a_thread_that_cannot_be_started_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start"):
        background(Failing())
    assert calls.pending(None) == []
