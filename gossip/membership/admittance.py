"""Admittance: who came in after the founding, since when, and who brought them.

::

    a member sponsors a card ──▶ others endorse it ──f+1──▶ in, one voice with its sponsor
                                                            ──operators confirm──▶ own voice

An endorsement is an entry in the endorser's feed. f+1 of those who have a voice of
their own must have said it, the sponsor among them, so that one of them is honest.
Since when somebody is in is the (f+1)-th of their stamps: f liars cannot make it
earlier than an honest one said. All of it is a function of the set of endorsements.
"""

import copy
from collections.abc import Iterator
from typing import Final

import attrs

from gossip import limits
from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.membership.founders import Founder, Founders
from gossip.suite import digest
from gossip.units import ID_BYTES, NodeId, UnixMs
from gossip.wire import (
    Value,
    pack,
    take_bytes,
    take_int,
    take_list,
    take_str,
    unpack_untrusted,
)

CARD_BYTES_MAX: Final = 4_096
CARDS_PER_MEMBER_MAX: Final = 4_096
"""So many one member can make everybody remember."""
SPONSORED_PER_DAY_MAX: Final = 8
"""So many of one sponsor an honest member endorses in a day."""
ADDRESSES_MAX: Final = 8
_VERSION: Final = 1
_HOST_CHARS_MAX: Final = 253


@attrs.frozen(kw_only=True)
class Card:
    """A newcomer, as it is endorsed.

    Attributes:
        member: It provides no servers: those the founders' file names.
        sponsor: Who answers for it.
    """

    member: Founder
    sponsor: NodeId = attrs.field(repr=bytes.hex)

    @property
    def id(self) -> bytes:
        """What makes two endorsements one thing."""
        return digest(Domain.CARD_ID, write_card(self))


def write_card(card: Card) -> bytes:
    """The body of an endorsement."""
    member = card.member
    addresses: list[Value] = [[host, port] for host, port in member.addresses]
    grants: list[Value] = [*sorted(member.grants)]
    fields: list[Value] = [member.name, member.node, addresses, grants, card.sponsor]
    return pack([_VERSION, *fields])


def read_card_untrusted(body: bytes) -> Card:
    """Read an endorsement: the card that its author endorses.

    Raises:
        PeerError: malformed.
    """
    fields = take_list(unpack_untrusted(body, CARD_BYTES_MAX), 6, 6)
    take_int(fields[0], _VERSION, _VERSION)
    addresses: list[tuple[str, int]] = []
    for value in take_list(fields[3], 0, ADDRESSES_MAX):
        host, port = take_list(value, 2, 2)
        shown = _take_plain(host, _HOST_CHARS_MAX, "-.:")
        addresses.append((shown, take_int(port, 1, 65_535)))
    grants = [
        _take_plain(role, limits.NAME_CHARS_MAX, "-_.")
        for role in take_list(fields[4], 0, limits.ROLES_MAX)
    ]
    member = Founder(
        name=_take_plain(fields[1], limits.NAME_CHARS_MAX, "-_."),
        node=NodeId(take_bytes(fields[2], ID_BYTES, ID_BYTES)),
        addresses=tuple(addresses),
        grants=frozenset(grants),
        servers=(),
    )
    sponsor = NodeId(take_bytes(fields[5], ID_BYTES, ID_BYTES))
    card = Card(member=member, sponsor=sponsor)
    if write_card(card) != body:
        raise PeerError("a card whose roles are not sorted and different")
    return card


def _take_plain(value: Value, chars_max: int, besides: str) -> str:
    """A word that may be printed anywhere: letters, digits and a few signs."""
    text = take_str(value, 1, chars_max)
    if not text.isascii() or not all(c.isalnum() or c in besides for c in text):
        raise PeerError("a card with other letters than names and addresses have")
    return text


@attrs.frozen(kw_only=True)
class Newcomer:
    """A member that is no founder.

    Attributes:
        sponsor: Who brought it in first; nobody can take it over.
        joined_ms: Since when it is a member.
        confirmed_ms: Since when operators give it a voice of its own.
    """

    member: Founder
    sponsor: NodeId = attrs.field(repr=bytes.hex)
    joined_ms: UnixMs
    confirmed_ms: UnixMs | None = None


@attrs.frozen(kw_only=True)
class Waiting:
    """A card that too few endorsed so far."""

    card: Card
    endorsers: tuple[NodeId, ...]
    first_ms: int


@attrs.define
class Admittance:
    """Every endorsement heard, and who is in by them. Who is in once stays in."""

    founders: Founders
    newcomers: dict[NodeId, Newcomer] = attrs.field(init=False, factory=dict)
    _cards: dict[bytes, Card] = attrs.field(init=False, factory=dict)
    _of: dict[NodeId, list[bytes]] = attrs.field(init=False, factory=dict)
    """The cards of each node."""
    _said: dict[bytes, dict[NodeId, int]] = attrs.field(init=False, factory=dict)
    _counts: dict[NodeId, int] = attrs.field(init=False, factory=dict)
    _confirmed: dict[NodeId, UnixMs] = attrs.field(init=False, factory=dict)
    _names: frozenset[str] = attrs.field(init=False)
    _founders: frozenset[NodeId] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._founders = frozenset(n.node for n in self.founders.nodes)
        self._names = frozenset(n.name for n in self.founders.nodes)

    @property
    def needed(self) -> int:
        """How many must endorse: one more than may lie together."""
        told = self.founders.colluders
        return ((len(self._founders) - 1) // 3 if told is None else told) + 1

    def copy(self) -> "Admittance":
        """The same, to go on by itself."""
        other = copy.copy(self)
        other.newcomers, other._confirmed = {**self.newcomers}, {**self._confirmed}
        other._cards, other._counts = {**self._cards}, {**self._counts}
        other._of = {node: [*cards] for node, cards in self._of.items()}
        other._said = {card: {**said} for card, said in self._said.items()}
        return other

    def endorse(self, card: Card, by: NodeId, at_ms: UnixMs) -> list[NodeId]:
        """``by`` endorses a card; whose membership is another now.

        Raises:
            PeerError: the card is a founder's, or the endorser says too much.
        """
        node = card.member.node
        if node in self._founders or card.member.name in self._names:
            raise PeerError("an endorsement of a founder, or of a founder's name")
        said = self._said.get(card.id, {})
        if said.get(by, at_ms + 1) <= at_ms:
            return []
        if by not in said:
            if self._counts.get(by, 0) >= CARDS_PER_MEMBER_MAX:
                raise PeerError("it endorses more cards than anybody can know")
            self._counts[by] = self._counts.get(by, 0) + 1
        if card.id not in self._cards:
            self._cards[card.id] = card
            self._of.setdefault(node, []).append(card.id)
        self._said.setdefault(card.id, {})[by] = at_ms
        return [node] if self._review(node) else []

    def confirm(self, node: NodeId, at_ms: UnixMs) -> list[NodeId]:
        """Operators give a newcomer a voice of its own; whose membership is another.

        Others may be members by that, whom it endorsed.
        """
        if self._confirmed.get(node, at_ms + 1) <= at_ms:
            return []
        self._confirmed[node] = at_ms
        changed: list[NodeId] = []
        while found := [one for one in self._of if self._review(one)]:
            changed += found
        return changed

    def voices(self) -> list[UnixMs]:
        """Since when each newcomer with a voice of its own has it, in order."""
        newcomers = self.newcomers
        return sorted(
            max(at, newcomers[node].joined_ms)
            for node, at in self._confirmed.items()
            if node in newcomers
        )

    def is_founder(self, node: NodeId) -> bool:
        """Whether the founders' file names the node."""
        return node in self._founders

    def check(self, card: Card, now_ms: int, by: NodeId) -> None:
        """Whether an honest member, ``by``, may endorse this now.

        Raises:
            PeerError: its sponsor has brought in many of late, or has no voice.
        """
        if not self._has_voice(card.sponsor):
            raise PeerError("its sponsor has no voice of its own yet")
        begun = now_ms - limits.DAY_MS
        others = {
            self._cards[c].member.node
            for c in self._said
            if self._cards[c].sponsor == card.sponsor
            and self._brought_after(c, begun, by)
        }
        if len(others - {card.member.node}) >= SPONSORED_PER_DAY_MAX:
            raise PeerError(
                f"its sponsor brought in {SPONSORED_PER_DAY_MAX} within a day; wait"
            )

    def _brought_after(self, key: bytes, begun_ms: int, by: NodeId) -> bool:
        """Whether a sponsor brought in a card after that. Only what it said itself
        counts, or anybody could use up its day. Of its stamps alone none does: whoever
        brings in many would say that it was long ago; so what ``by`` endorsed counts
        from then, and who is in from when enough others did."""
        said, sponsor = self._said[key], self._cards[key].sponsor
        if sponsor not in said:
            return False
        since_ms = self._since_ms(key)
        if since_ms is None:
            since_ms = max(said[sponsor], said.get(by, said[sponsor]))
        return since_ms > begun_ms

    def waiting(self) -> Iterator[Waiting]:
        """Cards that are not in yet, the oldest first."""
        for key in sorted(self._said, key=lambda c: (min(self._said[c].values()), c)):
            card, said = self._cards[key], self._said[key]
            if card.member.node not in self.newcomers:
                at = min(said.values())
                yield Waiting(card=card, endorsers=tuple(sorted(said)), first_ms=at)

    def _has_voice(self, node: NodeId) -> bool:
        return node in self._founders or (
            node in self.newcomers and node in self._confirmed
        )

    def _review(self, node: NodeId) -> bool:
        """Let a node in if enough endorse it; whether that is news."""
        complete = sorted(
            (at, key)
            for key in self._of[node]
            if (at := self._since_ms(key)) is not None
        )
        if not complete:
            return False
        (joined_ms, first), (_, last) = complete[0], complete[-1]
        found = Newcomer(
            member=self._cards[last].member,
            sponsor=self._cards[first].sponsor,
            joined_ms=UnixMs(joined_ms),
            confirmed_ms=self._confirmed.get(node),
        )
        changed = self.newcomers.get(node) != found
        self.newcomers[node] = found
        return changed

    def _since_ms(self, key: bytes) -> int | None:
        """Since when enough endorse a card, its sponsor among them."""
        said, sponsor = self._said[key], self._cards[key].sponsor
        if sponsor not in said or not self._has_voice(sponsor):
            return None
        stamps = sorted(at for by, at in said.items() if self._has_voice(by))
        return stamps[self.needed - 1] if len(stamps) >= self.needed else None
