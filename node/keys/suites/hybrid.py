"""Suite 1 around any lattice provider: composites, hybrids, and every check.

    composite signature   ML-DSA-65 (3309) || Ed25519 (64), both over
        M' = prefix || label || len(ctx) || ctx || SHA-512(M)
    hybrid agreement      ML-KEM-768 secret (32) || X25519 secret (32)

id-MLDSA65-Ed25519-SHA512 of draft-ietf-lamps-pq-composite-sigs; ctx is the
`Domain`. Whatever a peer may send is refused here by length and by value, the
same for each provider, before a provider sees it.
"""

import hashlib
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from gossip.domains import Domain
from gossip.errors import LocalError, PeerError
from gossip.suite import (
    AEAD_KEY_BYTES,
    AEAD_NONCE_BYTES,
    AGREE_REPLY_BYTES,
    AGREE_REQUEST_BYTES,
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    SIGNING_SEED_BYTES,
    SUITE_1,
    Claim,
)
from node.keys.suites.ed25519 import Ed25519Public
from node.keys.suites.lattice import (
    MLDSA_PUBLIC_BYTES,
    MLDSA_SEED_BYTES,
    MLDSA_SIGNATURE_BYTES,
    MLKEM_SEED_BYTES,
    Lattice,
    MldsaPublic,
    MldsaSecret,
    MlkemSecret,
)

_PREFIX: Final = b"CompositeAlgorithmSignatures2025"
LABEL: Final = b"COMPSIG-MLDSA65-Ed25519-SHA512"
_RHO_BYTES: Final = 32
_CONTEXT_BYTES_MAX: Final = 255
_X25519_BYTES: Final = 32
RANDOM_BYTES_MAX: Final = 2**16
PARSED_KEYS_MAX: Final = 1024


def representative(message: bytes, context: bytes) -> bytes:
    """M' of the composite draft: what both halves sign.

    Raises:
        LocalError: the context is longer than 255 bytes.
    """
    if len(context) > _CONTEXT_BYTES_MAX:
        raise LocalError(f"a signature context of {len(context)} bytes, not 0..255")
    digest = hashlib.sha512(message).digest()
    return b"".join((_PREFIX, LABEL, bytes((len(context),)), context, digest))


@attrs.frozen
class ParsedKey:
    """Both halves, checked and parsed once."""

    mldsa: MldsaPublic = attrs.field(repr=False)
    ed25519: Ed25519Public = attrs.field(repr=False)

    def verifies(self, message: bytes, signature: bytes, context: bytes) -> bool:
        if len(signature) != SIGNATURE_BYTES:
            return False
        signed = representative(message, context)
        return self.mldsa.verify(
            signed, signature[:MLDSA_SIGNATURE_BYTES], LABEL
        ) and self.ed25519.verify(signed, signature[MLDSA_SIGNATURE_BYTES:])


@attrs.frozen
class HybridSigningKey:
    """A composite secret key; see `gossip.suite.SigningKey`."""

    public_key: bytes = attrs.field(repr=False)
    _mldsa: MldsaSecret = attrs.field(repr=False)
    _ed25519: Ed25519PrivateKey = attrs.field(repr=False)

    def __repr__(self) -> str:
        return "HybridSigningKey(<SECRET>)"

    def sign(self, message: bytes, context: Domain) -> bytes:
        signed = representative(message, context.value)
        return self._mldsa.sign(signed, LABEL) + self._ed25519.sign(signed)


class HybridAgreeSecret:
    """The initiator's half of one agreement; see `gossip.suite.AgreeSecret`."""

    def __init__(self, mlkem: MlkemSecret, x25519: X25519PrivateKey) -> None:
        self.request = x25519.public_key().public_bytes_raw() + mlkem.encapsulation_key
        self._secrets: tuple[MlkemSecret, X25519PrivateKey] | None = (mlkem, x25519)

    def __repr__(self) -> str:
        return "HybridAgreeSecret(<SECRET>)"

    def finish(self, reply: bytes) -> bytes:
        if self._secrets is None:
            raise LocalError("a key agreement is finished once only")
        if len(reply) != AGREE_REPLY_BYTES:
            raise PeerError(f"a key agreement reply of {len(reply)} bytes")
        (mlkem, x25519), self._secrets = self._secrets, None
        classical = _exchange(x25519, reply[:_X25519_BYTES])
        return mlkem.decapsulate(reply[_X25519_BYTES:]) + classical


class HybridAead:
    """ChaCha20-Poly1305 under one key; see `gossip.suite.Aead`."""

    def __init__(self, key: bytes) -> None:
        if len(key) != AEAD_KEY_BYTES:
            raise LocalError(f"an AEAD key of {len(key)} bytes, not 32")
        self._cipher = ChaCha20Poly1305(key)

    def __repr__(self) -> str:
        return "HybridAead(<SECRET>)"

    def seal(self, nonce: bytes, plaintext: bytes, header: bytes) -> bytes:
        _check_nonce(nonce)
        return self._cipher.encrypt(nonce, plaintext, header)

    def open(self, nonce: bytes, sealed: bytes, header: bytes) -> bytes:
        _check_nonce(nonce)
        try:
            return self._cipher.decrypt(nonce, sealed, header)
        except InvalidTag as error:
            raise PeerError("a sealed frame that does not open") from error


class HybridSuite:
    """Suite 1 on one provider; see `gossip.suite.Suite`."""

    suite_id = SUITE_1

    def __init__(self, lattice: Lattice) -> None:
        self.lattice = lattice
        # Node keys repeat from batch to batch, and parsing one costs a third
        # of a verification.
        self.parsed = lru_cache(maxsize=PARSED_KEYS_MAX)(self._parse)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    @property
    def provider(self) -> str:
        return self.lattice.name

    def check_public_key(self, public_key: bytes) -> None:
        self.parsed(public_key)

    def verify(
        self, public_key: bytes, message: bytes, signature: bytes, context: Domain
    ) -> None:
        key = self.parsed(public_key)
        if not key.verifies(message, signature, context.value):
            raise PeerError("a signature that does not verify")

    def verify_many(self, claims: Sequence[Claim]) -> list[bool]:
        return [self._holds(claim) for claim in claims]

    def random(self, size: int) -> bytes:
        if not 0 <= size <= RANDOM_BYTES_MAX:
            raise LocalError(f"{size} random bytes, not 0..{RANDOM_BYTES_MAX}")
        return os.urandom(size)

    def agree_begin(self) -> HybridAgreeSecret:
        mlkem = self.lattice.mlkem_secret(os.urandom(MLKEM_SEED_BYTES))
        return HybridAgreeSecret(mlkem, X25519PrivateKey.generate())

    def agree_reply(self, request: bytes) -> tuple[bytes, bytes]:
        if len(request) != AGREE_REQUEST_BYTES:
            raise PeerError(f"a key agreement request of {len(request)} bytes")
        x25519 = X25519PrivateKey.generate()
        classical = _exchange(x25519, request[:_X25519_BYTES])
        ciphertext, secret = self.lattice.mlkem_encapsulate(request[_X25519_BYTES:])
        return x25519.public_key().public_bytes_raw() + ciphertext, secret + classical

    def aead(self, key: bytes) -> HybridAead:
        return HybridAead(key)

    def generate_seed(self) -> bytes:
        """A fresh 64-byte signing seed; this is what a keystore keeps."""
        return os.urandom(SIGNING_SEED_BYTES)

    def signing_key_from_seed(self, seed: bytes) -> HybridSigningKey:
        """Expand ML-DSA seed (32) || Ed25519 seed (32).

        Raises:
            LocalError: the seed is not 64 bytes.
        """
        if len(seed) != SIGNING_SEED_BYTES:
            raise LocalError(f"a signing seed of {len(seed)} bytes, not 64")
        mldsa = self.lattice.mldsa_secret(seed[:MLDSA_SEED_BYTES])
        ed25519 = Ed25519PrivateKey.from_private_bytes(seed[MLDSA_SEED_BYTES:])
        public_key = mldsa.public_key + ed25519.public_key().public_bytes_raw()
        return HybridSigningKey(public_key, mldsa, ed25519)

    def _parse(self, public_key: bytes) -> ParsedKey:
        if len(public_key) != PUBLIC_KEY_BYTES:
            raise PeerError(f"a public key of {len(public_key)} bytes")
        lattice, ed25519 = (
            public_key[:MLDSA_PUBLIC_BYTES],
            public_key[MLDSA_PUBLIC_BYTES:],
        )
        _check_t1(lattice[_RHO_BYTES:])
        ed25519_key = Ed25519Public.read_untrusted(ed25519)
        return ParsedKey(self.lattice.mldsa_public(lattice), ed25519_key)

    def _holds(self, claim: Claim) -> bool:
        try:
            key = self.parsed(claim.public_key)
        except PeerError:
            return False
        return key.verifies(claim.message, claim.signature, claim.context.value)


def _check_t1(t1: bytes) -> None:
    """Refuse the two vectors t1 under which anybody can sign.

    With t1 = 0 the secret drops out of the verification equation; with all
    coefficients 1023, t1 * 2^13 = -1 modulo q, and the hints absorb it. These
    are what zeroed and erased memory look like.
    """
    if not any(t1) or t1.count(0xFF) == len(t1):
        raise PeerError("an ML-DSA-65 key that is all zeros or all ones")


def _exchange(secret: X25519PrivateKey, public_key: bytes) -> bytes:
    try:
        return secret.exchange(X25519PublicKey.from_public_bytes(public_key))
    except ValueError as error:
        raise PeerError("an X25519 key of small order") from error


def _check_nonce(nonce: bytes) -> None:
    if len(nonce) != AEAD_NONCE_BYTES:
        raise LocalError(f"an AEAD nonce of {len(nonce)} bytes, not 12")
