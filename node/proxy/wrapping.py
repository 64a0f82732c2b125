"""What `picket wrap` and its daemon say to each other on the Unix socket.

::

    wrap                                            daemon
    HELLO agent, server + four descriptors  ────▶
                                            ◀────  WELCOME + journal, or REFUSED
    BEGIN flags, half a line                ────▶  reads and writes the pipes itself
                                            ◀────  SERVER_MAY_END, CLIENT_HAS_ALL

Frames as in `frames`; docs/reference/wrap-protocol.md has every byte.
"""

import enum
from typing import Final

import attrs

from gossip.errors import PeerError
from gossip.limits import NAME_CHARS_MAX
from gossip.wire import pack, take_int, take_list, take_str, unpack_untrusted
from node.proxy import limits

_VERSION: Final = 1
_HELLO_BYTES_MAX: Final = 1_024
_BATCHES, _TORN = 1, 2


class WrapFrame(enum.IntEnum):
    """What a frame between wrap and daemon is."""

    HELLO = 1
    WELCOME = 2
    REFUSED = 3
    BEGIN = 4
    SERVER_MAY_END = 5
    CLIENT_HAS_ALL = 6
    END_SERVER = 7


def encode_hello(agent: str, server: str) -> bytes:
    """The payload of HELLO; an empty ``agent`` means the only one there is."""
    return pack([_VERSION, agent, server])


def read_hello_untrusted(payload: bytes) -> tuple[str, str]:
    """Read the payload of HELLO: the agent's name and the server's."""
    fields = take_list(unpack_untrusted(payload, _HELLO_BYTES_MAX), 3, 3)
    take_int(fields[0], _VERSION, _VERSION)
    return (
        take_str(fields[1], 0, NAME_CHARS_MAX),
        take_str(fields[2], 1, NAME_CHARS_MAX),
    )


@attrs.frozen
class Beginning:
    """How a daemon finds the session that it takes over.

    Attributes:
        rest: What the client said of a line that has no end yet.
        batches: The session's revision is one with batches.
        torn: An earlier daemon may have said half a message to the server.
    """

    rest: bytes = attrs.field(default=b"", repr=False)
    batches: bool = False
    torn: bool = False


def encode_begin(found: Beginning) -> bytes:
    """The payload of BEGIN."""
    flags = _BATCHES * found.batches | _TORN * found.torn
    return bytes([flags]) + found.rest


def read_begin_untrusted(payload: bytes) -> Beginning:
    """Read the payload of BEGIN."""
    if not 1 <= len(payload) <= 1 + limits.MESSAGE_BYTES_MAX or payload[0] > 3:
        raise PeerError("no beginning of a wrap")
    flags = payload[0]
    return Beginning(payload[1:], bool(flags & _BATCHES), bool(flags & _TORN))
