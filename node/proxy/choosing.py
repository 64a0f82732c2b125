"""Which provider of a server a new session goes to, where there are several.

Never one that is cut off, and none that declares other tools than those pinned here
while another does not. Of the others: whose streams did not fail lately, who is
linked, and who is nearest.
"""

import math
from collections.abc import Callable
from typing import Final, Protocol

import attrs
import trio

from gossip.membership.roster import Roster
from gossip.units import NodeId

FAILED_S: Final = 30.0
"""So long another provider is asked first."""
NEAR_S: Final = 0.005
"""Round trips that differ by less are equal: the first in the founders' file is
taken, and requests do not wander for nothing."""


class Distances(Protocol):
    """What it takes to know who is near."""

    def round_trip_s(self, peer: NodeId) -> float | None:
        """Over the link to ``peer``; infinite before it was measured, None without
        a link."""
        ...


@attrs.define(eq=False, kw_only=True)
class Providers:
    """Chooses, and remembers which of them failed.

    Args:
        is_cut_off: Whether no call may pass between us and a node.
        differs: Whether a node declares other tools of a server than are pinned.
    """

    me: NodeId
    roster: Roster
    links: Distances | None
    is_cut_off: Callable[[NodeId], bool]
    differs: Callable[[str, NodeId], bool]
    now_s: Callable[[], float] = trio.current_time
    _failed_s: dict[tuple[str, NodeId], float] = attrs.field(init=False, factory=dict)

    def choose(self, server: str) -> list[NodeId]:
        """Who else may be asked, the best first; empty if nobody provides the server.

        If all are cut off, or all declare other tools, it is the first of them alone,
        so that its gate says why.
        """
        known = [n for n in self.roster.providers(server) if n != self.me]
        if len(known) < 2:
            return known
        open_to_us = [node for node in known if not self.is_cut_off(node)]
        same = [node for node in open_to_us if not self.differs(server, node)]
        ranked = sorted(same, key=lambda node: self._rank(server, node))
        return ranked or open_to_us[:1] or [known[0]]

    def failed(self, server: str, provider: NodeId) -> None:
        """No stream to it came up, or it could not serve."""
        self._failed_s[server, provider] = self.now_s()

    def _rank(self, server: str, node: NodeId) -> tuple[bool, bool, float]:
        failed_s = self._failed_s.get((server, node), -math.inf)
        lately = self.now_s() - failed_s < FAILED_S
        told = None if self.links is None else self.links.round_trip_s(node)
        far = math.inf if told is None else told // NEAR_S if told < math.inf else told
        return (lately, told is None, far)
