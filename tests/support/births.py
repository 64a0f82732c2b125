"""Nodes for tests: a whole chain of keys from three fresh seeds."""

import attrs

from gossip import limits
from gossip.domains import Domain
from gossip.membership.identity import (
    Chain,
    certify,
    encode_chain,
    read_chain_untrusted,
)
from gossip.units import NodeId, UnixMs
from node.keys.suites.hybrid import HybridSigningKey
from node.keys.suites.openssl import OpensslSuite

SUITE = OpensslSuite()
NOW = UnixMs(1_800_000_000_000)


@attrs.frozen
class Newborn:
    """One node: what it shows, and the key it signs with."""

    chain: Chain
    signing_key: HybridSigningKey
    root: HybridSigningKey = attrs.field(repr=False)
    renewal: HybridSigningKey = attrs.field(repr=False)
    renewal_cert: bytes = attrs.field(repr=False)

    @property
    def node(self) -> NodeId:
        return self.chain.node

    def rotated(self, now_ms: UnixMs = NOW) -> "Newborn":
        """The same node with its next operational key."""
        return _with_operational(self.root, self.renewal, self.renewal_cert, now_ms)


def newborn(now_ms: UnixMs = NOW) -> Newborn:
    """A node nobody has met before, valid at ``now_ms``."""
    root, renewal = _key(), _key()
    cert = certify(
        root,
        Domain.RENEWAL_CERT,
        renewal.public_key,
        now_ms,
        UnixMs(now_ms + limits.RENEWAL_LIFE_MS),
    )
    return _with_operational(root, renewal, cert, now_ms)


def _with_operational(
    root: HybridSigningKey,
    renewal: HybridSigningKey,
    renewal_cert: bytes,
    now_ms: UnixMs,
) -> Newborn:
    operational = _key()
    cert = certify(
        renewal,
        Domain.OPERATIONAL_CERT,
        operational.public_key,
        now_ms,
        UnixMs(now_ms + limits.OPERATIONAL_LIFE_MS),
    )
    encoded = encode_chain(root.public_key, renewal_cert, cert)
    chain = read_chain_untrusted(encoded, SUITE)
    return Newborn(chain, operational, root, renewal, renewal_cert)


def _key() -> HybridSigningKey:
    return SUITE.signing_key_from_seed(SUITE.generate_seed())
