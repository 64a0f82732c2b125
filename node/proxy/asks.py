"""HTTP as it is carried from an agent's listener to a server: asks and answers.

::

    listener ──Ask──▶ gate ──▶ Carrier ──▶ the server's URL, or a stream of the mesh
             ◀──Out── gate ◀── Answer  ◀──

What concerns one connection only stays behind at each of them; everything else
travels as it is.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Protocol, TypeAlias

import attrs

Headers: TypeAlias = tuple[tuple[str, str], ...]

SESSION_HEADER: Final = "mcp-session-id"
METADATA: Final = "metadata"
"""The target of an `Ask` for a server's RFC 9728 document."""

_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_NOT_ASKED = _HOP | {
    "accept-encoding",  # bodies must stay readable for the gate
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "origin",  # has been checked; the server would check it against itself
    "picket-token",
}
_READ = frozenset({"accept", "authorization", "last-event-id"})
_NOT_ANSWERED = _HOP | {"content-length", "date", "server", "set-cookie"}


@attrs.frozen
class Letter:
    """One message on its way to the server, as the gate let it through."""

    data: bytes = attrs.field(repr=False)
    envelope: bytes | None = attrs.field(default=None, repr=False)


@attrs.frozen
class Ask:
    """One HTTP request on its way to the server.

    Attributes:
        letters: What is POSTed; one, or several that make a batch.
        batch: The letters travel as a JSON array, even if it is one.
        target: Empty for the server's own URL, `METADATA`, or a `Way`'s.
    """

    method: str
    headers: Headers = ()
    letters: tuple[Letter, ...] = ()
    batch: bool = False
    target: str = ""

    @property
    def session(self) -> str:
        """The MCP session it names, if any."""
        return find(self.headers, SESSION_HEADER)

    def body(self) -> bytes:
        """The request's body."""
        if not self.batch:
            return b"".join(letter.data for letter in self.letters)
        return b"[%b]" % b",".join(letter.data for letter in self.letters)


@attrs.frozen
class Piece:
    """One server-sent event, or the whole body of an answer.

    Attributes:
        data: Without the framing of events; empty for an event that only sets
            the id or the time to reconnect, or a sign of life.
        id: For `Last-Event-ID`; None without one.
        retry: Milliseconds, in digits; None without one.
        name: The event's type; None for the usual one.
    """

    data: bytes = attrs.field(repr=False)
    id: str | None = None
    retry: str | None = None
    name: str | None = None


@attrs.frozen
class Way:
    """Where the messages of a stream of the revision 2024-11-05 are POSTed.

    Attributes:
        session: What names the stream at the next node; empty at the server's.
        target: The server's own path; empty elsewhere.
    """

    session: str = ""
    target: str = ""


class Answer(Protocol):
    """What a server answers, as it comes. Give it back by `aclose`."""

    status: int
    headers: Headers
    events: bool

    async def next(self) -> Piece | None:
        """The next event, or the whole body; None at the end.

        Raises:
            Lost: it broke off.
        """
        ...

    def rest(self) -> bool:
        """Give back what carried it, if it is at its end and that can be used again."""
        ...

    async def aclose(self) -> None:
        """Give it back; before its end this tells the server to stop."""
        ...


class Carrier(Protocol):
    """The way to one server."""

    async def ask(self, ask: Ask) -> Answer:
        """Pass a request on, once.

        Raises:
            Lost: nothing came back.
        """
        ...

    def endpoint(self, data: bytes) -> Way | None:
        """Read an event ``endpoint``; None if it leads elsewhere."""
        ...


class Out(Protocol):
    """Where an answer goes. Does nothing once its reader is gone."""

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer at once; ``headers`` hold the content type, if any."""
        ...

    async def begin(self, status: int, headers: Headers) -> None:
        """Begin an answer of events."""
        ...

    async def piece(self, piece: Piece) -> None:
        """Send one event; waits for a slow reader."""
        ...

    async def end(self) -> None:
        """End an answer of events."""
        ...

    def endpoint(self, name: str) -> bytes:
        """What an event ``endpoint`` says on this side."""
        ...


def find(headers: Headers, name: str) -> str:
    """A header's value; empty without it."""
    for key, value in headers:
        if key == name:
            return value
    return ""


def asked(headers: Mapping[str, str], *, authorization: bool) -> Headers:
    """The headers of a request that travel on.

    ``authorization`` travels only where it is meant for the server.
    """
    named = _named(headers["connection"]) if "connection" in headers else frozenset()
    found: dict[str, tuple[str, str]] = {}
    for name, value in headers.items():
        ours = name == "authorization" and not authorization
        if not ours and name not in named and is_asked(name):
            found.setdefault(as_read(name), (name, value))
    return tuple(found.values())


def is_asked(name: str) -> bool:
    """Whether a header of a request, in lower case, may travel on at all.

    Neither may one that only a server which confuses `_` with `-` would take for
    a header of one connection, or for one that the gate has compared or counts on.
    """
    read = as_read(name)
    if read in _NOT_ASKED:
        return False
    meant = read in _READ or read.startswith("mcp-")
    return read == name or not meant or name.startswith("mcp-param-")


def is_answered(name: str) -> bool:
    """Whether a header of an answer, in lower case, may travel on."""
    return name not in _NOT_ANSWERED


def as_read(name: str) -> str:
    """A header's name as servers read it that see no difference of `_` and `-`."""
    return name.replace("_", "-")


def answered(headers: Iterable[tuple[str, str]]) -> Headers:
    """The headers of an answer that travel on."""
    return tuple((k, v) for k, v in headers if is_answered(k))


def _named(connection: str) -> frozenset[str]:
    return frozenset(name.strip().lower() for name in connection.split(",") if name)
