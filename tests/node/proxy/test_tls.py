"""TLS ended at the listener changes nothing that is said over it."""

import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio

from gossip.errors import UserError
from node.proxy import limits
from node.proxy.asks import Ask, Letter
from node.proxy.httpd import Exchange, Handler, listen_on, serve_http
from node.proxy.session import Lost
from node.proxy.tls import read_tls
from node.proxy.upstream import HttpCarrier, read_url


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost, and its key."""
    home = tmp_path_factory.mktemp("tls")
    cert, key = home / "cert.pem", home / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    options = ("-days", "2", "-subj", "/CN=localhost", "-addext")
    names = "subjectAltName=DNS:localhost"
    subprocess.run(
        (*command.split(), *options, names, "-keyout", key, "-out", cert),
        check=True,
        capture_output=True,
    )
    return cert, key


async def echo(exchange: Exchange) -> None:
    await exchange.answer(200, exchange.request.body * 2)


async def test_a_large_body_goes_both_ways(pair: tuple[Path, Path]) -> None:
    sock, faults = listen_on("127.0.0.1", 0), list[BaseException]()
    port = sock.getsockname()[1]
    trusted = ssl.create_default_context(cafile=pair[0])
    body = b"x" * 1_000_000
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_http, sock, echo, faults.append, read_tls(*pair))
        with trio.fail_after(20):
            tcp = await trio.open_tcp_stream("127.0.0.1", port)
            stream = trio.SSLStream(
                tcp, trusted, server_hostname="localhost", https_compatible=True
            )
            head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n"
            for _ in range(2):  # the connection is kept
                await stream.send_all(head + body)
                heard = b""
                while not heard.endswith(body * 2):
                    heard += await stream.receive_some(65_536)
                assert heard.startswith(b"HTTP/1.1 200")
            await stream.aclose()
        nursery.cancel_scope.cancel()
    assert faults == []


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff", b""])
async def test_who_does_not_speak_tls_is_dropped_and_others_are_served(
    pair: tuple[Path, Path], said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TLS_HANDSHAKE_S", 0.2)
    sock, faults = listen_on("127.0.0.1", 0), list[BaseException]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_http, sock, echo, faults.append, read_tls(*pair))
        with trio.fail_after(20):
            stream = await trio.open_tcp_stream("127.0.0.1", sock.getsockname()[1])
            await stream.send_all(said)
            heard = b"x"
            while heard:
                try:
                    heard = await stream.receive_some(4_096)
                except trio.BrokenResourceError:
                    break
                assert b"HTTP" not in heard
            await stream.aclose()
        nursery.cancel_scope.cancel()
    assert faults == []


def test_a_pair_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("nothing")
    with pytest.raises(UserError, match="http_tls"):
        read_tls(tmp_path / "a", tmp_path / "b")


@asynccontextmanager
async def behind_tls(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, handler: Handler
) -> AsyncIterator[HttpCarrier]:
    """A server that this machine trusts, and the way to it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(pair[0]))
    sock, faults = listen_on("127.0.0.1", 0), list[BaseException]()
    url = f"https://localhost:{sock.getsockname()[1]}/mcp"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_http, sock, handler, faults.append, read_tls(*pair))
        carrier = HttpCarrier(read_url(url))
        with trio.fail_after(20):
            yield carrier
        carrier.close()
        nursery.cancel_scope.cancel()
    assert faults == []


async def ask(carrier: HttpCarrier, body: bytes) -> bytes:
    answer = await carrier.ask(Ask("POST", letters=(Letter(body),)))
    try:
        piece = await answer.next()
        return b"" if piece is None else piece.data
    finally:
        await answer.aclose()


async def test_a_connection_to_a_server_is_used_again(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[int] = set()

    async def note(exchange: Exchange) -> None:
        seen.add(id(exchange._connection))
        await echo(exchange)

    async with behind_tls(pair, monkeypatch, note) as carrier:
        for body in (b"a", b"b" * 300_000, b"c"):
            assert await ask(carrier, body) == body * 2
    assert len(seen) == 1


async def test_a_server_nobody_vouches_for_is_sent_nothing(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def note(exchange: Exchange) -> None:
        raise AssertionError("nothing may come")

    async with behind_tls(pair, monkeypatch, note) as carrier:
        monkeypatch.delenv("SSL_CERT_FILE")
        with pytest.raises(Lost):
            await ask(carrier, b"a")


async def test_what_a_server_says_unasked_answers_nothing(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n"

    async def chatty(exchange: Exchange) -> None:
        said = exchange.request.body * 2
        more = head % len(said) + said + head % 4 + b"evil"
        await exchange._connection._wire.send_all(more)

    async with behind_tls(pair, monkeypatch, chatty) as carrier:
        for body in (b"a" * 300_000, b"b", b"c" * 300_000, b"d"):
            with suppress(Lost):  # where it was heard in time
                assert await ask(carrier, body) == body * 2
