"""The signer: the one place where the running node's secret keys are used.

Holds the node's operational keys and its agents' keys, all freshly certified
at each rotation. The last operational key stays until the next rotation, for
what was begun with it.
"""

from collections.abc import Mapping
from pathlib import Path

import attrs

from enforcement.principal import Principal, read_principal_untrusted
from gossip.domains import Domain
from gossip.errors import PeerError, UserError
from gossip.membership.identity import Chain
from gossip.membership.roster import Roster
from gossip.suite import SigningKey
from gossip.units import AgentId, KeyId, NodeId, UnixMs
from node.config import AgentConfig
from node.keys.node_keys import AgentKeys, NodeKeys, agent_keys, fresh_keys
from node.keys.suites.registry import SuiteWithKeys
from node.metrics import Metrics
from node.proxy.session import SigningRefused
from node.sharing import Offers


@attrs.define
class KeyRing:
    """What this node and its agents sign with now."""

    state: Path
    roster: Roster
    suite: SuiteWithKeys
    metrics: Metrics
    current: NodeKeys = attrs.field(init=False)
    principals: dict[str, Principal] = attrs.field(init=False, factory=dict)
    """The agents beside this node, by name."""
    nodes: dict[KeyId, SigningKey] = attrs.field(init=False, factory=dict, repr=False)
    offers: Offers = attrs.field(init=False, repr=False)
    _agents: dict[AgentId, SigningKey] = attrs.field(
        init=False, factory=dict, repr=False
    )

    def __attrs_post_init__(self) -> None:
        self.offers = Offers(self.roster.cluster, self.suite)

    def rotate(self, agents: Mapping[str, AgentConfig], now: UnixMs) -> NodeKeys:
        """Make a fresh operational key and certify every agent with it.

        Raises:
            UserError: keys are missing, expired, or an agent has a role that
                this node may not grant. Nothing has changed then.
        """
        fresh = fresh_keys(self.state, self.suite, now)
        certified = self._certify(agents, fresh)
        before = getattr(self, "current", None)
        self.current = fresh
        self.nodes = {fresh.chain.key: fresh.signing_key}
        if before is not None:
            self.nodes[before.chain.key] = before.signing_key
        self._install(certified)
        return fresh

    def admit(self, agents: Mapping[str, AgentConfig]) -> None:
        """Certify a changed list of agents with the present key; see `rotate`."""
        self._install(self._certify(agents, self.current))

    async def sign_request(self, agent: AgentId, body: bytes) -> tuple[bytes, bytes]:
        """Sign a request's envelope for its agent and for this node.

        Raises:
            SigningRefused: the agent is no longer one of ours.
        """
        key = self._agents.get(agent)
        if key is None:
            raise SigningRefused("this agent was removed from its node")
        with self.metrics.sign_seconds.time():
            by_agent = key.sign(body, Domain.REQUEST_AGENT)
        with self.metrics.sign_seconds.time():
            by_node = self.current.signing_key.sign(body, Domain.REQUEST_NODE)
        return by_agent, by_node

    async def share_request(
        self, agent: AgentId, body: bytes, provider: NodeId, now_ms: UnixMs
    ) -> tuple[bytes, bytes] | None:
        """A mac under a key shared with ``provider``; see `node.sharing`.

        Raises:
            SigningRefused: the agent is no longer one of ours.
        """
        key = self._agents.get(agent)
        who = next((p for p in self.principals.values() if p.agent == agent), None)
        if key is None or who is None:
            raise SigningRefused("this agent was removed from its node")
        keys = key, self.current.signing_key
        return self.offers.mac(who, keys, body, provider, now_ms)

    async def prove_agent(self, agent: AgentId, body: bytes) -> bytes:
        """Sign a challenge with an agent's key.

        Raises:
            SigningRefused: the agent is no longer one of ours.
        """
        key = self._agents.get(agent)
        if key is None:
            raise SigningRefused("this agent was removed from its node")
        with self.metrics.sign_seconds.time():
            return key.sign(body, Domain.CHALLENGE)

    def _certify(
        self, agents: Mapping[str, AgentConfig], node: NodeKeys
    ) -> dict[str, tuple[AgentKeys, Principal]]:
        certified = {}
        for name, agent in agents.items():
            keys = agent_keys(self.state, name, agent.roles, node, self.suite)
            certified[name] = (keys, self._principal(name, keys, node.chain))
        return certified

    def _principal(self, name: str, keys: AgentKeys, chain: Chain) -> Principal:
        try:
            return read_principal_untrusted(
                keys.certificate.encoded,
                chain=chain,
                roster=self.roster,
                suite=self.suite,
            )
        except PeerError as wrong:
            raise UserError(
                f"agent `{name}`: {wrong}; the founders' file says which roles a node"
                " may grant"
            ) from None

    def _install(self, certified: dict[str, tuple[AgentKeys, Principal]]) -> None:
        self.offers.clear()
        self.principals = {name: p for name, (_, p) in certified.items()}
        self._agents = {p.agent: keys.signing_key for keys, p in certified.values()}
