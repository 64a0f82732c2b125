"""Reads HTTP/1.1 answers from bytes, and server-sent events from their bodies.

The grammar is llhttp's, by httptools; this adds the limits. Events are read as the
HTML standard says: lines end with CR LF, LF or CR, a blank line ends an event.
"""

import re

import attrs
import httptools

from node.proxy import limits
from node.proxy.asks import Piece
from node.proxy.raw import READ_BYTES
from node.proxy.session import Lost

_LENGTH = re.compile(rb"\r\ncontent-length: ?([1-9][0-9]{0,7})(?=\r\n)", re.IGNORECASE)
_KNOWN_HEAD_MAX = 4_096
_HEAD_BYTES_MAX = limits.HEADER_BYTES_MAX + READ_BYTES
_BOM = b"\xef\xbb\xbf"


class ResponseReader:
    """Collects one response; events are taken out as they come."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.head_done = self.done = self.keep_alive = self.is_events = False
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._head_bytes = 0
        self._encoded = self._overrun = False
        self._lines: EventReader | None = None

    def feed(self, data: bytes) -> None:
        """Take what came; ``b""`` is the end of the connection.

        Raises:
            Lost: it is not HTTP/1.1, too large, or cut short.
        """
        if not data:
            return self._end()
        if not self.head_done:
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_BYTES_MAX:
                raise Lost("the server sent headers that are too large")
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as wrong:
            raise Lost("the server does not speak HTTP/1.1") from wrong
        if self._overrun:
            self.keep_alive = False  # what else it left there is no later answer
            raise Lost("the server answered more than it was asked")
        if self._encoded:
            raise Lost("the server encoded its answer though nobody asked it to")
        if self._body_bytes > limits.MESSAGE_BYTES_MAX:
            raise Lost("the server sent a message that is too large")

    def _end(self) -> None:
        """Only a body without a length ends with its connection."""
        sized = {"content-length", "transfer-encoding"}
        if not self.head_done or sized.intersection(dict(self.headers)):
            raise Lost("the server closed the connection")
        self.done = True

    def take_events(self) -> list[Piece]:
        """Each event that is complete. Raises `Lost` for one that is too large."""
        parts, self._body, self._body_bytes = self._body, [], 0
        if self._lines is None:
            self._lines = EventReader()
        return [piece for part in parts for piece in self._lines.feed(part)]

    def take_body(self) -> Piece | None:
        """The whole body; None if it is empty."""
        body, self._body = b"".join(self._body), []
        return Piece(body) if body else None

    # what httptools calls

    def on_message_begin(self) -> None:
        self._overrun = self.done

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.head_done:
            text = value.strip(b" \t").decode("latin-1")
            self.headers.append((name.decode("latin-1").lower(), text))

    def on_headers_complete(self) -> None:
        if self.head_done:
            return  # of an answer that nobody asked for
        self.status = self._parser.get_status_code()
        if self.status < 200:
            self.headers.clear()
            return
        self.head_done = True
        headers = dict(self.headers)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        self.is_events = kind == "text/event-stream"
        self._encoded = headers.get("content-encoding", "identity") != "identity"

    def on_body(self, part: bytes) -> None:
        self._body.append(part)
        self._body_bytes += len(part)

    def on_message_complete(self) -> None:
        self.done = self.head_done
        self.keep_alive = bool(self._parser.should_keep_alive())


@attrs.frozen
class KnownHead:
    """The head of an answer that came whole: most that follow have it, too.

    Byte for byte the same but for the digits of its length, it means the same to the
    parser, which need not be asked again.
    """

    before: bytes
    after: bytes
    status: int
    headers: tuple[tuple[str, str], ...]

    def read(self, data: bytes) -> bytes | None:
        """The body of one whole answer with this head and nothing behind it."""
        if not data.startswith(self.before):
            return None
        at = len(self.before)
        end = data.find(b"\r", at, at + 9)
        digits = data[at:end]
        if end < 0 or not digits.isdigit() or not data.startswith(self.after, end):
            return None
        body = data[end + len(self.after) :]
        if digits[:1] == b"0" or len(body) != int(digits):
            return None
        return body if len(body) <= limits.MESSAGE_BYTES_MAX else None


def known_head(data: bytes, reader: ResponseReader) -> KnownHead | None:
    """What can be known of an answer that came at once, as ``data``."""
    head = data[: data.find(b"\r\n\r\n") + 4]
    found = _LENGTH.findall(head)
    if (
        not reader.done
        or not reader.keep_alive
        or reader.is_events
        or len(found) != 1
        or len(head) > _KNOWN_HEAD_MAX
        or len(data) != len(head) + int(found[0])
        or "transfer-encoding" in dict(reader.headers)
    ):
        return None
    length = _LENGTH.search(head)
    assert length is not None, "it has been found"
    at, end = length.span(1)
    return KnownHead(head[:at], head[end:], reader.status, tuple(reader.headers))


class EventReader:
    """Bytes in, whole events out, within a limit."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._seen = 0  # so much of the rest holds no end of an event
        self._after_cr = False
        self._begun = False

    def feed(self, part: bytes) -> list[Piece]:
        """The events completed by ``part``. Raises `Lost` for one too large."""
        if b"\r" in part or self._after_cr:
            part = self._with_lf(part)
        rest = self._rest
        rest += part
        if not self._begun and len(rest) >= len(_BOM):
            self._begun = True
            if rest.startswith(_BOM):
                del rest[: len(_BOM)]
        pieces: list[Piece] = []
        at = 0
        while (end := rest.find(b"\n\n", max(at, self._seen - 1))) >= 0:
            piece = _read_event(bytes(rest[at:end]))
            if piece is not None:
                pieces.append(piece)
            at = self._seen = end + 2
        del rest[:at]
        self._seen = len(rest)
        if len(rest) > limits.MESSAGE_BYTES_MAX:
            raise Lost("the server sent an event that is too large")
        return pieces

    def _with_lf(self, part: bytes) -> bytes:
        if self._after_cr and part.startswith(b"\n"):
            part = part[1:]
            self._after_cr = False
            if not part:
                return part
        self._after_cr = part.endswith(b"\r")
        return part.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _read_event(block: bytes) -> Piece | None:
    """One event; None if there is nothing in it."""
    data: list[bytes] = []
    fields: dict[str, str] = {}
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name in (b"id", b"retry", b"event"):
            fields[name.decode()] = value.decode("utf-8", "replace")
    event_id, retry = fields.get("id"), fields.get("retry", "")
    if event_id is not None and "\0" in event_id:
        event_id = None
    if not block.strip(b"\n"):
        return None
    return Piece(
        b"\n".join(data),
        event_id,
        retry if retry.isascii() and retry.isdigit() and len(retry) < 10 else None,
        fields.get("event"),
    )
