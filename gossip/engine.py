"""The engine: the only entrance to the core. One event in, effects out.

::

    Say ─▶ pen ─▶ Sign ─▶ Signed ─▶ Store ─▶ Stored ─▶ spread, Admitted

    Frame ─▶ read ─▶ examine ─▶ verify ─▶ ledger ─▶ Store, Admitted, spread
                                inline, or many at once by Verify

The engine does no I/O, holds no secret and reads no clock: it is handed the
time with each event and asks for everything else by an effect. The daemon and
the simulator drive this same code.
"""

import contextlib
from collections.abc import Sequence

import attrs

from gossip import events, limits
from gossip.effects import (
    Admitted,
    CloseLink,
    Effect,
    Fact,
    Note,
    Recall,
    Seek,
    Send,
    Store,
    Verify,
    WakeAt,
)
from gossip.errors import LocalError, PeerError
from gossip.ledger.admission import Admission, Answer, Verdict
from gossip.ledger.entries import (
    EntryKind,
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
from gossip.ledger.feed import (
    Batch,
    Ledger,
    Place,
    read_batch_untrusted,
)
from gossip.ledger.pen import Pen
from gossip.membership.identity import Chain, read_chain_untrusted
from gossip.membership.roster import Roster
from gossip.spread import frames
from gossip.spread.plumtree import Plumtree
from gossip.spread.sync import Sync
from gossip.spread.view import View
from gossip.suite import Claim, Suite
from gossip.units import NodeId, UnixMs

INLINE_MAX = 16
"""This many signatures are checked at once on the spot; more are handed out."""

_FACTS = {
    Answer.KNOWN: Fact.BATCH_KNOWN,
    Answer.IGNORE: Fact.BATCH_IGNORED,
    Answer.REJECT: Fact.BATCH_REJECTED,
    Answer.PARK: Fact.BATCH_PARKED,
    Answer.FORK: Fact.BATCH_FORKED,
}


@attrs.frozen
class _Arrival:
    """A batch on its way in: who brought it, and whether along the tree."""

    peer: NodeId
    batch: Batch
    live: bool
    claim: Claim | None = None


@attrs.define
class Engine:
    """One node's side of the gossip.

    Args:
        me: This node.
        roster: Who may speak; shared with enforcement, which only reads it.
        suite: The mathematics.
    """

    me: NodeId = attrs.field(repr=bytes.hex)
    roster: Roster
    suite: Suite
    ledger: Ledger = attrs.field(init=False, factory=Ledger)
    _tree: Plumtree = attrs.field(init=False, factory=Plumtree)
    _sync: Sync = attrs.field(init=False)
    _view: View = attrs.field(init=False)
    _seeking: frozenset[NodeId] = attrs.field(init=False, default=frozenset())
    _admission: Admission = attrs.field(init=False)
    _pen: Pen = attrs.field(init=False)
    _parked: dict[bytes, _Arrival] = attrs.field(init=False, factory=dict)
    _verifying: dict[int, list[_Arrival]] = attrs.field(init=False, factory=dict)
    _tickets: int = attrs.field(init=False, default=0)
    _wake_ms: int | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._pen = Pen(self.me, self.roster, self.ledger)
        self._sync = Sync(self.me, self.ledger, self.suite)
        members = tuple(founder.node for founder in self.roster.members())
        self._view = View(self.me, members, self.suite)
        self._admission = Admission(self.roster, self.ledger, self.suite)

    def handle(self, event: events.Event, now: UnixMs) -> list[Effect]:
        """Take in one event at ``now`` (Unix ms); say what must be done.

        Raises:
            LocalError: the driver broke its promises, such as an answer to an
                effect that was never asked for. Peers cannot cause it.
        """
        effects = self._dispatch(event, now)
        if self._view.sought != self._seeking:
            self._seeking = self._view.sought
            effects.append(Seek(self._seeking))
        due = self._due_ms()
        if due is not None and (
            due != self._wake_ms or isinstance(event, events.Woken)
        ):
            self._wake_ms = due
            effects.append(WakeAt(UnixMs(max(due, now + 1))))
        return effects

    def linked(self) -> tuple[NodeId, ...]:
        """Who is linked now, sorted."""
        return self._tree.linked()

    def _dispatch(self, event: events.Event, now: UnixMs) -> list[Effect]:
        match event:
            case events.Frame():
                return self._on_frames((event,), now)
            case events.Frames():
                return self._on_frames(event.arrived, now)
            case events.Verified():
                return self._on_verified(event, now)
            case events.Say():
                return [*self._pen.say(event.kind, event.body, now)]
            case events.Signed():
                return [*self._pen.signed(event.body, event.signature)]
            case events.Stored():
                return self._on_stored(event, now)
            case events.Woken():
                self._view.review(now)
                return [
                    *self._pen.write(now),
                    *self._tree.wake(now),
                    *self._sync.wake(now),
                ]
            case events.Recalled():
                return self._on_recalled(event, now)
            case events.LinkUp():
                return self._on_link_up(event.chain, now)
            case events.LinkDown():
                self._tree.link_down(event.peer)
                self._view.link_down(event.peer, now)
                return [*self._sync.link_down(event.peer, now)]
            case events.Barred():
                self._view.bar(event.peer, event.barred)
                self._view.review(now)
                return []
            case events.Restored():
                return self._on_restored(event.batch)
            case events.Opened():
                self._view.review(now)
                return [*self._pen.open(event.incarnation, event.chain, now)]
            case events.Rotated():
                return [*self._pen.rotate(event.chain, now)]

    def _due_ms(self) -> int | None:
        """When the first timer of any part rings."""
        times = [
            self._pen.due_ms,
            self._tree.due_ms,
            self._sync.due_ms,
            self._view.due_ms,
        ]
        return min((t for t in times if t is not None), default=None)

    def _on_link_up(self, chain: Chain, now: UnixMs) -> list[Effect]:
        peer = chain.node
        self.roster.learn(chain)
        if not self._view.link_up(peer):
            self._view.link_down(peer, now)
            return [Send(peer, frames.full())]
        self._tree.link_up(peer)
        return [*self._sync.link_up(peer, now), *self._unpark(now)]

    def _on_stored(self, event: events.Stored, now: UnixMs) -> list[Effect]:
        batch = self._pen.stored(event.batch_id)
        return [
            *self._tree.spread(batch, None, now),
            *self._admit(batch),
            *self._pen.write(now),
        ]

    # --- reading other feeds --------------------------------------------------

    def _on_frames(
        self, arrived: tuple[events.Frame, ...], now: UnixMs
    ) -> list[Effect]:
        effects: list[Effect] = []
        to_verify: list[_Arrival] = []
        for event in arrived:
            try:
                effects += self._on_frame(event, to_verify, now)
            except PeerError as wrong:
                effects += _misbehaved(event.peer, None, str(wrong))
        if len(to_verify) > INLINE_MAX:
            self._tickets += 1
            self._verifying[self._tickets] = to_verify
            claims = tuple(arrival.claim for arrival in to_verify if arrival.claim)
            return [*effects, Verify(self._tickets, claims)]
        holds = self.suite.verify_many([a.claim for a in to_verify if a.claim])
        return effects + self._conclude(to_verify, holds, now)

    def _on_frame(
        self, event: events.Frame, to_verify: list[_Arrival], now: UnixMs
    ) -> list[Effect]:
        peer, frame = event.peer, frames.read_frame_untrusted(event.data)
        match frame:
            case frames.Push():
                batch = read_batch_untrusted(frame.batch)
                return self._examine(_Arrival(peer, batch, live=True), to_verify, now)
            case frames.Give():
                batch = read_batch_untrusted(frame.batch)
                return self._examine(_Arrival(peer, batch, live=False), to_verify, now)
            case frames.IHave():
                self._tree.on_ihave(peer, frame.ids, now)
                return []
            case frames.Graft():
                return [*self._tree.on_graft(peer, frame.ids)]
            case frames.Prune():
                return [*self._tree.on_prune(peer)]
            case frames.Full():
                self._view.full(peer, now)
                self._tree.link_down(peer)
                return [*self._sync.link_down(peer, now)]
            case frames.Root():
                return [*self._sync.on_root(peer, frame)]
            case frames.Buckets():
                return [*self._sync.on_buckets(peer, frame)]
            case frames.Heads():
                return [*self._sync.on_heads(peer, frame, now)]
            case frames.Want():
                return [*self._sync.on_want(peer, frame)]

    def _examine(
        self, arrival: _Arrival, to_verify: list[_Arrival], now: UnixMs
    ) -> list[Effect]:
        found = self._admission.examine(arrival.batch, now)
        if isinstance(found, Claim):
            to_verify.append(attrs.evolve(arrival, claim=found))
            return []
        return self._settle(arrival, found, now)

    def _on_verified(self, event: events.Verified, now: UnixMs) -> list[Effect]:
        arrivals = self._verifying.pop(event.ticket, None)
        if arrivals is None or len(arrivals) != len(event.holds):
            raise LocalError("an answer to a question that was not asked")
        return self._conclude(arrivals, event.holds, now)

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
            case Answer.REJECT:
                return _misbehaved(peer, batch.author, verdict.why)
            case Answer.KNOWN:
                follow: list[Effect] = [*self._sync.on_arrived(batch.feed, now)]
                if arrival.live:
                    follow += self._tree.on_duplicate(peer)
            case Answer.PARK:
                follow = self._park(arrival, now)
            case Answer.FORK:
                follow = self._on_fork(batch)
            case Answer.IGNORE:
                follow = []
        return [
            Note(_FACTS[verdict.answer], peer, batch.author, verdict.why),
            *follow,
        ]

    def _accept(self, arrival: _Arrival, now: UnixMs) -> list[Effect]:
        peer, batch = arrival.peer, arrival.batch
        feed = self.ledger.add(batch)
        if feed.next_number < batch.number:
            self._sync.on_early(peer, batch, now, wait=True)
        effects: list[Effect] = [
            Store(batch, own=False),
            # Spread first: what it says may close links, and all shall hear why.
            *self._tree.spread(batch, peer, now, live=arrival.live),
            *self._admit(batch),
            *self._sync.on_arrived(batch.feed, now),
            Note(Fact.BATCH_ACCEPTED, peer, batch.author),
        ]
        if self._parked and batch.entries[0].kind == EntryKind.KEYS:
            effects += self._unpark(now)
        return effects

    # --- forks ----------------------------------------------------------------

    def _on_fork(self, batch: Batch) -> list[Effect]:
        feed = self.ledger.feed(batch.feed)
        held = feed.contradicted(batch) if feed else None
        return [] if held is None or held < 0 else [Recall(held, batch)]

    def _on_recalled(self, event: events.Recalled, now: UnixMs) -> list[Effect]:
        """Both sides of a fork are at hand: tell everybody, unless it is told."""
        held, other = read_batch_untrusted(event.held), event.other
        feed = self.ledger.feed(other.feed)
        if feed is None or feed.frozen_at is not None:
            return []
        chains = [self.roster.chain(b.author, b.key) for b in (held, other)]
        if other.author == self.me or None in chains:
            return []
        proof = write_equivocation(held, other, [c for c in chains if c])
        report = Report(
            subject=Subject(SubjectKind.NODE, other.author),
            category="equivocation",
            severity=9,
            evidence=Proof(kind=ProofKind.EQUIVOCATION, data=proof),
        )
        return [*self._pen.say(EntryKind.REPORT, write_report(report), now)]

    def _admit(self, batch: Batch) -> list[Effect]:
        """Hand on what a batch says, after freezing whatever it proves forked."""
        for entry in batch.entries:
            if isinstance(entry.said, Report):
                self._freeze_if_forked(entry.said.evidence)
        return [Admitted(entry) for entry in batch.entries]

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

    # --- keys not seen yet ----------------------------------------------------

    def _park(self, arrival: _Arrival, now: UnixMs) -> list[Effect]:
        if len(self._parked) >= limits.PARKED_BATCHES_MAX:
            self._parked.pop(next(iter(self._parked)))
        self._parked[arrival.batch.id] = arrival
        self._sync.on_early(arrival.peer, arrival.batch, now, wait=False)
        return [*self._sync.pump(now)]

    def _unpark(self, now: UnixMs) -> list[Effect]:
        """Judge again what waited for a key."""
        ready = [
            arrival
            for arrival in self._parked.values()
            if self.roster.chain(arrival.batch.author, arrival.batch.key) is not None
        ]
        effects: list[Effect] = []
        to_verify: list[_Arrival] = []
        for arrival in ready:
            del self._parked[arrival.batch.id]
            effects += self._examine(arrival, to_verify, now)
        holds = self.suite.verify_many([a.claim for a in to_verify if a.claim])
        return effects + self._conclude(to_verify, holds, now)

    def _on_restored(self, data: bytes) -> list[Effect]:
        """Our own disk: verified before it was stored, so only read again."""
        batch = read_batch_untrusted(data)
        first = batch.entries[0]
        keys = first.said
        if isinstance(keys, Keys) and batch.author in self.roster:
            self.roster.learn(read_chain_untrusted(keys.chain, self.suite))
        if self.ledger.place(batch) is not Place.NEW:
            return []
        self.ledger.add(batch)
        return self._admit(batch)


def _misbehaved(peer: NodeId, author: NodeId | None, why: str) -> list[Effect]:
    return [Note(Fact.BATCH_REJECTED, peer, author, why), CloseLink(peer, why)]
