"""What happens to a handshake, what it asks of its driver, and who takes part."""

from collections.abc import Container
from typing import TypeAlias

import attrs

from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.link.messages import Kind, kind_untrusted
from gossip.membership.identity import Chain, read_chain_untrusted
from gossip.suite import Suite
from gossip.units import ClusterId, NodeId, UnixMs


@attrs.frozen
class Begin:
    """The initiator may speak."""


@attrs.frozen
class Received:
    """One whole message arrived: header and body."""

    data: bytes = attrs.field(repr=False)


@attrs.frozen
class Signed:
    """The answer to `Sign`."""

    signature: bytes = attrs.field(repr=False)


Event: TypeAlias = Begin | Received | Signed


@attrs.frozen
class Sign:
    """Sign with the operational key of the chain we show; answer `Signed`."""

    message: bytes = attrs.field(repr=False)
    context: Domain


@attrs.frozen
class Transmit:
    """Send these bytes."""

    data: bytes = attrs.field(repr=False)


@attrs.frozen
class Established:
    """The peer is who its chain says; both sides hold these 32-byte keys."""

    peer: Chain
    send_key: bytes = attrs.field(repr=False)
    receive_key: bytes = attrs.field(repr=False)


Effect: TypeAlias = Sign | Transmit | Established


@attrs.frozen(kw_only=True)
class Local:
    """What a side brings along: who it is, and whom it may meet.

    Attributes:
        members: Whoever is not in it is refused, whatever it can prove.
    """

    suite: Suite
    cluster: ClusterId = attrs.field(repr=bytes.hex)
    chain: Chain
    members: Container[NodeId]

    def admit(self, chain_bytes: bytes, now_ms: UnixMs) -> Chain:
        """Read the peer's chain and decide whether to talk to it at all.

        Raises:
            PeerError: not a chain, not a member, not valid now, or ourselves.
        """
        chain = read_chain_untrusted(chain_bytes, self.suite)
        name = chain.node.hex()[:16]
        if chain.node == self.chain.node:
            raise PeerError("the peer claims to be this node itself")
        if chain.node not in self.members:
            raise PeerError(f"node {name} is not admitted here")
        if not chain.covers(now_ms):
            raise PeerError(f"node {name} shows an operational key that is not valid")
        return chain


def read_event(event: Event) -> tuple[Kind, bytes]:
    """Which row of the table an event is, and what it brings.

    Raises:
        PeerError: bytes that are no message of this protocol.
    """
    match event:
        case Received(data):
            return kind_untrusted(data), data
        case Signed(signature):
            return Kind.SIGNED, signature
        case Begin():
            return Kind.BEGIN, b""
