"""Who a node and its agents are: keys, the chain that certifies them, ids.

::

    root ──signs──▶ renewal ──signs──▶ operational ──signs──▶ agent
    offline         90 days            24 hours               with its node's key

A node's id is a digest of its root key, so it outlives every rotation. Whoever
is shown the chain needs nothing else to know which node a key speaks for.
"""

import attrs

from gossip import limits
from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.suite import (
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    SUITE_1,
    SigningKey,
    Suite,
    digest,
    key_id,
)
from gossip.units import ID_BYTES, UNIX_MS_MAX, AgentId, KeyId, NodeId, UnixMs
from gossip.wire import (
    Value,
    pack,
    take_bytes,
    take_int,
    take_list,
    take_str,
    unpack_untrusted,
)

_VERSION = 1
_SUITE = SUITE_1.to_bytes(2, "big")
_AGENT_CERT_BYTES_MAX = 16_384


def node_id(root_public_key: bytes) -> NodeId:
    """The id of the node whose root key this is."""
    return NodeId(digest(Domain.NODE_ID, _SUITE, root_public_key))


def agent_id(public_key: bytes) -> AgentId:
    """The id of the agent whose key this is."""
    return AgentId(digest(Domain.AGENT_ID, _SUITE, public_key))


@attrs.frozen(kw_only=True)
class Chain:
    """A node's keys as another node sees them, every signature verified.

    Attributes:
        node: Digest of the root key.
        operational: The 1984-byte key that signs batches, requests and links.
        not_before_ms, not_after_ms: When the operational key may sign, Unix ms.
        encoded: The bytes it was read from; what links and feeds carry.
    """

    node: NodeId = attrs.field(repr=bytes.hex)
    operational: bytes = attrs.field(repr=False)
    not_before_ms: UnixMs
    not_after_ms: UnixMs
    encoded: bytes = attrs.field(repr=False)

    @property
    def key(self) -> KeyId:
        """How batches and envelopes refer to the operational key."""
        return key_id(self.operational)

    def covers(self, at_ms: int, slack_ms: int = limits.FUTURE_MS_MAX) -> bool:
        """Whether the operational key may have signed something at ``at_ms``."""
        return self.not_before_ms - slack_ms <= at_ms <= self.not_after_ms

    def joined(self, other: "Chain") -> "Chain":
        """The life that two chains of one key give it together, in any order."""
        longer = max(self, other, key=lambda c: (c.not_after_ms, c.encoded))
        begin = min(self.not_before_ms, other.not_before_ms)
        return attrs.evolve(longer, not_before_ms=begin)


def certify(
    issuer: SigningKey,
    context: Domain,
    public_key: bytes,
    not_before_ms: UnixMs,
    not_after_ms: UnixMs,
) -> bytes:
    """Let ``issuer`` vouch for a key; returns the certificate's bytes."""
    body = pack([_VERSION, SUITE_1, public_key, not_before_ms, not_after_ms])
    return pack([body, issuer.sign(body, context)])


def encode_chain(root_public_key: bytes, renewal: bytes, operational: bytes) -> bytes:
    """Join a root key and two certificates into what travels."""
    return pack([root_public_key, renewal, operational])


def read_chain_untrusted(data: bytes, suite: Suite) -> Chain:
    """Verify a chain. Says nothing about now: ask `Chain.covers`.

    Raises:
        PeerError: malformed, a signature fails, or a life is too long.
    """
    parts = take_list(unpack_untrusted(data, limits.CHAIN_BYTES_MAX), 3, 3)
    root = take_bytes(parts[0], PUBLIC_KEY_BYTES, PUBLIC_KEY_BYTES)
    renewal, r_from, r_to = _read_certificate(
        parts[1], suite, root, Domain.RENEWAL_CERT, limits.RENEWAL_LIFE_MS_MAX
    )
    operational, o_from, o_to = _read_certificate(
        parts[2],
        suite,
        renewal,
        Domain.OPERATIONAL_CERT,
        limits.OPERATIONAL_LIFE_MS_MAX,
    )
    suite.check_public_key(operational)
    return Chain(
        node=node_id(root),
        operational=operational,
        not_before_ms=max(r_from, o_from),
        not_after_ms=min(r_to, o_to),
        encoded=data,
    )


def _read_certificate(
    value: Value, suite: Suite, issuer: bytes, context: Domain, life_ms_max: int
) -> tuple[bytes, UnixMs, UnixMs]:
    data = take_bytes(value, 1, limits.CHAIN_BYTES_MAX)
    body_value, signature_value = take_list(
        unpack_untrusted(data, limits.CHAIN_BYTES_MAX), 2, 2
    )
    body = take_bytes(body_value, 1, limits.CHAIN_BYTES_MAX)
    signature = take_bytes(signature_value, SIGNATURE_BYTES, SIGNATURE_BYTES)
    fields = take_list(unpack_untrusted(body, limits.CHAIN_BYTES_MAX), 5, 5)
    take_int(fields[0], _VERSION, _VERSION)
    take_int(fields[1], SUITE_1, SUITE_1)
    key = take_bytes(fields[2], PUBLIC_KEY_BYTES, PUBLIC_KEY_BYTES)
    begin, end = _read_life(fields[3], fields[4], life_ms_max)
    suite.verify(issuer, body, signature, context)
    return key, begin, end


def _read_life(begin: Value, end: Value, life_ms_max: int) -> tuple[UnixMs, UnixMs]:
    begin_ms = take_int(begin, 0, UNIX_MS_MAX)
    end_ms = take_int(end, begin_ms, min(begin_ms + life_ms_max, UNIX_MS_MAX))
    return UnixMs(begin_ms), UnixMs(end_ms)


@attrs.frozen(kw_only=True)
class AgentCert:
    """What a node says of one of its agents, signature verified.

    Attributes:
        agent: Digest of the agent's key.
        node: The node that vouches; the agent may act only through it.
        roles: Sorted. Which ones a node may grant, the founders' file says.
        issuer: Reference to the operational key that signed.
        encoded: The bytes it was read from.
    """

    agent: AgentId = attrs.field(repr=bytes.hex)
    public_key: bytes = attrs.field(repr=False)
    node: NodeId = attrs.field(repr=bytes.hex)
    name: str
    roles: tuple[str, ...]
    not_before_ms: UnixMs
    not_after_ms: UnixMs
    issuer: KeyId = attrs.field(repr=bytes.hex)
    encoded: bytes = attrs.field(repr=False)

    def covers(self, at_ms: int, slack_ms: int = limits.FUTURE_MS_MAX) -> bool:
        """Whether the agent's key may have signed something at ``at_ms``."""
        return self.not_before_ms - slack_ms <= at_ms <= self.not_after_ms


def certify_agent(
    issuer: SigningKey,
    node: NodeId,
    public_key: bytes,
    name: str,
    roles: tuple[str, ...],
    not_before_ms: UnixMs,
    not_after_ms: UnixMs,
) -> bytes:
    """Let a node vouch for its agent; returns the certificate's bytes."""
    body = pack(
        [
            _VERSION,
            SUITE_1,
            public_key,
            node,
            name,
            [*sorted(set(roles))],
            not_before_ms,
            not_after_ms,
            key_id(issuer.public_key),
        ]
    )
    return pack([body, issuer.sign(body, Domain.AGENT_CERT)])


def read_agent_cert_untrusted(data: bytes, suite: Suite, chain: Chain) -> AgentCert:
    """Verify an agent's certificate against its node's chain.

    Raises:
        PeerError: malformed, not signed by this chain's operational key, or
            for another node.
    """
    parts = take_list(unpack_untrusted(data, _AGENT_CERT_BYTES_MAX), 2, 2)
    body = take_bytes(parts[0], 1, _AGENT_CERT_BYTES_MAX)
    signature = take_bytes(parts[1], SIGNATURE_BYTES, SIGNATURE_BYTES)
    fields = take_list(unpack_untrusted(body, _AGENT_CERT_BYTES_MAX), 9, 9)
    take_int(fields[0], _VERSION, _VERSION)
    take_int(fields[1], SUITE_1, SUITE_1)
    public_key = take_bytes(fields[2], PUBLIC_KEY_BYTES, PUBLIC_KEY_BYTES)
    node = NodeId(take_bytes(fields[3], ID_BYTES, ID_BYTES))
    name = take_str(fields[4], 1, limits.NAME_CHARS_MAX)
    roles = tuple(
        take_str(role, 1, limits.NAME_CHARS_MAX)
        for role in take_list(fields[5], 0, limits.ROLES_MAX)
    )
    if list(roles) != sorted(set(roles)):
        raise PeerError("an agent's roles must be sorted and different")
    begin, end = _read_life(fields[6], fields[7], limits.AGENT_LIFE_MS_MAX)
    issuer = KeyId(take_bytes(fields[8], ID_BYTES, ID_BYTES))
    if node != chain.node or issuer != chain.key:
        raise PeerError("the agent's certificate is from another node or key")
    suite.verify(chain.operational, body, signature, Domain.AGENT_CERT)
    suite.check_public_key(public_key)
    return AgentCert(
        agent=agent_id(public_key),
        public_key=public_key,
        node=node,
        name=name,
        roles=roles,
        not_before_ms=begin,
        not_after_ms=end,
        issuer=issuer,
        encoded=data,
    )
