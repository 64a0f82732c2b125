"""What links tell their owner, and the bounds they keep."""

import enum
from typing import Final, TypeAlias

import attrs

from gossip.membership.identity import Chain
from gossip.units import NodeId

HANDSHAKE_S: Final = 5.0
PING_EVERY_S: Final = 3.0
SILENCE_S: Final = 9.0
GOODBYE_S: Final = 0.5
PARTING_S: Final = 0.5
"""A peer whose link is dropped hears for so long what was said, grafts included."""
REDIAL_FIRST_S: Final = 0.1
REDIAL_MAX_S: Final = 10.0
HALF_OPEN_EASY: Final = 64
HALF_OPEN_MAX: Final = 256
"""From strangers' addresses together, and as many from members' beside."""
HALF_OPEN_PER_ADDRESS_MAX: Final = 128
FIRST_MESSAGES_PER_S: Final = 20
ANSWERS_PER_S: Final = 64
ANSWERS_AT_ONCE: Final = 256
ANSWERS_PER_ADDRESS_PER_S: Final = 16
ANSWERS_PER_ADDRESS_AT_ONCE: Final = 64
"""Handshakes answered, each of which costs a signature."""
YOUNG_LINK_MS: Final = 5_000
"""A call that arrives later than this after a link came up did not cross it."""
LINK_S_MAX: Final = 86_400.0
"""A link that is older is made anew, with a whole handshake."""
ADDRESSES_MAX: Final = 1_024
QUEUE_BYTES_MAX: Final = 4 * 1024 * 1024
UNREAD_BYTES_MAX: Final = 4 * 1024 * 1024
"""What one peer's streams may hold that nobody here has read yet."""
READ_BYTES: Final = 262_144
ASKED_BYTES_MAX: Final = 1_024
"""Given at once to libp2p's negotiation, which asks up to 101 times."""


class LinkEnd(enum.Enum):
    """Why a link ended."""

    PEER_CLOSED = "the peer closed it"
    BROKEN = "the connection broke"
    MISBEHAVED = "the peer broke the protocol"
    SILENT = "the peer fell silent"
    REPLACED = "a newer link to the same node took over"
    EXPIRED = "it was time for a new handshake"
    CLOSED = "this node closed it"
    SHUTDOWN = "this node is stopping"


@attrs.frozen
class LinkUp:
    """A member is linked; frames may flow."""

    peer: Chain


@attrs.frozen
class LinkDown:
    """The link that was up has ended. Comes once for each `LinkUp`."""

    peer: NodeId = attrs.field(repr=bytes.hex)
    why: LinkEnd


@attrs.frozen
class Frame:
    """One frame of gossip arrived."""

    peer: NodeId = attrs.field(repr=bytes.hex)
    data: bytes = attrs.field(repr=False)


@attrs.frozen
class Refused:
    """Somebody was not let in, or could not be reached.

    Attributes:
        address: Who called, or whom we called, as ``host:port``.
        sentence: One clear sentence for the log.
    """

    address: str
    sentence: str


@attrs.frozen
class HandlerFailed:
    """A stream handler raised what it should not have; the stream was reset."""

    protocol: str
    peer: NodeId = attrs.field(repr=bytes.hex)
    error: Exception


LinkEvent: TypeAlias = LinkUp | LinkDown | Frame | Refused | HandlerFailed


@attrs.frozen(kw_only=True)
class LinksStatistics:
    """Counts since the start, and what is there now."""

    links: int
    half_open: int
    dials: int
    refused: int
    frames_in: int
    frames_out: int
    bytes_queued: int


def show_address(host: str, port: int) -> str:
    """``host:port``, with brackets around IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
