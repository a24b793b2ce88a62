"""The proxy against an echo server in the same process; times are real, and short."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import pytest

from tests.servers.folder import free_port
from tests.servers.proxy import TcpProxy

Echo = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def proxy() -> AsyncIterator[TcpProxy]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(65_536):
                writer.write(chunk)
                await writer.drain()
        except ConnectionError:
            pass  # `cut` does this
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1")
    with TcpProxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
        yield proxy
    server.close()
    await asyncio.sleep(0.01)  # the server's sides of the connections close


async def connect(proxy: TcpProxy) -> Echo:
    return await asyncio.open_connection(proxy.host, proxy.port)


async def said(echo: Echo, word: bytes, wait: float = 5.0) -> bytes:
    reader, writer = echo
    writer.write(word)
    return await asyncio.wait_for(reader.readexactly(len(word)), wait)


async def hung_up(echo: Echo) -> None:
    echo[1].close()
    await asyncio.gather(echo[1].wait_closed(), return_exceptions=True)


async def test_passes_everything_in_order_and_the_end(proxy: TcpProxy) -> None:
    echo = await connect(proxy)
    text = bytes(range(256)) * 4096
    assert await said(echo, text) == text
    echo[1].write_eof()
    assert await asyncio.wait_for(echo[0].read(), 5) == b""
    await hung_up(echo)


async def test_a_black_hole_swallows_and_healing_lets_through(proxy: TcpProxy) -> None:
    echo = await connect(proxy)
    assert await said(echo, b"one") == b"one"
    proxy.blackhole()
    with pytest.raises(TimeoutError):
        await said(echo, b"two", wait=0.1)
    late = await connect(proxy)
    with pytest.raises(TimeoutError):
        await said(late, b"late", wait=0.1)
    assert proxy.connections == 2
    proxy.heal()
    assert await asyncio.wait_for(echo[0].readexactly(3), 5) == b"two"
    assert await asyncio.wait_for(late[0].readexactly(4), 5) == b"late"
    await hung_up(echo)
    await hung_up(late)


async def test_a_delay_counts_in_each_direction_and_does_not_limit_the_rate(proxy: TcpProxy) -> None:
    echo = await connect(proxy)
    await said(echo, b"ready")
    proxy.delay(0.1)
    began = time.monotonic()
    for _ in range(20):
        echo[1].write(b"x" * 10)
        await asyncio.sleep(0.001)
    assert await asyncio.wait_for(echo[0].readexactly(200), 5) == b"x" * 200
    assert 0.2 <= time.monotonic() - began < 2.0
    proxy.heal()
    began = time.monotonic()
    await said(echo, b"fast")
    assert time.monotonic() - began < 0.1
    await hung_up(echo)


async def test_cut_resets_what_is_open_and_takes_new_connections(proxy: TcpProxy) -> None:
    echo = await connect(proxy)
    await said(echo, b"one")
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        await said(echo, b"two")
    await hung_up(echo)
    again = await connect(proxy)
    assert await said(again, b"three") == b"three"
    await hung_up(again)


async def test_a_reset_does_not_pass_a_black_hole(proxy: TcpProxy) -> None:
    echo = await connect(proxy)
    await said(echo, b"one")
    proxy.blackhole()
    echo[1].transport.abort()
    await asyncio.sleep(0.05)
    assert proxy.connections == 1


def test_a_server_that_is_away_is_a_reset() -> None:
    with (
        TcpProxy("127.0.0.1", free_port()) as proxy,
        pytest.raises(ConnectionResetError),
        socket.create_connection((proxy.host, proxy.port), 5) as near,
    ):
        near.recv(1)


def test_closing_twice_does_nothing() -> None:
    proxy = TcpProxy("127.0.0.1", 1)
    proxy.close()
    proxy.close()
