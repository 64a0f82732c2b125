"""The promises of ``gossip.ledger.equivocation``: a liar convicts itself, only."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enforcement.decide.case import Basis, Level
from enforcement.decide.court import Court
from gossip import events
from gossip.errors import PeerError
from gossip.ledger.batch import Batch, read_batch_untrusted
from gossip.ledger.entries import (
    EntryKind,
    Keys,
    Report,
    Subject,
    SubjectKind,
    Witness,
    write_keys,
    write_report,
)
from gossip.ledger.equivocation import (
    read_equivocation_untrusted,
    write_equivocation,
)
from gossip.spread import frames
from scenarios.toy import ToySuite
from tests.support.members import NOW, Member, member, roster
from tests.support.town import Town, forge

FIVE = ["ash", "birch", "cedar", "elm", "fir"]
SUITE = ToySuite()


def body(n: int) -> bytes:
    return write_report(
        Report(
            subject=Subject(SubjectKind.AGENT, n.to_bytes(32, "big")),
            category="policy-violation",
            severity=9,
            evidence=Witness(digest=bytes(32), count=1, first_ms=NOW, last_ms=NOW),
        )
    )


def two_faced(town: Town, liar: Member) -> tuple[bytes, bytes]:
    """Two openings of one incarnation, each fit to be believed."""
    keys = (EntryKind.KEYS, write_keys(Keys(chain=liar.chain.encoded, closes=None)))
    one, other = (
        forge(liar, town, entries=[keys, (EntryKind.REPORT, body(n))]) for n in (1, 2)
    )
    return one, other


def show(town: Town, to: str, data: bytes, via: str = "elm") -> None:
    town.post(town[to].who.node, events.Frame(town[via].who.node, frames.push(data)))


def batches() -> tuple[Town, Batch, Batch]:
    town = Town(SUITE, FIVE)
    one, other = two_faced(town, member(SUITE, "elm"))
    return town, read_batch_untrusted(one), read_batch_untrusted(other)


def court_of(town: Town, name: str) -> Court:
    def no_proofs(_data: bytes) -> None:
        raise PeerError("not needed here")

    judge = Court(town[name].who.node, town[name].engine.roster, town.suite, no_proofs)
    for entry in town[name].admitted:
        judge.hear(entry, town.now)
    return judge


def test_one_who_tells_two_stories_is_convicted_by_everybody() -> None:
    town = Town(SUITE, FIVE)
    town.link_all()
    liar = town["elm"].who
    one, other = two_faced(town, liar)
    show(town, "ash", one)
    show(town, "birch", other)
    town.settle()

    for name in ("ash", "birch", "cedar", "fir"):
        standing = court_of(town, name).standing(
            Subject(SubjectKind.NODE, liar.node), town.now
        )
        assert standing.level is Level.QUARANTINED, name
        assert standing.basis is Basis.PROOF


def test_heads_agree_again_and_both_stories_are_void() -> None:
    town = Town(SUITE, FIVE)
    town.link_all()
    one, other = two_faced(town, town["elm"].who)
    show(town, "ash", one)
    show(town, "birch", other)
    town.settle()
    town.pass_time(15_000)

    honest = ("ash", "birch", "cedar", "fir")
    heads = [
        [(f, s.next_number, s.head) for f, s in town[n].engine.ledger.heads()]
        for n in honest
    ]
    assert all(h == heads[0] for h in heads)
    standings = [court_of(town, n).standings() for n in honest]
    assert all(s == standings[0] for s in standings)
    assert not any(s.kind is SubjectKind.AGENT for s in standings[0])


def test_a_restarted_node_remembers_where_a_feed_froze() -> None:
    town = Town(SUITE, FIVE)
    town.link_all()
    one, other = two_faced(town, town["elm"].who)
    show(town, "ash", one)
    show(town, "ash", other)
    town.settle()
    before = {f: s.frozen_at for f, s in town["ash"].engine.ledger.heads()}

    town.start("ash", stored=list(town["ash"].stored))

    after = {f: s.frozen_at for f, s in town["ash"].engine.ledger.heads()}
    assert after | before == after
    assert 0 in before.values()


def test_a_node_that_lost_its_disk_convicts_nobody() -> None:
    """A restored backup or a cloned machine opens another incarnation."""
    town = Town(SUITE, FIVE)
    town.link_all()
    town.say("fir", EntryKind.REPORT, body(1))
    backup = list(town["fir"].stored)[:1]
    town.say("fir", EntryKind.REPORT, body(2))
    for other in FIVE[:4]:
        town.unlink("fir", other)

    town.start("fir", stored=backup)
    for other in FIVE[:4]:
        town.link("fir", other)
    town.say("fir", EntryKind.REPORT, body(3))

    assert town["ash"].reports() == sorted([body(1), body(2), body(3)])
    assert not court_of(town, "ash").denial(
        Subject(SubjectKind.NODE, town["fir"].who.node)
    )


def test_the_proof_stands_alone_and_names_one_offence() -> None:
    _town, one, other = batches()
    known = roster(SUITE, FIVE)
    chain = member(SUITE, "elm").chain

    proof = read_equivocation_untrusted(
        write_equivocation(one, other, [chain]), known, SUITE
    )
    again = read_equivocation_untrusted(
        write_equivocation(other, one, [chain]), known, SUITE
    )

    assert proof == again
    assert proof.feed == one.feed
    assert proof.number == 0


def test_nobody_can_be_framed() -> None:
    town, one, other = batches()
    known = roster(SUITE, FIVE)
    elm, fir = member(SUITE, "elm"), member(SUITE, "fir")
    innocent = read_batch_untrusted(
        forge(elm, town, number=1, previous=one.id, entries=[(4711, b"next")])
    )
    broken = read_batch_untrusted(
        forge(elm, town, number=1, previous=other.id, entries=[(4711, b"next")])
    )
    elsewhere = Town(SUITE, FIVE[:4])
    foreign = [read_batch_untrusted(b) for b in two_faced(elsewhere, elm)]
    by_another = read_batch_untrusted(
        forge(fir, town, author=elm, entries=[(4711, b"in elm's name")])
    )
    stranger = member(SUITE, "stranger")
    strange = [read_batch_untrusted(b) for b in two_faced(town, stranger)]

    for pair, chain in [
        ((one, one), elm.chain),
        ((one, innocent), elm.chain),
        ((one, other), fir.chain),
        ((one, by_another), elm.chain),
        ((foreign[0], foreign[1]), elm.chain),
        ((strange[0], strange[1]), stranger.chain),
    ]:
        with pytest.raises(PeerError):
            read_equivocation_untrusted(
                write_equivocation(*pair, [chain]), known, SUITE
            )
    proof = read_equivocation_untrusted(
        write_equivocation(one, broken, [elm.chain]), known, SUITE
    )
    assert proof.number == 0


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_garbage_is_no_proof(data: bytes) -> None:
    with pytest.raises(PeerError):
        read_equivocation_untrusted(data, roster(SUITE, FIVE), SUITE)
