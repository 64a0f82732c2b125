"""Sealed entries: everybody carries them, only the nodes they are meant for can read.

::

    content key ──▶ one box: AES-256-GCM over the padded body
                └─▶ one slot a reader: HPKE with X-Wing (ML-KEM-768 and X25519)

Slots name nobody, so who may read shows only in how many there are; each node tries
them all with its own key. Box and slots are bound to cluster and author.
"""

from collections.abc import Sequence
from typing import Final

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import (
    MLKEM768PrivateKey,
    MLKEM768PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gossip.errors import LocalError, PeerError
from gossip.limits import ENTRY_BODY_BYTES_MAX
from gossip.suite import Suite
from gossip.units import ClusterId, NodeId
from gossip.wire import Value, pack, take_bytes, take_int, take_list, unpack_untrusted
from node.keys.keystore import Keystore

SEED_BYTES: Final = 96
PUBLIC_BYTES: Final = 1_184 + 32
READERS_MAX: Final = 16
BOX_BYTES_MAX: Final = 32_768
"""What one entry holds beside slots for `READERS_MAX` readers."""
_KEY_BYTES: Final = 32
_SLOT_BYTES: Final = 1_088 + 32 + _KEY_BYTES + 16
_PAD_BYTES: Final = 4_096
_VERSION: Final = 1
_INFO: Final = b"picket sealed entry v1"
_SECRET_INFO: Final = b"picket sealed secret v1"
_NAME: Final = "sealing"
_HPKE: Final = hpke.Suite(
    hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM
)


@attrs.frozen
class SealingKey:
    """This node's key for what is sealed to it."""

    _private: hpke.MLKEM768X25519PrivateKey = attrs.field(repr=False)
    public: bytes = attrs.field(repr=False)

    @classmethod
    def of_seed(cls, seed: bytes) -> "SealingKey":
        """The key of 64 bytes for ML-KEM-768 and 32 for X25519."""
        lattice = MLKEM768PrivateKey.from_seed_bytes(seed[:64])
        curve = X25519PrivateKey.from_private_bytes(seed[64:])
        public = lattice.public_key().public_bytes_raw()
        public += curve.public_key().public_bytes_raw()
        return cls(hpke.MLKEM768X25519PrivateKey(lattice, curve), public)

    @classmethod
    def of_store(cls, keys: Keystore, suite: Suite) -> "SealingKey":
        """This node's, made when it is first asked for.

        Raises:
            UserError: the keystore cannot be read or written.
        """
        if not keys.has(_NAME):
            keys.store(_NAME, suite.random(SEED_BYTES))
        return cls.of_seed(keys.load(_NAME, SEED_BYTES))

    def open_untrusted(
        self, body: bytes, cluster: ClusterId, author: NodeId
    ) -> bytes | None:
        """What `seal` sealed; None if it is not meant for this node.

        Raises:
            PeerError: malformed, or changed on its way.
        """
        fields = take_list(unpack_untrusted(body, ENTRY_BODY_BYTES_MAX), 3, 3)
        take_int(fields[0], _VERSION, _VERSION)
        slots = [
            take_bytes(slot, _SLOT_BYTES, _SLOT_BYTES)
            for slot in take_list(fields[1], 1, READERS_MAX)
        ]
        box = take_bytes(fields[2], 16 + _PAD_BYTES, BOX_BYTES_MAX + 16)
        info = _INFO + cluster + author
        for slot in slots:
            try:
                key = _HPKE.decrypt(slot, self._private, info)
            except (InvalidTag, ValueError):
                continue
            return _open_box(key, box, info, slots)
        return None

    def open_secret_untrusted(
        self, sealed: bytes, cluster: ClusterId, author: NodeId
    ) -> bytes | None:
        """What `seal_secret` sealed; None if it is not to this node, or changed."""
        try:
            return _HPKE.decrypt(sealed, self._private, _SECRET_INFO + cluster + author)
        except (InvalidTag, ValueError):
            return None


def seal(
    plain: bytes,
    readers: Sequence[bytes],
    cluster: ClusterId,
    author: NodeId,
    suite: Suite,
) -> bytes:
    """Seal a body to the nodes with these public keys.

    Raises:
        LocalError: too long, or too many readers.
        PeerError: a public key is none.
    """
    if len(plain) + 4 > BOX_BYTES_MAX or not 1 <= len(readers) <= READERS_MAX:
        raise LocalError("more than one sealed entry holds")
    info = _INFO + cluster + author
    key = suite.random(_KEY_BYTES)
    slots = [_HPKE.encrypt(key, _public(reader), info) for reader in sorted(readers)]
    size = -(-(len(plain) + 4) // _PAD_BYTES) * _PAD_BYTES
    padded = (len(plain).to_bytes(4, "big") + plain).ljust(size, b"\0")
    # The key is drawn for this one box, so its nonce may be fixed.
    box = AESGCM(key).encrypt(bytes(12), padded, info + b"".join(slots))
    listed: list[Value] = [*slots]
    return pack([_VERSION, listed, box])


def seal_secret(
    secret: bytes, reader: bytes, cluster: ClusterId, author: NodeId
) -> bytes:
    """Seal 32 bytes to one node: what a shared key is made of.

    Raises:
        PeerError: the public key is none.
    """
    try:
        return _HPKE.encrypt(secret, _public(reader), _SECRET_INFO + cluster + author)
    except ValueError as wrong:
        raise PeerError("no public key to seal to") from wrong


def write_public(key: SealingKey) -> bytes:
    """The body of the entry that tells everybody how to seal to this node."""
    return pack([_VERSION, key.public])


def read_public_untrusted(body: bytes) -> bytes:
    """Read what `write_public` wrote.

    Raises:
        PeerError: malformed, or no such key.
    """
    fields = take_list(unpack_untrusted(body, ENTRY_BODY_BYTES_MAX), 2, 2)
    take_int(fields[0], _VERSION, _VERSION)
    public = take_bytes(fields[1], PUBLIC_BYTES, PUBLIC_BYTES)
    try:
        _HPKE.encrypt(b"", _public(public), _INFO)  # a point that agrees on nothing?
    except ValueError as wrong:
        raise PeerError("no public key to seal to") from wrong
    return public


def _public(data: bytes) -> hpke.MLKEM768X25519PublicKey:
    try:
        lattice = MLKEM768PublicKey.from_public_bytes(data[:1_184])
        curve = X25519PublicKey.from_public_bytes(data[1_184:])
        return hpke.MLKEM768X25519PublicKey(lattice, curve)
    except ValueError as wrong:
        raise PeerError("no public key to seal to") from wrong


def _open_box(key: bytes, box: bytes, info: bytes, slots: Sequence[bytes]) -> bytes:
    try:
        padded = AESGCM(key).decrypt(bytes(12), box, info + b"".join(slots))
    except (InvalidTag, ValueError) as wrong:
        raise PeerError("a sealed entry was changed on its way") from wrong
    size = int.from_bytes(padded[:4], "big")
    if size > len(padded) - 4:
        raise PeerError("a sealed entry is cut short")
    return padded[4 : 4 + size]
