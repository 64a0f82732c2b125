"""The promises of HTTP through the mesh to whoever provides a server."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.errors import LocalError, PeerError
from gossip.wire import Value, pack
from node.proxy.asks import METADATA, Ask, Letter, asked
from node.proxy.frames import FrameStream
from node.proxy.httpparse import RequestParser
from node.proxy.mesh_http import (
    HttpFrame,
    HttpMeshCarrier,
    encode_ask,
    encode_head,
    read_ask_untrusted,
)
from node.proxy.raw import SocketWire
from node.proxy.session import Lost
from node.proxy.upstream import HttpCarrier, read_url

LETTER = Letter(b'{"jsonrpc":"2.0","id":1,"method":"ping"}', b"envelope")

STAYS = [
    "connection",
    "content-length",
    "content-type",
    "content_length",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "mcp-session_id",
    "mcp_name",
    "origin",
    "picket-token",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "transfer_encoding",
    "upgrade",
]


@pytest.mark.parametrize("name", STAYS)
def test_a_header_that_frames_or_is_of_one_connection_never_reaches_a_server(
    name: str,
) -> None:
    ask = Ask("POST", ((name, "1"),), (LETTER,))
    with pytest.raises(PeerError, match=name):
        read_ask_untrusted(encode_ask(ask))
    with pytest.raises(LocalError):
        HttpCarrier(read_url("http://127.0.0.1:9/mcp"))._write(ask)


@pytest.mark.parametrize(
    "headers",
    [
        (("Mcp-Name", "drop_all"),),
        (("Mcp-Session-Id", "of-another-agent"),),
        (("Content-Length", "7"),),
        (("mcp-name", "drop_all"), ("mcp-name", "harmless")),
        (("mcp-param-user_id", "1"), ("mcp-param-user-id", "2")),
        (("x a", "1"),),
        (("x:", "1"),),
        (("x-a", "1\r\nhost: b"),),
        (("x-a", "1\nhost: b"),),
        (("x-a", "\0"),),
    ],
)
def test_a_header_that_gate_and_server_could_read_differently_is_refused(
    headers: tuple[tuple[str, str], ...],
) -> None:
    with pytest.raises(PeerError):
        read_ask_untrusted(encode_ask(Ask("POST", headers, (LETTER,))))


@pytest.mark.parametrize(
    "ask",
    [
        Ask("GET", letters=(LETTER,)),
        Ask("DELETE", letters=(LETTER,)),
        Ask("POST"),
        Ask("POST", batch=True),
        Ask("POST", letters=(LETTER, LETTER)),
        Ask("GET", batch=True),
        Ask("GET", letters=(LETTER,), batch=True),
        Ask("POST", letters=(LETTER,), target=METADATA),
        Ask("PUT", letters=(LETTER,)),
        Ask("get"),
    ],
)
def test_an_ask_that_no_listener_lets_in_is_refused(ask: Ask) -> None:
    with pytest.raises(PeerError):
        read_ask_untrusted(encode_ask(ask))


NAMES = st.one_of(
    st.sampled_from([*STAYS, "authorization", "mcp-name", "mcp-param-user_id", "x.y"]),
    st.text("aB-_.~!c", min_size=1, max_size=8),
)
TEXTS = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=9)


@given(st.lists(st.tuples(NAMES, TEXTS), max_size=9), st.booleans())
def test_what_our_listener_lets_travel_every_provider_takes(
    lines: list[tuple[str, str]], authorization: bool
) -> None:
    head = "".join(f"{name}: {text}\r\n" for name, text in lines)
    parser = RequestParser()
    parser.feed(f"GET /mcp HTTP/1.1\r\n{head}\r\n".encode("latin-1"))
    for request, _ in parser.ready:
        headers = asked(request.headers, authorization=authorization)
        ask = read_ask_untrusted(encode_ask(Ask("GET", headers)))
        assert ask.headers == tuple((k, v.strip(" \t")) for k, v in headers)
        HttpCarrier(read_url("http://127.0.0.1:9/mcp"))._write(ask)


HEADER = st.tuples(st.binary(max_size=20), st.binary(max_size=20))


@given(
    st.sampled_from([b"GET", b"POST", b"DELETE", b"HEAD"]),
    st.lists(HEADER, max_size=4),
    st.binary(max_size=9),
)
def test_whatever_ask_comes_what_is_sent_is_one_request(
    method: bytes, pairs: list[tuple[bytes, bytes]], body: bytes
) -> None:
    headers: list[Value] = [[name, text] for name, text in pairs]
    sizes: list[Value] = [0, len(body)] if body else []
    packed = pack([method, False, False, headers, sizes])
    try:
        ask = read_ask_untrusted(len(packed).to_bytes(4, "big") + packed + body)
    except PeerError:
        return
    parser = RequestParser()
    parser.feed(HttpCarrier(read_url("http://127.0.0.1:9/mcp"))._write(ask))
    assert parser.refusal is None
    ((request, _),) = parser.ready
    assert (request.method, request.body) == (ask.method, ask.body())
    assert not parser.begun


@pytest.mark.parametrize("name", ["content-length", "Content-Length", "set-cookie"])
async def test_a_provider_writes_no_header_of_the_agents_own_connection(
    name: str,
) -> None:
    here, there = (FrameStream(SocketWire(end)) for end in socket.socketpair())

    async def open_stream() -> FrameStream:
        return here

    await there.send(HttpFrame.HEAD, encode_head(200, ((name, "0"),), events=False))
    with pytest.raises(Lost, match="node `vault` broke the mesh protocol"):
        await HttpMeshCarrier(open_stream, "vault").ask(Ask("GET"))
    await there.aclose()


def test_the_gate_compares_a_header_without_the_space_that_servers_drop() -> None:
    ask = Ask("POST", (("mcp-name", " \tharmless "),), (LETTER,))
    assert read_ask_untrusted(encode_ask(ask)).headers == (("mcp-name", "harmless"),)
