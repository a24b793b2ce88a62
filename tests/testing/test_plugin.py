"""The pytest plugin, with and without other plugins for async tests beside it."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]

ALONE = ("-p", "no:asyncio", "-p", "no:anyio")
STRICT = ("--asyncio-mode=strict",)
AUTO = ("--asyncio-mode=auto",)
OTHERS = pytest.mark.parametrize("others", [ALONE, STRICT, AUTO], ids=["alone", "asyncio-strict", "asyncio-auto"])
PLAIN = ("-p", "no:cacheprovider", "-W", "ignore::pytest.PytestDeprecationWarning")


def run(pytester: pytest.Pytester, source: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(source)
    return pytester.runpytest_inprocess(*PLAIN, *options)


HOURS_PASS = """
    import asyncio, time

    async def test_hours(mainspring):
        began = time.monotonic()
        assert type(asyncio.get_running_loop()).__name__ == "VirtualLoop"
        await asyncio.sleep(7200)
        assert time.monotonic() - began < 60

    class TestInAClass:
        async def test_method(self, mainspring, tmp_path):
            await asyncio.sleep(7200)

    async def test_that_fails(mainspring):
        await asyncio.sleep(7200)
        assert 1 == 2
"""


@OTHERS
def test_async_tests_with_the_fixture_run_in_virtual_time(pytester: pytest.Pytester, others: tuple[str, ...]) -> None:
    result = run(pytester, HOURS_PASS, *others)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*assert 1 == 2*"])


@pytest.mark.parametrize("others", [STRICT, AUTO], ids=["strict", "auto"])
def test_a_test_marked_for_another_plugin_still_runs_in_virtual_time(
    pytester: pytest.Pytester, others: tuple[str, ...]
) -> None:
    source = """
        import asyncio, pytest

        @pytest.mark.asyncio
        async def test_marked(mainspring):
            assert type(asyncio.get_running_loop()).__name__ == "VirtualLoop"

        @pytest.mark.asyncio
        async def test_without_the_fixture():
            assert type(asyncio.get_running_loop()).__name__ != "VirtualLoop"
    """
    run(pytester, source, *others).assert_outcomes(passed=2)


@OTHERS
def test_parametrized_and_fixture_through_another_fixture(pytester: pytest.Pytester, others: tuple[str, ...]) -> None:
    source = """
        import asyncio, pytest

        @pytest.fixture
        def wrapped(mainspring):
            return mainspring

        @pytest.mark.parametrize("seconds", [1, 3600])
        async def test_many(wrapped, seconds):
            await asyncio.sleep(seconds)
            assert asyncio.get_running_loop().time() == seconds

        def test_sync(mainspring):
            assert callable(mainspring)
    """
    run(pytester, source, *others).assert_outcomes(passed=3)


@OTHERS
def test_with_hypothesis(pytester: pytest.Pytester, others: tuple[str, ...]) -> None:
    source = """
        import asyncio
        from hypothesis import given, settings, strategies as st

        @settings(max_examples=20, deadline=None, database=None)
        @given(seconds=st.integers(1, 10_000))
        async def test_any(mainspring, seconds):
            await asyncio.sleep(seconds)
            assert asyncio.get_running_loop().time() == seconds
    """
    run(pytester, source, *others).assert_outcomes(passed=1)


FORGOTTEN = """
    async def enqueue():
        pass

    async def test_forgotten({fixture}):
        enqueue()

    async def test_awaited({fixture}):
        await enqueue()
"""


@OTHERS
def test_D11_a_forgotten_await_fails_the_test_and_names_the_line(
    pytester: pytest.Pytester, others: tuple[str, ...]
) -> None:
    result = run(pytester, FORGOTTEN.format(fixture="mainspring"), *others)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["coroutine 'enqueue' was never awaited", "*, line 5, in test_forgotten", "*`await`?"])


@pytest.mark.parametrize(
    ("setting", "fixture", "failed"),
    [("fixture", "", 0), ("all", "", 1), ("off", "mainspring", 0)],
)
def test_D11_which_tests_are_watched_is_an_option(
    pytester: pytest.Pytester, setting: str, fixture: str, failed: int
) -> None:
    pytester.makeini(f"[pytest]\nmainspring_never_awaited = {setting}")
    result = run(pytester, FORGOTTEN.format(fixture=fixture), *AUTO, "-W", "ignore:coroutine:RuntimeWarning")
    result.assert_outcomes(passed=2 - failed, failed=failed)


def test_D11_a_coroutine_in_a_reference_cycle_is_found_too(pytester: pytest.Pytester) -> None:
    source = """
        async def enqueue():
            pass

        def test_cycle(mainspring):
            cycle = [enqueue()]
            cycle.append(cycle)
    """
    run(pytester, source).assert_outcomes(failed=1)


def test_a_wrong_option_is_refused(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nmainspring_never_awaited = sometimes")
    result = run(pytester, "def test(): pass")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*must be one of fixture, all, off*"])


def test_a_test_that_fails_keeps_its_error_and_gets_a_note(pytester: pytest.Pytester) -> None:
    source = """
        async def enqueue():
            pass

        def test_both(mainspring):
            enqueue()
            assert 1 == 2
    """
    result = run(pytester, source)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*assert 1 == 2", "*coroutine 'enqueue' was never awaited"])


def test_other_warnings_and_other_lost_errors_go_their_way(pytester: pytest.Pytester) -> None:
    source = """
        import warnings

        class Breaks:
            def __del__(self):
                raise ValueError("in __del__")

        def test_both(mainspring):
            warnings.warn("look out", UserWarning)
            Breaks()
    """
    result = run(
        pytester, source, *ALONE, "-W", "default::UserWarning", "-W", "default::pytest.PytestUnraisableExceptionWarning"
    )
    result.assert_outcomes(passed=1, warnings=2)


def test_who_expects_the_warning_gets_it(pytester: pytest.Pytester) -> None:
    source = """
        import pytest

        async def enqueue():
            pass

        def test_expected(mainspring):
            with pytest.warns(RuntimeWarning, match="never awaited"):
                enqueue()
    """
    run(pytester, source).assert_outcomes(passed=1)


def test_the_plugin_is_found_and_costs_a_pytest_run_next_to_nothing(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import sys
        LOADED = [name for name in sys.modules if name.startswith(("mainspring.", "msgspec"))]
        """
    )
    pytester.makepyfile("def test():\n    from conftest import LOADED\n    print(sorted(LOADED))")
    result = pytester.runpytest_subprocess("-s", "-p", "no:asyncio", "-p", "no:anyio")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*['mainspring.testing', 'mainspring.testing.plugin']*"])


def test_the_room_is_lazy() -> None:
    code = "import sys, mainspring.testing.plugin as p; print(*[n for n in sys.modules if 'msgspec' in n or n == 'asyncio'])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "msgspec" not in answer.stdout
