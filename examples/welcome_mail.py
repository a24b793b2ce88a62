# welcome_mail.py: options of a job, retries, and a key that keeps a mail from being sent twice
import asyncio
import random
from datetime import timedelta

from mainspring import App, Context, GiveUp, Retry, exponential

app = App("sqlite:///welcome_mail.db")


@app.task(
    name="welcome",
    queue="mail",
    timeout=30,
    retry=Retry(on=ConnectionError, attempts=8, backoff=exponential(0.1, cap=1)),
)
async def send_welcome(ctx: Context, to: str, subject: str = "Welcome") -> int:
    """Errors named by the policy are retried; `GiveUp` ends the job now, whatever the policy says."""
    if "@" not in to:
        raise GiveUp(f"{to!r} is no address")
    if random.random() < 0.3:
        raise ConnectionError("the mail server is busy")
    print(f"{subject}, {to} (attempt {ctx.attempt})")
    return ctx.attempt


async def sign_up(address: str) -> None:
    # The same person signs up twice within a day: one mail. A day late it is not worth sending any more.
    mail = send_welcome.options(
        unique=f"welcome:{address}", unique_for=timedelta(days=1), expires=timedelta(days=1), tags=["signup"]
    )
    job = await mail.enqueue(address)
    print(address, "gets a mail" if job.created else "has one on its way")


async def main() -> None:
    async with app.running(queues=["mail"]):
        for address in ("ada@example.com", "bob@example.com", "ada@example.com", "nobody"):
            await sign_up(address)
        # More urgent than the others, and not before a second has passed.
        job = await send_welcome.options(priority=10, delay=1).enqueue("eve@example.com", subject="At last")
        print("attempts:", await job.result(timeout=60))
        await app.idle()
        for dead in (await app.jobs.find(states=["dead"])).jobs:
            assert dead.record is not None
            print("dead:", dead.task, dead.record.reason)


if __name__ == "__main__":
    asyncio.run(main())
