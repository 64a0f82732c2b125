"""Reads HTTP/1.1 requests from bytes, within limits; whatever is unclear is refused.

The grammar is llhttp's, by httptools. This adds the limits, and refuses headers
that mean two things when they come twice.
"""

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


@attrs.frozen
class Request:
    """One request, complete. Header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = attrs.field(repr=False)
    query: str = ""


class RequestParser:
    """Collects httptools' callbacks into requests, refusing what is too much."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self.ready: list[tuple[Request, bool]] = []
        self.refusal: tuple[int, str] | None = None
        self.begun = self.expects = False
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
        self.ready.append((request, bool(self._parser.should_keep_alive())))
        if len(self.ready) > limits.PIPELINED_MAX:
            self._refuse(400, "too many requests at once")
