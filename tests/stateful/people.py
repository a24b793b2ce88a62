"""People and schedules, on the model and on another store: what they do, and what must hold whatever happens."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Final

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from msgspec.structs import replace

from mainspring.model.every import Every, Once
from mainspring.model.planning import paused, planned, resumed
from mainspring.model.record import FOREVER, Hook, NewJob
from mainspring.model.schedule import BY_REQUEST, VANISHED, Definition, FireAnswer, Run, ScheduleRecord, SlotJob
from mainspring.model.triggers import Trigger
from mainspring.store.base import Filter, RunNow, SchedulePut, Store
from tests.stateful.pair import ALL, Pair

NAMES: Final = ("A", "a b", "b")
TRIGGERS: Final[dict[bytes, Trigger]] = {
    b'"often"': Every(7),
    b'"rarely"': Every(60, first="now"),
    b'"from the end"': Every(5, anchor="end"),
    b'"once"': Once(datetime(2026, 1, 1, 0, 0, 40, tzinfo=UTC)),
    b'"both"': Every(30) | Every(45),
}
lost = st.booleans()
names = st.sampled_from(NAMES)


@st.composite
def definitions(draw: st.DrawFn) -> Definition:
    """What people declare."""
    trigger = draw(st.sampled_from(sorted(TRIGGERS)))
    key = draw(st.sampled_from([None, None, None, "k"]))
    template = NewJob(
        id="",
        task=draw(st.sampled_from("tu")),
        payload=b'"%d"' % draw(st.integers(0, 9)),
        delay=draw(st.sampled_from([0.0, 0.0, 9.0])),
        unique=key,
        unique_for=draw(st.sampled_from([None, 20.0, FOREVER])) if key else None,
        hooks=(Hook(on="dead", task="on_dead"),) if draw(st.booleans()) else (),
    )
    return Definition(
        trigger=trigger,
        template=template,
        from_end=TRIGGERS[trigger].from_end,
        misfire=draw(st.sampled_from(["once", "skip", "all"])),
        misfire_limit=draw(st.sampled_from([1, 3])),
        misfire_grace=draw(st.sampled_from([None, None, 10.0])),
        overlap=draw(st.sampled_from(["skip", "allow", "queue"])),
        max_runs=draw(st.sampled_from([None, None, 4])),
        jitter=draw(st.sampled_from([0.0, 3.0])),
        stop_after=draw(st.sampled_from([None, None, 1, 2])),
        keep=draw(st.sampled_from([100, 6, 1])),
        keep_for=draw(st.sampled_from([None, 40.0])),
    )


class People(Pair):
    """Who puts, changes, pauses, drops and triggers schedules, and what must hold whatever they do.

    `ages`: whether the store prunes by age to the very record. `back`: how far the clock may be set back at once, when
    it may go forward again before the store has seen that.
    """

    ages = True
    back = 100.0

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, ScheduleRecord] = {}
        self.reads: dict[str, ScheduleRecord | None] = dict.fromkeys(NAMES)
        self.slots: dict[tuple[str, float], str] = {}
        self.asked: list[RunNow] = []

    @initialize(first=definitions(), second=definitions())
    def begin(self, first: Definition, second: Definition) -> None:
        self.put(NAMES[0], first, False, False)
        self.put(NAMES[1], second, False, False)

    # --- people

    @rule(name=names)
    def read(self, name: str) -> None:
        """What somebody will decide on later."""
        self.reads[name] = self.row(name)

    @rule(name=names, definition=definitions(), old=st.booleans(), lose=lost)
    def put(self, name: str, definition: Definition, old: bool, lose: bool) -> None:
        stored = self.reads[name] if old else self.row(name)
        now = self.clock.now()
        definition = definition if self.ages else replace(definition, keep_for=None)
        self.write(planned(name, definition, TRIGGERS[definition.trigger], now, stored=stored), stored, lose)

    @rule(name=names, old=st.booleans(), reason=st.sampled_from([BY_REQUEST, VANISHED]), lose=lost)
    def pause(self, name: str, old: bool, reason: str, lose: bool) -> None:
        stored = self.reads[name] if old else self.row(name)
        if stored is not None and stored.dropped is None:
            self.write(paused(stored, self.clock.now(), reason), stored, lose)

    @rule(name=names, old=st.booleans(), lose=lost)
    def resume(self, name: str, old: bool, lose: bool) -> None:
        stored = self.reads[name] if old else self.row(name)
        if stored is not None and stored.dropped is None:
            self.write(resumed(stored, TRIGGERS[stored.definition.trigger], self.clock.now()), stored, lose)

    def write(self, record: ScheduleRecord, stored: ScheduleRecord | None, lose: bool) -> None:
        def act(store: Store) -> Awaitable[object]:
            return store.put_schedules([SchedulePut(record, stored)])

        if record is not stored:
            self.both("put_schedules", act, act if lose else None)

    @rule(chosen=st.lists(names, min_size=1, max_size=2), lose=lost)
    def drop(self, chosen: list[str], lose: bool) -> None:
        def act(store: Store) -> Awaitable[object]:
            return store.drop_schedules(chosen)

        self.both("drop_schedules", act, act if lose else None)

    @rule(chosen=st.lists(names, min_size=1, max_size=3), lose=lost)
    def trigger(self, chosen: list[str], lose: bool) -> None:
        asked = [RunNow(name, SlotJob(0.0, self.make(), self.make())) for name in chosen]

        def act(store: Store) -> Awaitable[list[FireAnswer]]:
            return store.trigger(asked)

        self.asked = [*self.asked, *asked][-20:]
        self.both("trigger", act, act if lose else None)

    @precondition(lambda self: self.asked)
    @rule(number=st.integers(0, 99))
    def trigger_again(self, number: int) -> None:
        """A reply that was lost long ago; the job may be gone by now."""
        asked = self.asked[number % len(self.asked)]
        jobs = [run.job for run in self.run(self.model.runs(asked.schedule))]
        if asked.job.job in jobs:
            assert self.both("trigger again", lambda store: store.trigger([asked])) == ["fired"]
            assert [run.job for run in self.run(self.model.runs(asked.schedule))] == jobs, "C3: it adds nothing more"

    # --- what must hold

    def row(self, name: str) -> ScheduleRecord | None:
        return next(iter(self.run(self.model.get_schedules([name])).schedules), None)

    async def snapshot(self, store: Store) -> dict[str, object]:
        listed = await store.list_schedules(limit=ALL)
        there = await store.get_schedules(NAMES)
        due = await store.due_schedules(ALL)
        return {
            "schedules": there.schedules,
            "listed": listed.schedules,
            "due": due,
            "late": await store.due_schedules(1, without=NAMES[:1]),
            "runs": [await store.runs(name) for name in NAMES],
            "some runs": [await store.runs(name, from_number=2, limit=2) for name in NAMES],
            "found": [[job.id for job in (await store.find(Filter(schedule=name))).jobs] for name in NAMES],
            **await super().snapshot(store),
        }

    def check_more(self) -> None:
        rows = {each.id: each for each in self.run(self.model.get_schedules(NAMES)).schedules}
        for name, before in self.rows.items():
            after = rows.get(name)
            if after is None:
                assert before.dropped is not None, "only dropped ones are removed"
                self.slots = {key: job for key, job in self.slots.items() if key[0] != name}
                continue
            assert after.fired_to >= before.fired_to, "H13: the watermark only grows"
            assert after.number >= before.number, "no number comes again"
            assert after.revision >= before.revision
        self.rows = rows
        for job in self.seen.values():
            if job.schedule is not None and job.slot is not None and job.schedule in rows:
                assert self.slots.setdefault((job.schedule, job.slot), job.id) == job.id, "H13: a slot runs once"
                assert job.slot <= rows[job.schedule].fired_to
        for name, row in rows.items():
            self.check_runs(row, self.run(self.model.runs(name)))

    def check_runs(self, row: ScheduleRecord, runs: list[Run]) -> None:
        numbers = [run.number for run in runs]
        assert numbers == sorted(set(numbers))
        assert not numbers or numbers[-1] <= row.number
        for run in runs:
            job = self.seen.get(run.job or "")
            if job is not None and not (job.terminal and run.state == "removed"):
                assert (run.state, run.slot) == (job.state, job.slot), "a run is seen in the state of its job"
