"""TLS ended at the listener changes nothing that is said over it."""

import ssl
import subprocess
from pathlib import Path

import pytest
import trio

from gossip.errors import UserError
from node.proxy import limits
from node.proxy.httpd import Exchange, listen_on, serve_http
from node.proxy.tls import read_tls


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
