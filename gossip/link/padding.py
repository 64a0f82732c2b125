"""What a frame holds inside: a word, its length, its content, zeros up to a bucket.

::

    word (1 byte) ‖ length of the content (3 bytes) ‖ content ‖ zeros

Sizes of gossip and of tool calls say much to whoever watches the wire, so frames
come in few of them: from 256 bytes up those of Padmé (Nikitin, Barman, Lueks,
Underwood, Hubaux, Ford: "Reducing Metadata Leakage from Encrypted Files and
Communication with PURBs", PoPETs 2019), which costs 12 % at the worst.
"""

import enum
from typing import Final

from gossip.errors import PeerError

INSIDE_BYTES_MAX: Final = 131_072
INSIDE_BYTES_MIN: Final = 256
_HEAD_BYTES: Final = 4
CONTENT_BYTES_MAX: Final = INSIDE_BYTES_MAX - _HEAD_BYTES
_ZEROS: Final = bytes(INSIDE_BYTES_MAX // 16)
"""More than any frame is padded by: sizes have four bits or more before zeros."""


class Word(enum.IntEnum):
    """What a frame is for."""

    DATA = 0
    ASK = 1
    ANSWER = 2
    DONE = 3


def bucket(size: int) -> int:
    """The smallest size of a frame's inside that holds ``size`` bytes."""
    if size <= INSIDE_BYTES_MIN:
        return INSIDE_BYTES_MIN
    exponent = size.bit_length() - 1
    granule = 1 << (exponent - exponent.bit_length())
    return -(-size // granule) * granule


def wrap(word: Word, content: bytes) -> bytes:
    """The inside of a frame that says ``content``, `CONTENT_BYTES_MAX` at most."""
    size = _HEAD_BYTES + len(content)
    head = (word << 24 | len(content)).to_bytes(_HEAD_BYTES, "big")
    return b"".join((head, content, _ZEROS[: bucket(size) - size]))


def unwrap_untrusted(inside: bytes) -> tuple[Word, bytes]:
    """What a frame says.

    Raises:
        PeerError: an unknown word, a length that does not fit its bucket, or
            padding that is not zeros.
    """
    head = int.from_bytes(inside[:_HEAD_BYTES], "big")
    end = _HEAD_BYTES + (head & 0xFFFFFF)
    if bucket(end) != len(inside) or inside[end:] != _ZEROS[: len(inside) - end]:
        raise PeerError("a frame that is not padded as it should be")
    try:
        return Word(head >> 24), inside[_HEAD_BYTES:end]
    except ValueError:
        raise PeerError(f"a frame that says {head >> 24}, which is no word") from None
