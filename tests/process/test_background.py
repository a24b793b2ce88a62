"""How `background` and the end of a program get on with each other, with real interpreters."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

HEAD = """
import functools, os, signal, sys, threading, time
from mainspring.retries import Retry, background, constant

def save(seconds, error=None):
    sys.stdout.write("begun\\n")  # one write: other threads say things as well
    sys.stdout.flush()
    time.sleep(seconds)
    if error is not None:
        raise error
    sys.stdout.write("saved\\n")
    sys.stdout.flush()

def begun(handle):
    while not handle.attempts:
        time.sleep(0.001)
"""


@contextmanager
def started(program: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    path = folder / "program.py"
    path.write_text(HEAD + program, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "-W", "error", str(path)],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str]) -> tuple[int, list[str], list[str]]:
    """Exit code, lines of stdout, lines of stderr; fails when it hangs."""
    out, err = process.communicate(timeout=30)
    return process.returncode, out.splitlines(), err.splitlines()


def run(program: str, folder: Path) -> tuple[int, list[str], list[str]]:
    with started(program, folder) as process:
        return ended(process)


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_S2_10_a_pending_thread_is_waited_for(tmp_path: Path) -> None:
    assert run("background(functools.partial(save, 0.3), wait_at_exit=20)\n", tmp_path) == (0, ["begun", "saved"], [])


def test_all_attempts_of_it_are_waited_for(tmp_path: Path) -> None:
    program = """
answers = iter([OSError(), OSError(), None])
background(lambda: save(0, next(answers)), Retry(on=OSError, backoff=constant(0.1)), wait_at_exit=20)
"""
    assert run(program, tmp_path) == (0, ["begun", "begun", "begun", "saved"], [])


def test_several_are_waited_for_together_and_the_rest_is_not(tmp_path: Path) -> None:
    program = """
for seconds in (0.2, 0.3):
    background(functools.partial(save, seconds), wait_at_exit=20)
begun(background(functools.partial(save, 60), wait_at_exit=0.5))
"""
    started = time.monotonic()
    code, out, err = run(program, tmp_path)
    assert (code, out.count("begun"), out.count("saved")) == (0, 3, 2)
    assert err == ["background call save is pending in attempt 1, and the program ends"]
    assert time.monotonic() - started < 20


def test_without_wait_at_exit_it_is_lost_with_a_warning(tmp_path: Path) -> None:
    code, out, err = run("begun(background(functools.partial(save, 60)))\n", tmp_path)
    assert (code, out) == (0, ["begun"])
    said = "background call save is pending in attempt 1, and the program ends"
    assert err == [said + "; give it wait_at_exit=… seconds, or wait for its result"]


@pytest.mark.parametrize("kept", [True, False])
def test_an_unread_failure_is_logged_once_at_the_end(tmp_path: Path, kept: bool) -> None:
    """Of a handle that a module keeps; and of one that nobody has, which was logged before."""
    program = """
handle = background(functools.partial(save, 0, ValueError("nobody reads this")))
while not handle.done:
    time.sleep(0.001)
"""
    code, out, err = run(program + ("" if kept else "del handle\n"), tmp_path)
    assert (code, out) == (0, ["begun"])
    assert err[0] == "background call save failed in attempt 1, and nobody has read its result"
    assert err[-1] == "ValueError: nobody reads this"
    assert len([line for line in err if "background call" in line]) == 1


def test_a_failure_while_the_program_ends_is_logged(tmp_path: Path) -> None:
    program = 'background(functools.partial(save, 0.3, ValueError("late")), wait_at_exit=20)\n'
    code, out, err = run(program, tmp_path)
    assert (code, out) == (0, ["begun"])
    assert err[0] == "background call save failed in attempt 1, and nobody has read its result"
    assert err[-1] == "ValueError: late"


def test_a_failure_that_was_read_is_not_logged(tmp_path: Path) -> None:
    program = """
handle = background(functools.partial(save, 0, SystemExit(7)))
assert handle.exception().code == 7
"""
    assert run(program, tmp_path) == (0, ["begun"], [])


def test_SystemExit_of_a_thread_ends_nothing_but_that_of_the_program_does(tmp_path: Path) -> None:
    program = """
handle = background(functools.partial(save, 0.2), wait_at_exit=20)
background(functools.partial(sys.exit, 7)).exception()
sys.exit(3)
"""
    assert run(program, tmp_path) == (3, ["begun", "saved"], [])


def test_Ctrl_C_ends_the_wait(tmp_path: Path) -> None:
    program = """
def watch():
    main = threading.main_thread().ident
    names = ()
    while names[:1] != ("wait",) or "end" not in names:
        time.sleep(0.001)
        frame, names = sys._current_frames()[main], ()
        while frame is not None:
            frame, names = frame.f_back, (*names, frame.f_code.co_name)
    print("the program waits", flush=True)
    time.sleep(60)

background(watch, wait_at_exit=60)
"""
    with started(program, tmp_path) as process:
        assert line_of(process) == "the program waits\n"
        process.send_signal(signal.SIGINT)
        code, _, err = ended(process)
    assert code == 0
    assert err == [
        "the wait for background calls was interrupted",
        "background call watch is pending in attempt 1, and the program ends",
    ]


def test_Ctrl_C_while_a_thread_is_started_does_not_forget_it(tmp_path: Path) -> None:
    """`Thread.start` waits for the thread to say that it runs, and may be interrupted in that."""
    program = """
start = threading.Thread.start

def interrupted(thread):
    start(thread)
    raise KeyboardInterrupt

threading.Thread.start = interrupted
background(functools.partial(save, 0.3), wait_at_exit=20)
"""
    code, out, err = run(program, tmp_path)
    assert (code, out, err[-1]) == (-signal.SIGINT, ["begun", "saved"], "KeyboardInterrupt")


def test_Ctrl_C_ends_the_program_and_the_wait_follows(tmp_path: Path) -> None:
    """Work that wants to be waited for is, whatever ends the program; a second Ctrl-C would end that, too."""
    program = "background(functools.partial(save, 0.5), wait_at_exit=60)\ntime.sleep(60)\n"
    with started(program, tmp_path) as process:
        assert line_of(process) == "begun\n"
        process.send_signal(signal.SIGINT)
        code, out, err = ended(process)
    assert code == -signal.SIGINT
    assert out == ["saved"]
    assert err[-1] == "KeyboardInterrupt"


def test_a_forked_child_neither_waits_nor_logs(tmp_path: Path) -> None:
    program = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: fork beside threads
failed = background(functools.partial(save, 0, ValueError("the parent's")), name="failed")
while not failed.done:
    time.sleep(0.001)
background(functools.partial(save, 60), name="stays", wait_at_exit=60)
pid = os.fork()
if pid == 0:
    own = background(functools.partial(save, 0.1), wait_at_exit=20)
    sys.exit(5)
began = time.monotonic()
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
assert time.monotonic() - began < 20
failed.exception()
os._exit(0)
"""
    code, out, err = run(program, tmp_path)
    assert (code, err) == (0, [])
    assert out.count("saved") == 1, "the child's own, for which it waited"


def test_async_work_is_lost_with_its_loop_and_the_log_says_so(tmp_path: Path) -> None:
    program = """
import asyncio
from mainspring.retries import background_done

async def save_slowly():
    await asyncio.sleep(0.1)
    print("saved", flush=True)

async def main(wait):
    background(save_slowly)
    await asyncio.sleep(0)
    if wait:
        await background_done(timeout=20)

asyncio.run(main(True))
asyncio.run(main(False))
"""
    code, out, err = run(program, tmp_path)
    assert (code, out) == (0, ["saved"])
    assert err == [
        "background call save_slowly was cancelled in attempt 1, not by its handle: await background_done() in main"
    ]


def test_threads_need_no_asyncio(tmp_path: Path) -> None:
    program = """
assert background(functools.partial(save, 0), Retry(on=OSError)).result(10) is None
assert "asyncio" not in sys.modules
"""
    assert run(program, tmp_path) == (0, ["begun", "saved"], [])
