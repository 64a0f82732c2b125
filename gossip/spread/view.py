"""The view: whom to keep links to.

In a small cluster, everybody. In a large one each node dials a few members drawn at
random, `dials` of N, and gossips with others who dial it as long as it has room; one
more than that is told to seek elsewhere. At most half of its room goes to one admission
group, so that a family of newcomers cannot keep everybody else out. Whom we dial nobody else decides, so nobody can fill
our links: that is what an eclipse would take. The draw goes round the admission
groups, since members whom one sponsor brought in may all be one adversary.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Final

import attrs

from gossip.membership.groups import Groups
from gossip.suite import Suite
from gossip.units import NodeId, UnixMs

LINKS_MIN: Final = 6
LINKS_MAX: Final = 14
"""Up to so many others are all linked to."""
DIALLED: Final = 5
"""The fewest to dial. See `dials`."""
ROOM: Final = 4
"""So many links more than its share a node has, before others must seek elsewhere."""
PATIENCE_MS: Final = 6_000
"""A peer that could not be linked for this long is exchanged for another."""
HOPE_MS: Final = 700
"""So long a call under way counts as if it were a link."""
SHUN_MS: Final = 600_000
"""For how long a peer that had no room for us is not tried again, and"""
PAUSE_MS: Final = 10_000
"""for how long nobody in its place, by whom links enough are left; twice as long after
each round of refusals. Where one group's room is scarce all others would knock at every
door of it otherwise."""
ABSENT_MS: Final = 60_000
"""For how long one that could not be reached is not tried again."""
AT_ONCE: Final = 2
"""So many of those who had no room are replaced at once all the same."""
TRIES: Final = 4
WANDER_MS: Final = 60_000
"""So often one of those we dial is exchanged for a stranger. Two halves of a
parted cluster that each have links enough find each other again by this, and so
does a node whose neighbours all stay silent."""


def dials(members: int) -> int:
    """How many of so many members each dials: half the logarithm, to base 2.

    Others dial as many, so a node has about twice that many links. Where half of all
    members drop what they get, one node draws droppers alone, on average, in a
    cluster of any size; and no node is many legs from another.
    """
    return max(DIALLED, (members.bit_length() + 1) // 2)


@attrs.define
class View:
    """Whom one node seeks and is linked to."""

    me: NodeId = attrs.field(repr=bytes.hex)
    groups: Groups
    suite: Suite
    bringing: AbstractSet[NodeId] = attrs.field(init=False, default=frozenset())
    """By whom we hang in the tree, as far as we were told."""
    _linked: set[NodeId] = attrs.field(init=False, factory=set)
    _sought: dict[NodeId, int] = attrs.field(init=False, factory=dict)
    """Whom we dial, and since when without a link."""
    _shunned: dict[NodeId, int] = attrs.field(init=False, factory=dict)
    _barred: set[NodeId] = attrs.field(init=False, factory=set)
    _pauses: list[tuple[int, bytes]] = attrs.field(init=False, factory=list)
    """When to seek somebody in the place of those who had no room; of which group."""
    _refusals: int = attrs.field(init=False, default=0)
    """How many had no room since we wandered last."""
    _due_ms: int | None = attrs.field(init=False, default=None)
    _wander_ms: int | None = attrs.field(init=False, default=None)

    @property
    def small(self) -> bool:
        """Whether everybody is linked to everybody."""
        return len(self.groups.everybody) - 1 <= LINKS_MAX

    @property
    def _share(self) -> int:
        """How many to dial."""
        return dials(len(self.groups.everybody))

    @property
    def sought(self) -> AbstractSet[NodeId]:
        """Whom to keep dialled; changes as the view does."""
        return self._sought.keys()

    @property
    def due_ms(self) -> int | None:
        """When `review` has something to do."""
        return self._due_ms

    def link_up(self, peer: NodeId) -> bool:
        """A link came up; False if there is no room for it."""
        self._linked.add(peer)
        if peer in self._sought or self.small:
            return True
        room = 2 * self._share + ROOM
        group = self.groups.of(peer)
        kin = sum(self.groups.of(other) == group for other in self._linked)
        is_only = len(self.groups.members(group)) == len(self.groups.everybody)
        return len(self._linked) <= room and (is_only or kin <= room // 2)

    def link_down(self, peer: NodeId, now: UnixMs) -> None:
        """A link is gone."""
        self._linked.discard(peer)
        if peer in self._sought:
            self._sought[peer] = now
        if not self.small:
            self.review(now)

    def exchange(self, peer: NodeId, now: UnixMs) -> None:
        """A peer is of no use: seek another in its place."""
        if not self.small and peer in self._sought:
            del self._sought[peer]
            self._shunned[peer] = now + ABSENT_MS
            self.review(now)

    def starve(self, now: UnixMs) -> None:
        """Nobody linked delivers what is announced: seek two strangers besides.

        By and by `_wander` lets go of what is more than our share.
        """
        if not self.small:
            for peer in self._draw(min(2, 2 * self._share - len(self._sought))):
                self._sought[peer] = now
            self.review(now)

    def full(self, peer: NodeId, now: UnixMs) -> None:
        """A peer has no room for us: seek elsewhere."""
        self._linked.discard(peer)
        if not self.small:
            if self._sought.pop(peer, None) is not None:
                doubled = self._refusals // self._share
                end = now + min(PAUSE_MS << doubled, SHUN_MS)
                self._pauses.append((end, self.groups.of(peer)))
                self._refusals += 1
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
        if self.small:
            self._sought = {
                n: self._sought.get(n, now)
                for n in self.groups.everybody
                if n != self.me and n not in self._barred
            }
            self._due_ms = None
            return
        self._shunned = {n: end for n, end in self._shunned.items() if end > now}
        self._pauses = [pause for pause in self._pauses if pause[0] > now]
        for peer, since in list(self._sought.items()):
            if peer not in self._linked and now - since >= PATIENCE_MS:
                del self._sought[peer]
                self._shunned[peer] = now + ABSENT_MS
        wander_ms = self._wander(now)
        for peer in self._draw(self._lacking(now)):
            self._sought[peer] = now
        calling = self._lacking(now) or not self._sought.keys() <= self._linked
        ends = [end for end, _ in self._pauses]
        self._due_ms = min([now + HOPE_MS] * bool(calling) + [wander_ms, *ends])

    def _wander(self, now: UnixMs) -> int:
        """Now and then let go of whom we dialled first, and seek a stranger. Rather of
        one by whom we do not hang, since others hang by us.

        Returns:
            When it does so next.
        """
        if self._wander_ms is None:
            # Not all nodes at once: somewhere within the first period.
            share = int.from_bytes(self.suite.random(2), "big") % 1_000
            self._wander_ms = now + WANDER_MS * share // 1_000
        if now >= self._wander_ms:
            self._wander_ms = now + WANDER_MS
            self._refusals = 0
            settled = [peer for peer in self._sought if peer in self._linked]
            if len(settled) >= self._share:
                idle = [peer for peer in settled if peer not in self.bringing]
                del self._sought[(idle or settled)[0]]
        return self._wander_ms

    def _lacking(self, now: UnixMs) -> int:
        """How many more to dial: our own share, or up to the usual number."""
        pausing = max(0, len(self._pauses) - AT_ONCE)
        own = self._share - len(self._sought) - pausing
        hoped = sum(
            peer not in self._linked and now - since < HOPE_MS
            for peer, since in self._sought.items()
        )
        short = LINKS_MIN - len(self._linked) - hoped
        return max(0, own, short)

    def _suits(self, node: NodeId) -> bool:
        return (
            node != self.me
            and node not in self._linked
            and node not in self._sought
            and node not in self._shunned
            and node not in self._barred
        )

    def _draw(self, count: int) -> list[NodeId]:
        """Draw at random, one from each admission group in turn.

        From a group by index, so that a draw costs no walk over all members.
        """
        held: dict[bytes, int] = {}
        for node in [*self._sought, *(self._linked - self._sought.keys())]:
            group = self.groups.of(node)
            held[group] = held.get(group, 0) + 1
        for _, group in self._pauses:  # where room is scarce others have as much claim
            held[group] = held.get(group, 0) + 1
        drawn: list[NodeId] = []
        for _ in range(TRIES * count):
            if len(drawn) == count:
                break
            group = min(self.groups.names, key=lambda g: (held.get(g, 0), g))
            # A group that offers nobody is passed over more and more often.
            held[group] = held.get(group, 0) + 1
            drawn += self._pick(self.groups.members(group), drawn)
        return drawn

    def _pick(self, pool: Sequence[NodeId], but: Sequence[NodeId]) -> list[NodeId]:
        """One of a pool who suits, if chance finds somebody."""
        for _ in range(TRIES):
            node = pool[int.from_bytes(self.suite.random(4), "big") % len(pool)]
            if node not in but and self._suits(node):
                return [node]
        return []
