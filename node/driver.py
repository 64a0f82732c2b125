"""The driver: performs what the engine asks for, and tells it what happened.

One event at a time, in order, all in the event loop; only the disk and the
links work beside it. What the engine admits is handed on, each entry once.
"""

from collections import Counter, deque
from collections.abc import Callable
from time import perf_counter
from typing import Final, Protocol

import attrs
import trio
import trio.lowlevel
from prometheus_client import Counter as Count

from gossip import effects, events, limits
from gossip.engine import Engine
from gossip.errors import LocalError, UserError
from gossip.ledger.batch import read_batch_untrusted
from gossip.ledger.entries import Entry, EntryKind, Place, Report, write_report
from gossip.spread import frames
from gossip.suite import SigningKey
from gossip.units import Incarnation, KeyId, MonoMs, NodeId, UnixMs
from node import lasting
from node.clock import Clock
from node.database import Forget, PutBatch
from node.keys.suites.batches import BatchVerifier
from node.log import Log
from node.metrics import Metrics
from node.store import Store

PRUNE_S: Final = 600.0
BACKLOG_REQUESTS_MAX: Final = 256
"""What one peer may have asked for from the store and not have taken yet."""
TAKE_IN_MAX: Final = 16
"""Frames handled without letting anybody else have a turn."""
_FRAME_BYTES_USUAL: Final = 4_096
_ENTRY_BYTES_USUAL: Final = 150
"""A frame with one report, and what each further report adds to it."""
VERIFY_WAITING_MAX: Final = 256
"""Signatures that wait for a thread before more frames are taken in."""
DURABLE_S: Final = 8.0
HELD_BYTES_MAX: Final = 1 << 20
"""What waits of one peer before nothing more is read from it."""
_FRAME_COST_BYTES: Final = 512
"""What a waiting frame costs besides its bytes, roughly."""
_BACKLOG_PIECE: Final = 16
"""Batches, or requests for what is not there, before it is the next peer's turn."""
_BACKLOG_RETRY_S: Final = 0.01


class Frames(Protocol):
    """What the driver needs of the links."""

    def send(self, peer: NodeId, frame: bytes) -> bool:
        """Queue a frame; False if there is no link, or no room."""
        ...

    def drop(self, peer: NodeId) -> None:
        """Close the link soon."""
        ...

    def seek(self, peers: frozenset[NodeId]) -> None:
        """Keep links to exactly these, as far as gossip goes."""
        ...


@attrs.define
class Alarm:
    """Rings once at a time that may be moved."""

    clock: Clock
    _at: MonoMs | None = attrs.field(init=False, default=None)
    _asleep: trio.CancelScope | None = attrs.field(init=False, default=None)

    def set(self, at_ms: UnixMs) -> None:
        """Ring at ``at_ms``, whatever was asked for before."""
        delay = max(0, at_ms - self.clock.unix_ms())
        self._at = MonoMs(self.clock.mono_ms() + delay)
        if self._asleep is not None:
            # Nobody needs to be woken for that, and it happens often.
            self._asleep.deadline = trio.current_time() + delay / 1_000

    async def run(self, ring: Callable[[], None]) -> None:
        """Ring until cancelled."""
        while True:
            with trio.CancelScope() as self._asleep:
                if self._at is not None:
                    delay = max(0, self._at - self.clock.mono_ms())
                    self._asleep.deadline = trio.current_time() + delay / 1_000
                await trio.sleep_forever()
            self._asleep = self._at = None
            ring()


@attrs.define(kw_only=True)
class Driver:
    """Runs one engine.

    Args:
        on_entry: Called for each admitted entry, exactly once a run.
    """

    engine: Engine
    store: Store
    links: Frames
    clock: Clock
    log: Log
    metrics: Metrics
    on_entry: Callable[[Entry], None]
    keys: dict[KeyId, SigningKey] = attrs.field(factory=dict, repr=False)
    _waiting: deque[events.Event] = attrs.field(init=False, factory=deque)
    _busy: bool = attrs.field(init=False, default=False)
    _alarm: Alarm = attrs.field(init=False)
    _backlog: dict[NodeId, deque[effects.SendStored]] = attrs.field(
        init=False, factory=dict
    )
    _more: trio.Event = attrs.field(init=False, factory=trio.Event)
    _arrived: list[events.Frame] = attrs.field(init=False, factory=list)
    _held: Counter[NodeId] = attrs.field(init=False, factory=Counter)
    _freed: trio.lowlevel.ParkingLot = attrs.field(
        init=False, factory=trio.lowlevel.ParkingLot
    )
    _idle: trio.lowlevel.ParkingLot = attrs.field(
        init=False, factory=trio.lowlevel.ParkingLot
    )
    _rung: int = attrs.field(init=False, default=0)
    """How many frames are to be taken in before the engine is woken."""
    _sent_bytes: int = attrs.field(init=False, default=0)
    _fates: dict[effects.Fact, Count] = attrs.field(init=False)
    _kinds: dict[int, Count] = attrs.field(init=False)
    _unknown: Count = attrs.field(init=False)
    _said: dict[tuple[int, bytes], deque[trio.Event]] = attrs.field(
        init=False, factory=dict
    )
    _verifier: BatchVerifier = attrs.field(init=False)
    _verified: trio.Event = attrs.field(init=False, factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self._alarm = Alarm(self.clock)
        self._verifier = BatchVerifier(
            self.engine.suite, self._on_verified, lambda: bool(self._arrived)
        )
        # Finding a label's counter costs more than counting.
        self._fates = {f: self.metrics.batches.labels(f.value) for f in effects.Fact}
        self._kinds = {
            int(kind): self.metrics.entries.labels(kind.name.lower())
            for kind in EntryKind
        }
        self._unknown = self.metrics.entries.labels("unknown")

    def handle(self, event: events.Event) -> None:
        """Give the engine an event and perform what follows from it.

        May be called from within itself: events are handled in order of arrival.
        """
        self._waiting.append(event)
        if self._busy:
            return
        self._busy = True
        try:
            while self._waiting:
                happened = self._waiting.popleft()
                for effect in self.engine.handle(happened, self.clock.unix_ms()):
                    self._perform(effect)
                if not self._waiting:
                    self._verifier.go_on()
        finally:
            self._busy = False
            self.metrics.sent_bytes.inc(self._sent_bytes)
            self._sent_bytes = 0

    def restore(self) -> int:
        """Tell the engine all that is in the store; returns how many batches."""
        count = 0
        for encoded in self.store.load():
            self.handle(events.Restored(encoded))
            count += 1
        return count

    def receive(self, peer: NodeId, frame: bytes) -> None:
        """A frame arrived. What arrives in one turn of the loop is handled as one."""
        self._arrived.append(events.Frame(peer, frame))
        self._held[peer] += len(frame) + _FRAME_COST_BYTES
        if len(self._arrived) == 1:
            self._idle.unpark()

    def prune(self) -> None:
        """Let go of own batches that are old, or over our share of the store."""
        now = self.clock.unix_ms()
        share = self.engine.roster.author_bytes_max // 2
        for incarnation, keep in self.store.prunable(
            self.engine.me, now - limits.RETENTION_MS, share
        ):
            self.handle(events.Prune(incarnation, keep))

    async def room(self, peer: NodeId) -> None:
        """Wait until little enough of what ``peer`` said waits here."""
        while self._held[peer] > HELD_BYTES_MAX:
            await self._freed.park()

    def report(self, report: Report) -> None:
        """Say in our own feed what we saw; where little room is left, without proof."""
        said = lasting.as_said(report, self.engine, self.clock.unix_ms())
        self.handle(events.Say(EntryKind.REPORT, write_report(said)))

    def retell(self, place: Place) -> None:
        """Say again in our own feed what stands at a place, if the store holds it.

        Others do where our share of what lasts is nearly used.
        """
        if lasting.is_full(self.engine):
            return
        author, incarnation, number, index = place
        feed = (NodeId(author), Incarnation(incarnation))
        for _, encoded in self.store.range(*feed, number, number, 1):
            entry = read_batch_untrusted(encoded).entries[index]
            self.handle(events.Say(entry.kind, entry.body))

    async def say_durably(self, kind: int, body: bytes) -> None:
        """Say something, and return once it is on our disk and on its way.

        Raises:
            UserError: the disk does not answer.
        """
        done = trio.Event()
        self._said.setdefault((kind, body), deque()).append(done)
        self.handle(events.Say(kind, body))
        with trio.move_on_after(DURABLE_S):
            await done.wait()
            return
        raise UserError(f"the disk did not answer within {DURABLE_S:.0f} s")

    async def run(self) -> None:
        """Take in frames, wake the engine when it asked for it, send what is stored."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._verifier.run)
            nursery.start_soon(self._take_in)
            nursery.start_soon(self._alarm.run, self._ring)
            nursery.start_soon(self._send_backlog)
            nursery.start_soon(self._prune_now_and_then)

    @property
    def waiting_frames(self) -> int:
        """Frames that arrived and were not yet taken in."""
        return len(self._arrived)

    async def _take_in(self) -> None:
        """A piece at a time, so that a burst does not hold up the loop."""
        while True:
            while self._arrived:
                piece = tuple(self._arrived[: self._piece()])
                del self._arrived[: len(piece)]
                self._free(piece)
                began = perf_counter()
                self.handle(events.Frames(piece, len(self._arrived)))
                self.metrics.frame_seconds.observe(perf_counter() - began)
                if self._rung:
                    self._rung = max(0, self._rung - len(piece))
                    if not self._rung:
                        self.handle(events.Woken())
                if self._arrived:
                    await trio.lowlevel.checkpoint()
                while self._verifier.claims_waiting >= VERIFY_WAITING_MAX:
                    self._verified = trio.Event()
                    await self._verified.wait()
            await self._idle.park()

    def _ring(self) -> None:
        """It is time; but what arrived before is news that the engine may wait for."""
        if self._arrived:
            self._rung = self._rung or len(self._arrived)
        else:
            self.handle(events.Woken())

    async def _prune_now_and_then(self) -> None:
        while True:
            await trio.sleep(PRUNE_S)
            self.prune()

    def _free(self, piece: tuple[events.Frame, ...]) -> None:
        self.metrics.received_bytes.inc(sum(len(frame.data) for frame in piece))
        for frame in piece:
            self._held[frame.peer] -= len(frame.data) + _FRAME_COST_BYTES
            if not self._held[frame.peer]:
                del self._held[frame.peer]
        self._freed.unpark_all()

    def _piece(self) -> int:
        """How many frames make one turn: fewer, if they hold many entries."""
        room = TAKE_IN_MAX
        for count, event in enumerate(self._arrived):
            room -= (
                1 + max(0, len(event.data) - _FRAME_BYTES_USUAL) // _ENTRY_BYTES_USUAL
            )
            if room < 0:
                return max(1, count)
        return len(self._arrived)

    def _on_verified(self, ticket: int, holds: tuple[bool, ...]) -> None:
        self._verified.set()
        self.handle(events.Verified(ticket, holds))

    def _perform(self, effect: effects.Effect) -> None:
        match effect:
            case effects.Send():  # the most frequent first
                self._send(effect.peer, effect.frame)
            case effects.Admitted():
                self._admit(effect.entry)
            case effects.Note():
                self._note(effect)
            case effects.Store():
                self._store(effect)
            case effects.Sign():
                self._sign(effect)
            case effects.Verify():
                self._verifier.ask(effect.ticket, effect.claims)
            case effects.Forget():
                self.store.submit(
                    Forget(effect.author, effect.incarnation, effect.before)
                )
            case effects.Recall():
                self._recall(effect)
            case effects.SendStored():
                self._send_stored(effect)
            case effects.Seek():
                self.links.seek(effect.peers)
            case effects.CloseLink():
                self.log.warn(
                    f"closed the link to {self._name(effect.peer)}: {effect.why}"
                )
                self.links.drop(effect.peer)
            case effects.WakeAt():
                self._alarm.set(effect.at_ms)

    def _send(self, peer: NodeId, frame: bytes) -> None:
        if self.links.send(peer, frame):
            self._sent_bytes += len(frame)
            return
        # A peer that does not keep up is linked anew, and then catches up from
        # the store; nobody else waits for it.
        self.metrics.unsent.inc()
        self.links.drop(peer)

    def _sign(self, effect: effects.Sign) -> None:
        key = self.keys.get(effect.key)
        if key is None:
            raise LocalError("asked to sign with a key this node does not hold")
        began = perf_counter()
        signature = key.sign(effect.body, effect.context)
        self.metrics.sign_seconds.observe(perf_counter() - began)
        self.handle(events.Signed(effect.body, signature))

    def _store(self, effect: effects.Store) -> None:
        batch = effect.batch
        self.store.submit(
            PutBatch(batch, self.clock.unix_ms()),
            (lambda: self.handle(events.Stored(batch.id))) if effect.own else None,
        )

    def _recall(self, effect: effects.Recall) -> None:
        feed = effect.other.feed
        number = effect.number
        for _, held in self.store.range(*feed, number, number, 1):
            self.handle(events.Recalled(held, effect.other))

    def _admit(self, entry: Entry) -> None:
        if self._said and entry.author == self.engine.me:
            waiting = self._said.get((entry.kind, entry.body))
            if waiting:
                waiting.popleft().set()
            if not waiting:
                self._said.pop((entry.kind, entry.body), None)
        self._kinds.get(entry.kind, self._unknown).inc()
        self.on_entry(entry)

    def _note(self, note: effects.Note) -> None:
        self._fates[note.fact].inc()
        if note.why:
            self.log.debug(
                f"a batch was {note.fact.value}: {note.why}",
                peer=note.peer,
                author=note.author,
            )

    def _send_stored(self, effect: effects.SendStored) -> None:
        waiting = self._backlog.setdefault(effect.peer, deque())
        if len(waiting) >= BACKLOG_REQUESTS_MAX:
            del self._backlog[effect.peer]
            self.links.drop(effect.peer)
            return
        waiting.append(effect)
        self._more.set()

    async def _send_backlog(self) -> None:
        """Send what was asked for from the store, as fast as each link takes it."""
        while True:
            await self._more.wait()
            self._more = trio.Event()
            while self._backlog:
                moved = False
                for peer in tuple(self._backlog):
                    moved |= self._send_piece(peer)
                await trio.sleep(0 if moved else _BACKLOG_RETRY_S)

    def _send_piece(self, peer: NodeId) -> bool:
        """Send some of what a peer asked for, in order; whether any was done."""
        waiting = self._backlog.pop(peer, None)
        if waiting is None or peer not in self.engine.linked():
            return False
        room, moved = _BACKLOG_PIECE, False
        while waiting and room > 0:
            asked = waiting.popleft()
            held = self.store.range(
                asked.author, asked.incarnation, asked.first, asked.last, room
            )
            room -= max(1, len(held))
            first, has_room = self._give(asked, held)
            if held and first <= asked.last:
                waiting.appendleft(attrs.evolve(asked, first=first))
            moved |= has_room or first > asked.first
            if not has_room:
                break
        if waiting:
            self._backlog[peer] = waiting
        return moved

    def _give(
        self, asked: effects.SendStored, held: list[tuple[int, bytes]]
    ) -> tuple[int, bool]:
        """What is to be sent next, and whether the link took all."""
        first = asked.first
        for number, encoded in held:
            frame = frames.give(encoded)
            if not self.links.send(asked.peer, frame):
                return first, False
            self.metrics.sent_bytes.inc(len(frame))
            first = number + 1
        return first, True

    def _name(self, node: NodeId) -> str:
        return self.engine.roster.name(node)
