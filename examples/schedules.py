# schedules.py: a heartbeat that code declares, a report that is put at run time, and what became of both
import asyncio
from datetime import UTC, datetime, time

from mainspring import App, Context, Daily

app = App("sqlite:///schedules.db")


@app.every(0.3, name="heartbeat", max_runs=3, misfire="all")
async def beat(ctx: Context) -> None:
    """Declared: written when the worker starts. It has finished after three runs."""
    print(f"a beat of {ctx.schedule}")


@app.task(name="report")
async def report(ctx: Context, place: str) -> str:
    """Put at run time, once for each place: who and for what is in the context."""
    return f"{ctx.schedule}: {place} in {ctx.metadata['currency']}"


async def main() -> None:
    async with app.running():
        for place, zone, currency in (("Berlin", "Europe/Berlin", "EUR"), ("Oslo", "Europe/Oslo", "NOK")):
            work = report.options(metadata={"currency": currency}).bind(place)
            spring = datetime(2027, 3, 27, tzinfo=UTC)
            nightly = Daily(time(2, 30), tz=zone)
            await app.schedules.put(f"nightly:{place}", nightly, work, overlap="queue", start_at=spring)

        for slot in await app.schedules.next_fires("nightly:Berlin", 3):  # the second night has no 2:30
            print(slot.local.isoformat(), slot.dst)

        job = await app.schedules.trigger("nightly:Oslo")  # do not wait until March
        if job is not None:
            print(await job.result(timeout=10))

        await app.schedules.pause("nightly:Oslo")
        while (await app.schedules.get("heartbeat")).state == "active":  # noqa: ASYNC110  # any worker may fire it
            await asyncio.sleep(0.05)
        await app.idle()

        for schedule in await app.schedules.list():
            runs = await app.schedules.runs(schedule.id, states=["completed"])
            print(f"{schedule.id}: {schedule.state}, {len(runs)} completed")


if __name__ == "__main__":
    asyncio.run(main())
