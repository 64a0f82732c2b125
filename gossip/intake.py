"""The intake: what becomes of a batch that somebody brought.

::

    read ─▶ examine ─▶ verify ─▶ accept ─▶ Store, spread, Admitted
              │           │
              ├─ its key is not announced: park it, fetch its feed's beginning
              ├─ over its author's budget: let it wait
              ├─ known: the link may be pruned
              └─ a fork: recall the other side, tell everybody

Signatures that arrive together are checked together: few at once, many by the
driver, beside the event loop.
"""

import contextlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

import attrs

from gossip import limits
from gossip.effects import (
    VERIFY_FEW,
    VERIFY_MAX,
    Admitted,
    CloseLink,
    Effect,
    Fact,
    Forget,
    Note,
    Recall,
    Store,
    Verify,
)
from gossip.errors import LocalError, PeerError
from gossip.ledger.admission import Admission, Answer, Verdict
from gossip.ledger.batch import Batch, read_batch_untrusted
from gossip.ledger.budget import Budget
from gossip.ledger.entries import (
    Checkpoint,
    Keys,
    Proof,
    ProofKind,
    Report,
    Subject,
    SubjectKind,
    Witness,
    write_report,
)
from gossip.ledger.equivocation import (
    read_equivocation_untrusted,
    write_equivocation,
)
from gossip.ledger.feed import Ledger, Place
from gossip.ledger.grace import Grace
from gossip.membership.roster import Roster
from gossip.spread.plumtree import Plumtree
from gossip.spread.sync import Sync
from gossip.suite import Claim, Suite
from gossip.units import NodeId, UnixMs

RECENT_MAX: Final = 64
RECENT_BYTES_MAX: Final = 32_768
"""Batches come from several neighbours: so many, if not long, are read but once."""
VOUCHERS_MAX: Final = 6
"""So many neighbours at most must hold what was signed by a key whose life is over.
Fewer where the tolerated liars are fewer: one more than those."""

_FACTS: Final = {
    Answer.KNOWN: Fact.BATCH_KNOWN,
    Answer.IGNORE: Fact.BATCH_IGNORED,
    Answer.REJECT: Fact.BATCH_REJECTED,
    Answer.PARK: Fact.BATCH_PARKED,
    Answer.FORK: Fact.BATCH_FORKED,
}


def read_once() -> Callable[[bytes], Batch]:
    """Reads batches as `read_batch_untrusted` does; those it just read, it remembers.

    Simulated nodes share one of these: what one of them read is read for all.
    """
    remembering = lru_cache(RECENT_MAX)(read_batch_untrusted)

    def read(encoded: bytes) -> Batch:
        short = len(encoded) <= RECENT_BYTES_MAX
        return remembering(encoded) if short else read_batch_untrusted(encoded)

    return read


_READ_ONCE: Final = read_once()


@attrs.define(eq=False)
class _Arrival:
    """A batch on its way in: who brought it, and whether along the tree.

    Attributes:
        claim: What is to be verified, once the batch was examined.
    """

    peer: NodeId
    batch: Batch
    live: bool
    claim: Claim | None = None


@attrs.define
class Intake:
    """Everything between a frame with a batch in it and the ledger."""

    roster: Roster
    suite: Suite
    ledger: Ledger
    tree: Plumtree
    sync: Sync
    reader: Callable[[bytes], Batch] = attrs.field(default=_READ_ONCE, repr=False)
    _admission: Admission = attrs.field(init=False)
    _budget: Budget = attrs.field(init=False, factory=Budget)
    _grace: Grace = attrs.field(init=False)
    _examined: list[_Arrival] = attrs.field(init=False, factory=list)
    _verifying: dict[int, list[_Arrival]] = attrs.field(init=False, factory=dict)
    _tickets: int = attrs.field(init=False, default=0)
    _parked: dict[bytes, _Arrival] = attrs.field(init=False, factory=dict)
    _delayed: dict[tuple[int, bytes], _Arrival] = attrs.field(init=False, factory=dict)
    """What is over its author's budget, by when it may be let in, and its id."""

    def __attrs_post_init__(self) -> None:
        self._admission = Admission(self.roster, self.ledger, self.suite)
        self._grace = Grace(self.ledger)

    def read(
        self, peer: NodeId, encoded: bytes, now: UnixMs, *, live: bool
    ) -> list[Effect]:
        """Read and examine a batch; `verify` is to follow.

        Args:
            live: Whether it came along the tree, not to catch up.

        Raises:
            PeerError: malformed.
        """
        batch = self.reader(encoded)
        self.tree.on_batch(peer, batch.id)
        return self._examine(_Arrival(peer, batch, live), now)

    def verify(self, now: UnixMs, more: int = 0) -> list[Effect]:
        """Check the signatures of all that was examined since the last time.

        Args:
            more: How many frames wait behind those that were read.
        """
        if not self._verifying and len(self._examined) + more < VERIFY_FEW:
            return self._verify_now(now)
        arrivals, self._examined = self._examined, []
        effects: list[Effect] = []
        for at in range(0, len(arrivals), VERIFY_MAX):
            self._tickets += 1
            asked = self._verifying[self._tickets] = arrivals[at : at + VERIFY_MAX]
            effects.append(Verify(self._tickets, _claims(asked)))
        return effects

    def _verify_now(self, now: UnixMs) -> list[Effect]:
        arrivals, self._examined = self._examined, []
        if not arrivals:
            return []
        holds = self.suite.verify_many(_claims(arrivals))
        return self._conclude(arrivals, holds, now)

    def verified(self, ticket: int, holds: Sequence[bool], now: UnixMs) -> list[Effect]:
        """The answer to a `Verify`.

        Raises:
            LocalError: to none that was asked for.
        """
        arrivals = self._verifying.pop(ticket, None)
        if arrivals is None or len(arrivals) != len(holds):
            raise LocalError("an answer to a question that was not asked")
        return self._conclude(arrivals, holds, now)

    def restore(self, encoded: bytes, now: UnixMs) -> list[Effect]:
        """Take in a batch from our own disk: it was verified before it was stored.

        Raises:
            PeerError: the disk holds something else.
        """
        batch = read_batch_untrusted(encoded)
        self._admission.introduce(batch)
        # Too far: what a checkpoint lets begin there is stored behind it.
        if self.ledger.place(batch) not in (Place.NEW, Place.TOO_FAR):
            return []
        self.ledger.add(batch)
        return self.admit(batch, now, delivered=True)

    def admit(
        self, batch: Batch, now: UnixMs, *, peer: NodeId | None = None, delivered: bool
    ) -> list[Effect]:
        """Hand on what a batch says, after freezing what it proves forked, and
        beginning feeds where it says that they may begin.

        Args:
            delivered: Whether all that we lack of them was brought, or by ``peer`` if
                it was asked for it.
        """
        effects: list[Effect] = []
        self._admission.introduce(batch)
        for entry in batch.entries:
            if isinstance(entry.said, Report):
                self._freeze_if_forked(entry.said.evidence)
            effects.append(Admitted(entry))
        effects += self._begin(batch, now, peer=peer, delivered=delivered)
        return effects

    def _begin(
        self, batch: Batch, now: UnixMs, *, peer: NodeId | None, delivered: bool
    ) -> list[Effect]:
        """Let feeds begin where a batch says that they may."""
        effects: list[Effect] = []
        for entry in batch.entries:
            if isinstance(entry.said, Checkpoint):
                feed = (entry.author, entry.said.incarnation)
                brought = delivered or (
                    peer is not None and self.sync.was_asked(peer, feed)
                )
                if self._grace.hear(entry, entry.said, now, delivered=brought):
                    told = entry.said
                    self.sync.disputes.add(feed, told.number - 1, told.previous)
                elif brought:
                    effects += self.sync.on_known(feed, now)
        return effects

    # --- one batch ------------------------------------------------------------

    def _examine(self, arrival: _Arrival, now: UnixMs) -> list[Effect]:
        found = self._admission.examine(arrival.batch, now, live=arrival.live)
        if not isinstance(found, Claim):
            return self._settle(arrival, found, now)
        batch = arrival.batch
        # What is live was asked already.
        if (
            not arrival.live
            and self._admission.is_late(batch, now)
            and not self.sync.vouched(
                batch.feed, batch.number, min(self.roster.colluders + 1, VOUCHERS_MAX)
            )
        ):
            why = "its key's life is over, and too few neighbours hold it"
            return [Note(Fact.BATCH_IGNORED, arrival.peer, batch.author, why)]
        due = self._budget.not_before(batch, now, live=arrival.live)
        if due > now:
            # Nothing is lost with what finds no place here: it was not yet
            # admitted, so reconciliation brings it again.
            note = Note(Fact.BATCH_DELAYED, arrival.peer, batch.author)
            if len(self._delayed) >= limits.DELAYED_BATCHES_MAX:
                return [note, *self.sync.on_ignored(arrival.peer, batch.feed, now)]
            self._delayed[due, batch.id] = arrival
            self.sync.on_delayed(arrival.peer, batch, due)
            return [note]
        arrival.claim = found
        if isinstance(batch.entries[0].said, Keys):
            # What comes right behind it may be signed by the key it announces.
            return self._conclude([arrival], self.suite.verify_many((found,)), now)
        self._examined.append(arrival)
        return []

    def _conclude(
        self, arrivals: list[_Arrival], holds: Sequence[bool], now: UnixMs
    ) -> list[Effect]:
        effects: list[Effect] = []
        for arrival, verified in zip(arrivals, holds, strict=True):
            verdict = self._admission.conclude(arrival.batch, verified)
            effects += self._settle(arrival, verdict, now)
        return effects

    def _settle(self, arrival: _Arrival, verdict: Verdict, now: UnixMs) -> list[Effect]:
        """Do what the verdict on a batch asks for."""
        peer, batch = arrival.peer, arrival.batch
        match verdict.answer:
            case Answer.ACCEPT:
                return self._accept(arrival, now)
            case Answer.KNOWN:
                follow: list[Effect] = [*self.sync.on_known(batch.feed, now)]
                self.tree.on_known(peer, batch.id)
                if arrival.live:
                    follow += self.tree.on_duplicate(peer)
                else:
                    follow += self._begin(batch, now, peer=peer, delivered=False)
            case Answer.REJECT:
                follow = [CloseLink(peer, verdict.why)]
            case Answer.PARK:
                follow = self._park(arrival, now)
            case Answer.FORK:
                follow = self._recall(batch)
            case Answer.IGNORE:
                follow = [*self.sync.on_ignored(peer, batch.feed, now)]
        fact = _FACTS[verdict.answer]
        return [Note(fact, peer, batch.author, verdict.why), *follow]

    def _accept(self, arrival: _Arrival, now: UnixMs) -> list[Effect]:
        peer, batch = arrival.peer, arrival.batch
        feed = self.ledger.add(batch)
        promised = feed.promised
        self._budget.spend(batch, now, live=arrival.live)
        if feed.next_number < batch.number:
            self.sync.on_early(peer, batch, now, wait=True)
        effects: list[Effect] = [
            Store(batch, own=False),
            # Spread first: what it says may close links, and all shall hear why.
            *self.tree.spread(batch, peer, now, live=arrival.live),
            *self.admit(
                batch, now, peer=None if arrival.live else peer, delivered=False
            ),
            *self.sync.on_admitted(peer, batch, now),
            Note(Fact.BATCH_ACCEPTED, peer, batch.author),
        ]
        if promised is not None and self._grace.grown(batch.feed, now):
            named = promised.previous
            self.sync.disputes.add(batch.feed, promised.number - 1, named)
        if isinstance(batch.entries[0].said, Keys):
            effects += self.unpark(now)
        return effects

    # --- those that wait ------------------------------------------------------

    @property
    def due_ms(self) -> int | None:
        """When `retry` has something to do."""
        first = min(self._delayed)[0] if self._delayed else None
        grace = self._grace.due_ms
        return grace if first is None or (grace and grace < first) else first

    def retry(self, now: UnixMs) -> list[Effect]:
        """Let in what was over its author's budget when it came; let go of what was
        pruned a while ago."""
        effects: list[Effect] = [
            Forget(*feed, before) for feed, before in self._grace.wake(now)
        ]
        for when in sorted(when for when in self._delayed if when[0] <= now):
            # One by one: each spends of its author's budget before the next.
            effects += self._examine(self._delayed.pop(when), now)
            effects += self._verify_now(now)
        return effects

    def unpark(self, now: UnixMs) -> list[Effect]:
        """A key was learnt: judge again what waited for it."""
        effects: list[Effect] = []
        for arrival in list(self._parked.values()):
            batch = arrival.batch
            if self.roster.announced(batch.author, batch.key) is not None:
                del self._parked[batch.id]
                effects += self._examine(arrival, now)
        return effects + self.verify(now)

    def _park(self, arrival: _Arrival, now: UnixMs) -> list[Effect]:
        if len(self._parked) >= limits.PARKED_BATCHES_MAX:
            self._parked.pop(next(iter(self._parked)))
        peer, batch = arrival.peer, arrival.batch
        self._parked[batch.id] = arrival
        if self.sync.asked(peer, batch):
            # It did deliver; that we lack the key's announcement is not its fault.
            return [*self.sync.on_ignored(peer, batch.feed, now)]
        self.sync.on_early(peer, batch, now, wait=False)
        return [*self.sync.pump(now)]

    # --- forks ----------------------------------------------------------------

    def _recall(self, batch: Batch) -> list[Effect]:
        feed = self.ledger.feed(batch.feed)
        held = feed.contradicted(batch) if feed else None
        return [] if held is None or held < 0 else [Recall(held, batch)]

    def accuse(self, held: bytes, other: Batch) -> bytes | None:
        """Both sides of a fork are at hand: the report to make, if it is news."""
        feed = self.ledger.feed(other.feed)
        one = read_batch_untrusted(held)
        chains = [self.roster.chain(b.author, b.key) for b in (one, other)]
        if feed is None or feed.frozen_at is not None or None in chains:
            return None
        proof = write_equivocation(one, other, [c for c in chains if c])
        return write_report(
            Report(
                subject=Subject(SubjectKind.NODE, other.author),
                category="equivocation",
                severity=9,
                evidence=Proof(kind=ProofKind.EQUIVOCATION, data=proof),
            )
        )

    def _freeze_if_forked(self, evidence: Proof | Witness) -> None:
        if (
            not isinstance(evidence, Proof)
            or evidence.kind is not ProofKind.EQUIVOCATION
        ):
            return
        # A false proof is the court's to disbelieve; here it freezes nothing.
        with contextlib.suppress(PeerError):
            proven = read_equivocation_untrusted(evidence.data, self.roster, self.suite)
            self.ledger.freeze(proven.feed, proven.number)


def _claims(arrivals: Sequence[_Arrival]) -> tuple[Claim, ...]:
    return tuple(arrival.claim for arrival in arrivals if arrival.claim)
