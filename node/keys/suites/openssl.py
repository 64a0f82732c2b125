"""The provider that is always there: OpenSSL, by way of pyca's `cryptography`."""

import attrs
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import (
    MLDSA65PrivateKey,
    MLDSA65PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.mlkem import (
    MLKEM768PrivateKey,
    MLKEM768PublicKey,
)

from gossip.errors import PeerError
from node.keys.suites.hybrid import HybridSuite


@attrs.frozen
class _Public:
    _key: MLDSA65PublicKey = attrs.field(repr=False)

    def verify(self, message: bytes, signature: bytes, context: bytes) -> bool:
        try:
            self._key.verify(signature, message, context)
        except (InvalidSignature, ValueError):  # ValueError: an undecodable one
            return False
        return True


@attrs.frozen
class _Secret:
    _key: MLDSA65PrivateKey = attrs.field(repr=False)
    public_key: bytes = attrs.field(repr=False)

    def sign(self, message: bytes, context: bytes) -> bytes:
        return self._key.sign(message, context)


@attrs.frozen
class _KemSecret:
    _key: MLKEM768PrivateKey = attrs.field(repr=False)
    encapsulation_key: bytes = attrs.field(repr=False)

    def decapsulate(self, ciphertext: bytes) -> bytes:
        return self._key.decapsulate(ciphertext)


class OpensslLattice:
    """ML-DSA-65 and ML-KEM-768 by OpenSSL; see `lattice.Lattice`."""

    name = "openssl"

    def mldsa_public(self, public_key: bytes) -> _Public:
        try:
            return _Public(MLDSA65PublicKey.from_public_bytes(public_key))
        except ValueError as error:
            raise PeerError("an ML-DSA-65 key that OpenSSL refuses") from error

    def mldsa_secret(self, seed: bytes) -> _Secret:
        key = MLDSA65PrivateKey.from_seed_bytes(seed)
        return _Secret(key, key.public_key().public_bytes_raw())

    def mlkem_secret(self, seed: bytes) -> _KemSecret:
        key = MLKEM768PrivateKey.from_seed_bytes(seed)
        return _KemSecret(key, key.public_key().public_bytes_raw())

    def mlkem_encapsulate(self, encapsulation_key: bytes) -> tuple[bytes, bytes]:
        try:
            key = MLKEM768PublicKey.from_public_bytes(encapsulation_key)
        except ValueError as error:
            raise PeerError("an ML-KEM-768 key with coefficients above q") from error
        secret, ciphertext = key.encapsulate()
        return ciphertext, secret


class OpensslSuite(HybridSuite):
    """Suite 1 on OpenSSL."""

    def __init__(self) -> None:
        super().__init__(OpensslLattice())
