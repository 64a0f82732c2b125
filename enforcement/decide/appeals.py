"""Appeals heard, and what was answered: bounded, so that pleading is no attack."""

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
HELD_MAX: Final = 256


@attrs.define
class Plea:
    """One appeal, and who answered what."""

    appeal: Appeal
    answers: dict[NodeId, Answer] = attrs.field(factory=dict)


@attrs.define
class Appeals:
    """The appeals of the last day; each node one in five minutes."""

    roster: Roster
    suite: Suite
    pleas: dict[bytes, Plea] = attrs.field(init=False, factory=dict)
    _stamps: dict[NodeId, list[UnixMs]] = attrs.field(init=False, factory=dict)

    def hear(self, entry: Entry) -> tuple[Ruling, ...]:
        """Somebody carries an appeal. The flood is refused before it is verified.

        Raises:
            PeerError: it does not hold, is old, or comes too soon after another.
        """
        node, stamp = peek_appeal_untrusted(entry.body)
        if abs(entry.issued_at_ms - stamp) > LIFE_MS:
            raise PeerError("an appeal of another day")
        stamps = self._stamps.setdefault(self.roster.member(node).node, [])
        if any(abs(stamp - earlier) < APART_MS for earlier in stamps):
            if any(stamp == earlier for earlier in stamps):
                return ()  # the same one, by another carrier
            raise PeerError("a second appeal within five minutes")
        appeal = read_appeal_untrusted(entry.body, self.roster, self.suite)
        stamps.append(stamp)
        del stamps[: -LIFE_MS // APART_MS]
        self.pleas[appeal.id] = Plea(appeal)
        if len(self.pleas) > HELD_MAX:
            del self.pleas[next(iter(self.pleas))]
        return (Appealed(appeal),)

    def answer(self, entry: Entry) -> tuple[Ruling, ...]:
        """Somebody answers an appeal; the last word of each counts.

        Raises:
            PeerError: malformed.
        """
        answer = read_answer_untrusted(entry.body)
        plea = self.pleas.get(answer.appeal)
        if plea is None or plea.answers.get(entry.author) == answer:
            return ()
        plea.answers[entry.author] = answer
        return (Answered(plea.appeal, entry.author, answer),)
