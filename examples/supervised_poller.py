# supervised_poller.py: two services under a supervisor, what it does about their errors, how they are, and SIGTERM
import asyncio
import logging
import signal
import sys
import threading
from itertools import count

from mainspring import Retry, Service, Supervisor, constant
from mainspring.retries import TRANSPORT, Baseline

polls = count(1)


async def poll() -> None:
    """Runs every 0.1 s, and fails now and then. It has no policy of its own: the baseline decides."""
    number = next(polls)
    if number == 2:
        raise ConnectionResetError("the other side hung up")  # of the way there: the baseline knows it
    if number == 4:
        raise KeyError("humidity")  # unknown: retried, too, but with a loud line in the log
    print(f"poll {number}: 21 degrees")
    if number == 6:
        signal.raise_signal(signal.SIGTERM)  # as a service manager would; it stops the whole program


def watch_disk(stop: threading.Event) -> None:
    """A plain function has a thread of its own, and is told by the event when it is to end."""
    while not stop.wait(0.05):
        pass  # look at the disk
    print("the disk is watched no more")


async def say_goodbye() -> None:
    print("goodbye")


def show(supervisor: Supervisor) -> None:
    for each in supervisor.health():
        print(f"{each.name:<6} {each.state:<10} restarts {each.restarts}  {each.last_error or '-'}")


async def main() -> None:
    # Which errors are worth another run, whoever raises them, and how long to wait.
    baseline = Baseline(
        {TRANSPORT: Retry(on=Exception, attempts=None, backoff=constant(0.05))},
        unknown=Retry(on=Exception, attempts=3, backoff=constant(0.05)),
    )
    async with Supervisor(baseline=baseline, grace=5) as supervisor:
        supervisor.add(Service("disk", watch_disk))
        supervisor.add(Service("poll", poll, every=0.1, timeout=5, on_shutdown=say_goodbye))
        show(supervisor)
        got = await supervisor.run_until_signal()  # SIGTERM or Ctrl-C; services stop, the last added first
    print("stopped by", got.name if got else "nobody")
    show(supervisor)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(levelname)s %(message)s")
    asyncio.run(main())
