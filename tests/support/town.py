"""Several engines joined without a socket: effects of one are events of others."""

from collections import deque
from collections.abc import Callable

import attrs

from gossip import effects, events
from gossip.domains import Domain
from gossip.engine import Engine
from gossip.ledger.batch import Batch, draft_batch
from gossip.ledger.entries import Entry, EntryKind
from gossip.membership.roster import Roster
from gossip.opening import PATIENCE_MS
from gossip.spread import frames
from gossip.units import Incarnation, NodeId, UnixMs
from tests.support.members import NOW, KeySuite, Member, founders, member

SETTLE_MS = 1_000


@attrs.define
class Citizen:
    """An engine and what its driver would hold."""

    who: Member
    engine: Engine
    stored: list[Batch] = attrs.field(factory=list)
    admitted: list[Entry] = attrs.field(factory=list)
    notes: list[effects.Note] = attrs.field(factory=list)
    closed: list[effects.CloseLink] = attrs.field(factory=list)
    wake_at: UnixMs | None = None
    seeks: frozenset[NodeId] = frozenset()

    def reports(self) -> list[bytes]:
        """Bodies of all reports admitted, sorted."""
        return sorted(e.body for e in self.admitted if e.kind == EntryKind.REPORT)


@attrs.define
class Town:
    """A cluster in memory. Frames are delivered in order, at once."""

    suite: KeySuite
    names: list[str]
    now: UnixMs = NOW
    citizens: dict[NodeId, Citizen] = attrs.field(init=False, factory=dict)
    links: set[tuple[NodeId, NodeId]] = attrs.field(init=False, factory=set)
    _post: deque[tuple[NodeId, events.Event]] = attrs.field(init=False, factory=deque)
    _incarnations: int = 0
    sent: int = 0
    wire: list[tuple[NodeId, NodeId, bytes]] = attrs.field(init=False, factory=list)
    """Every frame that was delivered."""
    skews_ms: dict[NodeId, int] = attrs.field(init=False, factory=dict)
    """Whose clock is wrong, and by how much."""
    swallow: Callable[[NodeId, NodeId, bytes], bool] = lambda _from, _to, _frame: False
    """Frames for which this is true never arrive."""

    def __attrs_post_init__(self) -> None:
        for name in self.names:
            self.start(name)

    def __getitem__(self, name: str) -> Citizen:
        return self.citizens[member(self.suite, name).node]

    def start(
        self, name: str, stored: list[Batch] | None = None, *, waiting: bool = True
    ) -> Citizen:
        """Start (again) a node, from what its disk holds.

        Args:
            waiting: Until it may speak although nobody is linked.
        """
        who = member(self.suite, name)
        roster = Roster(founders(self.suite, self.names))
        citizen = Citizen(who, Engine(who.node, roster, self.suite))
        self.citizens[who.node] = citizen
        for batch in stored or []:
            citizen.stored.append(batch)
            self.post(who.node, events.Restored(batch.encoded))
        self._incarnations += 1
        fresh = Incarnation(self._incarnations.to_bytes(16, "big"))
        self.post(who.node, events.Opened(fresh, who.chain))
        if waiting:
            self.pass_time(PATIENCE_MS)
        return citizen

    def link(self, a: str, b: str) -> None:
        """Link two nodes and let them catch up."""
        one, two = self[a].who, self[b].who
        self.links |= {(one.node, two.node), (two.node, one.node)}
        self.post(one.node, events.LinkUp(two.chain))
        self.post(two.node, events.LinkUp(one.chain))
        self.settle()

    def unlink(self, a: str, b: str) -> None:
        """Cut a link."""
        one, two = self[a].who.node, self[b].who.node
        self.links -= {(one, two), (two, one)}
        self.post(one, events.LinkDown(two))
        self.post(two, events.LinkDown(one))
        self.settle()

    def link_all(self) -> None:
        """Link everybody with everybody."""
        for i, a in enumerate(self.names):
            for b in self.names[i + 1 :]:
                self.link(a, b)

    def say(self, name: str, kind: int, body: bytes) -> None:
        """Let a node say something."""
        self.post(self[name].who.node, events.Say(kind, body))
        self.settle()

    def post(self, node: NodeId, event: events.Event) -> None:
        """Queue an event."""
        self._post.append((node, event))

    def pass_time(self, ms: int) -> None:
        """Let timers ring for this long."""
        end = self.now + ms
        self.settle()  # what was posted happens before time passes
        while self.now < end:
            self.now = UnixMs(min(end, self.now + SETTLE_MS))
            self.settle()

    def at(self, node: NodeId) -> UnixMs:
        """What a node's clock says."""
        return UnixMs(self.now + self.skews_ms.get(node, 0))

    def settle(self) -> None:
        """Deliver everything, and let timers ring for the next `SETTLE_MS`."""
        until = self.now + SETTLE_MS
        for _ in range(200_000):
            if not self._post and not self._wake_somebody(until):
                return
            if self._post:
                node, event = self._post.popleft()
                for effect in self.citizens[node].engine.handle(event, self.at(node)):
                    self._perform(self.citizens[node], effect)
        raise AssertionError("the town never settles")

    def _wake_somebody(self, until: int) -> bool:
        due = [
            c
            for c in self.citizens.values()
            if c.wake_at is not None and c.wake_at <= until
        ]
        if not due:
            return False
        first = min(due, key=lambda c: (c.wake_at or 0, c.who.node))
        assert first.wake_at is not None
        self.now = max(self.now, first.wake_at)
        first.wake_at = None
        self.post(first.who.node, events.Woken())
        return True

    def _perform(self, citizen: Citizen, effect: effects.Effect) -> None:
        me = citizen.who.node
        match effect:
            case effects.Sign():
                assert effect.key == citizen.who.chain.key
                signature = citizen.who.key.sign(effect.body, effect.context)
                self.post(me, events.Signed(effect.body, signature))
            case effects.Verify():
                holds = tuple(self.suite.verify_many(effect.claims))
                self.post(me, events.Verified(effect.ticket, holds))
            case effects.Store():
                citizen.stored.append(effect.batch)
                if effect.own:
                    self.post(me, events.Stored(effect.batch.id))
            case effects.Forget():
                citizen.stored = [
                    b
                    for b in citizen.stored
                    if b.feed != (effect.author, effect.incarnation)
                    or b.number >= effect.before
                    or b.lasting
                ]
            case effects.Recall():
                for batch in citizen.stored:
                    if (batch.feed, batch.number) == (effect.other.feed, effect.number):
                        self.post(me, events.Recalled(batch.encoded, effect.other))
            case effects.Send():
                self._send(me, effect.peer, effect.frame)
            case effects.SendStored():
                wanted = range(effect.first, effect.last + 1)
                for batch in citizen.stored:
                    if (
                        batch.feed == (effect.author, effect.incarnation)
                        and batch.number in wanted
                    ):
                        self._send(me, effect.peer, frames.give(batch.encoded))
            case effects.Admitted():
                citizen.admitted.append(effect.entry)
            case effects.Note():
                citizen.notes.append(effect)
            case effects.CloseLink():
                citizen.closed.append(effect)
            case effects.Seek():
                citizen.seeks = effect.peers
            case effects.WakeAt():
                citizen.wake_at = UnixMs(effect.at_ms - self.skews_ms.get(me, 0))

    def _send(self, me: NodeId, peer: NodeId, frame: bytes) -> None:
        if (me, peer) in self.links and not self.swallow(me, peer, frame):
            self.sent += 1
            self.wire.append((me, peer, frame))
            self.post(peer, events.Frame(me, frame))


def forge(
    who: Member,
    town: Town,
    *,
    number: int = 0,
    previous: bytes = bytes(32),
    incarnation: bytes = b"x" * 16,
    entries: list[tuple[int, bytes]],
    at: int = NOW,
    author: Member | None = None,
) -> bytes:
    """A batch that ``who`` signs, in ``author``'s name (its own by default)."""
    named = author or who
    draft = draft_batch(
        cluster=founders(town.suite, town.names).cluster,
        author=named.node,
        incarnation=Incarnation(incarnation),
        number=number,
        previous=previous,
        issued_at_ms=UnixMs(at),
        key=named.chain.key,
        entries=entries,
    )
    return draft.join(who.key.sign(draft.header, Domain.BATCH))
