"""Reads HTTP/1.1 requests from bytes, within limits; whatever is unclear is refused.

The grammar is llhttp's, by httptools. This adds the limits, and refuses headers
that mean two things when they come twice.

A client says the same of each of its requests, but for the length of the body. So a
head that is, byte for byte, the one before it but for these digits is not parsed
again: it means the same.
"""

import re
from typing import Final

import attrs
import httptools

from node.proxy import limits

_ONCE = frozenset(
    {
        "authorization",
        "content-length",
        "content-type",
        "host",
        "mcp-protocol-version",
        "mcp-session-id",
        "origin",
    }
)
"""Headers that mean nothing, or two things, when they come twice."""
_NEVER_KNOWN: Final = frozenset({"transfer-encoding", "expect", "upgrade"})
_LENGTH: Final = re.compile(
    rb"\r\ncontent-length: ?([1-9][0-9]*)(?=\r\n)", re.IGNORECASE
)
_DIGITS_MAX: Final = len(str(limits.BODY_MAX))
_KNOWN_HEAD_MAX: Final = 4_096


@attrs.define(eq=False)
class Memo:
    """What a handler found out about a head, for when it comes again."""

    held: object = None


@attrs.frozen
class Request:
    """One request, complete. Header names are in lower case.

    ``content-length`` may be that of an earlier request with the same head.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = attrs.field(repr=False)
    query: str = ""
    memo: Memo = attrs.field(factory=Memo, repr=False, eq=False)


@attrs.frozen
class _Known:
    """A head that was parsed: what stands before and after its length's digits."""

    before: bytes
    after: bytes
    request: Request

    def read(self, data: bytes) -> Request | None:
        """One whole request with this head and nothing behind it, or None."""
        if not data.startswith(self.before):
            return None
        at = len(self.before)
        end = data.find(b"\r", at, at + _DIGITS_MAX + 1)
        digits = data[at:end]
        if end < 0 or not digits.isdigit() or not data.startswith(self.after, end):
            return None
        body = data[end + len(self.after) :]
        if digits[:1] == b"0" or not len(body) == int(digits) <= limits.BODY_MAX:
            return None
        known = self.request
        return Request(
            known.method, known.path, known.headers, body, known.query, known.memo
        )


class RequestParser:
    """Collects httptools' callbacks into requests, refusing what is too much."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self.ready: list[tuple[Request, bool]] = []
        self.refusal: tuple[int, str] | None = None
        self.begun = self.expects = False
        self._fed = b""
        self._known: _Known | None = None
        self._reset()

    def _reset(self) -> None:
        self._target = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._head_bytes = self._body_bytes = 0
        self._head_done = False

    @property
    def has_head(self) -> bool:
        """Whether a request has its head, and waits for the rest of its body."""
        return self.begun and self._head_done

    def feed(self, data: bytes) -> None:
        """Parse; look at ``refusal`` first, then at ``ready``."""
        if self.refusal is not None:
            return
        if self._known is not None and not self.begun:
            again = self._known.read(data)
            if again is not None:
                self.ready.append((again, True))
                return
        self._fed = b"" if self.begun else data
        head_bytes = self._head_bytes + len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse(400, "this is no request of HTTP/1.1")
        if self.begun and not self._head_done:
            self._head_bytes = head_bytes
            self._limit_head()

    def _refuse(self, status: int, sentence: str) -> None:
        if self.refusal is None:
            self.refusal = (status, sentence)

    def _limit_head(self) -> None:
        if self._head_bytes > limits.HEADER_BYTES_MAX:
            self._refuse(431, f"headers over {limits.HEADER_BYTES_MAX} bytes")

    # what httptools calls

    def on_message_begin(self) -> None:
        self._reset()
        self.begun = True

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_done:
            return  # a trailer says nothing we would believe
        key = name.decode("latin-1").lower()
        text = value.strip(b" \t").decode("latin-1")
        if key not in self._headers:
            self._headers[key] = text
        elif key in _ONCE:
            self._refuse(400, f"header `{key}` appears twice")
        else:
            self._headers[key] += ", " + text

    def on_headers_complete(self) -> None:
        self._head_done = True
        named = sum(len(k) + len(v) + 4 for k, v in self._headers.items())
        self._head_bytes = len(self._target) + named
        self._limit_head()
        length = self._headers.get("content-length", "0")
        if not length.isdigit() or len(length) > 12 or int(length) > limits.BODY_MAX:
            self._refuse(413, f"body over {limits.BODY_MAX} bytes")
        self.expects = self._headers.get("expect", "").lower() == "100-continue"

    def on_body(self, part: bytes) -> None:
        self._body_bytes += len(part)
        if self._body_bytes > limits.BODY_MAX:
            self._refuse(413, f"body over {limits.BODY_MAX} bytes")
        elif self.refusal is None:
            self._body.append(part)

    def on_message_complete(self) -> None:
        self.begun = self.expects = False
        path, _, query = self._target.decode("latin-1").partition("?")
        request = Request(
            self._parser.get_method().decode("latin-1"),
            path,
            self._headers,
            b"".join(self._body),
            query,
        )
        keep_alive = bool(self._parser.should_keep_alive())
        self._known = _known(self._fed, request) if keep_alive else None
        self._fed = b""
        self.ready.append((request, keep_alive))
        if len(self.ready) > limits.PIPELINED_MAX:
            self._refuse(400, "too many requests at once")


def _known(data: bytes, request: Request) -> _Known | None:
    """Remember the head of a request that came whole, alone and at once."""
    headers, size = request.headers, len(request.body)
    head = data[: len(data) - size]
    if (
        not size
        or len(head) > _KNOWN_HEAD_MAX
        or not head.endswith(b"\r\n\r\n")
        or headers.get("content-length") != str(size)
        or not _NEVER_KNOWN.isdisjoint(headers)
    ):
        return None
    found = [*_LENGTH.finditer(head)]
    if len(found) != 1 or head.find(b"\r\n\r\n") != len(head) - 4:
        return None
    at, end = found[0].span(1)
    return _Known(head[:at], head[end:], attrs.evolve(request, body=b""))
