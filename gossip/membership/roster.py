"""The roster: who may speak in this cluster, and with which keys.

Built from the founders' file. A key enters it only inside a verified chain, so
holding the roster is all that is needed to read a batch or a request.
"""

import copy

import attrs

from gossip import limits
from gossip.errors import PeerError
from gossip.membership.founders import Founder, Founders
from gossip.membership.groups import Groups
from gossip.membership.identity import Chain
from gossip.units import ClusterId, KeyId, NodeId

_KEYS_PER_NODE_MAX = 64


@attrs.define
class Roster:
    """Members by id, and every operational key seen for each."""

    founders: Founders
    cluster: ClusterId = attrs.field(init=False, repr=bytes.hex)
    groups: Groups = attrs.field(init=False, repr=False)
    _members: dict[NodeId, Founder] = attrs.field(init=False)
    _names: dict[str, NodeId] = attrs.field(init=False)
    _providers: dict[str, NodeId] = attrs.field(init=False)
    _chains: dict[NodeId, dict[KeyId, Chain]] = attrs.field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        self.cluster = self.founders.cluster
        self.groups = Groups(tuple(n.node for n in self.founders.nodes))
        self._members = {n.node: n for n in self.founders.nodes}
        self._names = {n.name: n.node for n in self.founders.nodes}
        self._providers = {s: n.node for n in self.founders.nodes for s in n.servers}

    @property
    def size(self) -> int:
        """How many members have a voice, the quarantined included."""
        return len(self._members)

    @property
    def colluders(self) -> int:
        """f: how many members may lie together; floor((N-1)/3) unless the
        operators said otherwise."""
        told = self.founders.colluders
        return (self.size - 1) // 3 if told is None else told

    @property
    def author_bytes_max(self) -> int:
        """Each author's share of what a node keeps; what is beyond it waits until
        the author prunes, so nobody can crowd out anybody else's entries."""
        share = limits.RETENTION_BYTES // max(1, self.size)
        return max(limits.AUTHOR_BYTES_MIN, share)

    def twin(self) -> "Roster":
        """A roster of the same members that has seen nobody's chain.

        Shares what never changes, so that many nodes fit into one simulation.
        """
        other = copy.copy(self)
        other._chains = {}
        return other

    def members(self) -> tuple[Founder, ...]:
        """All members, in the order of the founders' file."""
        return self.founders.nodes

    def __contains__(self, node: object) -> bool:
        return node in self._members

    def member(self, node: NodeId) -> Founder:
        """The member with this id.

        Raises:
            PeerError: not a member.
        """
        try:
            return self._members[node]
        except KeyError:
            raise PeerError(f"node {node.hex()[:16]} is not a member") from None

    def name(self, node: NodeId) -> str:
        """The member's name, or the first digits of a stranger's id."""
        member = self._members.get(node)
        return member.name if member else node.hex()[:16]

    def by_name(self, name: str) -> NodeId | None:
        """The member called ``name``."""
        return self._names.get(name)

    def provider(self, server: str) -> NodeId | None:
        """The node that provides the MCP server called ``server``."""
        return self._providers.get(server)

    def servers(self) -> tuple[str, ...]:
        """Every MCP server of the cluster, sorted."""
        return tuple(sorted(self._providers))

    def learn(self, chain: Chain) -> None:
        """Remember a verified chain.

        Raises:
            PeerError: the chain is not a member's.
        """
        self.member(chain.node)
        chains = self._chains.setdefault(chain.node, {})
        if chain.key in chains:
            return
        if len(chains) >= _KEYS_PER_NODE_MAX:
            oldest = min(chains.values(), key=lambda c: (c.not_after_ms, c.key))
            del chains[oldest.key]
        chains[chain.key] = chain

    def chain(self, node: NodeId, key: KeyId) -> Chain | None:
        """The chain of one of the node's operational keys, if it was seen."""
        return self._chains.get(node, {}).get(key)

    def newest(self, node: NodeId) -> Chain | None:
        """The node's chain that lasts longest, if any was seen."""
        chains = self._chains.get(node)
        if not chains:
            return None
        return max(chains.values(), key=lambda c: (c.not_after_ms, c.key))
