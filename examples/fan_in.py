# fan_in.py: count the words of many files beside each other, then add up: a group, and a task that gets its results
import asyncio
from pathlib import Path

from mainspring import App, chain, group

app = App("sqlite:///fan_in.db")


@app.task(name="count-words", process=True)
def count_words(path: str) -> tuple[str, int]:
    """Runs in a child process: work for the processor does not stop the loop of the worker."""
    return Path(path).name, len(Path(path).read_text(encoding="utf-8", errors="replace").split())


@app.task(name="longest")
async def longest(counts: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Gets the results of the whole group, in the order of its members."""
    return sorted(counts, key=lambda each: -each[1])[:3]


@app.task(name="report")
async def report(top: list[tuple[str, int]]) -> str:
    """Gets the result of the step before."""
    return ", ".join(f"{name} ({words} words)" for name, words in top)


async def main() -> None:
    files = sorted(Path(asyncio.__file__).parent.glob("*.py"))
    async with app.running(concurrency=4):
        work = chain(group(*(count_words.bind(str(path)) for path in files)), longest, report)
        job = await app.enqueue(work)
        print(f"{len(files)} files; the longest: {await job.result(timeout=60)}")


if __name__ == "__main__":
    asyncio.run(main())
