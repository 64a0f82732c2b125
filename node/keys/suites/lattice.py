"""The seam between suite 1 and a provider: ML-DSA-65 and ML-KEM-768, bare.

A provider does lattice arithmetic and nothing else; the composite, X25519,
Ed25519 and ChaCha20-Poly1305 around it are one code (`hybrid`), so that two
providers cannot drift apart. Everything here trusts the lengths it is given:
`hybrid` checks them once, before any provider sees a byte.
"""

from typing import Final, Protocol

MLDSA_PUBLIC_BYTES: Final = 1952
MLDSA_SIGNATURE_BYTES: Final = 3309
MLDSA_SEED_BYTES: Final = 32
MLKEM_ENCAPSULATION_KEY_BYTES: Final = 1184
MLKEM_CIPHERTEXT_BYTES: Final = 1088
MLKEM_SEED_BYTES: Final = 64
MLKEM_SECRET_BYTES: Final = 32


class MldsaPublic(Protocol):
    """A parsed ML-DSA-65 public key (FIPS 204)."""

    def verify(self, message: bytes, signature: bytes, context: bytes) -> bool:
        """Check a 3309-byte signature; never raises for what a peer sent."""
        ...


class MldsaSecret(Protocol):
    """An ML-DSA-65 secret key, expanded from its 32-byte seed."""

    @property
    def public_key(self) -> bytes:
        """The 1952-byte public key."""
        ...

    def sign(self, message: bytes, context: bytes) -> bytes:
        """Sign, randomised; returns 3309 bytes."""
        ...


class MlkemSecret(Protocol):
    """An ML-KEM-768 decapsulation key (FIPS 203)."""

    @property
    def encapsulation_key(self) -> bytes:
        """The 1184-byte encapsulation key."""
        ...

    def decapsulate(self, ciphertext: bytes) -> bytes:
        """Open 1088 bytes; returns 32, pseudo-random ones for a forgery."""
        ...


class Lattice(Protocol):
    """One provider's arithmetic."""

    @property
    def name(self) -> str:
        """``openssl`` or ``liboqs``."""
        ...

    def mldsa_public(self, public_key: bytes) -> MldsaPublic:
        """Parse 1952 bytes.

        Raises:
            PeerError: the provider refuses the key.
        """
        ...

    def mldsa_secret(self, seed: bytes) -> MldsaSecret:
        """Expand a 32-byte seed (FIPS 204, algorithm 6)."""
        ...

    def mlkem_secret(self, seed: bytes) -> MlkemSecret:
        """Expand a 64-byte seed d || z (FIPS 203, algorithm 16)."""
        ...

    def mlkem_encapsulate(self, encapsulation_key: bytes) -> tuple[bytes, bytes]:
        """Encapsulate: (1088-byte ciphertext, 32-byte shared secret).

        Raises:
            PeerError: a coefficient of the key is not below q (FIPS 203,
                section 7.2).
        """
        ...
