"""The roster: who may speak in this cluster, and with which keys.

Built from the founders' file, and from what members endorse later on. A key enters
it only inside a verified chain, so holding the roster is all that is needed to read a
batch or a request.
"""

import copy
from collections.abc import Sequence

import attrs

from gossip import limits
from gossip.errors import PeerError
from gossip.membership.admittance import Admittance, Card, Newcomer, Waiting
from gossip.membership.founders import Founder, Founders
from gossip.membership.groups import Groups
from gossip.membership.identity import Chain
from gossip.units import ClusterId, KeyId, NodeId, UnixMs

_KEYS_PER_NODE_MAX = 64


@attrs.define
class Roster:
    """Members by id, and every operational key seen for each.

    What a key signed in feeds counts once its author's feeds announced it, since
    only then can everybody check it. A key that somebody showed us alone, at the
    begin of a link, serves that link.
    """

    founders: Founders
    cluster: ClusterId = attrs.field(init=False, repr=bytes.hex)
    groups: Groups = attrs.field(init=False, repr=False)
    _admittance: Admittance = attrs.field(init=False, repr=False)
    _shared: bool = attrs.field(init=False, default=False)
    _members: dict[NodeId, Founder] = attrs.field(init=False)
    _names: dict[str, NodeId] = attrs.field(init=False)
    _providers: dict[str, tuple[NodeId, ...]] = attrs.field(init=False)
    _chains: dict[NodeId, dict[KeyId, Chain]] = attrs.field(init=False, factory=dict)
    _announced: dict[NodeId, dict[KeyId, Chain]] = attrs.field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        self.cluster = self.founders.cluster
        self.groups = Groups(tuple(n.node for n in self.founders.nodes))
        self._admittance = Admittance(self.founders)
        self._members = {n.node: n for n in self.founders.nodes}
        self._names = {n.name: n.node for n in self.founders.nodes}
        nodes = self.founders.nodes
        self._providers = {
            server: tuple(n.node for n in nodes if server in n.servers)
            for server in {s for n in nodes for s in n.servers}
        }

    @property
    def size(self) -> int:
        """How many members have a voice of their own, the quarantined included."""
        return len(self.founders.nodes) + len(self.confirmed())

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
        share = limits.RETENTION_BYTES // max(1, len(self._members))
        return max(limits.AUTHOR_BYTES_MIN, share)

    @property
    def lasting_bytes_max(self) -> int:
        """Each author's share of what is kept although it was pruned. Whoever says
        more is no longer heard where it says what would last."""
        return max(limits.LASTING_BYTES_MIN, self.author_bytes_max)

    def twin(self) -> "Roster":
        """A roster of the same members that has seen nobody's chain.

        Shares what never changes, so that many nodes fit into one simulation.
        """
        other = copy.copy(self)
        other._chains, other._announced = {}, {}
        other._shared = True
        other.groups = copy.copy(self.groups)  # a handle that views hold on to
        return other

    # --- who came in later ------------------------------------------------------

    def endorse(self, card: Card, by: NodeId, at_ms: UnixMs) -> bool:
        """A member endorses a newcomer; whether somebody's membership is another now.

        Raises:
            PeerError: see `Admittance.endorse`.
        """
        self._part()
        changed = self._admittance.endorse(card, by, at_ms)
        self._enter(changed)
        return bool(changed)

    def confirm(self, node: NodeId, at_ms: UnixMs) -> bool:
        """Operators give a newcomer a voice of its own; whether that is news."""
        self._part()
        changed = self._admittance.confirm(node, at_ms)
        self._enter(changed)
        return bool(changed)

    def expect(self, me: Founder) -> None:
        """Take this node itself for a member, while others still have to let it in."""
        self._part()
        self._members.setdefault(me.node, me)
        self._names.setdefault(me.name, me.node)
        self.groups.add(me.node, me.node)

    def check_card(self, card: Card, now_ms: UnixMs, by: NodeId) -> None:
        """See `Admittance.check`. Raises `PeerError`."""
        self._admittance.check(card, now_ms, by)

    def waiting(self) -> tuple[Waiting, ...]:
        """Whom too few endorsed so far."""
        return tuple(self._admittance.waiting())

    def is_founder(self, node: NodeId) -> bool:
        """Whether the founders' file names the node."""
        return self._admittance.is_founder(node)

    def is_confirmed(self, node: NodeId) -> bool:
        """Whether operators know the node: a founder, or a newcomer they confirmed."""
        newcomer = self.newcomer(node)
        if newcomer is None:
            return self.is_founder(node)
        return newcomer.confirmed_ms is not None

    @property
    def endorsements(self) -> int:
        """How many it takes."""
        return self._admittance.needed

    def newcomer(self, node: NodeId) -> Newcomer | None:
        """Since when a member that is no founder is one, and who brought it."""
        return self._admittance.newcomers.get(node)

    def joined_ms(self, node: NodeId) -> UnixMs | None:
        """Since when a node is a member; None for founders, and for strangers."""
        newcomer = self.newcomer(node)
        return None if newcomer is None else newcomer.joined_ms

    def shares_voice(self, node: NodeId, at_ms: int) -> NodeId | None:
        """The sponsor with whom a newcomer has one voice together at a time."""
        newcomer = self.newcomer(node)
        if newcomer is None:
            return None
        own_ms = newcomer.confirmed_ms
        return None if own_ms is not None and own_ms <= at_ms else newcomer.sponsor

    def voice_of(self, node: NodeId) -> NodeId:
        """Whose voice a member has: where f + 1 must say something, all newcomers of
        one sponsor count once, together with it."""
        newcomer = self.newcomer(node)
        if newcomer is None or newcomer.confirmed_ms is not None:
            return node
        return newcomer.sponsor

    def confirmed(self) -> list[UnixMs]:
        """Since when each newcomer with a voice of its own has it, in order."""
        return self._admittance.voices()

    def _enter(self, changed: Sequence[NodeId]) -> None:
        for node in changed:
            newcomer = self._admittance.newcomers[node]
            name, before = newcomer.member.name, self._members.get(node)
            if before is not None and self._names.get(before.name) == node:
                del self._names[before.name]
            self._members[node] = newcomer.member
            holder = self._names.get(name)
            if holder is None or self._came(node) < self._came(holder):
                self._names[name] = node
            self.groups.add(node, newcomer.sponsor)

    def _came(self, node: NodeId) -> tuple[int, NodeId]:
        """Of two newcomers with one name, who came first is called by it."""
        newcomer = self._admittance.newcomers.get(node)
        return (newcomer.joined_ms if newcomer else 0, node)

    def _part(self) -> None:
        """What a twin shares is copied before it changes."""
        if self._shared:
            self._shared = False
            self._members, self._names = {**self._members}, {**self._names}
            self._admittance = self._admittance.copy()

    # --- who is who -------------------------------------------------------------

    def members(self) -> tuple[Founder, ...]:
        """All members: the founders as in their file, then newcomers as they came."""
        return tuple(self._members.values())

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
        """The member's name, or the first digits of a stranger's id.

        Of two newcomers with one name only the first is called by it alone.
        """
        member = self._members.get(node)
        if member is None:
            return node.hex()[:16]
        if self._names.get(member.name) != node:
            return f"{member.name}~{node.hex()[:8]}"
        return member.name

    def by_name(self, name: str) -> NodeId | None:
        """The member called ``name``."""
        return self._names.get(name)

    def providers(self, server: str) -> tuple[NodeId, ...]:
        """The nodes that provide the MCP server, in the order of the founders' file."""
        return self._providers.get(server, ())

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
        if chain.key not in chains:
            _keep(chains, chain)

    def announce(self, chain: Chain) -> None:
        """Remember a verified chain that a batch which we hold announced.

        Of two chains with one key each node hears another one first: what counts is
        the life that they give it together, and so the same everywhere.

        Raises:
            PeerError: the chain is not a member's.
        """
        self.learn(chain)
        announced = self._announced.setdefault(chain.node, {})
        known = announced.get(chain.key)
        _keep(announced, chain if known is None else known.joined(chain))

    def announced(self, node: NodeId, key: KeyId) -> Chain | None:
        """The chain of a key that the node's feeds announced, if they did."""
        return self._announced.get(node, {}).get(key)

    def chain(self, node: NodeId, key: KeyId) -> Chain | None:
        """The chain of one of the node's operational keys, if it was seen at all."""
        return self.announced(node, key) or self._chains.get(node, {}).get(key)

    def newest(self, node: NodeId) -> Chain | None:
        """The node's chain that lasts longest, if any was seen."""
        chains = self._chains.get(node)
        if not chains:
            return None
        return max(chains.values(), key=lambda c: (c.not_after_ms, c.key))


def _keep(chains: dict[KeyId, Chain], chain: Chain) -> None:
    """The key that is over first makes room."""
    if chain.key not in chains and len(chains) >= _KEYS_PER_NODE_MAX:
        oldest = min(chains.values(), key=lambda c: (c.not_after_ms, c.key))
        del chains[oldest.key]
    chains[chain.key] = chain
