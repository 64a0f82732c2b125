"""Proofs and acts behind a fork: whoever holds them says them again, in turn.

::

    told ──its author's feed is found to have forked before it──▶ nobody else gets it
      └── my turn comes, and it stands nowhere else ──▶ Retell, in a feed of our own

They hold whoever shows them, so they are not void like mere words. But a frozen feed
is not passed on any more, and who did not hear them in time never would. So that not
all say it at once, each waits for its turn, by a hash: one, then two, then four.
"""

import hashlib
from collections import Counter
from typing import Final, TypeAlias

import attrs

from enforcement.decide.deeds import PROOF_LIFE_MS, Deed
from gossip.ledger.batch import FeedId
from gossip.ledger.entries import Entry, Place
from gossip.membership.roster import Roster
from gossip.units import NodeId

TURN_MS: Final = 3_000
"""How long those whose turn it is may take before it is the next ones'."""
PER_AUTHOR_MAX: Final = 16
RETOLD_MAX: Final = 128
"""So many of one author, and of all: what is told again lasts, at our own expense."""
TOLD_MAX: Final = 32_768

What: TypeAlias = Deed
"""What makes two proofs one deed; or -1 and an act's id."""


@attrs.define
class Retelling:
    """Where what stands by itself was told, and what is to be told again.

    Attributes:
        voided: From which number on what a feed says is void.
    """

    me: NodeId = attrs.field(repr=bytes.hex)
    roster: Roster
    voided: dict[FeedId, int] = attrs.field(init=False, factory=dict)
    _told: dict[What, dict[FeedId, Place]] = attrs.field(init=False, factory=dict)
    """Where in each feed it stands first."""
    _due: dict[What, int] = attrs.field(init=False, factory=dict)
    _spent: Counter[bytes] = attrs.field(init=False, factory=Counter)
    """How often something of each author was told again, or is to be."""

    def is_void(self, feed: FeedId, number: int) -> bool:
        """Whether a place is where its feed forked, or later."""
        return number >= self.voided.get(feed, number + 1)

    def tell(self, what: What, entry: Entry, now: int) -> None:
        """Something that stands by itself is told here."""
        told = self._told.setdefault(what, {})
        first = told.get(entry.feed, entry.place)
        told[entry.feed] = min(first, entry.place)
        if len(self._told) > TOLD_MAX:
            self._forget(next(iter(self._told)))
        if self.is_void(entry.feed, entry.number):
            self._plan(what, entry.author, now)

    def void(self, feed: FeedId, number: int, now: int) -> None:
        """A feed forked: what it said from ``number`` on reaches nobody any more."""
        self.voided[feed] = number
        for what, told in self._told.items():
            if feed in told and told[feed][2] >= number:
                self._plan(what, feed[0], now)

    @property
    def next_ms(self) -> int | None:
        """When it is our turn for something."""
        return min(self._due.values(), default=None)

    def take(self, now: int) -> list[Place]:
        """What to tell again now, if nobody else did meanwhile: where it stands."""
        due = [what for what, at in self._due.items() if at <= now]
        places: list[Place] = []
        for what in due:
            del self._due[what]
            if not self._is_safe(what):
                places.append(min(self._told[what].values()))
        return places

    def _plan(self, what: What, author: NodeId, now: int) -> None:
        if what in self._due or self._is_safe(what) or author == self.me:
            return
        if what[0] >= 0 and now - what[0] > PROOF_LIFE_MS:
            return  # it would prove nothing to anybody now
        spent = self._spent
        if spent[author] < PER_AUTHOR_MAX and spent.total() < RETOLD_MAX:
            spent[author] += 1
            self._due[what] = now + TURN_MS * self._turn(what)

    def _is_safe(self, what: What) -> bool:
        """Whether it stands somewhere that everybody gets to hear."""
        return any(
            not self.is_void(feed, place[2]) for feed, place in self._told[what].items()
        )

    def _turn(self, what: What) -> int:
        """0 for one member, 1 for two others, 2 for four, and so on."""
        mine = _draw(what, self.me)
        before = sum(_draw(what, m.node) < mine for m in self.roster.members())
        return (before + 1).bit_length() - 1

    def _forget(self, what: What) -> None:
        del self._told[what]
        self._due.pop(what, None)


def _draw(what: What, node: NodeId) -> bytes:
    return hashlib.sha256(what[1] + node).digest()
