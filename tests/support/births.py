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
from gossip.suite import SigningKey
from gossip.units import NodeId, UnixMs
from node.keys.suites.openssl import OpensslSuite
from node.keys.suites.registry import SuiteWithKeys

SUITE: SuiteWithKeys = OpensslSuite()
NOW = UnixMs(1_800_000_000_000)


@attrs.frozen
class Newborn:
    """One node: what it shows, and the key it signs with."""

    chain: Chain
    signing_key: SigningKey
    root: SigningKey = attrs.field(repr=False)
    renewal: SigningKey = attrs.field(repr=False)
    renewal_cert: bytes = attrs.field(repr=False)
    suite: SuiteWithKeys = attrs.field(repr=False)

    @property
    def node(self) -> NodeId:
        return self.chain.node

    def rotated(self, now_ms: UnixMs = NOW) -> "Newborn":
        """The same node with its next operational key."""
        return _with_operational(
            self.suite, self.root, self.renewal, self.renewal_cert, now_ms
        )


def newborn(now_ms: UnixMs = NOW, suite: SuiteWithKeys = SUITE) -> Newborn:
    """A node nobody has met before, valid at ``now_ms``."""
    root, renewal = _key(suite), _key(suite)
    cert = certify(
        root,
        Domain.RENEWAL_CERT,
        renewal.public_key,
        now_ms,
        UnixMs(now_ms + limits.RENEWAL_LIFE_MS),
    )
    return _with_operational(suite, root, renewal, cert, now_ms)


def _with_operational(
    suite: SuiteWithKeys,
    root: SigningKey,
    renewal: SigningKey,
    renewal_cert: bytes,
    now_ms: UnixMs,
) -> Newborn:
    operational = _key(suite)
    cert = certify(
        renewal,
        Domain.OPERATIONAL_CERT,
        operational.public_key,
        now_ms,
        UnixMs(now_ms + limits.OPERATIONAL_LIFE_MS),
    )
    encoded = encode_chain(root.public_key, renewal_cert, cert)
    chain = read_chain_untrusted(encoded, suite)
    return Newborn(chain, operational, root, renewal, renewal_cert, suite)


def _key(suite: SuiteWithKeys) -> SigningKey:
    return suite.signing_key_from_seed(suite.generate_seed())
