"""Who may come in: members, not too many at once, and each over one link."""

from collections import Counter
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from typing import Final

import attrs

from gossip.errors import PeerError
from gossip.membership.identity import Chain
from gossip.units import MonoMs, NodeId
from node.links.events import (
    ADDRESSES_MAX,
    FIRST_MESSAGES_PER_S,
    HALF_OPEN_EASY,
    HALF_OPEN_MAX,
    HALF_OPEN_PER_ADDRESS_MAX,
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
    _half_open_from: Counter[str] = attrs.field(init=False, factory=Counter)
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

    @contextmanager
    def half_opened(self, host: str) -> Iterator[bool]:
        """Count a call while it is no link yet; False if there are too many."""
        if (
            self.half_open >= HALF_OPEN_MAX
            or self._half_open_from[host] >= HALF_OPEN_PER_ADDRESS_MAX
        ):
            yield False
            return
        self.half_open += 1
        self._half_open_from[host] += 1
        try:
            yield True
        finally:
            self.half_open -= 1
            self._half_open_from[host] -= 1
            self._half_open_from += Counter()  # forget addresses at zero

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
