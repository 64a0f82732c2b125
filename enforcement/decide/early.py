"""Reports about nodes that are no members yet: kept until they are, fairly shared.

Anybody can invent nodes. So when there is no room, the oldest report goes of whoever
has most waiting: he who fills it crowds out himself, and one word of each stays.
"""

from bisect import insort
from typing import Final, TypeAlias

import attrs

from enforcement.decide.remarks import Order
from gossip.ledger.entries import Entry
from gossip.units import NodeId

EARLY_MAX: Final = 4_096
"""So many of all; members that tell of no more than their share lose none."""

_Kept: TypeAlias = tuple[NodeId, Entry]
"""The node it is about, and the report."""


@attrs.define
class Early:
    """What was said too early, by whom."""

    _of: dict[NodeId, list[_Kept]] = attrs.field(init=False, factory=dict)
    """By reporter, oldest first."""
    _count: int = attrs.field(init=False, default=0)

    def keep(self, about: NodeId, entry: Entry) -> None:
        """Keep a report for when ``about`` is a member."""
        told = self._of.setdefault(entry.author, [])
        if any(held.id == entry.id for _, held in told):
            return
        insort(told, (about, entry), key=_order)
        self._count += 1
        if self._count > EARLY_MAX:
            most = max(self._of, key=lambda who: (len(self._of[who]), who))
            del self._of[most][0]
            self._count -= 1

    def take(self, about: NodeId) -> list[Entry]:
        """What was said about a node, in the common order; it is kept no longer."""
        taken: list[_Kept] = []
        for reporter, told in [*self._of.items()]:
            taken += [one for one in told if one[0] == about]
            self._of[reporter] = [one for one in told if one[0] != about]
            if not self._of[reporter]:
                del self._of[reporter]
        self._count -= len(taken)
        return [entry for _, entry in sorted(taken, key=_order)]


def _order(kept: _Kept) -> Order:
    return kept[1].order
