"""Ed25519 signatures checked: quickly by libsodium, and if in doubt by OpenSSL.

libsodium takes two thirds of the time, and lets go of the interpreter meanwhile,
which pyca's `cryptography` does not for Ed25519. Both compare the encodings of R
(RFC 8032, section 5.1.7, without the cofactor) and want S below L; but libsodium also
refuses an R of small order. Nodes must agree about what is a proof, whichever version
they run, so what libsodium refuses OpenSSL judges.
"""

import attrs
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from node.keys.suites.edwards import check_ed25519_public


@attrs.frozen
class Ed25519Public:
    """A public key that was checked."""

    _raw: bytes = attrs.field(repr=bytes.hex)
    _judge: Ed25519PublicKey = attrs.field(repr=False)

    @classmethod
    def read_untrusted(cls, raw: bytes) -> "Ed25519Public":
        """Raises `PeerError`; see `check_ed25519_public`."""
        check_ed25519_public(raw)
        return cls(raw, Ed25519PublicKey.from_public_bytes(raw))

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether this 64-byte signature is this key's."""
        try:
            crypto_sign_open(signature + message, self._raw)
        except BadSignatureError:
            return self._judged(message, signature)
        return True

    def _judged(self, message: bytes, signature: bytes) -> bool:
        try:
            self._judge.verify(signature, message)
        except InvalidSignature:
            return False
        return True
