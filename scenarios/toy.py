"""A toy suite for simulations: deterministic, fast, and no cryptography at all.

Anyone can forge its signatures from a public key, so the daemon refuses it.
Sizes are those of suite 1, so that what is measured in bytes stays true.
"""

import hashlib
import random
from collections.abc import Sequence

import attrs

from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.suite import (
    AEAD_TAG_BYTES,
    AGREE_REPLY_BYTES,
    AGREE_REQUEST_BYTES,
    PUBLIC_KEY_BYTES,
    SHARED_SECRET_BYTES,
    SIGNATURE_BYTES,
    SUITE_1,
    Aead,
    AgreeSecret,
    Claim,
)


def _stretch(size: int, *parts: bytes) -> bytes:
    return hashlib.shake_128(b"toy" + b"".join(parts)).digest(size)


def _signature(public_key: bytes, message: bytes, context: Domain) -> bytes:
    return _stretch(SIGNATURE_BYTES, context.value, public_key, message)


@attrs.frozen
class ToyKey:
    """A signing key made from any seed."""

    public_key: bytes = attrs.field(repr=False)

    def sign(self, message: bytes, context: Domain) -> bytes:
        """Not a signature: a digest that looks like one."""
        return _signature(self.public_key, message, context)


@attrs.frozen
class _ToyAgree:
    request: bytes

    def finish(self, reply: bytes) -> bytes:
        if len(reply) != AGREE_REPLY_BYTES:
            raise PeerError("a reply of the wrong length")
        return _stretch(SHARED_SECRET_BYTES, self.request, reply)


@attrs.frozen
class _ToyAead:
    key: bytes

    def seal(self, nonce: bytes, plaintext: bytes, header: bytes) -> bytes:
        return plaintext + _stretch(AEAD_TAG_BYTES, self.key, nonce, header, plaintext)

    def open(self, nonce: bytes, sealed: bytes, header: bytes) -> bytes:
        plaintext, tag = sealed[:-AEAD_TAG_BYTES], sealed[-AEAD_TAG_BYTES:]
        if tag != _stretch(AEAD_TAG_BYTES, self.key, nonce, header, plaintext):
            raise PeerError("the frame was altered")
        return plaintext


@attrs.define
class ToySuite:
    """Implements `gossip.suite.Suite`; all chance comes from one seed."""

    seed: int = 0
    _random: random.Random = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - a toy, and seeded

    @property
    def suite_id(self) -> int:
        """Suite 1's number, since its sizes are suite 1's."""
        return SUITE_1

    @property
    def provider(self) -> str:
        """The name by which the daemon refuses it."""
        return "toy"

    def signing_key_from_seed(self, seed: bytes) -> ToyKey:
        """The key of a seed of any length."""
        return ToyKey(_stretch(PUBLIC_KEY_BYTES, seed))

    def check_public_key(self, public_key: bytes) -> None:
        """Only the length."""
        if len(public_key) != PUBLIC_KEY_BYTES:
            raise PeerError("a public key of the wrong length")

    def verify(
        self, public_key: bytes, message: bytes, signature: bytes, context: Domain
    ) -> None:
        """Compare with what `ToyKey.sign` would have said."""
        if signature != _signature(public_key, message, context):
            raise PeerError("the signature does not verify")

    def verify_many(self, claims: Sequence[Claim]) -> list[bool]:
        """One by one."""
        return [
            c.signature == _signature(c.public_key, c.message, c.context)
            for c in claims
        ]

    def random(self, size: int) -> bytes:
        """The next bytes of the seed's stream."""
        return self._random.randbytes(size)

    def agree_begin(self) -> AgreeSecret:
        """A request nobody has to keep secret."""
        return _ToyAgree(self.random(AGREE_REQUEST_BYTES))

    def agree_reply(self, request: bytes) -> tuple[bytes, bytes]:
        """A reply, and the same digest that `finish` computes."""
        if len(request) != AGREE_REQUEST_BYTES:
            raise PeerError("a request of the wrong length")
        reply = self.random(AGREE_REPLY_BYTES)
        return reply, _stretch(SHARED_SECRET_BYTES, request, reply)

    def aead(self, key: bytes) -> Aead:
        """A checksum, no encryption."""
        return _ToyAead(key)
