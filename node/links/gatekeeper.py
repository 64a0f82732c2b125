"""Who may come in: members, not too many at once, and each over one link."""

from collections import Counter
from collections.abc import Callable, Container, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import attrs

from gossip.errors import PeerError
from gossip.membership.identity import Chain
from gossip.units import MonoMs, NodeId
from node.links.events import (
    ADDRESSES_MAX,
    ANSWERS_AT_ONCE,
    ANSWERS_PER_ADDRESS_AT_ONCE,
    ANSWERS_PER_ADDRESS_PER_S,
    ANSWERS_PER_S,
    FIRST_MESSAGES_PER_S,
    HALF_OPEN_EASY,
    HALF_OPEN_MAX,
    HALF_OPEN_PER_ADDRESS_MAX,
    YOUNG_LINK_MS,
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
        linked: Members that a link is up with, and since when.
        hosts: Addresses of members; no stranger's calls can keep them out.
    """

    node: NodeId
    roster: Container[NodeId]
    random: Callable[[int], bytes]
    mono_ms: Callable[[], MonoMs]
    hosts: Container[str] = frozenset()
    linked: dict[NodeId, MonoMs] = attrs.field(init=False, factory=dict)
    refused: set[NodeId] = attrs.field(init=False, factory=set)
    calling: set[NodeId] = attrs.field(init=False, factory=set)
    half_open: int = attrs.field(init=False, default=0)
    _met: dict[NodeId, str] = attrs.field(init=False, factory=dict)
    """Where members were linked with last."""
    _met_at: frozenset[str] = attrs.field(init=False, default=frozenset())
    _half_open_strange: int = attrs.field(init=False, default=0)
    _half_open_from: Counter[str] = attrs.field(init=False, factory=Counter)
    _calls: dict[str, int] = attrs.field(init=False, factory=dict)
    _answered: dict[str, float] = attrs.field(init=False, factory=dict)
    """By address, when what was answered would have been all at an even pace."""
    _answered_all: float = attrs.field(init=False, default=0.0)
    _second: int = attrs.field(init=False, default=0)
    _cookie_key: bytes = attrs.field(init=False, default=b"", repr=False)
    _cookie_key_at: MonoMs = attrs.field(init=False, default=MonoMs(0))

    def __contains__(self, node: object) -> bool:
        return node in self.roster and node not in self.refused

    def admit(self, caller: Chain) -> None:
        """Keep one of two calls that cross: the one of the smaller node id.

        The node with the smaller id decides, alone: it drops a call from a node
        that it is shaking hands with on a call of its own, or became linked with
        just now. A call from a node linked for long is news of its own: that node
        has lost the link, as one does that lost power and is back.

        Raises:
            PeerError: the call is to be dropped.
        """
        if self.node > caller.node:
            return
        since = self.linked.get(caller.node)
        young = since is not None and self.mono_ms() - since < YOUNG_LINK_MS
        if young or caller.node in self.calling:
            raise PeerError(CROSSED)

    def is_members(self, host: str) -> bool:
        """Whether a member is, or was last, at this address."""
        return host in self.hosts or host in self._met_at

    def meet(self, node: NodeId, host: str) -> None:
        """A member called from there: it may be a newcomer, or known by a name that
        is looked up, or its address is translated."""
        if self._met.get(node) != host:
            self._met[node] = host
            self._met_at = frozenset(self._met.values())

    def let_in(self, host: str) -> ExitStack | None:
        """Count a call as half open, until what is returned is left; None: no room."""
        if not self.has_room(host):
            return None
        half = ExitStack()
        half.enter_context(self.half_opened(host))
        return half

    def has_room(self, host: str) -> bool:
        """Whether one more call from ``host`` may be half open.

        Calls from members' addresses and from strangers' have room of their own.
        """
        alike = self._half_open_strange
        if self.is_members(host):
            alike = self.half_open - alike
        mine = self._half_open_from.get(host, 0)
        return alike < HALF_OPEN_MAX and mine < HALF_OPEN_PER_ADDRESS_MAX

    @contextmanager
    def half_opened(self, host: str) -> Iterator[None]:
        """Count a call while it is no link yet."""
        strange = not self.is_members(host)
        self.half_open += 1
        self._half_open_strange += strange
        self._half_open_from[host] += 1
        try:
            yield
        finally:
            self.half_open -= 1
            self._half_open_strange -= strange
            self._half_open_from[host] -= 1
            self._half_open_from += Counter()  # forget addresses at zero

    def may_answer(self, host: str) -> bool:
        """Whether to sign for a caller at ``host``; counts it if so."""
        now = self.mono_ms()
        gap = 1_000 / ANSWERS_PER_ADDRESS_PER_S
        due = max(self._answered.get(host, 0.0), now) + gap
        if due - now > ANSWERS_PER_ADDRESS_AT_ONCE * gap:
            return False
        if not self.is_members(host):
            gap_all = 1_000 / ANSWERS_PER_S
            due_all = max(self._answered_all, now) + gap_all
            if due_all - now > ANSWERS_AT_ONCE * gap_all:
                return False
            self._answered_all = due_all
        if len(self._answered) >= ADDRESSES_MAX:
            # An address gains nothing by being forgotten: all count together.
            self._answered.clear()
        self._answered[host] = due
        return True

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
