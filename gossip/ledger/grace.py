"""Letting go: what a checkpoint lets go of is forgotten after a grace, not at once.

::

    checkpoint ─▶ all before it is held ──────────▶ begin there ─▶ grace ─▶ Forget
        │                                             ▲
        └──▶ some of it is not: fetch it first ───────┘ what lasts of it was brought

An author that tells two neighbours two things, and lets both go in the same breath,
would else be forgotten before the two could meet; and who hears the checkpoint before
what it lets go of would never ask for the keys, acts and endorsements among that.
"""

from collections import deque
from typing import Final

import attrs

from gossip.ledger.batch import FeedId
from gossip.ledger.entries import Checkpoint, Entry
from gossip.ledger.feed import Beginning, Ledger, LetGo
from gossip.units import UnixMs

GRACE_MS: Final = 120_000
"""Long beside what news takes to everybody, and reconciliation every 10 s."""


@attrs.define
class Grace:
    """Everything that was let go of and is not forgotten yet."""

    ledger: Ledger
    _going: deque[tuple[int, LetGo]] = attrs.field(init=False, factory=deque)

    def hear(
        self, entry: Entry, said: Checkpoint, now: UnixMs, *, delivered: bool
    ) -> bool:
        """An author says where one of its feeds may be begun.

        Args:
            delivered: Whether who brought it was asked for the feed, and brought what
                lasts of it before.

        Returns:
            Whether it names another predecessor than the one known here.
        """
        feed = (entry.author, said.incarnation)
        told = Beginning(said.number, said.previous, (entry.feed, entry.number))
        held = self.ledger.feed(feed)
        if held is not None and held.disputes(told):
            return True
        self._apply(feed, told, now, delivered=delivered)
        return False

    def grown(self, feed: FeedId, now: UnixMs) -> bool:
        """More of a feed is held: begin where it was promised, if all before came.

        Returns:
            Whether the promise names another predecessor.
        """
        held = self.ledger.feed(feed)
        told = held.due_promise() if held is not None else None
        if held is None or told is None:
            return False
        if held.disputes(told):
            return True
        self._apply(feed, told, now, delivered=True)
        return False

    def _apply(
        self, feed: FeedId, told: Beginning, now: UnixMs, *, delivered: bool
    ) -> None:
        gone = self.ledger.checkpoint(feed, told, delivered=delivered)
        if gone is not None:
            self._going.append((now + GRACE_MS, gone))

    @property
    def due_ms(self) -> int | None:
        """When `wake` has something to do."""
        return self._going[0][0] if self._going else None

    def wake(self, now: UnixMs) -> list[tuple[FeedId, int]]:
        """What need not be kept any more: of which feeds, before which number."""
        done: list[tuple[FeedId, int]] = []
        while self._going and self._going[0][0] <= now:
            _, gone = self._going.popleft()
            before = self.ledger.forget(gone)
            if before > 0:
                done.append((gone.feed, before))
        return done
