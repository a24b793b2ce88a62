"""Two stores side by side: everything is done to both, and everything that can be read must be equal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TypeVar

from hypothesis.stateful import RuleBasedStateMachine, invariant
from msgspec.structs import replace

from mainspring.clock import FakeClock
from mainspring.ids import IdSource
from mainspring.model.record import JobRecord, NewGroup, NewJob
from mainspring.store.base import Beat, Filter, Store, Worker
from mainspring.store.memory import MemoryStore
from mainspring.store.serial.rows import Rows
from mainspring.store.serial.upkeep import Lapsed

T = TypeVar("T")

WORKERS = ("w1", "w2")
ALL = 1000


class Dead:
    """Who is dead, by decree: the stores differ in how they find out, and that is not what is compared here."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def lapsed(self, sweeper: str) -> Lapsed | None:
        return None if sweeper in self.names else lambda row: row.worker.id in self.names


class ModelStore(MemoryStore):
    """The store in memory, which is told who is dead."""

    def __init__(self, clock: FakeClock, ids: IdSource, dead: Dead) -> None:
        super().__init__(clock=clock, ids=ids)
        self._dead = dead

    def _lapsed(self, rows: Rows, worker: str, now: float) -> Lapsed | None:
        return self._dead.lapsed(worker)


def counting(prefix: str) -> IdSource:
    """Ids that both stores make alike."""
    numbers = count()
    return lambda: f"{prefix}-{next(numbers):06}"


class Pair(RuleBasedStateMachine):
    """The model and another store, which `other` makes. The rules come with a subclass."""

    def ids(self, prefix: str) -> IdSource:
        """A source of ids like the store wants them, the same for both."""
        return counting(prefix)

    def is_hook(self, id: str) -> bool:  # noqa: A002  # the field's name
        """Whether this is of the source for follow-ups."""
        return id.startswith("hook")

    def other(self, clock: FakeClock, ids: IdSource, dead: Dead) -> Store:
        """The store to be compared with the model, not open yet."""
        raise AssertionError("a subclass says which")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = FakeClock()
        self.dead = Dead()
        self.make = self.ids("job")
        self.claims = count(1)
        self.seen: dict[str, JobRecord] = {}
        self.verb = ""
        self.leased = False
        self.incomplete_groups: set[str] = set()
        self.model: Store = ModelStore(self.clock, self.ids("hook"), self.dead)
        self.store = self.other(self.clock, self.ids("hook"), self.dead)
        for store in (self.model, self.store):
            self.run(store.open())
        for worker in WORKERS:
            self.join(worker)

    def teardown(self) -> None:
        self.run(self.store.close())
        self.run(self.model.close())
        self.loop.close()

    # --- carrying out

    def run(self, awaitable: Awaitable[T]) -> T:
        async def wait() -> T:
            return await awaitable

        return self.loop.run_until_complete(wait())

    def both(
        self, verb: str, act: Callable[[Store], Awaitable[T]], again: Callable[[Store], Awaitable[T]] | None = None
    ) -> T:
        """The same on both stores; the answers must be equal. With `again`, the first answers are lost."""
        self.verb = verb
        self.clock.advance(0.125)  # so that no two verbs have the same time
        expected, got = self.run(act(self.model)), self.run(act(self.store))
        assert got == expected, f"{verb}: {got} is not {expected}"
        if again is not None:
            expected, got = self.run(again(self.model)), self.run(again(self.store))
            assert got == expected, f"{verb}, repeated: {got} is not {expected}"
        return expected

    def added(self, new: list[NewJob], groups: list[NewGroup], lose: bool) -> list[str]:
        def act(store: Store) -> Awaitable[object]:
            return store.add(new, groups)

        self.both("add", act, act if lose else None)
        return [each.id for each in new]

    def join(self, worker: str) -> None:
        """Make a worker known, or known again."""
        self.both("join", lambda store: store.join(Worker(worker)))

    async def sorted_beat(self, store: Store, beat: Beat) -> object:
        """The order of the cancel requests is no promise."""
        reply = await store.beat(beat)
        return reply._replace(cancel=tuple(sorted(reply.cancel)), paused=tuple(sorted(reply.paused)))

    async def pruned(self, store: Store, retention: dict[str, float]) -> int:
        """How many jobs that removes."""
        return await store.prune(retention, ALL)

    def forget_groups(self) -> None:
        """Members that are removed are no longer counted by the invariant below."""
        self.incomplete_groups |= {job.group for job in self.seen.values() if job.group is not None}

    # --- what must hold

    @invariant()
    def all_is_equal(self) -> None:
        expected, got = (self.run(self.snapshot(store)) for store in (self.model, self.store))
        for name, value in expected.items():
            assert got[name] == value, f"after {self.verb}, {name}: {got[name]} is not {value}"
        records = {job.id: job for job in self.run(self.model.find(Filter(), limit=ALL)).jobs}
        self.check_steps(records)
        self.check_rest(records)
        self.seen = records
        self.check_more()

    def check_more(self) -> None:
        """What else must hold, after `seen` has been renewed."""

    async def snapshot(self, store: Store) -> dict[str, object]:
        """All that can be read. Ids of follow-ups depend on the order of ends in one batch, which is no promise."""
        page = await store.find(Filter(), limit=ALL)
        hooked = [replace(job, id="") for job in page.jobs if self.is_hook(job.id)]
        plain = [job for job in page.jobs if not self.is_hook(job.id)]
        changed = [job.id for job in plain if self.seen.get(job.id) != job]
        groups = sorted({job.group for job in plain if job.group is not None})
        held = [sorted(await store.held(worker)) for worker in WORKERS]
        return {
            "jobs": plain,
            "hooks": sorted(hooked, key=lambda job: (job.parent or "", job.task, job.created)),
            "attempts": [await store.attempts(each) for each in changed],
            "groups": await store.groups(groups),
            "counts": sorted(await store.counts()),
            "workers": sorted(await store.workers()),
            "held": held,
            "ready": (await store.find(Filter(states=("ready",)), limit=ALL, newest=True)).jobs[:3]
            if not hooked
            else [],
        }

    def check_steps(self, records: dict[str, JobRecord]) -> None:
        for identifier, before in self.seen.items():
            after = records.get(identifier)
            if after is None:
                assert before.terminal, "only ended jobs are removed"
                continue
            assert after.lease >= before.lease, "leases only grow"
            assert after.settled >= before.settled
            assert after.created == before.created
            if before.terminal and after.state != before.state:
                assert self.verb == "replay", "terminal is final except by replay"
            if before.cancel_requested and self.verb != "replay":
                assert after.state == "running" or after.terminal, "C4"

    def check_rest(self, records: dict[str, JobRecord]) -> None:
        live_keys = [job.unique for job in records.values() if job.unique is not None and not job.terminal]
        assert len(live_keys) == len(set(live_keys)), "H12: a key has one live holder"
        for worker in WORKERS:
            held = [job for job in records.values() if job.state == "running" and job.worker == worker]
            assert sum(job.suspect for job in held) <= 1, "C6: one suspect for a worker"
        for job in records.values():
            assert job.settled <= job.lease
            assert 0 <= job.attempt <= job.lease
            parent = records.get(job.waits_on or "")
            if job.state == "waiting" and job.reason == "job" and parent is not None:
                assert not parent.terminal, f"{job.id} waits on {parent.id}, which is {parent.state}"
        self.check_groups(records)

    def check_groups(self, records: dict[str, JobRecord]) -> None:
        members: dict[str, list[JobRecord]] = {}
        for job in records.values():
            if job.group is not None and job.group not in self.incomplete_groups:
                members.setdefault(job.group, []).append(job)
        for group, jobs in zip(members, self.run(self.model.groups(list(members))), strict=True):
            if jobs is not None:
                live = [job for job in members[group] if not job.terminal]
                ended = [job for job in members[group] if job.terminal]
                assert jobs.remaining == len(live), "C11: each member is counted once, who was left out is not"
                assert jobs.failed == sum(job.state != "completed" for job in ended)
