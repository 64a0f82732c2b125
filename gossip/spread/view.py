"""The view: whom to keep links to.

In a small cluster, everybody. In a large one each node dials `DIALLED` members
drawn at random and gossips with others who dial it up to `LINKS_MAX`; one more
than that is told to seek elsewhere. Whom we dial nobody else decides, so nobody can fill
our links: that is what an eclipse would take. The draw goes round the admission
groups, since members whom one sponsor brought in may all be one adversary.
"""

from collections.abc import Callable
from typing import Final

import attrs

from gossip.suite import Suite
from gossip.units import NodeId, UnixMs

LINKS_MIN: Final = 5
LINKS: Final = 8
LINKS_MAX: Final = 12
DIALLED: Final = 4
"""Others dial as many, so a node has about twice that many links."""
PATIENCE_MS: Final = 20_000
"""A peer that could not be linked for this long is exchanged for another."""
SHUN_MS: Final = 600_000
"""For how long a peer that had no room, or no life, is not tried again."""


@attrs.define
class View:
    """Whom one node seeks and is linked to."""

    me: NodeId = attrs.field(repr=bytes.hex)
    members: tuple[NodeId, ...]
    suite: Suite
    group_of: Callable[[NodeId], bytes] = lambda _node: b"founders"
    _linked: set[NodeId] = attrs.field(init=False, factory=set)
    _sought: dict[NodeId, int] = attrs.field(init=False, factory=dict)
    """Whom we dial, and since when without a link."""
    _shunned: dict[NodeId, int] = attrs.field(init=False, factory=dict)
    _barred: set[NodeId] = attrs.field(init=False, factory=set)
    _due_ms: int | None = attrs.field(init=False, default=None)

    @property
    def small(self) -> bool:
        """Whether everybody is linked to everybody."""
        return len(self.members) - 1 <= LINKS_MAX

    @property
    def sought(self) -> frozenset[NodeId]:
        """Whom to keep dialled."""
        return frozenset(self._sought)

    @property
    def due_ms(self) -> int | None:
        """When `review` has something to do."""
        return self._due_ms

    def link_up(self, peer: NodeId) -> bool:
        """A link came up; False if there is no room for it."""
        self._linked.add(peer)
        if peer in self._sought or self.small:
            return True
        return len(self._linked) <= LINKS_MAX

    def link_down(self, peer: NodeId, now: UnixMs) -> None:
        """A link is gone."""
        self._linked.discard(peer)
        if peer in self._sought:
            self._sought[peer] = now

    def full(self, peer: NodeId, now: UnixMs) -> None:
        """A peer has no room for us: seek elsewhere."""
        self._linked.discard(peer)
        if not self.small:
            self._sought.pop(peer, None)
            self._shunned[peer] = now + SHUN_MS
            self.review(now)

    def bar(self, peer: NodeId, barred: bool) -> None:
        """A peer may not be linked to, or may again."""
        if barred:
            self._barred.add(peer)
            self._sought.pop(peer, None)
        else:
            self._barred.discard(peer)

    def review(self, now: UnixMs) -> None:
        """Seek whom we lack: everybody, or enough, drawn at random."""
        others = [n for n in self.members if n != self.me and n not in self._barred]
        if self.small:
            self._sought = {n: self._sought.get(n, now) for n in others}
            self._due_ms = None
            return
        self._due_ms = now + PATIENCE_MS // 4
        self._shunned = {n: end for n, end in self._shunned.items() if end > now}
        for peer, since in list(self._sought.items()):
            if peer not in self._linked and now - since >= PATIENCE_MS:
                del self._sought[peer]
                self._shunned[peer] = now + SHUN_MS
        candidates = [
            n
            for n in others
            if n not in self._linked
            and n not in self._sought
            and n not in self._shunned
        ]
        for peer in self._draw(candidates, self._lacking()):
            self._sought[peer] = now

    def _lacking(self) -> int:
        """How many more to dial: our own share, or up to the usual number."""
        own = DIALLED - len(self._sought)
        trying = sum(peer not in self._linked for peer in self._sought)
        short = LINKS_MIN - len(self._linked) - trying
        return max(0, own, short)

    def _draw(self, candidates: list[NodeId], count: int) -> list[NodeId]:
        """Draw at random, one from each group in turn, the rarest groups first."""
        groups: dict[bytes, list[NodeId]] = {}
        for node in sorted(candidates):
            groups.setdefault(self.group_of(node), []).append(node)
        held: dict[bytes, int] = {}
        for node in [*self._sought, *sorted(self._linked - self._sought.keys())]:
            group = self.group_of(node)
            held[group] = held.get(group, 0) + 1
        drawn: list[NodeId] = []
        while groups and len(drawn) < count:
            group = min(groups, key=lambda g: (held.get(g, 0), g))
            pool = groups[group]
            index = int.from_bytes(self.suite.random(4), "big") % len(pool)
            drawn.append(pool.pop(index))
            held[group] = held.get(group, 0) + 1
            if not pool:
                del groups[group]
        return drawn
