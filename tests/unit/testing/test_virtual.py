"""The loop with virtual time: RULES H10."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator

import pytest

from mainspring.clock import FakeClock, outside_loop
from mainspring.testing.virtual import VirtualDeadlock, VirtualLoop, run_virtual


def loop_of_test() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


def test_timers_fire_in_order_each_at_its_own_time() -> None:
    fired: list[tuple[str, float]] = []

    async def main() -> None:
        loop = loop_of_test()

        def note(name: str) -> None:
            fired.append((name, loop.time()))

        for name, delay in (("late", 7200.0), ("soon", 0.5), ("middle", 60.0)):
            loop.call_later(delay, note, name)
        await asyncio.sleep(7200.5)

    run_virtual(main())
    assert fired == [("soon", 0.5), ("middle", 60.0), ("late", 7200.0)]


def test_both_clocks_follow_and_months_take_no_time() -> None:
    clock = FakeClock(1000.0)
    began = time.perf_counter()
    run_virtual(asyncio.sleep(100 * 86_400), clock)
    assert time.perf_counter() - began < 2
    assert clock.now() == 1000.0 + 100 * 86_400
    assert clock.monotonic() == 100 * 86_400


def test_ten_thousand_timers_are_fast() -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for n in range(10_000):
                group.create_task(asyncio.sleep(n * 3.7))

    clock = FakeClock()
    began = time.perf_counter()
    run_virtual(main(), clock)
    assert time.perf_counter() - began < 10  # 0.5 s here; the limit only catches a change of order
    assert clock.monotonic() == pytest.approx(9_999 * 3.7)


def test_timeouts_work_in_virtual_time() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await asyncio.Event().wait()
        return loop_of_test().time()

    assert run_virtual(main()) == 3600


def test_H10_time_stands_still_while_a_thread_works() -> None:
    """The thread cannot end before a callback of the loop lets it; the timeout must not fire meanwhile."""
    release = threading.Event()
    begun = threading.Event()

    def work() -> str:
        begun.set()
        assert release.wait(10)
        return "done"

    async def main() -> tuple[str, float]:
        loop = loop_of_test()

        def let_go() -> None:
            assert begun.wait(10)
            assert loop.outside == 1
            loop.call_soon_threadsafe(release.set)

        helper = threading.Thread(target=let_go)
        helper.start()
        async with asyncio.timeout(0.001):
            answer = await asyncio.to_thread(work)
        helper.join()
        return answer, loop.time()

    assert run_virtual(main()) == ("done", 0.0)


def test_H10_an_abandoned_thread_still_holds_time() -> None:
    """Cancelling the waiter does not end the thread, so time waits for the thread all the same."""
    release = threading.Event()
    ended: list[float] = []

    async def main() -> None:
        loop = loop_of_test()

        def work() -> None:
            assert release.wait(10)
            ended.append(loop.time())

        waiter = asyncio.create_task(asyncio.to_thread(work))
        while not loop.outside:
            await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.wait([waiter])
        threading.Timer(0.02, release.set).start()
        await asyncio.sleep(3600)
        assert loop.outside == 0

    run_virtual(main())
    assert ended == [0.0]


def test_H10_threads_and_timers_race_without_a_wrong_jump() -> None:
    async def one(n: int) -> int:
        async with asyncio.timeout(0.001):
            return await asyncio.to_thread(lambda: n)

    async def main() -> float:
        answers = await asyncio.gather(*(one(n) for n in range(500)))
        assert answers == list(range(500))
        return loop_of_test().time()

    assert run_virtual(main()) == 0.0


def test_H10_work_marked_by_hand_holds_time() -> None:
    async def main() -> float:
        loop = loop_of_test()
        answer: asyncio.Future[None] = loop.create_future()
        with outside_loop(loop):
            thread = threading.Thread(target=loop.call_soon_threadsafe, args=(answer.set_result, None))
            loop.call_later(1, answer.cancel)
            thread.start()
            await answer
        thread.join()
        return loop.time()

    assert run_virtual(main()) == 0.0


def test_sockets_are_read_before_time_moves_and_do_not_hold_it() -> None:
    async def main() -> float:
        loop = loop_of_test()
        left, right = socket.socketpair()
        with left, right:
            left.setblocking(False)
            right.setblocking(False)
            receiving = asyncio.create_task(loop.sock_recv(right, 10))
            loop.call_later(5, left.send, b"hello")
            async with asyncio.timeout(5.5):
                assert await receiving == b"hello"
        return loop.time()

    assert run_virtual(main()) == 5.0


def test_deadlock_is_found_and_names_who_waits() -> None:
    cleaned: list[str] = []

    async def waits_for_nobody() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append("yes")

    with pytest.raises(VirtualDeadlock, match="no timer is set") as caught:
        run_virtual(waits_for_nobody())
    assert "waits_for_nobody at test_virtual.py:" in str(caught.value)
    assert cleaned == ["yes"]


def test_work_outside_that_never_ends_is_an_error_not_a_hang() -> None:
    async def main() -> None:
        loop_of_test().enter_outside()
        try:
            await asyncio.sleep(1)
        finally:
            loop_of_test().leave_outside()

    with pytest.raises(VirtualDeadlock, match="1 piece"):
        run_virtual(main(), outside_limit=0.01)


def test_leaving_without_entering_is_an_error() -> None:
    loop = VirtualLoop()
    with pytest.raises(RuntimeError, match="without enter_outside"):
        loop.leave_outside()
    loop.close()


def test_advance_stops_at_every_timer() -> None:
    ticks: list[float] = []

    async def ticker() -> None:
        while True:
            await asyncio.sleep(600)
            ticks.append(loop_of_test().time())

    async def main() -> None:
        loop = loop_of_test()
        ticking = asyncio.create_task(ticker())
        await loop.advance(1800)
        assert ticks == [600, 1200, 1800]
        assert loop.time() == 1800
        await loop.advance(599)
        assert len(ticks) == 3
        await loop.advance(0)
        assert loop.time() == 2399
        ticking.cancel()

    run_virtual(main(), autojump=False)


def test_advance_waits_for_threads_at_each_timer() -> None:
    done: list[float] = []

    async def ticker() -> None:
        while True:
            await asyncio.sleep(10)
            await asyncio.to_thread(lambda: None)
            done.append(loop_of_test().time())

    async def main() -> None:
        ticking = asyncio.create_task(ticker())
        await loop_of_test().advance(30)
        ticking.cancel()

    run_virtual(main(), autojump=False)
    assert done == [10, 20, 30]


def test_advance_can_pass_over_a_thread() -> None:
    release = threading.Event()

    async def main() -> float:
        loop = loop_of_test()
        working = asyncio.create_task(asyncio.to_thread(release.wait, 10))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5), asyncio.TaskGroup() as group:
                group.create_task(loop.advance(60, wait_outside=False))
                await asyncio.shield(working)
        passed = loop.time()
        release.set()
        assert await working
        return passed

    assert run_virtual(main(), autojump=False) == 5


def test_two_advances_at_once_and_one_cancelled() -> None:
    async def main() -> None:
        loop = loop_of_test()
        long, short, gone = (asyncio.create_task(loop.advance(seconds)) for seconds in (100, 10, 10))
        await asyncio.sleep(0)
        gone.cancel()
        await short
        assert (loop.time(), long.done(), gone.cancelled()) == (10, False, True)
        await long
        assert loop.time() == 100

    run_virtual(main(), autojump=False)


def test_without_autojump_time_does_not_move_by_itself() -> None:
    with pytest.raises(VirtualDeadlock, match="only by advance"):
        run_virtual(asyncio.sleep(1), autojump=False)


def test_advance_refuses_to_go_back() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="backwards"):
            await loop_of_test().advance(-1)

    run_virtual(main())


def test_leftovers_are_cancelled_and_generators_closed() -> None:
    log: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(60)
            log.append("generator closed")

    async def leftover() -> None:
        try:
            await asyncio.sleep(10**6)
        finally:
            await asyncio.sleep(1)
            log.append("leftover cancelled")

    async def main() -> int:
        tasks.append(asyncio.create_task(leftover()))
        await asyncio.sleep(0)
        held.append(numbers())
        return await anext(held[0])

    tasks: list[asyncio.Task[None]] = []
    held: list[AsyncIterator[int]] = []  # keeps the generator alive until the loop closes it
    assert run_virtual(main(), autojump=True) == 1
    assert log == ["leftover cancelled", "generator closed"]


def test_every_duration_of_a_long_time_arrives_exactly() -> None:
    """Floats: after three years in the clock, small steps still reach their target without spinning."""

    async def main() -> float:
        await asyncio.sleep(3 * 365 * 86_400 + 0.1)
        for _ in range(100):
            await asyncio.sleep(0.1)
        return loop_of_test().time()

    assert run_virtual(main()) == pytest.approx(3 * 365 * 86_400 + 10.1)
