"""The engine: the only entrance to the core. One event in, effects out.

::

    Say ─▶ queue ─▶ Sign ─▶ Signed ─▶ Store ─▶ Stored ─▶ spread, Admitted
                     one batch at a time: each names the one before it

    Frame ─▶ read ─▶ admission ─▶ ledger ─▶ Store, Admitted, spread

The engine does no I/O, holds no secret and reads no clock: it is handed the
time with each event and asks for everything else by an effect. The daemon and
the simulator drive this same code.
"""

from collections import deque

import attrs

from gossip import events, limits
from gossip.domains import Domain
from gossip.effects import (
    Admitted,
    CloseLink,
    Effect,
    Fact,
    Note,
    Send,
    Sign,
    Store,
    WakeAt,
)
from gossip.errors import LocalError, PeerError
from gossip.ledger.admission import Admission, Answer
from gossip.ledger.entries import (
    Closing,
    EntryKind,
    Keys,
    read_keys_untrusted,
    write_keys,
)
from gossip.ledger.feed import (
    Batch,
    Draft,
    Ledger,
    Place,
    draft_batch,
    read_batch_untrusted,
)
from gossip.membership.identity import Chain, read_chain_untrusted
from gossip.membership.roster import Roster
from gossip.spread import frames
from gossip.spread.flood import Flood
from gossip.suite import Suite
from gossip.units import Incarnation, NodeId, UnixMs

BATCHING_MS = 50
"""The first entry leaves at once; what follows within this shares a signature."""

_FACTS = {
    Answer.KNOWN: Fact.BATCH_KNOWN,
    Answer.IGNORE: Fact.BATCH_IGNORED,
    Answer.REJECT: Fact.BATCH_REJECTED,
    Answer.PARK: Fact.BATCH_PARKED,
    Answer.FORK: Fact.BATCH_FORKED,
}


@attrs.define
class _Pen:
    """How the own feed is written: one batch under way, the rest waiting."""

    incarnation: Incarnation
    chain: Chain
    waiting: deque[tuple[int, bytes]] = attrs.field(factory=deque)
    signing: Draft | None = None
    storing: Batch | None = None
    last_left_ms: int = -BATCHING_MS


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
    _flood: Flood = attrs.field(init=False)
    _admission: Admission = attrs.field(init=False)
    _pen: _Pen | None = attrs.field(init=False, default=None)
    _parked: dict[bytes, tuple[NodeId, Batch]] = attrs.field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        self._flood = Flood(self.ledger)
        self._admission = Admission(self.roster, self.ledger, self.suite)

    def handle(self, event: events.Event, now: UnixMs) -> list[Effect]:
        """Take in one event at ``now`` (Unix ms); say what must be done.

        Raises:
            LocalError: the driver broke its promises, such as an answer to an
                effect that was never asked for. Peers cannot cause it.
        """
        match event:
            case events.Frame():
                return self._on_frame(event.peer, event.data, now)
            case events.Say():
                return self._say(event.kind, event.body, now)
            case events.Signed():
                return self._on_signed(event)
            case events.Stored():
                return self._on_stored(event, now)
            case events.Woken():
                return self._write(now)
            case events.LinkUp():
                self.roster.learn(event.chain)
                return [*self._flood.link_up(event.chain.node), *self._unpark(now)]
            case events.LinkDown():
                self._flood.link_down(event.peer)
                return []
            case events.Restored():
                return self._on_restored(event.batch)
            case events.Opened():
                return self._on_opened(event, now)
            case events.Rotated():
                return self._on_rotated(event.chain, now)

    def linked(self) -> tuple[NodeId, ...]:
        """Who is linked now, sorted."""
        return self._flood.linked()

    # --- writing the own feed -------------------------------------------------

    def _on_opened(self, event: events.Opened, now: UnixMs) -> list[Effect]:
        if self._pen is not None or event.chain.node != self.me:
            raise LocalError("an engine is opened once, with its own chain")
        before = self.ledger.latest(self.me)
        closes = None
        if before is not None:
            (_, incarnation), feed = before
            closes = Closing(
                incarnation=incarnation, next_number=feed.next_number, head=feed.head
            )
        self._pen = _Pen(event.incarnation, event.chain)
        self.roster.learn(event.chain)
        keys = Keys(chain=event.chain.encoded, closes=closes)
        return self._say(EntryKind.KEYS, write_keys(keys), now)

    def _on_rotated(self, chain: Chain, now: UnixMs) -> list[Effect]:
        pen = self._opened()
        if chain.node != self.me:
            raise LocalError("rotated to another node's chain")
        self.roster.learn(chain)
        pen.chain = chain
        # First in its batch, so that the batch introduces the key it is signed by.
        pen.waiting.appendleft(
            (EntryKind.KEYS, write_keys(Keys(chain=chain.encoded, closes=None)))
        )
        return self._write(now)

    def _say(self, kind: int, body: bytes, now: UnixMs) -> list[Effect]:
        if len(body) > limits.ENTRY_BODY_BYTES_MAX:
            raise LocalError(f"an entry of {len(body)} bytes")
        self._opened().waiting.append((kind, body))
        return self._write(now)

    def _write(self, now: UnixMs) -> list[Effect]:
        """Begin the next batch if one is due and none is under way."""
        pen = self._pen
        if pen is None or not pen.waiting or pen.signing or pen.storing:
            return []
        due = UnixMs(pen.last_left_ms + BATCHING_MS)
        # A clock set back must not hold entries for longer than one batching.
        if (
            pen.last_left_ms <= now < due
            and len(pen.waiting) < limits.BATCH_ENTRIES_MAX
        ):
            return [WakeAt(due)]
        feed = self.ledger.feed((self.me, pen.incarnation))
        draft = draft_batch(
            cluster=self.roster.cluster,
            author=self.me,
            incarnation=pen.incarnation,
            number=feed.next_number if feed else 0,
            previous=feed.head if feed else bytes(32),
            issued_at_ms=now,
            key=pen.chain.key,
            entries=_take_batch(pen.waiting),
        )
        pen.signing = draft
        pen.last_left_ms = now
        return [Sign(draft.header, Domain.BATCH, pen.chain.key)]

    def _on_signed(self, event: events.Signed) -> list[Effect]:
        pen = self._opened()
        draft, pen.signing = pen.signing, None
        if draft is None or draft.header != event.body:
            raise LocalError("a signature that nobody asked for")
        pen.storing = read_batch_untrusted(draft.join(event.signature))
        return [Store(pen.storing, own=True)]

    def _on_stored(self, event: events.Stored, now: UnixMs) -> list[Effect]:
        pen = self._opened()
        batch, pen.storing = pen.storing, None
        if batch is None or batch.id != event.batch_id:
            raise LocalError("a batch was stored that was not under way")
        self.ledger.add(batch)
        return [
            *self._flood.spread(batch, source=None),
            *_admitted(batch),
            *self._write(now),
        ]

    def _opened(self) -> _Pen:
        if self._pen is None:
            raise LocalError("the engine has not been opened yet")
        return self._pen

    # --- reading other feeds --------------------------------------------------

    def _on_frame(self, peer: NodeId, data: bytes, now: UnixMs) -> list[Effect]:
        try:
            frame = frames.read_frame_untrusted(data)
            match frame:
                case frames.Push():
                    batch = read_batch_untrusted(frame.batch)
                    return self._on_batch(peer, batch, now)
                case frames.Heads():
                    return [*self._flood.on_heads(peer, frame)]
                case frames.Want():
                    return [*self._flood.on_want(peer, frame)]
        except PeerError as wrong:
            return [
                Note(Fact.BATCH_REJECTED, peer, why=str(wrong)),
                CloseLink(peer, str(wrong)),
            ]

    def _on_batch(self, peer: NodeId, batch: Batch, now: UnixMs) -> list[Effect]:
        verdict = self._admission.judge(batch, now)
        if verdict.answer is Answer.ACCEPT:
            return self._accept(peer, batch, now)
        effects: list[Effect] = [
            Note(_FACTS[verdict.answer], peer, batch.author, verdict.why)
        ]
        if verdict.answer is Answer.REJECT:
            effects.append(CloseLink(peer, verdict.why))
        elif verdict.answer is Answer.PARK:
            effects += self._park(peer, batch)
        elif verdict.answer is Answer.KNOWN:
            effects += self._flood.on_progress(peer, batch.feed)
        return effects

    def _accept(self, peer: NodeId, batch: Batch, now: UnixMs) -> list[Effect]:
        self.ledger.add(batch)
        effects: list[Effect] = [
            Store(batch, own=False),
            *_admitted(batch),
            *self._flood.spread(batch, source=peer),
            Note(Fact.BATCH_ACCEPTED, peer, batch.author),
        ]
        feed = self.ledger.feed(batch.feed)
        if feed is not None and feed.next_number < batch.number:
            effects += self._flood.ask_beginning(peer, batch)
        else:
            effects += self._flood.on_progress(peer, batch.feed)
        if self._parked and batch.entries[0].kind == EntryKind.KEYS:
            effects += self._unpark(now)
        return effects

    def _park(self, peer: NodeId, batch: Batch) -> list[Send]:
        if len(self._parked) >= limits.PARKED_BATCHES_MAX:
            self._parked.pop(next(iter(self._parked)))
        self._parked[batch.id] = (peer, batch)
        return self._flood.ask_beginning(peer, batch)

    def _unpark(self, now: UnixMs) -> list[Effect]:
        """Judge again what waited for a key; what still waits parks again."""
        effects: list[Effect] = []
        ready = [
            (peer, batch)
            for peer, batch in self._parked.values()
            if self.roster.chain(batch.author, batch.key) is not None
        ]
        for peer, batch in ready:
            del self._parked[batch.id]
            effects += self._on_batch(peer, batch, now)
        return effects

    def _on_restored(self, data: bytes) -> list[Effect]:
        """Our own disk: verified before it was stored, so only read again."""
        batch = read_batch_untrusted(data)
        first = batch.entries[0]
        if first.kind == EntryKind.KEYS and batch.author in self.roster:
            keys = read_keys_untrusted(first.body)
            self.roster.learn(read_chain_untrusted(keys.chain, self.suite))
        if self.ledger.place(batch) is not Place.NEW:
            return []
        self.ledger.add(batch)
        return _admitted(batch)


def _admitted(batch: Batch) -> list[Effect]:
    return [Admitted(entry) for entry in batch.entries]


def _take_batch(waiting: deque[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Take what fits one batch, by count and by size; at least one entry."""
    taken: list[tuple[int, bytes]] = []
    room = limits.BATCH_BYTES_MAX - 8_192  # header, signature, and framing
    while waiting and len(taken) < limits.BATCH_ENTRIES_MAX:
        room -= len(waiting[0][1]) + 16
        if taken and room < 0:
            break
        taken.append(waiting.popleft())
    return taken
