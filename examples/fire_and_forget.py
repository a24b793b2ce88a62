# fire_and_forget.py: save what users do in the background, while the program answers them; with retries, and no job store
import asyncio
import functools
import logging
import sys
import time
from dataclasses import dataclass

from mainspring import Retry, exponential
from mainspring.retries import background, background_done

STEADY = Retry(on=ConnectionError, attempts=5, backoff=exponential(0.02, cap=1))


@dataclass
class SaveActivity:
    """Carries its own data, so that the request may go on to other things. Any callable without arguments will do."""

    user: str
    activity: str
    fails: int = 0

    def __call__(self) -> str:
        time.sleep(0.05)  # a database far away
        if self.fails > 0:
            self.fails -= 1
            raise ConnectionError(f"{self.user}: the database is away")
        return f"{self.user}: saved {self.activity!r}"


async def send_mail(user: str) -> str:
    await asyncio.sleep(0.05)
    return f"{user}: mail sent"


def in_threads() -> None:
    """A plain function runs in a thread of its own."""
    ada = background(SaveActivity("ada", "login"), STEADY)
    print("answered at once:", "done" if ada.done else "not yet done")
    print(ada.result(timeout=10))  # nobody has to wait; who wants to know, may

    eve = background(SaveActivity("eve", "login", fails=2), STEADY, on_error=print)
    print(eve.result(timeout=10), f"in attempt {eve.attempts}")

    # No database, and no end of attempts: cancelled, it stops waiting at once.
    mallory = background(SaveActivity("mallory", "login", fails=1000), Retry(on=OSError, attempts=None))
    print("mallory: cancelled" if mallory.cancel() else "mallory: too late")


async def in_tasks() -> None:
    """An async function runs as a task of the loop."""
    mail = background(functools.partial(send_mail, "ada"), STEADY)
    background(functools.partial(send_mail, "eve"), STEADY)
    print(await mail.result(timeout=10))
    await background_done(timeout=10)  # the loop would cancel what is pending when this function ends


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR, stream=sys.stdout, format="%(levelname)s %(message)s")
    in_threads()
    asyncio.run(in_tasks())
    # The program ends here, but waits for these: 5 seconds at most, for both together.
    bob = background(SaveActivity("bob", "logout", fails=9), Retry(on=OSError, attempts=2), name="bob", wait_at_exit=5)
    ada = background(lambda: print(SaveActivity("ada", "logout")()), wait_at_exit=5)
    # Nobody looks at bob's result. It is not lost without a word: the log has it, once.
