"""The process pool with real children (RULES H17)."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from mainspring.engine.arguments import Parameters
from mainspring.engine.processes import ProcessPool, children
from mainspring.engine.registry import Registered
from mainspring.errors import AttemptTimeout, InvalidOption
from mainspring.model.conclude import Completed, Crashed, Failed, GaveUp, Later, Outcome, Released, Stopped
from mainspring.model.record import JobRecord
from mainspring.testing.virtual import run_virtual
from tests.process import functions

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


@pytest.fixture
async def pool() -> AsyncIterator[ProcessPool]:
    pool = ProcessPool(2)
    yield pool
    await pool.aclose()


def registered(fn: Callable[..., object], *, takes_context: bool = False, store_result: bool = True) -> Registered:
    parameters = Parameters(fn, task=fn.__name__, takes_context=takes_context)
    return Registered(fn.__name__, fn, "process", parameters, takes_context, store_result=store_result)


def job(payload: object = None, job_id: str = "job-1") -> JobRecord:
    data = msgspec.json.encode({} if payload is None else payload)
    return JobRecord(
        id=job_id, task="t", payload=data, state="running", created=1.0, due=1.0, lease=4, attempt=2, claimed=2.0
    )


async def run(pool: ProcessPool, fn: Callable[..., object], *, job_id: str = "job-1", **arguments: object) -> Outcome:
    return await pool.run(registered(fn), job(arguments, job_id), timeout=30)


async def appears(path: Path) -> int:
    """The process id in a mark, once it is there."""
    async with asyncio.timeout(30):
        while not (found := read(path)):
            await asyncio.sleep(0.01)
    return int(found)


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def lives(pid: int) -> bool:
    """Whether a process is there and has not ended (a zombie has)."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False


async def dies(pid: int, within: float = 10.0) -> bool:
    ends = time.monotonic() + within
    while lives(pid) and time.monotonic() < ends:
        await asyncio.sleep(0.01)
    return not lives(pid)


# --- what a job says ------------------------------------------------------------------------------


async def test_a_result_comes_back_as_json(pool: ProcessPool) -> None:
    assert await run(pool, functions.square, n=7) == Completed(b"49")
    assert await run(pool, functions.nothing) == Completed(b"null")


async def test_an_async_function_runs_in_a_loop_of_the_child(pool: ProcessPool) -> None:
    assert await run(pool, functions.later, n=7) == Completed(b"8")


async def test_no_result_is_kept_when_none_is_wanted(pool: ProcessPool) -> None:
    assert await pool.run(registered(functions.square, store_result=False), job({"n": 2})) == Completed(None)


async def test_an_error_keeps_class_attributes_and_traceback(pool: ProcessPool) -> None:
    outcome = await run(pool, functions.refuse, status=503)
    assert isinstance(outcome, Failed)
    assert type(outcome.error) is functions.Refused
    assert outcome.error.status == 503
    assert outcome.wait_hint == 7.0
    assert outcome.failure.message == "refused with 503"
    assert "in refuse" in outcome.failure.traceback


async def test_an_os_error_keeps_its_number(pool: ProcessPool) -> None:
    outcome = await run(pool, functions.missing, path="/nowhere/at/all")
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, FileNotFoundError)
    assert outcome.error.errno == 2


async def test_what_a_task_raises_to_end_its_attempt(pool: ProcessPool) -> None:
    gave_up = await run(pool, functions.give_up)
    assert isinstance(gave_up, GaveUp)
    assert gave_up.reason == "no use"
    later = await run(pool, functions.try_later, seconds=2.5)
    assert isinstance(later, Later)
    assert later.after == 2.5


async def test_a_result_that_cannot_be_stored_ends_the_job(pool: ProcessPool) -> None:
    """RULES M10: dead, not retried, since the effect has happened."""
    outcome = await run(pool, functions.unstorable)
    assert isinstance(outcome, GaveUp)
    assert "result" in outcome.failure.message


async def test_arguments_that_do_not_fit_are_named(pool: ProcessPool) -> None:
    outcome = await run(pool, functions.square, n="seven")
    assert isinstance(outcome, Failed)
    assert "n" in outcome.failure.message
    assert outcome.failure.type == "mainspring.errors.ArgumentsInvalid"


async def test_the_first_argument_may_come_from_the_job_before(pool: ProcessPool) -> None:
    record = msgspec.structs.replace(job(), options=b'{"input":"value"}')
    assert await pool.run(registered(functions.square), record, input=b"6") == Completed(b"36")


async def test_the_context_has_the_ids_and_tells_progress(pool: ProcessPool) -> None:
    told: list[bytes] = []
    began: list[bool] = []
    task = registered(functions.about, takes_context=True)
    outcome = await pool.run(
        task, job({"word": "hi"}), progress=told.append, began=lambda: began.append(True), timeout=30
    )
    assert outcome == Completed(b'["job-1",2,4,"job-1","hi"]')
    assert [msgspec.json.decode(each) for each in told] == [{"half": True}]
    assert began == [True]


async def test_a_function_without_context_parameter_has_a_current_one(pool: ProcessPool) -> None:
    assert await run(pool, functions.about_current, job_id="j-9") == Completed(b'"j-9"')


# --- children -------------------------------------------------------------------------------------


async def test_a_child_is_used_again_and_two_jobs_run_beside_each_other() -> None:
    pool = ProcessPool(2)
    try:
        first = await run(pool, functions.pid)
        assert first == await run(pool, functions.pid)
        both = await asyncio.gather(*(run(pool, functions.sleep, job_id=f"j-{n}", seconds=0.3) for n in range(2)))
        assert both == [Completed(b"0.3")] * 2
        pids = {await run(pool, functions.pid) for _ in range(4)}
        assert len(pids) <= 2
        assert Completed(str(os.getpid()).encode()) not in pids
    finally:
        await pool.aclose()


async def test_a_child_is_replaced_after_max_jobs() -> None:
    pool = ProcessPool(1, max_jobs=2)
    try:
        pids = [await run(pool, functions.pid) for _ in range(4)]
    finally:
        await pool.aclose()
    assert pids[0] == pids[1] != pids[2] == pids[3]


async def test_signals_of_the_group_do_not_reach_the_job(pool: ProcessPool) -> None:
    """Ctrl-C and a service manager signal every process; the worker decides. Started programs have them as usual."""
    assert await run(pool, functions.ignores_signals) == Completed(b'["alive","True"]')


async def test_sys_exit_in_a_task_ends_the_attempt_not_the_child(pool: ProcessPool) -> None:
    outcome = await run(pool, functions.leave)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, SystemExit)
    assert await run(pool, functions.square, n=2) == Completed(b"4")


@pytest.mark.parametrize(("how", "cause"), [("exit", "code 9"), ("segv", "SIGSEGV"), ("kill", "SIGKILL")])
async def test_H17_a_crash_is_charged_to_its_own_job_only(pool: ProcessPool, how: str, cause: str) -> None:
    beside = asyncio.create_task(run(pool, functions.sleep, job_id="innocent", seconds=1.0))
    crashed = await run(pool, functions.drop_dead, how=how)
    assert isinstance(crashed, Crashed)
    assert cause in crashed.failure.message
    assert crashed.failure.type == "mainspring.errors.ProcessCrashed"
    if how == "segv":
        assert "in drop_dead" in crashed.failure.traceback
    assert await run(pool, functions.square, n=3) == Completed(b"9")
    assert await beside == Completed(b"1.0")


async def test_H17_a_timeout_kills_the_child_whatever_it_does(pool: ProcessPool, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    began = time.monotonic()
    outcome = await pool.run(registered(functions.burn), job({"mark": str(mark)}), timeout=0.3)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, AttemptTimeout)
    assert outcome.failure.type == "mainspring.errors.AttemptTimeout"
    assert "0.3 s" in outcome.failure.message
    assert time.monotonic() - began < 30
    assert await dies(await appears(mark))


@pytest.mark.parametrize(("why", "kind"), [("cancel", Stopped), ("shutdown", Released), ("timeout", Failed)])
async def test_H17_a_kill_is_no_crash(pool: ProcessPool, tmp_path: Path, why: str, kind: type) -> None:
    mark = tmp_path / "mark"
    running = asyncio.create_task(run(pool, functions.sleep, seconds=60.0, mark=str(mark)))
    child = await appears(mark)
    assert pool.kill("job-1", why)  # type: ignore[arg-type]  # the three words above
    assert isinstance(await running, kind)
    assert await dies(child)
    assert not pool.kill("job-1", "cancel")


async def test_cancelling_the_caller_kills_the_child(pool: ProcessPool, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    running = asyncio.create_task(run(pool, functions.sleep, seconds=60.0, mark=str(mark)))
    child = await appears(mark)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await dies(child)
    assert await run(pool, functions.square, n=3) == Completed(b"9")


async def test_closing_hands_back_what_runs_and_what_waits(tmp_path: Path) -> None:
    pool = ProcessPool(1)
    mark = tmp_path / "mark"
    running = asyncio.create_task(run(pool, functions.sleep, seconds=60.0, mark=str(mark)))
    child = await appears(mark)
    waiting = asyncio.create_task(run(pool, functions.square, job_id="job-2", n=1))
    await asyncio.sleep(0)
    await pool.aclose()
    assert [await running, await waiting] == [Released(), Released()]
    assert await run(pool, functions.square, n=1) == Released()
    assert await dies(child)


async def test_a_kill_takes_the_programs_with_it_that_the_task_has_started(pool: ProcessPool, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    running = asyncio.create_task(run(pool, functions.start_another, mark=str(mark)))
    other = await appears(mark)
    pool.kill("job-1", "cancel")
    assert isinstance(await running, Stopped)
    assert await dies(other)


async def test_a_child_that_died_while_idle_costs_nobody_an_attempt(pool: ProcessPool) -> None:
    first = await run(pool, functions.pid)
    assert isinstance(first, Completed)
    child = int(first.result or b"0")
    os.kill(child, signal.SIGKILL)
    assert await dies(child)
    assert isinstance(await run(pool, functions.square, n=3), Completed)


def test_H10_virtual_time_waits_for_a_child() -> None:
    """The loop is idle while the child works; if it jumped, the timeout would come at once."""

    async def main() -> tuple[Outcome, float]:
        pool = ProcessPool(1)
        task, one = registered(functions.sleep), job({"seconds": 0.2})
        outcome = await pool.run(task, one, timeout=3600)
        passed = asyncio.get_running_loop().time()
        await pool.aclose()
        return outcome, passed

    assert run_virtual(main()) == (Completed(b"0.2"), 0.0)


@pytest.mark.parametrize(("size", "max_jobs"), [(0, None), (1, 0)])
def test_sizes_below_one_are_refused(size: int, max_jobs: int | None) -> None:
    with pytest.raises(InvalidOption, match="1 or more"):
        ProcessPool(size, max_jobs=max_jobs)


async def test_no_process_to_be_had_hands_the_job_back(pool: ProcessPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job is not to blame, and comes again later."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert await run(pool, functions.square, n=1) == Released(5.0)
    monkeypatch.undo()
    assert await run(pool, functions.square, n=2) == Completed(b"4")


async def test_children_that_die_at_their_start_hand_the_job_back(
    pool: ProcessPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "BOOT", "raise SystemExit(5)")
    assert await run(pool, functions.square, n=1) == Released(5.0)


# --- no orphans -----------------------------------------------------------------------------------

WORKER = """
import asyncio
from mainspring.engine.processes import ProcessPool
from tests.process.functions import {name}
from tests.process.test_processes import registered, job

async def main() -> None:
    await ProcessPool(1).run(registered({name}), job({{"mark": {mark!r}, **{more}}}))

asyncio.run(main())
"""


def start(script: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", script], env=ENVIRONMENT)


@pytest.mark.parametrize(
    ("name", "more"),
    [("sleep", {"seconds": 300.0}), ("burn", {}), ("start_another", {})],
    ids=["idle", "GIL", "program"],
)
async def test_H17_no_orphan_goes_on_when_the_worker_is_killed(tmp_path: Path, name: str, more: object) -> None:
    """SIGKILL to the worker; the child dies, also in code that never gives the GIL back, and so does what it started."""
    mark = tmp_path / "mark"
    script = WORKER.format(name=name, mark=str(mark), more=more)
    with start(script) as worker:
        child = await appears(mark)
        assert lives(child)
        worker.kill()
        worker.wait()
    assert await dies(child)


# --- scripts --------------------------------------------------------------------------------------

SCRIPT = """
import asyncio
from mainspring.engine.processes import ProcessPool
from tests.process.test_processes import registered, job

def double(n: int) -> int:
    return n * 2

async def main() -> None:
    pool = ProcessPool(1)
    print(await pool.run(registered(double), job({"n": 21})))
    await pool.aclose()

"""


def run_script(tmp_path: Path, end: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT + textwrap.dedent(end), encoding="utf-8")
    return subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=ENVIRONMENT, check=False)


def test_a_function_of_a_guarded_script_runs_in_a_child(tmp_path: Path) -> None:
    done = run_script(tmp_path, 'if __name__ == "__main__":\n    asyncio.run(main())\n')
    assert done.stdout == "Completed(result=b'42', follow_ups=(), groups=())\n", done.stderr


def test_a_script_without_guard_is_refused_with_what_to_do(tmp_path: Path) -> None:
    done = run_script(tmp_path, "asyncio.run(main())\n")
    assert "TaskDefinitionError" in done.stderr
    assert 'if __name__ == "__main__":' in done.stderr
    assert done.stdout == ""
