"""The listener's end of an answer that has come through the gate."""

import json
import re
from typing import Final

import attrs

from node.proxy.asks import Headers, Piece, find
from node.proxy.httpd import Exchange
from node.proxy.resource import CHALLENGED, WELL_KNOWN, origin_of

STREAM_QUERY: Final = "stream="
_METADATA = re.compile(r'resource_metadata="[^"]*"')


@attrs.frozen
class Place:
    """Where the agent sees a server: OAuth ties a token to that."""

    origin: str
    path: str

    @property
    def document(self) -> str:
        """Where our copy of the server's RFC 9728 document is."""
        return f"{self.origin}{WELL_KNOWN}{self.path}"

    def rewrite_challenge(self, headers: Headers) -> Headers:
        """Point `WWW-Authenticate` to our copy of the server's document."""
        told = f'resource_metadata="{self.document}"'
        return tuple(
            (k, _METADATA.sub(lambda _: told, v) if k == "www-authenticate" else v)
            for k, v in headers
        )

    def rewrite_metadata(self, body: bytes) -> bytes:
        """Name ourselves as the resource; empty if it is no such document."""
        try:
            document: object = json.loads(body)
        except (ValueError, RecursionError):
            return b""
        named = document.get("resource") if isinstance(document, dict) else None
        if not isinstance(document, dict) or not isinstance(named, str):
            return b""
        if origin_of(named) == origin_of(self.origin):  # its own name leads here
            return body
        return json.dumps({**document, "resource": self.origin + self.path}).encode()


@attrs.define(eq=False)
class HttpOut:
    """Writes an answer to the agent; see `node.proxy.asks.Out`."""

    exchange: Exchange
    place: Place

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer at once; in a stream of events that has begun, as its last."""
        exchange = self.exchange
        kind = find(headers, "content-type") or "text/plain"
        if exchange.streaming:
            if kind == "application/json":
                await self.piece(Piece(body))
            await self.end()
            return
        if status in CHALLENGED:
            headers = self.place.rewrite_challenge(headers)
        if exchange.request.path.startswith(WELL_KNOWN):
            body, status = self._document(body, status)
        rest = [(k, v) for k, v in headers if k != "content-type"]
        await exchange.answer(status, body, kind, rest)

    def _document(self, body: bytes, status: int) -> tuple[bytes, int]:
        if status != 200:
            return b"", status
        document = self.place.rewrite_metadata(body)
        return document, 200 if document else 502

    async def begin(self, status: int, headers: Headers) -> None:
        """Begin an answer of events."""
        await self.exchange.start_events(headers, status)

    async def piece(self, piece: Piece) -> None:
        """Send one event; waits for a slow reader."""
        await self.exchange.raw_event(write_event(piece))

    async def end(self) -> None:
        """End an answer of events."""
        await self.exchange.end_events()

    def endpoint(self, name: str) -> bytes:
        """The path and query where the agent POSTs."""
        return f"{self.place.path}?{STREAM_QUERY}{name}".encode("latin-1")


def write_event(piece: Piece) -> bytes:
    """One event as it travels; its fields hold no line's end."""
    lines: list[bytes] = []
    for name, value in (
        ("event", piece.name),
        ("id", piece.id),
        ("retry", piece.retry),
    ):
        if value is not None:
            lines.append(f"{name}: {value}\n".encode())
    if piece.data or piece.id is not None:  # without data an id begins a stream
        data = piece.data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines += [b"data: %b\n" % line for line in data.split(b"\n")]
    return b"%b\n" % b"".join(lines or (b":\n",))
