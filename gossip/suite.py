"""The cryptographic suite as the core sees it: mathematics, handed in.

The core never picks a provider, never draws entropy and never holds a
long-lived secret. It is handed a `Suite`; signing it asks for by an effect.

Suite 1: ML-DSA-65 + Ed25519 composite signatures (FIPS 204, RFC 8032,
id-MLDSA65-Ed25519-SHA512 of draft-ietf-lamps-pq-composite-sigs), ML-KEM-768 +
X25519 key agreement (FIPS 203, RFC 7748), ChaCha20-Poly1305 (RFC 8439),
SHA-256.
"""

import hashlib
from collections.abc import Sequence
from typing import Final, Protocol

import attrs

from gossip.domains import Domain
from gossip.units import KeyId

SUITE_1: Final = 1
PUBLIC_KEY_BYTES: Final = 1984
"""ML-DSA-65 public key (1952) followed by the Ed25519 public key (32)."""
SIGNATURE_BYTES: Final = 3373
"""ML-DSA-65 signature (3309) followed by the Ed25519 signature (64)."""
SIGNING_SEED_BYTES: Final = 64
"""ML-DSA-65 seed (32) followed by the Ed25519 seed (32)."""
AGREE_REQUEST_BYTES: Final = 1216
"""X25519 public key (32) followed by the ML-KEM-768 encapsulation key (1184)."""
AGREE_REPLY_BYTES: Final = 1120
"""X25519 public key (32) followed by the ML-KEM-768 ciphertext (1088)."""
SHARED_SECRET_BYTES: Final = 64
"""ML-KEM shared secret (32) followed by the X25519 shared secret (32)."""
AEAD_KEY_BYTES: Final = 32
AEAD_NONCE_BYTES: Final = 12
AEAD_TAG_BYTES: Final = 16


class SigningKey(Protocol):
    """A composite secret key. Its ``repr`` never shows the secret."""

    @property
    def public_key(self) -> bytes:
        """The 1984-byte composite public key."""
        ...

    def sign(self, message: bytes, context: Domain) -> bytes:
        """Sign ``message`` for one use only; returns 3373 bytes, randomised."""
        ...


class AgreeSecret(Protocol):
    """The initiator's half of one hybrid key agreement. Used once."""

    @property
    def request(self) -> bytes:
        """The 1216 bytes the other side needs."""
        ...

    def finish(self, reply: bytes) -> bytes:
        """Turn the other side's 1120 bytes into the 64-byte shared secret.

        Raises:
            PeerError: wrong length, or an X25519 result of all zeros.
        """
        ...


class Aead(Protocol):
    """ChaCha20-Poly1305 under one key. The caller never repeats a nonce."""

    def seal(self, nonce: bytes, plaintext: bytes, header: bytes) -> bytes:
        """Encrypt; returns ciphertext and 16-byte tag."""
        ...

    def open(self, nonce: bytes, sealed: bytes, header: bytes) -> bytes:
        """Decrypt.

        Raises:
            PeerError: the tag does not match.
        """
        ...


@attrs.frozen
class Claim:
    """One signature to be checked."""

    public_key: bytes = attrs.field(repr=False)
    message: bytes = attrs.field(repr=False)
    signature: bytes = attrs.field(repr=False)
    context: Domain


class Suite(Protocol):
    """Everything the protocol needs from cryptography, and nothing else."""

    @property
    def suite_id(self) -> int:
        """1 on the wire today."""
        ...

    @property
    def provider(self) -> str:
        """Who computes: ``openssl``, ``liboqs``, or ``toy`` in simulations."""
        ...

    def check_public_key(self, public_key: bytes) -> None:
        """Refuse keys no honest party would hold.

        Raises:
            PeerError: wrong length, non-canonical, all zeros, or a
                small-order Ed25519 half (it would verify anything).
        """
        ...

    def verify(
        self, public_key: bytes, message: bytes, signature: bytes, context: Domain
    ) -> None:
        """Accept only if **both** halves of the composite signature verify.

        Raises:
            PeerError: any length is wrong, the key is refused, or either half
                does not verify.
        """
        ...

    def verify_many(self, claims: Sequence[Claim]) -> list[bool]:
        """Check a batch; True where `verify` would have accepted."""
        ...

    def random(self, size: int) -> bytes:
        """Entropy enters the core here, and only here."""
        ...

    def agree_begin(self) -> AgreeSecret:
        """Make a fresh hybrid key pair for one handshake."""
        ...

    def agree_reply(self, request: bytes) -> tuple[bytes, bytes]:
        """Answer a request: (1120-byte reply, 64-byte shared secret).

        Raises:
            PeerError: wrong length, a non-canonical encapsulation key (FIPS 203
                section 7.2), or an X25519 result of all zeros.
        """
        ...

    def aead(self, key: bytes) -> Aead:
        """A ChaCha20-Poly1305 under ``key`` (32 bytes)."""
        ...


_LABELS: Final = {d: len(d.value).to_bytes(8, "big") + d.value for d in Domain}


def digest(domain: Domain, *parts: bytes) -> bytes:
    """SHA-256 over a label and parts, each length-prefixed, so none can slide."""
    h = hashlib.sha256(_LABELS[domain])
    for part in parts:
        h.update(len(part).to_bytes(8, "big"))
        h.update(part)
    return h.digest()


def key_id(public_key: bytes, suite_id: int = SUITE_1) -> KeyId:
    """The 32-byte reference by which batches and acts name a key."""
    return KeyId(digest(Domain.KEY_ID, suite_id.to_bytes(2, "big"), public_key))
