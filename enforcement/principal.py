"""On whose behalf a session runs: an agent, its node, and its granted roles."""

from functools import cached_property
from typing import Final

import attrs

from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.membership.identity import (
    AgentCert,
    Chain,
    read_agent_cert_untrusted,
    read_chain_untrusted,
)
from gossip.membership.roster import Roster
from gossip.suite import Suite, digest
from gossip.units import AgentId, KeyId, NodeId


@attrs.frozen(kw_only=True)
class Principal:
    """An agent as policy sees it: everything here is certified.

    Attributes:
        node_name: The node's name in the founders' file.
    """

    cert: AgentCert
    chain: Chain
    node_name: str

    @property
    def agent(self) -> AgentId:
        """Digest of the agent's key."""
        return self.cert.agent

    @property
    def node(self) -> NodeId:
        """The node that certified the agent."""
        return self.chain.node

    @property
    def name(self) -> str:
        """What the agent's node calls it."""
        return self.cert.name

    @property
    def roles(self) -> tuple[str, ...]:
        """Sorted; every one granted to the agent's node."""
        return self.cert.roles

    @property
    def shown_to_policy(self) -> tuple[str, tuple[str, ...], str]:
        """What rules can tell agents apart by."""
        return self.name, self.roles, self.node_name

    @cached_property
    def cert_digest(self) -> bytes:
        """How an envelope refers to the certificate."""
        return digest(Domain.AGENT_CERT_ID, self.cert.encoded)


def read_principal_untrusted(
    cert: bytes, *, chain: Chain, roster: Roster, suite: Suite
) -> Principal:
    """Read an agent's certificate under its node's verified chain.

    Says nothing about now: the gate asks ``covers`` at every request.

    Raises:
        PeerError: malformed, not signed by this chain's key, the node is not a
            member, or it certified a role that the founders' file does not let
            it grant.
    """
    roster.member(chain.node)
    agent_cert = read_agent_cert_untrusted(cert, suite, chain)
    name = check_granted(agent_cert, chain, roster)
    return Principal(cert=agent_cert, chain=chain, node_name=name)


def check_granted(cert: AgentCert, chain: Chain, roster: Roster) -> str:
    """Check that a member certified only roles it may grant; its name.

    Raises:
        PeerError: it is no member, or granted more.
    """
    member = roster.member(chain.node)
    for role in cert.roles:
        if role not in member.grants:
            raise PeerError(f"node `{member.name}` may not grant the role `{role}`")
    return member.name


KNOWN_MAX: Final = 1_024


@attrs.define
class Principals:
    """Principals verified before, so that an attacker's next request costs less, and
    its first no more than it must: most chains were verified when their node spoke.

    The same bytes prove the same thing again; whether the node is still a member
    and may grant the roles is asked each time.
    """

    roster: Roster
    suite: Suite
    _known: dict[bytes, Principal] = attrs.field(init=False, factory=dict)
    """By certificate."""

    def read_untrusted(
        self, chain: bytes, cert: bytes, node: NodeId, key: KeyId
    ) -> Principal:
        """Read a chain and an agent's certificate under it.

        ``node`` and ``key`` are said to be the chain's; a false word costs time only.

        Raises:
            PeerError: see `read_chain_untrusted` and `read_principal_untrusted`.
        """
        known = self._known.pop(cert, None)
        if known is None or known.chain.encoded != chain:
            seen = self.roster.chain(node, key)
            if seen is None or seen.encoded != chain:
                seen = read_chain_untrusted(chain, self.suite)
            known = read_principal_untrusted(
                cert, chain=seen, roster=self.roster, suite=self.suite
            )
        else:
            check_granted(known.cert, known.chain, self.roster)
        self._known[cert] = known
        if len(self._known) > KNOWN_MAX:
            del self._known[next(iter(self._known))]
        return known
