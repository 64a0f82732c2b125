"""Plumtree: new batches along a tree, their ids beside it, repair where it breaks.

::

             a duplicate came, or Prune
    eager ─────────────────────────────▶ lazy      eager: whole batches, at once
      ▲                                    │       lazy: 32-byte ids, gathered
      └──── Graft, or a first came here ◀──┘             for LAZY_MS or more

Of two neighbours one speaks first, and nobody is told what it told us itself: so
most ids cross a link but once.

Leitão, Pereira, Rodrigues: "Epidemic Broadcast Trees", SRDS 2007. Two changes.
A node keeps at least `EAGER_MIN` eager links, so that one silent neighbour does
not cost everybody behind it a timeout. And an id is only remembered as held
once its batch was admitted, so that announcing forged ids suppresses nothing;
it costs whoever believes it a `Graft`, of which each peer can cause so many.
"""

from collections import OrderedDict
from typing import Final

import attrs

from gossip.effects import Send, SendStored
from gossip.ledger.batch import Batch, FeedId
from gossip.spread import frames
from gossip.units import NodeId, UnixMs

EAGER_MIN: Final = 2
GRAFTS: Final = 2
"""So many of the others bring whole batches at first where a branch broke."""
LAZY_MS: Final = 25
GATHER_MS: Final = 400
"""Ids wait for company, longer where much is said: a frame costs far more than an id.
Who speaks second waits for another turn, since it will have been told most of them.
Where a branch has gone silent this, and `GRAFT_MS`, is what the next batch is late by."""
GRAFT_MS: Final = 60
"""How long an announced batch may take by the tree before it is asked for, at first.

Twice as long, up to `GRAFT_MS_MAX`, whenever it turns out to have been on its way:
where machines are busy, asking too early makes them busier."""
GRAFT_MS_MAX: Final = 800
GRAFT_CALMS: Final = 0.95
"""What each batch that came in time leaves of a longer patience."""
HUNGER_MS: Final = 1_000
"""What all announcers were asked for in vain is looked for so often again, and"""
HUNGER_ROUNDS: Final = 5
"""so many times; then only reconciliation can find it."""
RECENT_MAX: Final = 65_536
ANNOUNCED_PER_PEER_MAX: Final = 4_096


@attrs.define
class _Branch:
    """One link, as the tree sees it."""

    eager: bool = True
    brings: bool = False
    """Something came along it first: we hang by this branch."""
    first: bool = True
    """Whether we are the one of the two who speaks first."""
    ids: dict[bytes, None] = attrs.field(factory=dict)
    """What the peer is to be told, as far as it did not tell us meanwhile."""
    held: dict[bytes, None] = attrs.field(factory=dict)
    """The same, one turn older, where we speak second."""
    demoted: bool = False
    """It let us wait: not counted on, though still told."""
    announced: int = 0
    """How many of the ids this peer announced first are still missing."""


@attrs.define
class _Missing:
    """A batch that somebody announced and nobody brought yet."""

    due_ms: int
    sources: list[NodeId]
    first: NodeId
    asked: list[NodeId] = attrs.field(factory=list)
    brought: list[NodeId] = attrs.field(factory=list)
    """Who did bring it, though it has to wait here, or was refused."""
    rounds: int = 0
    """How often everybody who announced it had been asked, and it was not here."""


@attrs.define
class Plumtree:
    """The tree as one node sees it."""

    me: NodeId = attrs.field(repr=bytes.hex)
    _branches: dict[NodeId, _Branch] = attrs.field(init=False, factory=dict)
    _recent: OrderedDict[bytes, tuple[FeedId, int]] = attrs.field(
        init=False, factory=OrderedDict
    )
    _missing: OrderedDict[bytes, _Missing] = attrs.field(
        init=False, factory=OrderedDict
    )
    _hungry: OrderedDict[bytes, _Missing] = attrs.field(init=False, factory=OrderedDict)
    """What all announcers were asked for; in the order of `_Missing.due_ms`, too."""
    _failed: list[NodeId] = attrs.field(init=False, factory=list)
    _flush_ms: int | None = attrs.field(init=False, default=None)
    _flushed_ms: int = attrs.field(init=False, default=0)
    _patience_ms: float = attrs.field(init=False, default=GRAFT_MS)
    _grafted: OrderedDict[bytes, None] = attrs.field(init=False, factory=OrderedDict)
    _starved: bool = attrs.field(init=False, default=False)

    def link_up(self, peer: NodeId) -> list[Send]:
        """A new link begins lazy where we hang by somebody, so that it makes no circle
        in the tree; else eager, and we ask for the same."""
        odd = bool((self.me[-1] ^ peer[-1]) & 1)
        hangs = self.hangs
        self._branches[peer] = _Branch(first=(self.me < peer) is odd, eager=not hangs)
        return [] if hangs else [Send(peer, frames.graft([]))]

    def link_down(self, peer: NodeId) -> list[Send]:
        """Forget a link. What it announced is asked of others; if we hung by it, we
        have whole batches from some, and the best of them is our branch next."""
        gone = self._branches.pop(peer, None)
        if gone is None:
            return []
        for wanted in self._missing.values():
            if peer in wanted.sources:
                wanted.sources.remove(peer)
        if gone.brings:
            return self._hang_elsewhere()
        return self._graft_spare(EAGER_MIN - len(self.eager()))

    def linked(self) -> tuple[NodeId, ...]:
        """Who is linked now, sorted."""
        return tuple(sorted(self._branches))

    def eager(self) -> tuple[NodeId, ...]:
        """Along which links whole batches go, sorted; those we count on."""
        return tuple(
            sorted(p for p, b in self._branches.items() if b.eager and not b.demoted)
        )

    def bringing(self) -> frozenset[NodeId]:
        """By whom we hang: those along whose links something came first."""
        return frozenset(p for p, b in self._branches.items() if b.brings)

    @property
    def hangs(self) -> bool:
        """Whether there is anybody by whom we hang."""
        return any(branch.brings for branch in self._branches.values())

    def demote(self, peer: NodeId) -> list[Send]:
        """Do not count on a peer any more; let others take its place."""
        branch = self._branches.get(peer)
        if branch is None or branch.demoted:
            return []
        branch.demoted = True
        return self._graft_spare(EAGER_MIN - len(self.eager()))

    def _hang_elsewhere(self, but: NodeId | None = None) -> list[Send]:
        """The branch we hung by brings nothing any more. If all that are left hang by
        us, we want to hang by them: and they know that they must look elsewhere."""
        return self._graft_spare(GRAFTS) or [
            Send(other, frames.graft([]))
            for other in self.linked()
            if other != but and not self._branches[other].demoted
        ]

    def _graft_spare(self, count: int) -> list[Send]:
        """Have whole batches from so many links more."""
        spare = [
            Send(other, frames.graft([]))
            for other in self.linked()
            if not self._branches[other].eager and not self._branches[other].demoted
        ]
        return spare[: max(0, count)]

    def spread(
        self, batch: Batch, source: NodeId | None, now: UnixMs, *, live: bool = True
    ) -> list[Send]:
        """Pass on what was just admitted, own or from ``source``.

        Args:
            live: False for what was fetched to catch up: others have it, or will
                fetch it themselves, so only its id is announced.
        """
        self._recent[batch.id] = (batch.feed, batch.number)
        if len(self._recent) > RECENT_MAX:
            self._recent.popitem(last=False)
        wanted = self._missing.pop(batch.id, None) or self._hungry.pop(batch.id, None)
        if wanted is not None:
            self._forget(wanted)
            if batch.id not in self._grafted:
                self._patience_ms = max(GRAFT_MS, GRAFT_CALMS * self._patience_ms)
        if live and source in self._branches:
            self._branches[source].eager = self._branches[source].brings = True
        holders = [source]
        if wanted is not None:
            holders += [*wanted.sources, *wanted.asked, *wanted.brought]
        frame = b""
        sends = []
        for peer in self.linked():
            if peer in holders:
                continue
            branch = self._branches[peer]
            if branch.eager and live:
                frame = frame or frames.push(batch.encoded)
                sends.append(Send(peer, frame))
            elif len(branch.ids) < frames.IDS_MAX:
                branch.ids[batch.id] = None
                if self._flush_ms is None:
                    self._flush_ms = max(now + LAZY_MS, self._flushed_ms + GATHER_MS)
        return sends

    def on_batch(self, peer: NodeId, batch_id: bytes) -> None:
        """A peer brought a batch: whatever becomes of it, the peer did its part."""
        wanted = self._missing.get(batch_id) or self._hungry.get(batch_id)
        if wanted is not None:
            wanted.brought.append(peer)
            if peer in wanted.sources:
                wanted.sources.remove(peer)

    def on_duplicate(self, peer: NodeId) -> list[Send]:
        """A pushed batch was held already: this link need not be eager."""
        branch = self._branches.get(peer)
        if branch is None or not branch.eager or len(self.eager()) <= EAGER_MIN:
            return []
        branch.eager = branch.brings = False
        return [Send(peer, frames.prune())]

    def on_known(self, peer: NodeId, batch_id: bytes) -> None:
        """A batch came a second time: had we asked for it, it was too early."""
        self._tell_not(peer, batch_id)
        if batch_id in self._grafted:
            del self._grafted[batch_id]
            self._patience_ms = min(GRAFT_MS_MAX, 2 * self._patience_ms)

    def _tell_not(self, peer: NodeId, batch_id: bytes) -> None:
        """A peer showed that it holds a batch."""
        branch = self._branches.get(peer)
        if branch is not None:
            branch.ids.pop(batch_id, None)
            branch.held.pop(batch_id, None)

    def on_prune(self, peer: NodeId) -> list[Send]:
        """A peer has a better branch. Refused if we have too few ourselves."""
        branch = self._branches.get(peer)
        if branch is None or not branch.eager:
            return []
        if len(self.eager()) <= EAGER_MIN:
            return [Send(peer, frames.graft([]))]
        branch.eager = branch.brings = False
        return []

    def on_ihave(self, peer: NodeId, ids: tuple[bytes, ...], now: UnixMs) -> None:
        """A peer announces: wait a little for the tree, then ask for it."""
        branch = self._branches.get(peer)
        if branch is None:
            return
        for batch_id in ids:
            if batch_id in self._recent:
                self._tell_not(peer, batch_id)
                continue
            wanted = self._missing.get(batch_id)
            if wanted is not None:
                if peer not in wanted.sources:
                    wanted.sources.append(peer)
            elif batch_id in self._hungry:
                wanted = self._missing[batch_id] = self._hungry.pop(batch_id)
                wanted.sources.append(peer)
                wanted.due_ms = now + int(self._patience_ms)
            elif branch.announced < ANNOUNCED_PER_PEER_MAX:
                branch.announced += 1
                self._missing[batch_id] = _Missing(
                    now + int(self._patience_ms), [peer], peer
                )

    def on_graft(
        self, peer: NodeId, ids: tuple[bytes, ...]
    ) -> list[Send] | list[SendStored]:
        """A peer asks to be pushed to, and for what it missed."""
        branch = self._branches.get(peer)
        if branch is None:
            return []
        hung = branch.eager and branch.brings
        branch.eager = True
        if not ids and hung:
            branch.brings = False
            if not self.hangs:
                return self._hang_elsewhere(but=peer)
        places = sorted(self._recent[i] for i in set(ids) if i in self._recent)
        return [SendStored(peer, *feed, n, n) for feed, n in places]

    @property
    def due_ms(self) -> int | None:
        """When `wake` has something to do."""
        due = self._flush_ms
        for waiting in (self._missing, self._hungry):
            if waiting:
                first = next(iter(waiting.values())).due_ms
                due = first if due is None else min(due, first)
        return due

    def take_starved(self) -> bool:
        """Whether, since the last time, nobody who announced a batch delivered it."""
        starved, self._starved = self._starved, False
        return starved

    def take_failures(self) -> list[NodeId]:
        """Who announced a batch, was asked, and had all the time to deliver it."""
        failed, self._failed = self._failed, []
        return failed

    def wake(self, now: UnixMs) -> list[Send]:
        """Send gathered ids, and ask for what was announced and did not come."""
        sends = []
        if self._flush_ms is not None and self._flush_ms <= now:
            sends = self._announce(now)
        self._starve(now)
        return sends + self._graft_overdue(now)

    def _announce(self, now: UnixMs) -> list[Send]:
        turn_ms = GATHER_MS if now - self._flushed_ms < 2 * GATHER_MS else LAZY_MS
        self._flush_ms, self._flushed_ms = None, now
        sends = []
        for peer in self.linked():
            branch = self._branches[peer]
            told, branch.ids = branch.ids, {}
            if not branch.first:
                told, branch.held = branch.held, told
                if branch.held:
                    self._flush_ms = now + turn_ms
            if told:
                sends.append(Send(peer, frames.ihave(told)))
        return sends

    def _starve(self, now: UnixMs) -> None:
        """Nobody is left to ask: those we are linked to may all be of one kind."""
        while self._hungry:
            batch_id, wanted = next(iter(self._hungry.items()))
            if wanted.due_ms > now:
                break
            if wanted.brought:
                self._forget(self._hungry.pop(batch_id))
                continue
            self._starved = True
            self._failed += [peer for peer in wanted.asked if peer in self._branches]
            wanted.asked = []
            wanted.rounds += 1
            wanted.due_ms = now + HUNGER_MS
            self._hungry.move_to_end(batch_id)
            if wanted.rounds == HUNGER_ROUNDS:
                self._forget(self._hungry.pop(batch_id))

    def _forget(self, wanted: _Missing) -> None:
        if wanted.first in self._branches:
            self._branches[wanted.first].announced -= 1

    def _graft_overdue(self, now: UnixMs) -> list[Send]:
        asked: dict[NodeId, list[bytes]] = {}
        while self._missing:
            batch_id, wanted = next(iter(self._missing.items()))
            if wanted.due_ms > now:
                break
            if not wanted.sources:
                del self._missing[batch_id]
                if wanted.brought:
                    self._forget(wanted)
                    continue
                wanted.due_ms = now + HUNGER_MS
                self._hungry[batch_id] = wanted
                self._starved = True
                continue
            wanted.asked.append(wanted.sources.pop(0))
            asked.setdefault(wanted.asked[-1], []).append(batch_id)
            self._grafted[batch_id] = None
            if len(self._grafted) > ANNOUNCED_PER_PEER_MAX:
                self._grafted.popitem(last=False)
            wanted.due_ms = now + int(self._patience_ms)
            self._missing.move_to_end(batch_id)
        sends = []
        for peer, ids in sorted(asked.items()):
            self._branches[peer].eager = True
            sends += [
                Send(peer, frames.graft(ids[i : i + frames.IDS_MAX]))
                for i in range(0, len(ids), frames.IDS_MAX)
            ]
        return sends
