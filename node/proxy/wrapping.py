"""What `picket wrap` and its daemon say to each other on the Unix socket.

::

    wrap                                   daemon
    HELLO agent, server          ────▶
                                 ◀────  WELCOME, or REFUSED sentence and the end
    FROM_CLIENT message          ────▶  gate ──▶ TO_SERVER message
    FROM_SERVER message          ────▶  gate ──▶ TO_CLIENT message
    CLIENT_ENDED                 ────▶  echoed as SERVER_MAY_END
    SERVER_ENDED                 ────▶  echoed as CLIENT_HAS_ALL

Frames as in `frames`; docs/reference/wrap-protocol.md has every byte.
"""

import enum
from typing import Final

from gossip.limits import NAME_CHARS_MAX
from gossip.wire import pack, take_int, take_list, take_str, unpack_untrusted

_VERSION: Final = 1
_HELLO_BYTES_MAX: Final = 1_024


class WrapFrame(enum.IntEnum):
    """What a frame between wrap and daemon is."""

    HELLO = 1
    WELCOME = 2
    REFUSED = 3
    FROM_CLIENT = 4
    FROM_SERVER = 5
    TO_SERVER = 6
    TO_CLIENT = 7
    CLIENT_ENDED = 8
    SERVER_MAY_END = 9
    SERVER_ENDED = 10
    CLIENT_HAS_ALL = 11


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
