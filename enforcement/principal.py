"""On whose behalf a session runs: an agent, its node, and its granted roles."""

import attrs

from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.membership.identity import AgentCert, Chain, read_agent_cert_untrusted
from gossip.membership.roster import Roster
from gossip.suite import Suite, digest
from gossip.units import AgentId, NodeId


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
    member = roster.member(chain.node)
    agent_cert = read_agent_cert_untrusted(cert, suite, chain)
    for role in agent_cert.roles:
        if role not in member.grants:
            raise PeerError(f"node `{member.name}` may not grant the role `{role}`")
    return Principal(cert=agent_cert, chain=chain, node_name=member.name)
