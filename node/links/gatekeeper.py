"""Who may come in: members, not too many at once, and each over one link."""

from collections.abc import Callable, Container
from typing import Final

import attrs

from gossip.errors import PeerError
from gossip.membership.identity import Chain
from gossip.units import MonoMs, NodeId
from node.links.events import (
    ADDRESSES_MAX,
    FIRST_MESSAGES_PER_S,
    HALF_OPEN_EASY,
)

CROSSED: Final = "both nodes called each other at once"
"""Said of a call that is dropped because another one is kept; not reported."""
_SECOND_MS: Final = 1_000
_COOKIE_KEY_MS: Final = 120_000
_COOKIE_KEY_BYTES: Final = 32


@attrs.define
class Gatekeeper:
    """Counts calls and decides on callers.

    Attributes:
        refused: Members that may not link for now.
        calling: Members that we have reached and are shaking hands with.
        linked: Members that a link is up with.
    """

    node: NodeId
    roster: Container[NodeId]
    random: Callable[[int], bytes]
    mono_ms: Callable[[], MonoMs]
    linked: Container[NodeId]
    refused: set[NodeId] = attrs.field(init=False, factory=set)
    calling: set[NodeId] = attrs.field(init=False, factory=set)
    half_open: int = attrs.field(init=False, default=0)
    _calls: dict[str, int] = attrs.field(init=False, factory=dict)
    _second: int = attrs.field(init=False, default=0)
    _cookie_key: bytes = attrs.field(init=False, default=b"", repr=False)
    _cookie_key_at: MonoMs = attrs.field(init=False, default=MonoMs(0))

    def __contains__(self, node: object) -> bool:
        return node in self.roster and node not in self.refused

    def admit(self, caller: Chain) -> None:
        """Keep one of two calls that cross: the one of the smaller node id.

        The node with the smaller id decides, alone: it drops a call from a node
        that it is linked with, or shaking hands with on a call of its own.

        Raises:
            PeerError: the call is to be dropped.
        """
        if self.node < caller.node and (
            caller.node in self.calling or caller.node in self.linked
        ):
            raise PeerError(CROSSED)

    def cookie_key(self, host: str) -> bytes | None:
        """Count a call from ``host``; the key of its cookie if it is too many."""
        now = self.mono_ms()
        if now - self._second >= _SECOND_MS or len(self._calls) >= ADDRESSES_MAX:
            self._second = now
            self._calls.clear()
        self._calls[host] = calls = self._calls.get(host, 0) + 1
        if calls <= FIRST_MESSAGES_PER_S and self.half_open <= HALF_OPEN_EASY:
            return None
        if not self._cookie_key or now - self._cookie_key_at >= _COOKIE_KEY_MS:
            self._cookie_key = self.random(_COOKIE_KEY_BYTES)
            self._cookie_key_at = now
        return self._cookie_key
