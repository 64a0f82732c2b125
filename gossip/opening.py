"""Opening: before a node speaks again, it asks how far others heard it.

A disk that was restored from a backup, or cloned, lacks what the node said
since. So each start asks the peers for the author's latest head and opens its
fresh incarnation once f+1 of them answered (one of them is honest), or after
`PATIENCE_MS`: a node that is alone must be able to begin. Whatever it has to
say meanwhile waits.
"""

from collections.abc import Callable
from typing import Final

import attrs

from gossip import events
from gossip.ledger.batch import FeedId
from gossip.ledger.entries import Closing
from gossip.ledger.feed import Feed, Ledger
from gossip.units import NodeId, UnixMs

PATIENCE_MS: Final = 2_000


@attrs.define
class Opening:
    """One node's start, from `events.Opened` until it may speak."""

    me: NodeId = attrs.field(repr=bytes.hex)
    ledger: Ledger
    needed: int
    """How many peers must answer: f+1, or as many as there are."""
    voice_of: Callable[[NodeId], NodeId] = lambda peer: peer
    """Which of the peers count once; see `Roster.voice_of`."""
    _opened: events.Opened | None = attrs.field(init=False, default=None)
    _until_ms: int = attrs.field(init=False, default=0)
    _heard: dict[NodeId, Closing | None] = attrs.field(init=False, factory=dict)
    _done: bool = attrs.field(init=False, default=False)

    def begin(self, opened: events.Opened, now: UnixMs) -> None:
        """The daemon is up; begin to wait."""
        self._opened = opened
        self._until_ms = now + PATIENCE_MS

    def hear(self, peer: NodeId, latest: Closing | None) -> None:
        """A peer told what it holds of us last; None if nothing."""
        if not self._done:
            self._heard.setdefault(peer, latest)

    def ready(self, now: UnixMs) -> tuple[events.Opened, Closing | None] | None:
        """Once, when it is time: what to open with, and what that closes."""
        opened = self._opened
        if opened is None or self._done:
            return None
        voices = set(map(self.voice_of, self._heard))
        if len(voices) < self.needed and now < self._until_ms:
            return None
        self._done = True
        return opened, self._latest()

    @property
    def asking(self) -> bool:
        """Whether peers are still to be asked."""
        return not self._done

    @property
    def due_ms(self) -> int | None:
        """When patience ends."""
        return None if self._done or self._opened is None else self._until_ms

    def _latest(self) -> Closing | None:
        """The last head known to us or to those who answered.

        Of our own last incarnation the farthest; another one that only peers
        know of was begun after our disk was copied, so it comes first. A liar
        can name one that never was, and harms nobody: it only stays closed.
        """
        own = closing_of(self.ledger.latest(self.me))
        told = [closing for closing in self._heard.values() if closing is not None]
        known = {feed[1] for feed, _ in self.ledger.heads() if feed[0] == self.me}
        unknown = [c for c in told if c.incarnation not in known]
        if unknown:
            return max(unknown, key=_farthest)
        same = [c for c in told if own and c.incarnation == own.incarnation]
        return max([*same, *([own] if own else [])], key=_farthest, default=None)


def closing_of(latest: tuple[FeedId, Feed] | None) -> Closing | None:
    """A feed's head, as one names it."""
    if latest is None:
        return None
    (_, incarnation), feed = latest
    return Closing(
        incarnation=incarnation, next_number=feed.next_number, head=feed.head
    )


def _farthest(closing: Closing) -> tuple[int, bytes, bytes]:
    return (closing.next_number, closing.incarnation, closing.head)
