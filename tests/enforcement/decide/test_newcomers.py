"""Members that came in later: Sybils of one sponsor are one voice, whatever their number."""

import random

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcement.decide.acts import write_confirmation
from enforcement.decide.case import Level
from enforcement.decide.court import Court, Deny, Disbelieved
from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.ledger.batch import Batch, draft_batch, read_batch_untrusted
from gossip.ledger.entries import Entry, EntryKind, ProofKind
from gossip.ledger.equivocation import write_equivocation
from gossip.membership.admittance import (
    SPONSORED_PER_DAY_MAX,
    Admittance,
    Card,
    read_card_untrusted,
    write_card,
)
from gossip.membership.founders import ActKind, Founder
from gossip.units import UnixMs
from tests.support.courts import (
    AGENT,
    DAY,
    INCARNATION,
    MINUTE,
    NAMES,
    ROSTER,
    SUITE,
    Feeds,
    node,
    read_proof,
    subject,
)
from tests.support.members import NOW, founders, member

GROWN = UnixMs(NOW + 9 * DAY)
ME = node("ash")


def fresh_court(me: str = "ash") -> Court:
    return Court(node(me), ROSTER.twin(), SUITE, read_proof)


def card(name: str, sponsor: str = "fir", port: int = 7946) -> Card:
    member = Founder(
        name=name,
        node=node(name),
        addresses=(("127.0.0.1", port),),
        grants=frozenset({"retail", "hr"}),
        servers=(),
    )
    return Card(member=member, sponsor=node(sponsor))


def endorse(feeds: Feeds, by: str, whom: Card, at: int = NOW) -> Entry:
    return feeds.say(by, EntryKind.ENDORSEMENT, write_card(whom), at)


def admit(feeds: Feeds, name: str, at: int = NOW, sponsor: str = "fir") -> list[Entry]:
    """Two of five endorse: one more than may lie."""
    return [endorse(feeds, by, card(name, sponsor), at) for by in (sponsor, "elm")]


def confirm(feeds: Feeds, name: str, at: int = NOW) -> Entry:
    payload = write_confirmation(node(name), "we met")
    return feeds.decide("ash", ActKind.ROSTER, payload, at, life_ms=30 * DAY)


def tell(judge: Court, entries: list[Entry], now: int) -> None:
    for entry in entries:
        judge.hear(entry, UnixMs(now))


def fork(name: str) -> bytes:
    """Proof that a founder signed two batches of one number, its feed's first."""
    who = member(SUITE, name)

    def batch(body: bytes) -> Batch:
        draft = draft_batch(
            cluster=ROSTER.cluster,
            author=who.node,
            incarnation=INCARNATION,
            number=0,
            previous=bytes(32),
            issued_at_ms=NOW,
            key=who.chain.key,
            entries=[(200, body)],
        )
        return read_batch_untrusted(
            draft.join(who.key.sign(draft.header, Domain.BATCH))
        )

    return write_equivocation(batch(b"x"), batch(b"y"), [who.chain])


def test_a_newcomer_is_in_when_one_more_endorse_than_may_lie() -> None:
    feeds, judge = Feeds(), fresh_court()
    judge.hear(endorse(feeds, "fir", card("gum")), NOW)
    assert node("gum") not in judge.roster
    (waiting,) = judge.roster.waiting()
    assert waiting.endorsers == (node("fir"),)
    judge.hear(endorse(feeds, "elm", card("gum"), NOW + 5), UnixMs(NOW + 5))
    assert judge.roster.member(node("gum")).grants == {"retail", "hr"}
    assert judge.roster.joined_ms(node("gum")) == NOW + 5
    assert judge.roster.by_name("gum") == node("gum")
    assert judge.roster.groups.of(node("gum")) == node("fir")
    assert judge.roster.size == len(NAMES), "it has no voice of its own"
    assert judge.roster.waiting() == ()


@pytest.mark.parametrize(
    "endorsers", [("elm", "birch"), ("fir", "fir"), ("fir", "gum")]
)
def test_neither_strangers_nor_echoes_nor_all_but_the_sponsor_let_anybody_in(
    endorsers: tuple[str, str],
) -> None:
    feeds, judge = Feeds(), fresh_court()
    tell(judge, [endorse(feeds, by, card("gum")) for by in endorsers], NOW)
    assert node("gum") not in judge.roster


def test_newcomers_bring_in_nobody_until_operators_confirm_them() -> None:
    feeds, judge = Feeds(), fresh_court()
    tell(judge, [*admit(feeds, "gum"), *admit(feeds, "hazel")], NOW)
    tell(
        judge, [endorse(feeds, by, card("ivy", "gum")) for by in ("gum", "hazel")], NOW
    )
    assert node("ivy") not in judge.roster
    tell(judge, [confirm(feeds, "gum"), confirm(feeds, "hazel")], NOW)
    assert node("ivy") in judge.roster


def test_a_founder_is_nobodys_newcomer_nor_is_its_name() -> None:
    feeds, judge = Feeds(), fresh_court()
    (told,) = judge.hear(endorse(feeds, "fir", card("ash")), NOW)
    assert isinstance(told, Disbelieved)
    stolen = Card(
        member=Founder(
            name="ash",
            node=node("gum"),
            addresses=(),
            grants=frozenset(),
            servers=(),
        ),
        sponsor=node("fir"),
    )
    (told,) = judge.hear(endorse(feeds, "fir", stolen), NOW)
    assert isinstance(told, Disbelieved)


def test_a_liar_cannot_make_a_newcomer_older_than_an_honest_member_says() -> None:
    feeds, judge = Feeds(), fresh_court()
    early = NOW - 30 * DAY
    tell(judge, [endorse(feeds, "fir", card("gum"), early)], NOW)
    tell(judge, [endorse(feeds, "elm", card("gum"), NOW)], NOW)
    assert judge.roster.joined_ms(node("gum")) == NOW
    tell(judge, [endorse(feeds, "birch", card("gum"), NOW + DAY)], NOW + DAY)
    assert judge.roster.joined_ms(node("gum")) == NOW, "later words change nothing"


def test_nobody_takes_over_anothers_newcomer() -> None:
    feeds, judge = Feeds(), fresh_court()
    tell(judge, admit(feeds, "gum"), NOW)
    moved = card("gum", sponsor="birch", port=9)
    tell(judge, [endorse(feeds, by, moved, NOW + 9) for by in ("birch", "elm")], NOW)
    newcomer = judge.roster.newcomer(node("gum"))
    assert newcomer is not None
    assert newcomer.sponsor == node("fir")
    assert newcomer.joined_ms == NOW
    assert newcomer.member.addresses == (("127.0.0.1", 9),)


def test_two_newcomers_of_one_name_are_told_apart() -> None:
    feeds, judge = Feeds(), fresh_court()
    other = card("hazel")
    other = attrs.evolve(other, member=attrs.evolve(other.member, name="gum"))
    tell(judge, [endorse(feeds, by, other, NOW + 9) for by in ("fir", "elm")], NOW)
    tell(judge, admit(feeds, "gum"), NOW)
    roster = judge.roster
    assert roster.by_name("gum") == node("gum"), "who came first, whoever was heard"
    assert roster.name(node("gum")) == "gum"
    assert roster.name(node("hazel")) == f"gum~{node('hazel').hex()[:8]}"


def test_a_newcomer_has_no_voice_for_a_day_and_grows_into_it() -> None:
    feeds, judge = Feeds(), fresh_court()
    tell(judge, admit(feeds, "gum"), NOW)
    worth = []
    for day in (0, 1, 3, 9):
        at = UnixMs(NOW + day * DAY + 1)
        judge.hear(feeds.accuse("gum", AGENT, at), at)
        worth.append(judge.standing(AGENT, at).sum_micro)
    assert worth[0] == 0
    assert worth == sorted(set(worth))
    assert worth[-1] == 900_000


def test_sybils_of_one_sponsor_cannot_quarantine_anybody_live() -> None:
    """The sponsor is one of the liars, so 60 newcomers and he are one voice."""
    feeds, judge = Feeds(), fresh_court()
    sybils = [f"sybil-{n}" for n in range(60)]
    for name in sybils:
        tell(judge, admit(feeds, name), NOW)
    assert len(judge.roster.members()) == 65
    for name in (*sybils, "fir"):
        rulings = judge.hear(feeds.accuse(name, subject("birch"), GROWN), GROWN)
        assert not any(isinstance(r, Deny) for r in rulings)
    assert judge.standing(subject("birch"), GROWN).sum_micro == 900_000
    tell(judge, [feeds.accuse("elm", subject("birch"), GROWN)], GROWN)
    assert judge.denial(subject("birch")) is not None, "an honest witness more does"


def test_whom_operators_confirm_has_a_voice_of_its_own_and_is_counted() -> None:
    feeds, judge = Feeds(), fresh_court()
    for name in ("gum", "hazel"):
        tell(judge, admit(feeds, name), NOW)
        tell(judge, [feeds.accuse(name, subject("birch"), GROWN)], GROWN)
    assert judge.standing(subject("birch"), GROWN).level is Level.SUSPECT
    tell(judge, [confirm(feeds, name, NOW + DAY) for name in ("gum", "hazel")], GROWN)
    assert judge.thresholds.members == 7
    assert judge.thresholds.f == 2
    standing = judge.standing(subject("birch"), GROWN)
    assert standing.sum_micro == 1_800_000, "also for what was said before we heard"
    assert standing.level is Level.SUSPECT, "of seven, three may err or lie"


def test_what_was_said_of_a_newcomer_too_early_is_heard_once_it_is_in() -> None:
    feeds, judge = Feeds(), fresh_court()
    for by in ("birch", "cedar"):
        (told,) = judge.hear(feeds.accuse(by, subject("gum")), NOW)
        assert isinstance(told, Disbelieved)
    tell(judge, admit(feeds, "gum"), NOW)
    assert judge.denial(subject("gum")) is not None


def test_who_reports_invented_nodes_crowds_out_nobody_but_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("enforcement.decide.early.EARLY_MAX", 20)
    feeds, judge = Feeds(), fresh_court()
    for by in ("cedar", "elm"):
        tell(judge, [feeds.accuse(by, subject("gum"), NOW - DAY)], NOW)
    for n in range(100):
        tell(judge, [feeds.accuse("birch", subject(f"ghost-{n}"), NOW)], NOW)
    tell(judge, [feeds.accuse("birch", subject("hazel"), NOW)], NOW)
    tell(judge, admit(feeds, "gum", NOW - 2 * MINUTE), NOW)
    assert judge.standing(subject("gum"), UnixMs(NOW - DAY)).sum_micro == 1_800_000
    tell(judge, admit(feeds, "ghost-0"), NOW)
    assert judge.case(subject("ghost-0")) is None, "its own oldest words made room"
    tell(judge, admit(feeds, "hazel"), NOW)
    assert judge.case(subject("hazel")) is not None


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (1, 2, 0), (2, 1, 0)])
def test_what_a_forked_feed_said_too_early_is_void_as_well(
    order: tuple[int, ...],
) -> None:
    feeds, judge = Feeds(), fresh_court()
    admitted = admit(feeds, "gum")
    early = feeds.accuse("birch", subject("gum"))
    forked = feeds.accuse(
        "ash", subject("birch"), proof=fork("birch"), kind=ProofKind.EQUIVOCATION
    )
    said = (admitted, [early], [forked])
    for at in order:
        tell(judge, said[at], NOW)
    assert judge.standing(subject("gum"), NOW).sum_micro == 0


@given(st.randoms(use_true_random=False))
def test_equal_sets_give_equal_members_and_standings(chance: random.Random) -> None:
    feeds = Feeds()
    said = [*admit(feeds, "gum"), *admit(feeds, "hazel", NOW + 5, sponsor="birch")]
    said.append(endorse(feeds, "cedar", card("gum"), NOW - DAY))
    said.append(endorse(feeds, "birch", card("gum", "birch", 9), NOW + 2))
    said.append(endorse(feeds, "cedar", card("gum", "birch", 9), NOW + 3))
    said.append(confirm(feeds, "hazel", GROWN))
    for n, name in enumerate(("gum", "hazel", "gum", "fir", "hazel")):
        at = GROWN + (n - 2) * MINUTE
        said.append(feeds.accuse(name, AGENT, at))
        said.append(feeds.accuse(name, subject("cedar"), at))
    said.append(feeds.accuse("cedar", subject("gum"), GROWN))
    now = UnixMs(GROWN + 5 * MINUTE)
    straight, shuffled = fresh_court(), fresh_court()
    tell(straight, said, now)
    chance.shuffle(said)
    tell(shuffled, said, now)
    for who in (AGENT, subject("cedar"), subject("gum")):
        assert shuffled.standing(who, now) == straight.standing(who, now)
    assert set(shuffled.roster.members()) == set(straight.roster.members())
    for name in ("gum", "hazel"):
        mine, theirs = (c.roster.newcomer(node(name)) for c in (straight, shuffled))
        assert mine == theirs


def test_an_honest_member_endorses_only_so_many_of_one_sponsor_a_day() -> None:
    feeds, judge = Feeds(), fresh_court()
    for n in range(SPONSORED_PER_DAY_MAX):
        tell(judge, [endorse(feeds, "fir", card(f"s{n}"))], NOW)
    with pytest.raises(PeerError, match="within a day"):
        judge.roster.check_card(card("one-more"), NOW, ME)
    judge.roster.check_card(card("s1"), NOW, ME)
    judge.roster.check_card(card("another", sponsor="elm"), NOW, ME)
    judge.roster.check_card(card("one-more"), UnixMs(NOW + DAY), ME)
    with pytest.raises(PeerError, match="no voice"):
        judge.roster.check_card(card("x", sponsor="s1"), NOW, ME)


def test_a_sponsor_that_dates_its_words_back_brings_in_no_more_a_day() -> None:
    feeds, judge = Feeds(), fresh_court()
    for n in range(SPONSORED_PER_DAY_MAX):
        brought = card(f"s{n}")
        tell(judge, [endorse(feeds, "fir", brought, NOW - 2 * DAY)], NOW)
        judge.roster.check_card(brought, NOW, ME)
        tell(judge, [endorse(feeds, "elm", brought)], NOW)
    more = endorse(feeds, "fir", card("one-more"), NOW - 2 * DAY)
    tell(judge, [more, endorse(feeds, "fir", card("s0"), NOW - 3 * DAY)], NOW)
    with pytest.raises(PeerError, match="within a day"):
        judge.roster.check_card(card("one-more"), NOW, ME)
    tell(judge, [endorse(feeds, "birch", card("s0"), NOW + DAY)], NOW + DAY)
    judge.roster.check_card(card("one-more"), UnixMs(NOW + DAY), ME)


def test_nobody_else_can_use_up_a_sponsors_day() -> None:
    """Cards that only name it, or that it brought long ago, are not its day's."""
    feeds, judge = Feeds(), fresh_court()
    for n in range(2 * SPONSORED_PER_DAY_MAX):
        tell(judge, [endorse(feeds, "elm", card(f"s{n}"))], NOW)
    judge.roster.check_card(card("one-more"), NOW, ME)


def test_what_we_endorsed_today_counts_however_its_sponsor_dates_it() -> None:
    """Where three must endorse, what waits is no day's of the sponsor but ours."""
    heard = Admittance(founders(SUITE, [*NAMES, "oak", "pine"]))
    assert heard.needed == 3
    for n in range(SPONSORED_PER_DAY_MAX):
        old = card(f"s{n}")
        heard.endorse(old, node("fir"), UnixMs(NOW - 9 * DAY))
        heard.check(old, NOW, node("elm"))
        heard.endorse(old, node("elm"), NOW)
    heard.check(card("one-more"), NOW, ME)
    with pytest.raises(PeerError, match="within a day"):
        heard.check(card("one-more"), NOW, node("elm"))


@given(st.binary(max_size=200))
def test_any_body_is_a_card_or_a_peer_error(body: bytes) -> None:
    try:
        assert write_card(read_card_untrusted(body)) == body
    except PeerError:
        return


@pytest.mark.parametrize("host", ["a b", "\x1b[2J", "h\n", "ü", ""])
def test_what_a_card_says_can_be_printed_anywhere(host: str) -> None:
    shown = card("gum")
    for changed in (
        attrs.evolve(shown.member, addresses=((host, 1),)),
        attrs.evolve(shown.member, name=host),
        attrs.evolve(shown.member, grants=frozenset({host})),
    ):
        with pytest.raises(PeerError):
            read_card_untrusted(write_card(attrs.evolve(shown, member=changed)))


def test_a_card_says_the_same_after_its_way() -> None:
    assert read_card_untrusted(write_card(card("gum"))) == card("gum")
