"""Shared keys: what a request for a tool at level `pqc-session` is authenticated by.

::

    agent's node                                          provider
    secret ──HPKE (X-Wing) to the provider──▶ sealed ──▶ the same secret
    offer = sealed, for whom, until when; signed by agent and node
    key = H(secret, offer)                                the same key
    HMAC(key, body) ─────────────────────────────────────▶ verified

The offer rides in each envelope under it, so neither side can have lost it. Whoever
can verify such a request could have made it: it proves nothing to anybody else, and
where a hostile rule might speak it is not taken. Byte for byte in
``docs/reference/envelope.md``.
"""

import hmac
from collections.abc import Callable
from typing import Final, TypeAlias

import attrs

from enforcement import limits
from enforcement.principal import Principal
from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.suite import SIGNATURE_BYTES, Suite, digest
from gossip.units import (
    ID_BYTES,
    UNIX_MS_MAX,
    AgentId,
    ClusterId,
    KeyId,
    NodeId,
    UnixMs,
)
from gossip.wire import pack, take_bytes, take_int, take_list, unpack_untrusted

SECRET_BYTES: Final = 32
MAC_BYTES: Final = 32
SEALED_BYTES: Final = 1_088 + 32 + SECRET_BYTES + 16
"""ML-KEM-768 ciphertext, X25519 public key, the secret and AES-GCM's tag."""
OFFER_BYTES_MAX: Final = 2 * SIGNATURE_BYTES + 2_048
_VERSION: Final = 1
_BODY_BYTES_MAX: Final = 2_048

Unseal: TypeAlias = Callable[[bytes, NodeId], bytes | None]
"""Opens what a node sealed to this one; None if that was not done."""
FindReader: TypeAlias = Callable[[NodeId], bytes | None]


@attrs.frozen(kw_only=True)
class Offer:
    """What agent and node sign of a key that they share with one provider.

    Attributes:
        key: Reference to the node's operational key that signs.
        cert: Digest of the agent's certificate.
        audience: The provider; nobody else can open ``sealed``.
        sealed: `SEALED_BYTES`.
    """

    cluster: ClusterId = attrs.field(repr=bytes.hex)
    node: NodeId = attrs.field(repr=bytes.hex)
    agent: AgentId = attrs.field(repr=bytes.hex)
    key: KeyId = attrs.field(repr=bytes.hex)
    cert: bytes = attrs.field(repr=bytes.hex)
    audience: NodeId = attrs.field(repr=bytes.hex)
    issued_at_ms: UnixMs
    sealed: bytes = attrs.field(repr=False)


def write_offer_body(offer: Offer) -> bytes:
    """The bytes that are signed."""
    return pack(
        [
            _VERSION,
            offer.cluster,
            offer.node,
            offer.agent,
            offer.key,
            offer.cert,
            offer.audience,
            offer.issued_at_ms,
            offer.sealed,
        ]
    )


def write_offer(body: bytes, by_agent: bytes, by_node: bytes) -> bytes:
    """What travels in envelopes: the body and both signatures."""
    return pack([body, by_agent, by_node])


def derive_key(secret: bytes, offer_body: bytes) -> bytes:
    """The key of 32 bytes: it means this one offer, whoever else saw the secret."""
    return digest(Domain.SHARED_KEY, secret, offer_body)


def mac_of(key: bytes, body: bytes) -> bytes:
    """HMAC-SHA256 (RFC 2104) of an envelope's body."""
    return hmac.digest(key, body, "sha256")


@attrs.define
class SharedKeys:
    """The keys that other nodes share with this one. One object for all gates.

    Attributes:
        unseal: Opens with this node's own key; opens nothing until it is there.
        find_reader: A provider's public key to seal to, if it has told it.
    """

    unseal: Unseal = lambda sealed, author: None
    find_reader: FindReader = lambda provider: None
    _known: dict[bytes, tuple[Offer, bytes]] = attrs.field(
        init=False, factory=dict, repr=False
    )

    def check_untrusted(
        self,
        body: bytes,
        mac: bytes,
        offered: bytes,
        principal: Principal,
        cluster: ClusterId,
        audience: NodeId,
        suite: Suite,
        now_ms: UnixMs,
    ) -> bool:
        """Check that ``principal`` offered this node the key that ``mac`` is under.

        Returns False if the key cannot be opened here: nobody need be at fault.

        Raises:
            PeerError: it did not, or the offer is not in force, or of other bytes.
        """
        known = self._known.get(offered)
        offer, key = known or _open_untrusted(offered, principal, suite, self.unseal)
        if (offer.cluster, offer.audience) != (cluster, audience):
            raise PeerError("the key is shared with another node")
        if (offer.node, offer.agent) != (principal.node, principal.agent):
            raise PeerError("the key is another agent's or node's")
        if (offer.key, offer.cert) != (principal.chain.key, principal.cert_digest):
            raise PeerError("the key is shared under another certificate")
        age_ms = now_ms - offer.issued_at_ms
        if not -limits.FRESH_MS_MAX <= age_ms <= limits.OFFER_MS_MAX:
            raise PeerError("the key was shared too long ago, or in the future")
        if not key:
            return False
        if not hmac.compare_digest(mac_of(key, body), mac):
            raise PeerError("the request is not under the key that it names")
        self._known[offered] = offer, key
        while len(self._known) > limits.SHARED_KEYS_MAX:
            del self._known[next(iter(self._known))]
        return True


def _open_untrusted(
    offered: bytes, principal: Principal, suite: Suite, unseal: Unseal
) -> tuple[Offer, bytes]:
    parts = take_list(unpack_untrusted(offered, OFFER_BYTES_MAX), 3, 3)
    body = take_bytes(parts[0], 1, _BODY_BYTES_MAX)
    offer = read_offer_body_untrusted(body)
    for part, public_key, context in (
        (parts[1], principal.cert.public_key, Domain.OFFER_AGENT),
        (parts[2], principal.chain.operational, Domain.OFFER_NODE),
    ):
        signature = take_bytes(part, SIGNATURE_BYTES, SIGNATURE_BYTES)
        suite.verify(public_key, body, signature, context)
    secret = unseal(offer.sealed, offer.node)
    return offer, b"" if secret is None else derive_key(secret, body)


def read_offer_body_untrusted(data: bytes) -> Offer:
    """Read an offer's body; says nothing about its signatures.

    Raises:
        PeerError: malformed.
    """
    fields = take_list(unpack_untrusted(data, _BODY_BYTES_MAX), 9, 9)
    take_int(fields[0], _VERSION, _VERSION)
    ids = [take_bytes(fields[i], ID_BYTES, ID_BYTES) for i in range(1, 7)]
    return Offer(
        cluster=ClusterId(ids[0]),
        node=NodeId(ids[1]),
        agent=AgentId(ids[2]),
        key=KeyId(ids[3]),
        cert=ids[4],
        audience=NodeId(ids[5]),
        issued_at_ms=UnixMs(take_int(fields[7], 0, UNIX_MS_MAX)),
        sealed=take_bytes(fields[8], SEALED_BYTES, SEALED_BYTES),
    )
