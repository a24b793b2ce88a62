"""Workers that die: who may say so (RULES C1), who is charged for it (RULES C6)."""

from __future__ import annotations

import pytest

from mainspring.model.states import SettleKind
from mainspring.store.base import Beat, Worker
from mainspring.testing.contract.harness import StoreHarness
from mainspring.testing.contract.states import Driver, lane

LEASE_TIME = 30.0


class RescueContract:
    """The rescue in `Upkeep.sweep` and `leave`."""

    async def test_the_jobs_of_a_lapsed_worker_are_rescued(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        jobs = [await d.add("t") for _ in range(3)]
        await d.claim(lane("t"), worker="doomed")
        mine = await d.start(await d.add())
        await d.join("sweeper")
        await harness.lapse("doomed")
        swept = await d.sweep()
        assert swept.rescued == 3
        for identifier in jobs:
            job = await d.job(identifier)
            assert (job.state, job.worker, job.lease, job.rescues) == ("ready", None, 1, 1)
        assert await d.job(mine.id) == mine
        assert [seen.worker.id for seen in await harness.store.workers()] == ["sweeper", "w1"]
        assert not (await harness.store.beat(Beat("doomed"))).known
        assert (await d.sweep()).rescued == 0

    async def test_D42_the_second_rescue_waits(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        identifier = await d.add()
        waits: list[tuple[str, float]] = []
        for number in range(3):
            await d.join("sweeper")
            await d.start(identifier, worker=f"doomed-{number}")
            await d.end(await d.add())  # others go on
            await d.kill(f"doomed-{number}")
            job = await d.job(identifier)
            waits.append((job.state, job.due - d.clock.now()))
            d.clock.advance(10)
            await d.sweep()
        assert waits[:2] == [("ready", 0), ("scheduled", 1)]
        assert waits[2][0] == "scheduled"

    async def test_C2_a_job_whose_worker_is_unknown_is_rescued(self, harness: StoreHarness) -> None:
        """A worker without a row counts as lapsed; the sweeper still needs to be steady to say so."""
        d = Driver(harness)
        identifier = await d.add("t")
        await d.join("sweeper", "other")
        [job] = (await harness.store.claim(d.request("ghost", [lane("t")]))).jobs
        await harness.lapse("other")
        assert (await d.sweep()).rescued == 1
        assert await d.states(identifier) == ["ready"]
        assert await d.settle(job, "complete") == "stale"

    async def test_a_sweeper_does_not_rescue_itself(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        job = await d.start(await d.add(), worker="sweeper")
        await d.join("other")
        await harness.lapse("other")
        assert (await d.sweep()).rescued == 0
        assert await d.job(job.id) == job

    # --- C1

    async def test_C1_no_mass_rescue_after_an_outage(self, harness: StoreHarness) -> None:
        """Nobody could beat for ten minutes. Whoever sweeps first rescues nobody: all get a whole lease time."""
        d = Driver(harness)
        jobs = await self.three_at_work(d)
        d.clock.advance(600)
        await self.all_are_alive(d, jobs)

    @pytest.mark.parametrize("step", [60.0, 3600.0, -60.0, -3600.0])
    async def test_C1_no_mass_rescue_after_a_clock_step(self, harness: StoreHarness, step: float) -> None:
        d = Driver(harness)
        jobs = await self.three_at_work(d)
        d.clock.step(step)
        await self.all_are_alive(d, jobs)

    async def three_at_work(self, d: Driver) -> list[str]:
        """Three workers, steady, with a job each."""
        jobs = [(await d.start(await d.add(), worker=f"w{number}")).id for number in range(3)]
        for _ in range(4):
            d.clock.advance(LEASE_TIME / 3)
            await self.beat_all(d)
        return jobs

    async def beat_all(self, d: Driver, *silent: str) -> None:
        for number in range(3):
            if f"w{number}" not in silent:
                assert (await d.harness.store.beat(Beat(f"w{number}"))).known

    async def all_are_alive(self, d: Driver, jobs: list[str]) -> None:
        """The first sweep comes before anybody's beat; then one comes back late."""
        for number in range(3):
            assert (await d.sweep(f"w{number}")).rescued == 0
        await self.beat_all(d, "w2")
        assert (await d.sweep("w0")).rescued == 0
        d.clock.advance(LEASE_TIME / 3)
        await self.beat_all(d, "w2")
        assert (await d.sweep("w0")).rescued == 0
        d.clock.advance(LEASE_TIME / 3)
        await self.beat_all(d)
        assert (await d.sweep("w0")).rescued == 0
        for _ in range(6):
            d.clock.advance(LEASE_TIME / 3)
            await self.beat_all(d)
            assert (await d.sweep("w0")).rescued == 0
        assert await d.states(*jobs) == ["running"] * 3

    @pytest.mark.parametrize("step", [0.0, 3600.0, -3600.0])
    async def test_C1_who_died_before_the_clock_stepped_is_rescued(self, harness: StoreHarness, step: float) -> None:
        """The last beat of the dead may lie in the future, hours away; no rule may need clocks to be monotonic."""
        d = Driver(harness)
        jobs = await self.three_at_work(d)
        d.clock.step(step)
        await self.beat_all(d, "w2")
        if harness.liveness == "locks":
            await harness.lapse("w2")
        else:
            for _ in range(4):
                d.clock.advance(LEASE_TIME / 3)
                await self.beat_all(d, "w2")
        assert (await d.sweep("w0")).rescued == 1
        assert await d.states(*jobs) == ["running", "running", "ready"]

    async def test_C1_a_worker_with_gaps_rescues_nobody(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        jobs = await self.three_at_work(d)
        if harness.liveness == "locks":
            d.clock.advance(10 * LEASE_TIME)
            assert (await d.sweep("w0")).rescued == 0, "silence says nothing where locks do"
            return
        for _ in range(4):
            d.clock.advance(LEASE_TIME * 0.6)
            await harness.store.beat(Beat("w0"))
            await harness.store.beat(Beat("w1"))
            assert (await d.sweep("w0")).rescued == 0
        assert await d.states(*jobs) == ["running"] * 3

    async def test_C1_a_worker_that_has_just_joined_rescues_nobody_by_silence(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        job = await d.start(await d.add(), worker="w2")
        d.clock.advance(10 * LEASE_TIME)
        assert (await d.sweep("new")).rescued == 0
        assert await d.states(job.id) == ["running"]

    async def test_C1_an_unknown_sweeper_rescues_nobody(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        await d.start(await d.add(), worker="w2")
        d.clock.advance(10 * LEASE_TIME)
        assert (await harness.store.sweep("nobody")).rescued == 0

    async def test_each_worker_has_its_own_lease_time(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        await harness.store.join(Worker("patient", lease_time=600.0))
        job = await d.add("t")
        await harness.store.claim(d.request("patient", [lane("t")]))
        await d.join("w1", "w2")
        await d.start(await d.add(), worker="w2")
        for _ in range(6):
            d.clock.advance(LEASE_TIME / 3)
            await harness.store.beat(Beat("w1"))
        swept = await d.sweep("w1")
        assert swept.rescued == (1 if harness.liveness == "beats" else 0)
        assert await d.states(job) == ["running"]


class SuspectsContract:
    """Crashes count only against suspects; innocents of a common death go free (RULES C6)."""

    async def test_C6_the_first_death_makes_suspects_and_charges_nobody(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        for identifier in await d.suspects(5, "t"):
            job = await d.job(identifier)
            assert (job.state, job.suspect, job.crashes, job.rescues) == ("ready", True, 0, 1)

    async def test_C6_a_rescue_by_sweep_makes_suspects_too(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        job = await d.start(await d.add(), worker="doomed")
        await d.join("sweeper")
        await harness.lapse("doomed")
        await d.sweep()
        assert ((await d.job(job.id)).suspect, (await d.job(job.id)).crashes) == (True, 0)

    async def test_C6_one_suspect_for_a_worker_and_only_on_request(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        await d.suspects(3, "t")
        other = await d.add("t")
        assert [job.id for job in await d.claim(lane("t"), suspects=0)] == [other]
        [first] = await d.claim(lane("t"), suspects=5)
        assert first.suspect
        assert await d.claim(lane("t"), suspects=5) == []
        [second] = await d.claim(lane("t"), suspects=1, worker="w2")
        assert second.id != first.id
        await d.settle(first, "complete")
        [third] = await d.claim(lane("t"), suspects=1)
        assert third.id not in (first.id, second.id)

    async def test_C6_one_suspect_over_several_lanes(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        await d.suspects(2, "t")
        await d.suspects(2, "u")
        plain = [await d.add("t"), await d.add("u")]
        got = await d.claim(lane("t"), lane("u"), suspects=2)
        assert sum(job.suspect for job in got) == 1
        assert {job.id for job in got if not job.suspect} == set(plain)

    async def test_C6_a_suspect_counts_against_the_cap_of_its_lane(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        await d.suspects(1, "t")
        await d.add("t")
        assert len(await d.claim(lane("t", 1), suspects=1)) == 1
        assert len(await d.claim(lane("t"), suspects=1, limit=1)) == 1

    async def test_C6_only_the_suspect_is_charged(self, harness: StoreHarness) -> None:
        """The innocents beside it are neither charged nor suspected."""
        d = Driver(harness)
        [poison] = await d.suspects(1, "t")
        others = [await d.add("u") for _ in range(3)]
        await d.claim(lane("t"), lane("u"), worker="second", suspects=1)
        await d.kill("second")
        job = await d.job(poison)
        assert (job.state, job.suspect, job.crashes) == ("scheduled", True, 1)
        for identifier in others:
            job = await d.job(identifier)
            assert (job.state, job.suspect, job.crashes) == ("ready", False, 0)

    async def test_C6_three_charges_are_the_end(self, harness: StoreHarness) -> None:
        """RST-024. A poison job takes down four workers, and nobody with it."""
        d = Driver(harness)
        poison = await d.add()
        for number in range(4):
            await d.start(poison, worker=f"doomed-{number}")
            await d.kill(f"doomed-{number}")
            d.clock.advance(600)
            await d.sweep()
        job = await d.job(poison)
        assert (job.state, job.crashes, job.lease) == ("dead", 3, 4)
        assert job.reason
        assert await harness.store.replay([poison]) == ["replayed"]
        assert ((await d.job(poison)).crashes, (await d.job(poison)).suspect) == (0, False)

    async def test_C6_a_poison_job_kills_none_of_its_neighbours(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        jobs = [await d.add("t") for _ in range(20)]
        poison, innocents = jobs[7], set(jobs) - {jobs[7]}
        for number in range(60):
            worker = f"w{number}"
            taken = await d.claim(lane("t"), worker=worker, suspects=1)
            if any(job.id == poison for job in taken):
                await d.kill(worker)
            for job in taken:
                if (await d.job(job.id)).lease == job.lease and (await d.job(job.id)).state == "running":
                    await d.settle(job, "complete")
            d.clock.advance(600)
            await d.sweep()
            if "ready" not in {count.state for count in await harness.store.counts()}:
                break
        assert await d.states(poison) == ["dead"]
        assert set(await d.states(*innocents)) == {"completed"}

    async def test_C6_only_what_was_started_is_suspect(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        jobs = [await d.add("t") for _ in range(4)]
        await d.claim(lane("t"), worker="doomed")
        await d.kill("doomed", started=jobs[1:3])
        assert [(await d.job(each)).suspect for each in jobs] == [False, True, True, False]
        assert [(await d.job(each)).attempt for each in jobs] == [0, 1, 1, 0]
        assert [len(await harness.store.attempts(each)) for each in jobs] == [0, 1, 1, 0]

    async def test_C6_a_suspect_that_was_not_started_is_neither_charged_nor_cleared(
        self, harness: StoreHarness
    ) -> None:
        d = Driver(harness)
        [suspect] = await d.suspects(1, "t")
        other = await d.add("u")
        await d.claim(lane("t"), lane("u"), worker="second", suspects=1)
        await d.kill("second", started=[other])
        assert ((await d.job(suspect)).suspect, (await d.job(suspect)).crashes) == (True, 0)
        assert ((await d.job(other)).suspect, (await d.job(other)).crashes) == (True, 0)

    @pytest.mark.parametrize("kind", ["complete", "retry", "repeat", "snooze", "sleep", "wait", "release"])
    async def test_C6_any_accepted_settlement_but_a_crash_clears_a_suspect(
        self, harness: StoreHarness, kind: SettleKind
    ) -> None:
        d = Driver(harness)
        [suspect] = await d.suspects(1, "t")
        await d.end(suspect, kind, ran=1.0)
        job = await d.job(suspect)
        assert (job.suspect, job.crashes) == (False, 0)

    async def test_C6_a_release_before_the_start_proves_nothing(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        [suspect] = await d.suspects(1, "t")
        await d.end(suspect, "release")
        assert (await d.job(suspect)).suspect
        await d.start(suspect, worker="w2")
        await harness.store.leave("w2")
        assert (await d.job(suspect)).suspect

    async def test_C6_a_crash_makes_a_suspect_and_charges_it(self, harness: StoreHarness) -> None:
        """H17: its own child process died, so nobody else is in doubt."""
        d = Driver(harness)
        identifier = await d.add()
        for crashes in (1, 2):
            await d.end(identifier, "crash")
            job = await d.job(identifier)
            assert (job.state, job.suspect, job.crashes) == ("ready", True, crashes)
        await d.end(identifier, "crash")
        assert ((await d.job(identifier)).state, (await d.job(identifier)).crashes) == ("dead", 3)
