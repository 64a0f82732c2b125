"""The messages of a handshake: their kinds, their sizes, what is inside.

::

    M1 I→R  header, nonce, key agreement request, mac1, cookie      1300 B
    MC R→I  header, cookie; only under load, then M1 comes again      36 B
    M2 R→I  header, nonce, key agreement reply, AEAD{chain, signature}
    M3 I→R  header, AEAD{chain, signature}
    M4 R→I  header, AEAD{"accept"}                                    26 B

A header is version, kind, and the length of what follows, two bytes big-endian.
"""

import enum
from collections.abc import Mapping
from typing import Final

from gossip import limits
from gossip.errors import PeerError
from gossip.suite import (
    AEAD_TAG_BYTES,
    AGREE_REPLY_BYTES,
    AGREE_REQUEST_BYTES,
    SIGNATURE_BYTES,
)


class Kind(enum.IntEnum):
    """What can happen to a handshake: a message of the wire, or our driver."""

    M1 = 1
    M2 = 2
    M3 = 3
    M4 = 4
    MC = 5
    BEGIN = 0x100
    SIGNED = 0x101


VERSION: Final = 1
HEADER_BYTES: Final = 4
NONCE_BYTES: Final = 32
MAC_BYTES: Final = 16
COOKIE_BYTES: Final = 32
ACCEPT: Final = b"accept"

_SIZE_BYTES: Final = 2
_PAD_BYTES: Final = 1024
"""Chains differ by a few bytes; padded, their lengths name nobody."""


def _padded(size: int) -> int:
    return -(-size // _PAD_BYTES) * _PAD_BYTES


M1_MACED_BYTES: Final = HEADER_BYTES + NONCE_BYTES + AGREE_REQUEST_BYTES
M1_COOKIE_AT: Final = M1_MACED_BYTES + MAC_BYTES
M2_OPEN_BYTES: Final = HEADER_BYTES + NONCE_BYTES + AGREE_REPLY_BYTES
_SEALED_MIN: Final = _padded(_SIZE_BYTES + SIGNATURE_BYTES) + AEAD_TAG_BYTES
_SEALED_MAX: Final = (
    _padded(_SIZE_BYTES + limits.CHAIN_BYTES_MAX + SIGNATURE_BYTES) + AEAD_TAG_BYTES
)
_M2_HEAD: Final = M2_OPEN_BYTES - HEADER_BYTES
_BODY_BYTES: Final[Mapping[int, range]] = {
    Kind.M1: range(M1_COOKIE_AT - HEADER_BYTES + COOKIE_BYTES, 0x10000, 0x10000),
    Kind.M2: range(_M2_HEAD + _SEALED_MIN, _M2_HEAD + _SEALED_MAX + 1, _PAD_BYTES),
    Kind.M3: range(_SEALED_MIN, _SEALED_MAX + 1, _PAD_BYTES),
    Kind.M4: range(len(ACCEPT) + AEAD_TAG_BYTES, 0x10000, 0x10000),
    Kind.MC: range(COOKIE_BYTES, 0x10000, 0x10000),
}
"""Every length a body can have; the fixed ones are ranges of one."""
MESSAGE_BYTES_MAX: Final = HEADER_BYTES + _M2_HEAD + _SEALED_MAX


def header(kind: Kind, body_bytes: int) -> bytes:
    """The four bytes before a body."""
    return bytes((VERSION, kind)) + body_bytes.to_bytes(_SIZE_BYTES, "big")


def body_bytes_untrusted(head: bytes) -> int:
    """How many bytes follow this 4-byte header, so that a driver can frame.

    Raises:
        PeerError: not a header of this protocol, or an impossible length.
    """
    if len(head) != HEADER_BYTES or head[0] != VERSION:
        raise PeerError("not a message of this link protocol")
    size = int.from_bytes(head[2:], "big")
    if size not in _BODY_BYTES.get(head[1], ()):
        raise PeerError(f"a handshake message of kind {head[1]} and {size} bytes")
    return size


def kind_untrusted(message: bytes) -> Kind:
    """Which message this is, its length checked.

    Raises:
        PeerError: not of this protocol, cut short, or overlong.
    """
    if body_bytes_untrusted(message[:HEADER_BYTES]) != len(message) - HEADER_BYTES:
        raise PeerError("a handshake message cut short or overlong")
    return Kind(message[1])


def sealed_identity_bytes(chain_bytes: int) -> int:
    """How long the sealed part of M2 or M3 is for a chain this long."""
    return _padded(_SIZE_BYTES + chain_bytes + SIGNATURE_BYTES) + AEAD_TAG_BYTES


def encode_identity(chain: bytes, signature: bytes) -> bytes:
    """What M2 and M3 seal: size, chain, signature, zeros."""
    plain = len(chain).to_bytes(_SIZE_BYTES, "big") + chain + signature
    return plain.ljust(_padded(len(plain)), b"\0")


def decode_identity_untrusted(plain: bytes) -> tuple[bytes, bytes]:
    """The chain's bytes and the signature.

    Raises:
        PeerError: sizes that do not fit, or padding that is not zeros.
    """
    size = int.from_bytes(plain[:_SIZE_BYTES], "big")
    chain_end = _SIZE_BYTES + size
    end = chain_end + SIGNATURE_BYTES
    if _padded(end) != len(plain) or any(plain[end:]):
        raise PeerError("an identity that is not padded as it should be")
    return plain[_SIZE_BYTES:chain_end], plain[chain_end:end]
