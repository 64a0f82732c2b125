"""Admission: may this batch enter our ledger? Cheapest question first.

Three answers: *accept*; *ignore*, when whoever carried it may be innocent; and
*reject*, when an honest carrier could not have passed it on. Nothing is
remembered about a batch before its signature verified, so a forged id can
never suppress a real one.
"""

from enum import Enum, auto

import attrs

from gossip import limits
from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.ledger.batch import Batch
from gossip.ledger.entries import Keys
from gossip.ledger.feed import Ledger, Place
from gossip.membership.identity import Chain, read_chain_untrusted
from gossip.membership.roster import Roster
from gossip.suite import Claim, Suite
from gossip.units import UnixMs


class Answer(Enum):
    """What becomes of a batch."""

    ACCEPT = auto()
    KNOWN = auto()
    IGNORE = auto()
    REJECT = auto()
    PARK = auto()
    """Its key is not announced yet: keep it aside and fetch the feed's beginning."""
    FORK = auto()
    """Properly signed, and contradicts what its author signed before."""


_IGNORED = {
    Place.TOO_FAR: "too far ahead of what is held",
    Place.FROZEN: "its feed is frozen at a fork",
}


@attrs.frozen
class Verdict:
    """An answer and the sentence that explains it."""

    answer: Answer
    why: str = ""


@attrs.frozen
class Admission:
    """The doorman of one node's ledger."""

    roster: Roster
    ledger: Ledger
    suite: Suite

    def examine(self, batch: Batch, now: UnixMs, *, live: bool) -> Verdict | Claim:
        """Ask everything but the signature: a verdict, or what to verify.

        Args:
            live: Whether it claims to be news; then its key must still be alive, so
                that one that leaked after its life cannot speak.

        Changes nothing, but for a chain that the batch itself introduces: once
        that verified the roster has seen it. Other batches may be signed with it
        once this one is held; see `introduce`.
        """
        if batch.cluster != self.roster.cluster:
            return Verdict(Answer.REJECT, "a batch of another cluster")
        if batch.author not in self.roster:
            # Its endorsements may have come to the carrier before us.
            return Verdict(Answer.IGNORE, "its author is not a member")
        place = self.ledger.place(batch)
        if place is Place.KNOWN:
            return Verdict(Answer.KNOWN)
        if place in _IGNORED:
            return Verdict(Answer.IGNORE, _IGNORED[place])
        if (full := self._has_no_share(batch)) is not None:
            return Verdict(Answer.IGNORE, full)
        if batch.issued_at_ms > now + limits.FUTURE_MS_MAX:
            return Verdict(Answer.IGNORE, "stamped in the future")
        try:
            chain = self._chain(batch)
        except PeerError as wrong:
            return Verdict(Answer.REJECT, str(wrong))
        if chain is None:
            return Verdict(Answer.PARK, "signed by a key not announced yet")
        if not chain.covers(batch.issued_at_ms):
            # The carrier may have seen another chain of the key, and a longer life.
            return Verdict(Answer.IGNORE, "signed outside its key's life")
        if live and self.is_late(batch, now):
            return Verdict(Answer.IGNORE, "news, signed by a key whose life is over")
        return Claim(chain.operational, batch.header, batch.signature, Domain.BATCH)

    def _has_no_share(self, batch: Batch) -> str | None:
        """Why there is no room for more of its author, if there is none.

        What lasts has a share of its own, so that who must prune can say so; whether
        it says anything that somebody reads does not matter.
        """
        author, ledger, roster = batch.author, self.ledger, self.roster
        # Asked of every batch: whether it lasts, only where that matters.
        share, kept = roster.author_bytes_max, ledger.bytes_of(author)
        pruned = kept <= share and kept + ledger.leaving_of(author) <= 2 * share
        if not pruned and not batch.lasting:
            return "its author must prune before it goes on"
        if ledger.lasting_of(author) > roster.lasting_bytes_max and batch.lasting:
            return "its author said too much that is kept for good"
        return None

    def is_late(self, batch: Batch, now: UnixMs) -> bool:
        """Whether the life of the key that signed a batch is over.

        Then its signature alone says no more that its author was the one who signed.
        """
        try:
            chain = self._chain(batch)
        except PeerError:
            return True
        return chain is None or now > chain.not_after_ms + limits.FUTURE_MS_MAX

    def introduce(self, batch: Batch) -> None:
        """We hold a batch: what it says its author may sign with is announced.

        Raises:
            PeerError: its chain does not verify.
        """
        keys = batch.entries[0].said
        if isinstance(keys, Keys) and batch.author in self.roster:
            self.roster.announce(self._introduced(batch, keys))

    def conclude(self, batch: Batch, verified: bool) -> Verdict:
        """The verdict once the signature was checked.

        Asks again where the batch belongs: another copy may have come meanwhile.
        """
        if not verified:
            return Verdict(Answer.REJECT, "the signature does not verify")
        place = self.ledger.place(batch)
        if place is Place.NEW:
            return Verdict(Answer.ACCEPT)
        if place is Place.KNOWN:
            return Verdict(Answer.KNOWN)
        if place is Place.FORK:
            return Verdict(Answer.FORK, "contradicts an earlier batch of its author")
        return Verdict(Answer.IGNORE, _IGNORED[place])

    def _chain(self, batch: Batch) -> Chain | None:
        """The chain of the key that signed: what the author's feeds announced, and
        what the batch itself does."""
        known = self.roster.announced(batch.author, batch.key)
        keys = batch.entries[0].said
        if not isinstance(keys, Keys):
            return known
        chain = self._introduced(batch, keys)
        return chain if known is None else known.joined(chain)

    def _introduced(self, batch: Batch, keys: Keys) -> Chain:
        seen = self.roster.chain(batch.author, batch.key)
        if seen is not None and seen.encoded == keys.chain:
            return seen
        chain = read_chain_untrusted(keys.chain, self.suite)
        if chain.node != batch.author or chain.key != batch.key:
            raise PeerError("a batch that introduces somebody else's key")
        self.roster.learn(chain)
        return chain
