"""Keys that this node shares with providers, for requests at level `pqc-session`.

One for each of its agents and provider: drawn here, sealed to the provider's sealing
key, offered under both signatures, and replaced long before the offer lapses.
"""

from typing import Final

import attrs

from enforcement import limits
from enforcement.mcp.sharing import (
    SECRET_BYTES,
    FindReader,
    Offer,
    derive_key,
    mac_of,
    write_offer,
    write_offer_body,
)
from enforcement.principal import Principal
from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.suite import SigningKey, Suite
from gossip.units import AgentId, ClusterId, NodeId, UnixMs
from node.sealing import seal_secret

RENEW_MS: Final = limits.OFFER_MS_MAX * 2 // 3


@attrs.frozen
class _Shared:
    """One key: until when it is used, and what it was sealed to."""

    key: bytes = attrs.field(repr=False)
    offer: bytes = attrs.field(repr=False)
    reader: bytes = attrs.field(repr=False)
    until_ms: UnixMs


@attrs.define
class Offers:
    """Makes and keeps the keys.

    Attributes:
        find_reader: A provider's public sealing key, if it has told it.
    """

    cluster: ClusterId
    suite: Suite
    find_reader: FindReader = lambda provider: None
    _shared: dict[tuple[AgentId, NodeId], _Shared] = attrs.field(
        init=False, factory=dict, repr=False
    )

    def clear(self) -> None:
        """Certificates have changed: all offers name the ones before."""
        self._shared.clear()

    def mac(
        self,
        who: Principal,
        keys: tuple[SigningKey, SigningKey],
        body: bytes,
        provider: NodeId,
        now_ms: UnixMs,
    ) -> tuple[bytes, bytes] | None:
        """The mac of a body under the key shared with ``provider``, and its offer.

        ``keys`` are the agent's and the node's. None: nothing can be sealed to it.
        """
        reader = self.find_reader(provider)
        if reader is None:
            return None
        place = who.agent, provider
        shared = self._shared.get(place)
        if (
            shared is None
            or shared.reader != reader
            or not shared.until_ms - RENEW_MS <= now_ms < shared.until_ms
        ):
            try:
                shared = self._offer(who, keys, reader, provider, now_ms)
            except PeerError:
                return None
            self._shared.pop(place, None)
            self._shared[place] = shared
            while len(self._shared) > limits.SHARED_KEYS_MAX:
                del self._shared[next(iter(self._shared))]
        return mac_of(shared.key, body), shared.offer

    def _offer(
        self,
        who: Principal,
        keys: tuple[SigningKey, SigningKey],
        reader: bytes,
        provider: NodeId,
        now_ms: UnixMs,
    ) -> _Shared:
        secret = self.suite.random(SECRET_BYTES)
        offer = Offer(
            cluster=self.cluster,
            node=who.node,
            agent=who.agent,
            key=who.chain.key,
            cert=who.cert_digest,
            audience=provider,
            issued_at_ms=now_ms,
            sealed=seal_secret(secret, reader, self.cluster, who.node),
        )
        body = write_offer_body(offer)
        by_agent = keys[0].sign(body, Domain.OFFER_AGENT)
        by_node = keys[1].sign(body, Domain.OFFER_NODE)
        return _Shared(
            key=derive_key(secret, body),
            offer=write_offer(body, by_agent, by_node),
            reader=reader,
            until_ms=UnixMs(now_ms + RENEW_MS),
        )
