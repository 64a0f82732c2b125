"""What `why` says where a standing surprises: the valve's five minutes, a grown N."""

from enforcement.decide.acts import write_confirmation, write_release
from enforcement.decide.case import Level
from enforcement.decide.court import Court
from enforcement.decide.quarantine import Withheld
from enforcement.decide.story import tell
from enforcement.decide.thresholds import BURST_MS
from gossip.ledger.entries import EntryKind
from gossip.membership.admittance import Card, write_card
from gossip.membership.founders import ActKind, Founder
from gossip.units import UnixMs
from tests.support.courts import (
    AGENT,
    DAY,
    MINUTE,
    ROSTER,
    SUITE,
    Feeds,
    node,
    read_proof,
    subject,
)
from tests.support.members import NOW, act, founders, roster


def test_who_is_convicted_again_after_a_release_is_told_to_be_out_from_when() -> None:
    """The release gave its place back, and that counts on for five minutes."""
    judge, feeds = Court(node("ash"), ROSTER.twin(), SUITE, read_proof), Feeds()
    cedar = subject("cedar")

    def accuse(at: int) -> None:
        for by in ("birch", "elm", "fir"):
            judge.hear(feeds.accuse(by, cedar, at), UnixMs(at))

    accuse(NOW)
    assert judge.denial(cedar) is not None
    payload = write_release(cedar, "mended")
    later = NOW + MINUTE
    release = feeds.decide("birch", ActKind.RELEASE, payload, later)
    judge.hear(release, UnixMs(later))
    assert judge.denial(cedar) is None

    accuse(NOW + 2 * MINUTE)
    assert judge.held_back(cedar) is Withheld.VALVE
    assert judge.held_back_until(cedar) == NOW + BURST_MS
    (headline, *_) = tell(judge, cedar, "cedar", UnixMs(NOW + 2 * MINUTE)).sentences
    assert "by the safety valve, until " in headline
    assert "voices cut off once in five minutes, one let go since included" in headline

    judge.tick(UnixMs(NOW + BURST_MS))
    assert judge.denial(cedar) is not None
    assert judge.held_back_until(cedar) is None


def test_voices_that_were_too_few_before_the_cluster_grew_are_told_to_be_that() -> None:
    names = ["ash", "birch", "cedar"]
    judge, feeds = Court(node("ash"), roster(SUITE, names), SUITE, read_proof), Feeds()
    for by in ("birch", "cedar"):
        judge.hear(feeds.accuse(by, AGENT), UnixMs(NOW))
    gum = Founder(
        name="gum",
        node=node("gum"),
        addresses=(("127.0.0.1", 7946),),
        grants=frozenset(),
        servers=(),
    )
    card = write_card(Card(member=gum, sponsor=node("birch")))
    judge.hear(feeds.say("birch", EntryKind.ENDORSEMENT, card), UnixMs(NOW))
    payload = write_confirmation(node("gum"), "known")
    at = NOW + 1_000
    body = act(
        SUITE, founders(SUITE, names), payload, kind=ActKind.ROSTER, at=at, life_ms=DAY
    )
    judge.hear(feeds.say("birch", EntryKind.ACT, body, at), UnixMs(at))

    assert judge.thresholds.members == 4
    assert judge.standing(AGENT, UnixMs(at)).level is Level.SUSPECT
    told = " ".join(tell(judge, AGENT, "it", UnixMs(at)).sentences)
    assert "more than 1, since 1 of 4" in told
    assert "one more report decides" in told

    judge.hear(feeds.accuse("birch", AGENT, at + 1), UnixMs(at + 1))
    assert judge.standing(AGENT, UnixMs(at + 1)).level is Level.QUARANTINED
    told = " ".join(tell(judge, AGENT, "it", UnixMs(at + 1)).sentences)
    assert "one more report decides" not in told
