# flaky_client.py: a client of a server that is overloaded, restarts and hangs up; it waits as long as the server says
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from mainspring import TRANSIENT, Retry, Rule, constant, retry
from mainspring.retries import Hooks, RetryDetails


class FlakyServer(BaseHTTPRequestHandler):
    """What may happen on the way to an answer, one after the other."""

    asked = 0

    def do_GET(self) -> None:
        FlakyServer.asked += 1
        if self.path == "/missing":
            self.say(404, {})
        elif FlakyServer.asked == 1:
            self.say(503, {"Retry-After": "1"})
        elif FlakyServer.asked == 2:
            self.close_connection = True  # hangs up without a word
        elif FlakyServer.asked == 3:  # a date: measured from the Date of the answer, so a slow clock does no harm
            now = time.time() - 3600
            self.say(503, {"Date": formatdate(now, usegmt=True), "Retry-After": formatdate(now + 1, usegmt=True)})
        elif FlakyServer.asked == 4:
            self.say(200, {"Content-Length": "1000"}, b"half of")  # hangs up in the middle
        else:
            self.say(200, {}, b"21 degrees")

    def say(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def busy(error: BaseException) -> bool:
    """Answers that ask for patience. Another error status, such as 404, would be the same the next time."""
    return isinstance(error, HTTPError) and error.code in {429, 502, 503, 504}


def tell(details: RetryDetails) -> None:
    """Called before each wait. The log has a line for it, too, at INFO."""
    print(f"attempt {details.attempt}: {type(details.error).__name__}, again in {details.wait:g} s")


# Cut connections are retried soon and often. A busy server says itself when: `Retry-After` replaces the backoff.
policy = Retry(
    Rule(TRANSIENT, attempts=5, backoff=constant(0.1)), Rule(busy, attempts=5, backoff=constant(10)), give_up_after=30
)

web = build_opener(ProxyHandler({}))  # a proxy of this machine knows no 127.0.0.1 of ours


@retry(policy, hooks=Hooks(before_wait=tell))
def read(url: str) -> str:
    try:
        with web.open(url, timeout=5) as answer:
            return str(answer.read(), "utf-8")
    except HTTPError as error:
        error.close()  # it holds the connection; its headers stay
        raise


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), FlakyServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    home = f"http://127.0.0.1:{server.server_address[1]}"
    print(read(f"{home}/weather"), "after", FlakyServer.asked, "attempts")
    try:
        read(f"{home}/missing")
    except HTTPError as error:
        print(error, "- raised as it is, by the first attempt")
    server.shutdown()
    server.server_close()


if __name__ == "__main__":
    main()
