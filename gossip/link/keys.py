"""The key schedule of a link: HKDF-SHA256 (RFC 5869) under one label."""

import hmac
from typing import Final

from gossip.domains import Domain

_KEY_BYTES: Final = 32
_LABEL: Final = Domain.LINK.value


def extract(salt: bytes, secret: bytes) -> bytes:
    """Concentrate ``secret`` into 32 uniform bytes (RFC 5869, section 2.2)."""
    return hmac.digest(salt, secret, "sha256")


def expand(key: bytes, use: bytes, transcript: bytes = b"") -> bytes:
    """Derive the 32-byte key for one use (RFC 5869, section 2.3, one block)."""
    info = b"".join(
        (bytes((len(_LABEL),)), _LABEL, bytes((len(use),)), use, transcript)
    )
    return hmac.digest(key, info + b"\x01", "sha256")[:_KEY_BYTES]
