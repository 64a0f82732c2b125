"""What a request means does not depend on what the same client said before it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from node.proxy.httpparse import Request, RequestParser

HEADS = (
    b"POST /mcp/a HTTP/1.1\r\nhost: here\r\ncontent-length: %d\r\n\r\n",
    b"POST /mcp/a HTTP/1.1\r\nhost: here\r\nContent-Length:%d\r\naccept: x\r\n\r\n",
    b"POST /mcp/a HTTP/1.1\r\nhost: here\r\ncontent-length: 0%d\r\n\r\n",
    b"POST /mcp/b HTTP/1.1\r\nhost: here\r\ncontent-length:  %d\r\n\r\n",
    b"POST /mcp/b HTTP/1.1\r\nhost: here\r\ncontent-length: %d \r\n\r\n",
    b"POST /mcp/b HTTP/1.1\r\nconnection: keep-alive\r\ncontent-length: %d\r\n\r\n",
    b"POST /mcp/b HTTP/1.1\r\nconnection: close\r\ncontent-length: %d\r\n\r\n",
    b"POST /mcp/b HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: %d\r\n\r\n",
    b"POST /mcp/b HTTP/1.1\r\nx: a\r\n content-length: 7\r\ncontent-length: %d\r\n\r\n",
    b"POST /mcp/b HTTP/1.1\r\nx-content-length: 3\r\ncontent-length: %d\r\n\r\n",
    b"POST /c HTTP/1.1\r\ncontent-length: %d\r\ncontent-length: %d\r\n\r\n",
    b"POST /c HTTP/1.1\r\ncontent-length: %d\r\ntransfer-encoding: chunked\r\n\r\n",
    b"POST /c HTTP/1.0\r\ncontent-length: %d\r\n\r\n",
    b"POST /c HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"GET /c?content-length: %d HTTP/1.1\r\nhost: here\r\n\r\n",
    b"\r\nPOST /d HTTP/1.1\r\ncontent-length: %d\r\n\r\n",
)
bodies = st.sampled_from(
    (b"", b"x", b"{}" * 4, b"{}" * 5, b"y" * 99, b"y" * 100, HEADS[0] % 2 + b"zz")
)
sizes = st.sampled_from((0, 0, 0, 0, -1, 1))


def write(head: bytes, body: bytes, off: int) -> bytes:
    size = max(0, len(body) + off)
    return head % ((size,) * head.count(b"%d")) + body


said = st.lists(st.builds(write, st.sampled_from(HEADS), bodies, sizes), max_size=8)


def heard(parser: RequestParser, parts: list[bytes]) -> list[object]:
    """All that came out: requests, whether another may follow, the refusal."""
    found: list[object] = []
    for part in parts:
        parser.feed(part)
        for request, keep_alive in parser.ready:
            found.append((shown(request), keep_alive))
        parser.ready.clear()
        found.append((parser.refusal, parser.begun, parser.expects))
    return found


def shown(request: Request) -> tuple[object, ...]:
    headers = {k: v for k, v in request.headers.items() if k != "content-length"}
    return request.method, request.path, request.query, headers, request.body


class Forgetful(RequestParser):
    """Parses every head."""

    def feed(self, data: bytes) -> None:
        self._known = None
        super().feed(data)


@given(said, st.integers(1, 3))
@settings(max_examples=300)
def test_a_head_known_already_means_what_it_means_to_the_parser(
    parts: list[bytes], times: int
) -> None:
    again = [part for part in parts for _ in range(times)]

    assert heard(RequestParser(), again) == heard(Forgetful(), again)


def test_a_head_that_comes_again_is_the_same_but_for_its_length() -> None:
    parser = RequestParser()
    parser.feed(write(HEADS[0], b"{}", 0))
    parser.feed(write(HEADS[0], b"{}" * 50, 0))
    (first, _), (second, _) = parser.ready

    assert second.memo is first.memo
    assert (first.body, second.body) == (b"{}", b"{}" * 50)


def test_another_head_is_remembered_apart() -> None:
    parser = RequestParser()
    parser.feed(write(HEADS[0], b"{}", 0))
    parser.feed(write(HEADS[1], b"{}", 0))
    (first, _), (second, _) = parser.ready

    assert second.memo is not first.memo
