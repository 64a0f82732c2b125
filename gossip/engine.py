"""The engine: the only entrance to the core. One event in, effects out.

::

    Say ───▶ pen ─▶ Sign … Signed ─▶ Store … Stored ─▶ spread, Admitted
    Frame ─▶ intake ─▶ examine, verify ─▶ Store, spread, Admitted
             tree: ids, grafts, prunes      sync: digests, heads, wants
             view: whom to link

The engine does no I/O, holds no secret and reads no clock: it is handed the
time with each event and asks for everything else by an effect. The daemon and
the simulator drive this same code.
"""

from typing import Protocol

import attrs

from gossip import events
from gossip.clocks import Clocks
from gossip.effects import CloseLink, Effect, Fact, Note, Seek, Send, WakeAt
from gossip.errors import PeerError
from gossip.intake import Intake
from gossip.ledger.entries import EntryKind
from gossip.ledger.feed import Ledger
from gossip.membership.identity import Chain
from gossip.membership.roster import Roster
from gossip.opening import Opening, closing_of
from gossip.pen import Pen
from gossip.spread import frames
from gossip.spread.conduct import DEMOTE_AT, PART_AT, Conduct
from gossip.spread.plumtree import Plumtree
from gossip.spread.sync import Sync
from gossip.spread.view import View
from gossip.suite import Suite
from gossip.units import NodeId, UnixMs


class _Timed(Protocol):
    @property
    def due_ms(self) -> int | None: ...


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
    clocks: Clocks = attrs.field(init=False, factory=Clocks)
    _tree: Plumtree = attrs.field(init=False)
    _sync: Sync = attrs.field(init=False)
    _view: View = attrs.field(init=False)
    _pen: Pen = attrs.field(init=False)
    _intake: Intake = attrs.field(init=False)
    _opening: Opening = attrs.field(init=False)
    _conduct: Conduct = attrs.field(init=False, factory=Conduct)
    _parts: "tuple[_Timed, ...]" = attrs.field(init=False, repr=False)
    _seeking: frozenset[NodeId] = attrs.field(init=False, default=frozenset())
    _wake_ms: int | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._view = View(self.me, self.roster.groups, self.suite)
        self._tree = Plumtree(self.me)
        voice_of = self.roster.voice_of
        self._sync = Sync(self.me, self.ledger, self.suite, voice_of)
        self._pen = Pen(self.me, self.roster, self.ledger)
        needed = min(self.roster.colluders + 1, self.roster.size - 1)
        self._opening = Opening(self.me, self.ledger, needed, voice_of)
        self._intake = Intake(
            self.roster, self.suite, self.ledger, self._tree, self._sync
        )
        self._parts = (
            self._pen,
            self._opening,
            self._tree,
            self._sync,
            self._intake,
            self._view,
        )

    def handle(self, event: events.Event, now: UnixMs) -> list[Effect]:
        """Take in one event at ``now`` (Unix ms); say what must be done.

        Raises:
            LocalError: the driver broke its promises, such as an answer to an
                effect that was never asked for. Peers cannot cause it.
        """
        effects = self._dispatch(event, now)
        if (ready := self._opening.ready(now)) is not None:
            effects += self._pen.open(*ready, now)
        if self._view.sought != self._seeking:
            self._seeking = frozenset(self._view.sought)
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
                return self._on_frames(event.arrived, now, event.more)
            case events.Verified():
                return self._intake.verified(event.ticket, event.holds, now)
            case events.Say():
                return [*self._pen.say(event.kind, event.body, now)]
            case events.Signed():
                return [*self._pen.signed(event.body, event.signature)]
            case events.Stored():
                return self._on_stored(event.batch_id, now)
            case events.Woken():
                return self._on_woken(now)
            case events.Recalled():
                report = self._intake.accuse(event.held, event.other)
                if report is None or event.other.author == self.me:
                    return []
                return [*self._pen.say(EntryKind.REPORT, report, now)]
            case events.Prune():
                return [*self._pen.prune(event.incarnation, event.keep, now)]
            case events.LinkUp():
                return self._on_link_up(event.chain, now)
            case events.LinkDown():
                self._view.link_down(event.peer, now)
                return self._part_with(event.peer, now)
            case events.Barred():
                self._view.bar(event.peer, event.barred)
                self._view.review(now)
                return []
            case events.Restored():
                return self._intake.restore(event.batch, now)
            case events.Opened():
                self._view.review(now)
                self._opening.begin(event, now)
                return []
            case events.Rotated():
                return [*self._pen.rotate(event.chain, now)]

    # --- frames ---------------------------------------------------------------

    def _on_frames(
        self, arrived: tuple[events.Frame, ...], now: UnixMs, more: int = 0
    ) -> list[Effect]:
        effects: list[Effect] = []
        for event in arrived:
            try:
                effects += self._on_frame(event.peer, event.data, now)
            except PeerError as wrong:
                effects += [
                    Note(Fact.BATCH_REJECTED, event.peer, None, str(wrong)),
                    CloseLink(event.peer, str(wrong)),
                ]
        return effects + self._intake.verify(now, more)

    def _on_frame(self, peer: NodeId, data: bytes, now: UnixMs) -> list[Effect]:
        frame = frames.read_frame_untrusted(data)
        match frame:
            case frames.Push():
                return self._intake.read(peer, frame.batch, now, live=True)
            case frames.Give():
                return self._intake.read(peer, frame.batch, now, live=False)
            case frames.IHave():
                self._tree.on_ihave(peer, frame.ids, now)
                return []
            case frames.Graft():
                return [*self._tree.on_graft(peer, frame.ids)]
            case frames.Prune():
                return [*self._tree.on_prune(peer)]
            case frames.Root():
                self.clocks.hear(peer, frame.now_ms, now)
                return [*self._sync.on_root(peer, frame)]
            case frames.Buckets():
                return [*self._sync.on_buckets(peer, frame)]
            case frames.Heads():
                wanted = self._sync.on_heads(peer, frame, now)
                if wanted and not self._tree.hangs:
                    self._view.starve(now)  # others hold what nobody brought us
                return [*wanted]
            case frames.Want():
                return [*self._sync.on_want(peer, frame)]
            case frames.Full():
                self._view.full(peer, now)
                return self._part_with(peer, now)
            case frames.Ask():
                latest = self.ledger.latest(peer)
                return [Send(peer, frames.tell(closing_of(latest), now))]
            case frames.Tell():
                self.clocks.hear(peer, frame.now_ms, now)
                self._opening.hear(peer, frame.latest)
                return []

    # --- links and time -------------------------------------------------------

    def _on_link_up(self, chain: Chain, now: UnixMs) -> list[Effect]:
        peer = chain.node
        self.roster.learn(chain)
        if not self._view.link_up(peer):
            self._view.link_down(peer, now)
            return [Send(peer, frames.full())]
        grafts = self._tree.link_up(peer)
        asks = [Send(peer, frames.ask())] if self._opening.asking else []
        return [*asks, *grafts, *self._sync.link_up(peer, now)]

    def _part_with(self, peer: NodeId, now: UnixMs) -> list[Effect]:
        self.clocks.forget(peer)
        asked = [*self._tree.link_down(peer), *self._sync.link_down(peer, now)]
        if not self._tree.hangs:
            self._sync.hurry(now)
        return [*asked]

    def _on_stored(self, batch_id: bytes, now: UnixMs) -> list[Effect]:
        batch = self._pen.stored(batch_id)
        if batch is None:
            return []
        return [
            *self._tree.spread(batch, None, now),
            *self._intake.admit(batch, now, delivered=True),
            *self._pen.write(now),
        ]

    def _on_woken(self, now: UnixMs) -> list[Effect]:
        self._view.bringing = self._tree.bringing()
        self._view.review(now)
        return [
            *self._pen.write(now),
            *self._tree.wake(now),
            *self._sync.wake(now, alone=not self._tree.hangs),
            *self._intake.retry(now),
            *self._judge_carriers(now),
        ]

    def _judge_carriers(self, now: UnixMs) -> list[Effect]:
        """Those who let us wait make room for others; in time they lose their place
        in the tree, then the link."""
        effects: list[Effect] = []
        failed = self._sync.take_failures() + self._tree.take_failures()
        if self._tree.take_starved() or failed:
            # It may be that all we are linked to are of that kind.
            self._view.starve(now)
        for peer in failed:
            sins = self._conduct.let_us_wait(peer, now)
            if sins >= PART_AT:
                effects.append(CloseLink(peer, "it offers what it does not deliver"))
                continue
            self._view.exchange(peer, now)
            if sins >= DEMOTE_AT:
                effects += self._tree.demote(peer)
        return effects

    def _due_ms(self) -> int | None:
        """When the first timer of any part rings."""
        first: int | None = None
        for part in self._parts:
            due = part.due_ms
            if due is not None and (first is None or due < first):
                first = due
        return first
