"""Appeals heard, and what was answered: bounded, so that pleading is no attack."""

from collections import Counter
from typing import Final

import attrs

from enforcement.decide.rulings import Answered, Appealed, Ruling
from gossip.errors import PeerError
from gossip.ledger.appeals import (
    Answer,
    Appeal,
    peek_appeal_untrusted,
    read_answer_untrusted,
    read_appeal_untrusted,
)
from gossip.ledger.entries import Entry
from gossip.membership.roster import Roster
from gossip.suite import Suite
from gossip.units import NodeId, UnixMs

APART_MS: Final = 5 * 60_000
LIFE_MS: Final = 86_400_000
PER_NODE_MAX: Final = 4
"""Of each accused node so many are heard at once after a rest, and the last held."""
HELD_MAX: Final = 256
EARLY_PER_NODE_MAX: Final = 16
"""Answers of one member that came before their appeals; its oldest make room."""


@attrs.define
class Plea:
    """One appeal, and who answered what."""

    appeal: Appeal
    answers: dict[NodeId, Answer] = attrs.field(factory=dict)


@attrs.define
class Appeals:
    """The appeals of the last day; each node one in five minutes.

    By its own stamps, and by our clock too, since it can stamp a day of appeals in an
    instant. What comes faster tells nobody, and takes the place only of its own.
    """

    roster: Roster
    suite: Suite
    now_ms: UnixMs = attrs.field(init=False, default=UnixMs(0))
    """The clock, as of the last event."""
    pleas: dict[bytes, Plea] = attrs.field(init=False, factory=dict)
    _early: dict[NodeId, dict[bytes, Answer]] = attrs.field(init=False, factory=dict)
    """What members answered to appeals that are still on their way here."""
    _stamps: dict[NodeId, list[UnixMs]] = attrs.field(init=False, factory=dict)
    _rested_ms: dict[NodeId, int] = attrs.field(init=False, factory=dict)
    """When each will have rested from all that was heard of it."""

    def hear(self, entry: Entry) -> tuple[Ruling, ...]:
        """Somebody carries an appeal. The flood is refused before it is verified.

        Raises:
            PeerError: it does not hold, is old, or comes too soon after another.
        """
        now = self.now_ms
        node, stamp = peek_appeal_untrusted(entry.body)
        if abs(entry.issued_at_ms - stamp) > LIFE_MS:
            raise PeerError("an appeal of another day")
        if abs(now - stamp) > LIFE_MS:
            return ()  # carried in time, but read back or heard of late
        stamps = self._stamps.setdefault(self.roster.member(node).node, [])
        stamps[:] = [s for s in stamps if abs(now - s) <= LIFE_MS]
        if any(abs(stamp - earlier) < APART_MS for earlier in stamps):
            if any(stamp == earlier for earlier in stamps):
                return ()  # the same one, by another carrier
            raise PeerError("a second appeal within five minutes")
        appeal = read_appeal_untrusted(entry.body, self.roster, self.suite)
        stamps.append(stamp)
        plea = self.pleas[appeal.id] = Plea(appeal)
        self._make_room(node)
        answered = self._take_early(plea)
        rested = max(now, self._rested_ms.get(node, 0)) + APART_MS
        if rested - now > PER_NODE_MAX * APART_MS:
            return answered
        self._rested_ms[node] = rested
        return (Appealed(appeal), *answered)

    def _take_early(self, plea: Plea) -> tuple[Ruling, ...]:
        for author, held in self._early.items():
            answer = held.pop(plea.appeal.id, None)
            if answer is not None:
                plea.answers[author] = answer
        return tuple(Answered(plea.appeal, by, a) for by, a in plea.answers.items())

    def _make_room(self, node: NodeId) -> None:
        """The oldest of the same node goes, or of the node that holds the most."""
        held = Counter(plea.appeal.node for plea in self.pleas.values())
        if held[node] <= PER_NODE_MAX:
            if len(self.pleas) <= HELD_MAX:
                return
            node, _ = held.most_common(1)[0]
        own = (p.appeal for p in self.pleas.values() if p.appeal.node == node)
        del self.pleas[min(own, key=lambda appeal: appeal.issued_at_ms).id]

    def answer(self, entry: Entry) -> tuple[Ruling, ...]:
        """Somebody answers an appeal; the last word of each counts.

        Raises:
            PeerError: malformed.
        """
        answer = read_answer_untrusted(entry.body)
        plea = self.pleas.get(answer.appeal)
        if plea is None:
            held = self._early.setdefault(entry.author, {})
            held.pop(answer.appeal, None)
            held[answer.appeal] = answer
            if len(held) > EARLY_PER_NODE_MAX:
                del held[next(iter(held))]
            return ()
        if plea.answers.get(entry.author) == answer:
            return ()
        plea.answers[entry.author] = answer
        return (Answered(plea.appeal, entry.author, answer),)
