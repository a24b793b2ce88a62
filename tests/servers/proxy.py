"""A TCP proxy that misbehaves on demand: swallows, delays and resets what passes through it."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from typing import Self

RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: closing sends RST, not FIN
CHUNK = 65_536
HELD = 256  # chunks that may be under way in one direction


class TcpProxy:
    """Stands before a server; runs in a thread and a loop of its own, so that a blocked test cannot block it.

    Args:
        host, port: the server.

    Example:
        with TcpProxy(server.host, server.port) as proxy:
            url = server.url("shop", port=proxy.port)
            proxy.blackhole()
            proxy.heal()
    """

    host = "127.0.0.1"

    def __init__(self, host: str, port: int) -> None:
        self.port = 0
        self._target = (host, port)
        self._delay = 0.0
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._open.set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, self.host), self._loop
        ).result(10)
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def connections(self) -> int:
        """Connections that are open through the proxy now."""
        return len(self._links)

    def blackhole(self) -> None:
        """From now on nothing passes, in either direction, and nobody is told: as if packets were dropped.

        New connections are accepted and get no answer. `heal` lets through what was sent meanwhile.
        """
        self._soon(self._open.clear)

    def delay(self, seconds: float) -> None:
        """From now on whatever passes arrives `seconds` later, in each direction."""

        def set_delay() -> None:
            self._delay = seconds

        self._soon(set_delay)

    def cut(self) -> None:
        """Resets all connections, to both sides. New ones are accepted."""

        def reset() -> None:
            for link in [*self._links]:
                link.reset()

        self._soon(reset)

    def heal(self) -> None:
        """Everything passes at once again."""

        def heal() -> None:
            self._delay = 0.0
            self._open.set()

        self._soon(heal)

    def close(self) -> None:
        """Resets all connections and ends the thread. Closing twice does nothing."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result(10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _soon(self, act: Callable[[], None]) -> None:
        """Runs `act` in the loop and returns when it is done: what the test does next meets the new order."""

        async def acting() -> None:
            act()

        asyncio.run_coroutine_threadsafe(acting(), self._loop).result(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        link = _Link(writer)
        self._links.add(link)
        try:
            await self._open.wait()
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            link.writers.append(far_writer)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, far_writer))
                both.create_task(self._pump(far_reader, writer))
            link.close()
        except (OSError, ExceptionGroup, asyncio.CancelledError):
            link.reset()  # one side is gone, or we reset it: the other is told
        finally:
            self._links.discard(link)
            self._tasks.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One direction. Reading goes on while earlier chunks wait for their time: a delay does not limit the rate."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(HELD)

        async def deliver() -> None:
            while True:
                due, chunk = await queue.get()
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                await self._open.wait()
                if not chunk:
                    return writer.write_eof()
                writer.write(chunk)
                await writer.drain()

        async def read() -> None:
            chunk = b"x"
            while chunk:
                try:
                    chunk = await reader.read(CHUNK)
                except ConnectionError:
                    await self._open.wait()  # a reset does not pass a black hole either
                    raise
                await queue.put((self._loop.time() + self._delay, chunk))

        async with asyncio.TaskGroup() as both:
            both.create_task(read())
            both.create_task(deliver())

    async def _shut(self) -> None:
        self._server.close()
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the transports close one turn later


class _Link:
    """Both sides of one connection through the proxy."""

    def __init__(self, near: asyncio.StreamWriter) -> None:
        self.writers = [near]

    def close(self) -> None:
        for writer in self.writers:
            writer.close()

    def reset(self) -> None:
        for writer in self.writers:
            connection: socket.socket | None = writer.get_extra_info("socket")
            if connection is not None and connection.fileno() != -1:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()
