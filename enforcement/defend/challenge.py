"""The agent's proof: it holds its key now, and in this session, or nothing is listed.

The gate draws a nonce; whoever has the agent's key (its own node, for the agents
beside it) signs it with time, session and server within seconds. Between nodes every
request carries such a proof already: a fresh signature for this provider alone.
"""

from typing import Final

import attrs

from enforcement.principal import Principal
from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.suite import Suite
from gossip.units import ClusterId, UnixMs
from gossip.wire import pack

WINDOW_MS: Final = 10_000
NONCE_BYTES: Final = 32
_VERSION: Final = 1


@attrs.frozen(kw_only=True)
class Challenge:
    """One question to one agent in one session.

    Attributes:
        nonce: 32 random bytes, never used twice.
        until_ms: Later answers count for nothing.
    """

    cluster: ClusterId
    server: str
    nonce: bytes = attrs.field(repr=False)
    issued_at_ms: UnixMs
    until_ms: UnixMs

    @classmethod
    def draw(
        cls, cluster: ClusterId, server: str, suite: Suite, now_ms: UnixMs
    ) -> "Challenge":
        """A fresh one."""
        return cls(
            cluster=cluster,
            server=server,
            nonce=suite.random(NONCE_BYTES),
            issued_at_ms=now_ms,
            until_ms=UnixMs(now_ms + WINDOW_MS),
        )

    def write(self, principal: Principal) -> bytes:
        """What the agent's key signs, under `Domain.CHALLENGE`."""
        return pack(
            [
                _VERSION,
                self.cluster,
                principal.node,
                principal.agent,
                principal.cert_digest,
                self.server.encode(),
                self.nonce,
                self.issued_at_ms,
                self.until_ms,
            ]
        )

    def check_untrusted(
        self, signature: bytes, principal: Principal, suite: Suite, now_ms: UnixMs
    ) -> None:
        """Check an answer.

        Raises:
            PeerError: too late, or not this agent's signature of this challenge.
        """
        if not self.issued_at_ms <= now_ms <= self.until_ms:
            raise PeerError("the agent's proof came too late")
        suite.verify(
            principal.cert.public_key,
            self.write(principal),
            signature,
            Domain.CHALLENGE,
        )
