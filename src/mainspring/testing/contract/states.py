"""Brings jobs into any state through the store's own verbs, so that a test says only what it is about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Unpack

from mainspring.ids import UuidSource
from mainspring.model.record import Answer, JobRecord, NewJob
from mainspring.model.states import SettleKind, State
from mainspring.store.base import Claim, Filter, Lane, Swept, Worker
from mainspring.testing.contract.harness import JobFields, SettlementFields, StoreHarness, new_job, settlement

HOUR = 3600.0


class Driver:
    """A client and its workers. Every job gets a task of its own unless told otherwise, and so a lane of its own."""

    def __init__(self, harness: StoreHarness) -> None:
        self.harness = harness
        self.clock = harness.clock
        self._ids = UuidSource(lambda: int(self.clock.now() * 1_000_000) * 1_000)
        self._made = 0
        self._claims: Counter[str] = Counter()
        self._joined: set[str] = set()

    # --- jobs

    def new(self, task: str | None = None, **fields: Unpack[JobFields]) -> NewJob:
        """A job that is not added yet."""
        self._made += 1
        return new_job(self._ids(), task or f"task-{self._made}", **fields)

    async def add(self, task: str | None = None, **fields: Unpack[JobFields]) -> str:
        """Add one job; returns its id, which is asserted to be new."""
        new = self.new(task, **fields)
        [answer] = await self.harness.store.add([new])
        assert answer == (new.id, True)
        return new.id

    async def job(self, identifier: str) -> JobRecord:
        """The job as it stands; it is asserted to be there."""
        [job] = await self.harness.store.get([identifier])
        assert job is not None, f"job {identifier} is gone"
        return job

    async def states(self, *identifiers: str) -> list[State]:
        """The states of these jobs."""
        return [(await self.job(each)).state for each in identifiers]

    async def tasked(self, task: str) -> list[JobRecord]:
        """Every job of this task, oldest first."""
        return (await self.harness.store.find(Filter(task=task))).jobs

    # --- workers

    async def join(self, *workers: str) -> None:
        """Make workers known, once each."""
        for worker in workers:
            if worker not in self._joined:
                self._joined.add(worker)
                await self.harness.store.join(Worker(worker))

    def request(self, worker: str, lanes: Sequence[Lane], limit: int = 100, suspects: int = 0) -> Claim:
        """The next claim of this worker."""
        self._claims[worker] += 1
        return Claim(worker, self._claims[worker], lanes, limit, suspects)

    async def claim(self, *lanes: Lane, worker: str = "w1", limit: int = 100, suspects: int = 0) -> list[JobRecord]:
        """What this worker gets from these lanes. It joins if it has not."""
        await self.join(worker)
        return (await self.harness.store.claim(self.request(worker, lanes, limit, suspects))).jobs

    async def start(self, identifier: str, worker: str = "w1") -> JobRecord:
        """Claim this very job, suspect or not."""
        lane = lane_of(await self.job(identifier))
        [job] = await self.claim(lane, worker=worker, limit=1, suspects=1)
        assert job.id == identifier, "several jobs share this lane; claim by lanes instead"
        return job

    async def settle(self, job: JobRecord, kind: SettleKind, **fields: Unpack[SettlementFields]) -> Answer:
        """Settle one job under the lease that it was seen with."""
        [answer] = await self.harness.store.settle([settlement(job, kind, **fields)])
        return answer

    async def end(self, identifier: str, kind: SettleKind = "complete", **fields: Unpack[SettlementFields]) -> None:
        """Claim and settle one job; the settlement is asserted to be accepted."""
        assert await self.settle(await self.start(identifier), kind, **fields) == "accepted"

    async def kill(self, worker: str, started: Sequence[str] | None = None) -> None:
        """This worker's parent has seen it die; it may join again under the same name."""
        self._joined.discard(worker)
        await self.harness.store.leave(worker, died=True, started=started)

    async def sweep(self, worker: str = "sweeper") -> Swept:
        """Upkeep by a worker that runs nothing."""
        await self.join(worker)
        return await self.harness.store.sweep(worker)

    # --- states

    async def bring(self, state: State, **fields: Unpack[JobFields]) -> JobRecord:
        """A new job in this state, that came there in the usual way."""
        identifier = await self._added(state, fields)
        match state:
            case "running":
                await self.start(identifier)
            case "completed":
                await self.end(identifier, "complete", result=b"1")
            case "dead":
                await self.end(identifier, "dead")
            case "expired":
                await self.end(identifier, "expired")
            case "cancelled":
                assert await self.harness.store.cancel([identifier]) == ["cancelled"]
            case _:
                pass
        job = await self.job(identifier)
        assert job.state == state
        return job

    async def suspects(self, number: int, task: str) -> list[str]:
        """Jobs of one lane that were running when their worker died, so that nobody knows which of them did it."""
        made = [await self.add(task) for _ in range(number)]
        await self.claim(Lane("default", task, "", number), worker="doomed")
        await self.kill("doomed")
        return made

    async def _added(self, state: State, fields: JobFields) -> str:
        if state == "scheduled":
            fields.setdefault("delay", HOUR)
        if state == "waiting" and fields.get("waits_on") is None:
            fields["waits_on"] = await self.add()
        return await self.add(**fields)


def lane_of(job: JobRecord, cap: int = 1) -> Lane:
    """The lane that this job is claimed from."""
    return Lane(job.queue, job.task, job.version, cap)


def lane(task: str, cap: int = 100, queue: str = "default", version: str = "") -> Lane:
    """A lane, wide enough for most tests."""
    return Lane(queue, task, version, cap)
