"""Where f + 1 must say something, one sponsor's newcomers count once, with it."""

from gossip import events
from gossip.ledger.entries import Closing
from gossip.ledger.feed import Ledger
from gossip.membership.admittance import Card
from gossip.membership.founders import Founder
from gossip.opening import Opening
from gossip.spread import frames
from gossip.spread.sync import Sync
from gossip.units import Incarnation, NodeId, UnixMs
from scenarios.toy import ToySuite
from tests.support.members import NOW, member, roster

SUITE = ToySuite()
KNOWN = roster(SUITE, ["ash", "birch", "cedar", "elm", "fir"])
ASH, BIRCH, ELM, FIR = (member(SUITE, n).node for n in ("ash", "birch", "elm", "fir"))
SYBILS = [NodeId(bytes([n]) * 32) for n in range(1, 9)]
FEED = (NodeId(b"a" * 32), Incarnation(b"i" * 16))


def bring_in(*newcomers: NodeId) -> None:
    for n, node in enumerate(newcomers):
        shown = Founder(
            name=f"s{n}", node=node, addresses=(), grants=frozenset(), servers=()
        )
        for by in (FIR, ELM):
            KNOWN.endorse(Card(member=shown, sponsor=FIR), by, NOW)


bring_in(*SYBILS)


def test_a_family_has_one_voice_until_operators_say_otherwise() -> None:
    assert {KNOWN.voice_of(node) for node in (*SYBILS, FIR)} == {FIR}
    assert KNOWN.voice_of(ELM) == ELM
    sure = KNOWN.twin()
    sure.confirm(SYBILS[0], NOW)
    assert sure.voice_of(SYBILS[0]) == SYBILS[0]
    assert KNOWN.voice_of(SYBILS[0]) == FIR, "a twin goes its own way"


def test_a_family_cannot_tell_a_node_alone_where_its_feed_ended() -> None:
    opening = Opening(ASH, Ledger(), 2, KNOWN.voice_of)
    opening.begin(
        events.Opened(Incarnation(b"n" * 16), member(SUITE, "ash").chain), NOW
    )
    for sybil in (*SYBILS, FIR):
        opening.hear(sybil, None)
    assert opening.ready(NOW) is None
    told = Closing(incarnation=Incarnation(b"o" * 16), next_number=7, head=bytes(32))
    opening.hear(BIRCH, told)
    ready = opening.ready(NOW)
    assert ready is not None
    assert ready[1] == told


def test_a_family_cannot_vouch_alone_for_what_a_dead_key_signed() -> None:
    sync = Sync(ASH, Ledger(), SUITE, KNOWN.voice_of)
    heads = frames.Heads((0,), (frames.Head(FEED, 5),), answer=False)
    for peer in (*SYBILS, FIR, BIRCH):
        sync.link_up(peer, NOW)
    for peer in (*SYBILS, FIR):
        sync.on_heads(peer, heads, UnixMs(NOW))
    assert not sync.vouched(FEED, 3, 2)
    sync.on_heads(BIRCH, heads, UnixMs(NOW))
    assert sync.vouched(FEED, 3, 2)
