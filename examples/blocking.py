# blocking.py: a program without an event loop. Every async verb x.verb() is x.sync.verb(), from any thread
import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from mainspring import App, JobFailed

app = App("sqlite:///blocking.db")


@app.task(name="shout")
def shout(text: str) -> str:
    """A plain function: the worker runs it in a thread."""
    if not text:
        raise ValueError("nothing to shout")
    time.sleep(0.05)
    return text.upper()


def request(text: str) -> str:
    """What a view of a web framework would do: enqueue, and perhaps wait."""
    return shout.sync.enqueue(text).sync.result(timeout=30)


def program() -> None:
    """Threads of a web server, say. None of them has an event loop."""
    with ThreadPoolExecutor(4) as threads:
        for answer in threads.map(request, ["to be", "or", "not to be"]):
            print(answer)
    try:
        request("")
    except JobFailed as error:
        print(f"{error.error_type}: {error.error}")
    for count in app.jobs.sync.counts():  # one for each queue, task and state
        print(f"{count.task} {count.state}: {count.number}")


async def main() -> None:
    # Workers usually are processes of their own: mainspring run blocking:app. Here one runs beside the program.
    async with app.running(concurrency=4):
        await asyncio.to_thread(program)


if __name__ == "__main__":
    asyncio.run(main())
