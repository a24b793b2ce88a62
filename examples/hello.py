# hello.py: press Ctrl-C in the middle, then run it again
import asyncio
from contextlib import suppress

from mainspring import App, Retry

app = App("sqlite:///hello.db")


@app.task(name="square", retry=Retry(on=OSError, attempts=5))
async def square(n: int) -> int:
    await asyncio.sleep(0.5)
    print(n, "squared is", n * n)
    return n * n


async def main() -> None:
    async with app.running(concurrency=2):
        await app.enqueue_many(square.options(unique=f"square:{n}", unique_for="ever").bind(n) for n in range(20))
        await app.idle()  # until nothing is due


with suppress(KeyboardInterrupt):  # Ctrl-C: what has not run yet runs the next time
    asyncio.run(main())
