"""Every table of docs/reference says what the code says: no name missing, none that is gone, defaults as they are."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args, get_type_hints

import pytest
from typer.main import get_command

import mainspring
from mainspring import App, Retry, Rule, ScheduleOptions, Service, Supervisor, TaskDefaults, TaskOptions, errors, retry
from mainspring import events as public_events
from mainspring.cli.main import cli
from mainspring.cli.settings import Exit
from mainspring.engine import events
from mainspring.engine.drained import Stopped
from mainspring.engine.registry import Registered
from mainspring.errors import InvalidOption, StoreUrlError
from mainspring.model.record import NewJob
from mainspring.model.schedule import Definition
from mainspring.retries import Baseline, CircuitBreaker, Hooks, RetryBudget, background, backoff
from mainspring.service import Restarts
from mainspring.store.base import Features
from mainspring.store.open import open_store
from mainspring.store.postgres.place import Place
from mainspring.store.sqlite.connect import Synchronous
from tests.docs.pages import ROOT

REFERENCE = ROOT / "docs" / "reference"


def section(page: str, heading: str) -> str:
    """The text below a heading, up to the next one of its rank."""
    text = (REFERENCE / page).read_text(encoding="utf-8")
    marks = heading.partition(" ")[0]
    found = re.search(rf"^{re.escape(heading)}\n(.*?)(?=^{marks} |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found, f"{page} has no {heading!r}"
    return found[1]


def rows(text: str) -> dict[str, list[str]]:
    """The rows of its tables that begin with code, by that: their other cells."""
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:3] == "| `"]
    return {first.strip("` "): [cell.removesuffix(" |").strip() for cell in rest] for first, *rest in cells}


def defaults(function: Callable[..., object]) -> dict[str, object]:
    """What can be given to it, with the defaults; `...` where there is none."""
    empty = inspect.Parameter.empty
    given = [each for each in inspect.signature(function).parameters.values() if each.name != "self"]
    return {
        each.name: ... if each.default is empty else each.default for each in given if each.kind != each.VAR_POSITIONAL
    }


def check_defaults(told: Mapping[str, list[str]], there: Mapping[str, object], *, apart: Iterable[str] = ()) -> None:
    """The same names in the same order, and each default, which stands first in its cell, is the real one."""
    assert list(told) == list(there)
    wrong = {
        name: (cells[-1], value)
        for name, cells in told.items()
        if (value := there[name]) is not ... and name not in apart and not cells[-1].startswith(f"`{value!r}`")
    }
    assert wrong == {}
    assert [name for name in told if there[name] is ... and told[name][-1] not in {"", "|"}] == []


# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heading", "function"),
    [
        ("## App", App.__init__),
        ("## app.running", App.running),
        ("## Retry", Retry.__init__),
        ("## Rule", Rule.__init__),
        ("## RetryBudget", RetryBudget.__init__),
        ("## CircuitBreaker", CircuitBreaker.__init__),
        ("## retry", retry),
        ("## Hooks", Hooks.__init__),
        ("## background", background),
        ("## Supervisor", Supervisor.__init__),
        ("## Restarts", Restarts.__init__),
    ],
)
def test_parameters_and_their_defaults(heading: str, function: Callable[..., object]) -> None:
    check_defaults(rows(section("options.md", heading)), defaults(function), apart={"ids"})


@pytest.mark.parametrize(("heading", "value"), [("## Service", Service), ("## Baseline", Baseline)])
def test_the_fields_of_a_value(heading: str, value: type[Service | Baseline]) -> None:
    fields = {each.name: each.default for each in dataclasses.fields(value) if each.name != "policies"}
    there = {name: ... if value is dataclasses.MISSING else value for name, value in fields.items()}
    told = rows(section("options.md", heading))
    told.pop("policies", None)  # it has no default but an empty mapping
    check_defaults(told, there)


def test_what_the_defaults_are_explained_by() -> None:
    policy, breaker, budget, restarts = Retry(on=OSError), CircuitBreaker(), RetryBudget(), Restarts()
    rule = policy.rules[0]
    assert rule.attempts == 5
    assert [jittered_at_most(rule.backoff, index) for index in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert sum(jittered_at_most(rule.backoff, index) for index in range(rule.attempts - 1)) == 15
    assert (budget.share, breaker.failures, breaker.pause) == (0.1, 5, 30)
    assert (restarts.threshold, restarts.half_life, restarts.pause) == (20, 10, 10)
    told = section("options.md", "## Where these defaults come from")
    firsts = (
        "5 attempts",
        "1, 2, 4 … 30 s",
        "a share of 0.1",
        "5 failures, 30 s",
        "20 failures, 10 s",
        "30 s of grace",
    )
    assert all(f"| {each} |" in told for each in firsts)
    assert "15 s at most in all, 1 + 2 + 4 + 8" in told


def jittered_at_most(chosen: backoff.Backoff, index: int) -> float:
    return backoff.delay_of(chosen, index, lambda: 1.0)


def test_the_options_of_a_task() -> None:
    told = rows(section("options.md", "## @app.task"))
    assert list(told) == list(get_type_hints(TaskDefaults))
    registered = {each.name: each.default for each in dataclasses.fields(Registered)}
    new = NewJob(id="a", task="b")
    real = {
        "queue": f'"{new.queue}"',
        "priority": str(new.priority),
        "process": "False",
        **{name: repr(registered[name]) for name in ("store_result", "transaction")},
    }
    assert {name: told[name][-1].strip("`") for name in real} == real
    assert [registered[name] for name in ("retry", "timeout", "concurrency")] == [None] * 3


def test_the_options_of_a_job() -> None:
    assert set(rows(section("options.md", "## task.options"))) == set(get_type_hints(TaskOptions))


def test_the_options_of_a_schedule() -> None:
    fields = Definition.__struct_fields__
    told = rows(section("options.md", "## Schedules"))
    there = dict(zip(fields[-len(Definition.__struct_defaults__) :], Definition.__struct_defaults__, strict=True))
    there.pop("from_end")
    assert list(told) == list(get_type_hints(ScheduleOptions))
    check_defaults(told, there)


def test_the_bounds_that_are_told() -> None:
    app = App("memory://")

    @app.task(name="work")
    async def work() -> None: ...

    for priority in (-32768, 32767):
        work.options(priority=priority)
    for wrong in (-32769, 32768):
        with pytest.raises(InvalidOption):
            work.options(priority=wrong)
    work.options(tags=["x" * 255])
    with pytest.raises(InvalidOption):
        work.options(tags=["x" * 256])


def test_the_backoffs() -> None:
    told = list(rows(section("options.md", "## Backoffs")))
    made = [each for each in ("constant", "linear", "exponential", "jittered") if each in mainspring.__all__]
    assert [each.partition("(")[0] for each in told] == made
    for each in told:
        names = each.partition("(")[2].rstrip(")").split(", ")
        assert names == list(inspect.signature(getattr(backoff, each.partition("(")[0])).parameters)[: len(names)]
    assert backoff.jittered(backoff.exponential(1, cap=30)) == backoff.DEFAULT_BACKOFF


# --- stores ---------------------------------------------------------------------------------------


def told_features() -> dict[str, dict[str, str]]:
    """What the first table says of each store."""
    text = (REFERENCE / "stores.md").read_text(encoding="utf-8")
    head = re.search(r"^\| \| (.+) \|$", text, re.MULTILINE)
    assert head
    stores = [cell.strip("` ") for cell in head[1].split("|")]
    table = {name: cells for name, cells in rows(text.partition("## Memory")[0]).items() if name in Features._fields}
    return {store: {name: cells[place] for name, cells in table.items()} for place, store in enumerate(stores)}


@pytest.mark.parametrize("url", ["memory://", "sqlite:///work.db", "postgresql://localhost/work"])
def test_what_each_store_can_do(url: str) -> None:
    try:
        features = open_store(url).features
    except StoreUrlError as error:
        pytest.skip(str(error))
    told = told_features()[features.name]
    assert told
    words = {True: "yes", False: "no"}
    assert told == {name: words.get(value := getattr(features, name), value) for name in told}


def test_the_options_of_sqlite() -> None:
    ((name, (meaning, default)),) = rows(section("stores.md", "## SQLite")).items()
    assert name == "synchronous"
    assert all(f"`{each}`" in meaning for each in get_args(Synchronous))
    assert default == "`FULL`"
    assert open_store("sqlite:///a.db").features.survives == "power"
    with pytest.raises(StoreUrlError, match=name):
        open_store("sqlite:///a.db?other=1")


def test_the_options_of_postgres() -> None:
    told = rows(section("stores.md", "## PostgreSQL"))
    fields = {each.name: each.default for each in dataclasses.fields(Place)}
    assert list(told) == [name for name in fields if name not in {"dsn", "shown", "named"}]
    words = {"True": "on", "10.0": "10"}
    real = {name: f"`{words.get(str(fields[name]), fields[name])}`" for name in told}
    assert {name: default for name, (_, default) in told.items()} == real


# --- the command line -----------------------------------------------------------------------------


def commands() -> dict[str, Any]:
    found: dict[str, Any] = get_command(cli).commands  # type: ignore[attr-defined]  # a group, since there is a callback
    return found


def test_the_commands() -> None:
    told = rows((REFERENCE / "command-line.md").read_text(encoding="utf-8").partition("## `mainspring run`")[0])
    assert [name.split()[1] for name in told] == list(commands())


@pytest.mark.parametrize("name", ["migrate", "check"])
def test_the_arguments_of_a_command(name: str) -> None:
    told = {each.split()[0].strip("-").lower() for each in rows(section("command-line.md", "## `mainspring migrate`"))}
    assert {each.name for each in commands()[name].params} - {"help"} == told


@pytest.mark.parametrize("name", ["migrate", "check"])
def test_the_exit_codes_of_a_command(name: str) -> None:
    told = re.findall(r"^\| (\d) \|", section("command-line.md", f"## `mainspring {name}`"), re.MULTILINE)
    assert [int(code) for code in told] == [Exit.CLEAN, Exit.FAILED, Exit.USAGE]


@pytest.mark.parametrize("noun", ["schedules", "queues"])
def test_the_verbs_of_a_noun(noun: str) -> None:
    told = rows(section("command-line.md", f"## `mainspring {noun}`"))
    assert [each.split()[0] for each in told if not each.startswith("-")] == list(commands()[noun].commands)


@pytest.mark.parametrize("noun", ["schedules", "queues"])
def test_the_exit_codes_of_a_noun(noun: str) -> None:
    told = re.findall(r"^\| (\d) \|", section("command-line.md", f"## `mainspring {noun}`"), re.MULTILINE)
    assert [int(code) for code in told] == [Exit.CLEAN, Exit.FAILED, Exit.USAGE]


def test_the_options_of_schedules() -> None:
    """Each option that any of the verbs has, and of which; those of all of them name none."""
    told = rows(section("command-line.md", "## `mainspring schedules`"))
    there: dict[str, list[str]] = {}
    for verb, command in commands()["schedules"].commands.items():
        for each in command.params:
            if each.param_type_name == "option" and each.name != "help":
                there.setdefault(each.opts[0], []).append(verb)
    options = {name.split()[0]: cells[0] for name, cells in told.items() if name.startswith("--")}
    assert set(options) == set(there)
    for name, verbs in there.items():
        named = [verb for verb in commands()["schedules"].commands if f"`{verb}`" in options[name]]
        assert named == (verbs if len(verbs) < len(commands()["schedules"].commands) else []), name


# --- events and errors ----------------------------------------------------------------------------


def test_the_events() -> None:
    text = (REFERENCE / "events.md").read_text(encoding="utf-8")
    told = {name: re.findall(r"`(\w+)`", cells[0]) for name, cells in rows(text).items()}
    there = {
        name: [field.name for field in dataclasses.fields(value)]
        for name, value in vars(events).items()
        if dataclasses.is_dataclass(value) and value.__module__ == events.__name__
    }
    assert told == there
    assert set(there) | {"Hub"} == set(public_events.__all__)
    assert all(f"`{field.name}`" in text for field in dataclasses.fields(Stopped))


def test_the_errors() -> None:
    """Their names, bases and meanings, as the docstrings say them."""
    text = (REFERENCE / "errors.md").read_text(encoding="utf-8")
    there = {
        name: [
            ", ".join(f"`{base.__name__}`" for base in value.__bases__),
            inspect.cleandoc(value.__doc__ or "").partition("\n\n")[0].replace("\n", " "),
        ]
        for name, value in vars(errors).items()
        if inspect.isclass(value) and value.__module__ == errors.__name__
    }
    assert rows(text) == there
