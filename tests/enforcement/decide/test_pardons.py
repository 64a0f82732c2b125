"""What a release pardons: what its signers were shown, and nothing told afterwards."""

import pytest

from enforcement.decide.acts import PARDONS_MAX, write_release
from enforcement.decide.case import Level
from enforcement.decide.court import Court, Disbelieved, Found
from enforcement.decide.pardons import STORY_SLACK_MS
from gossip.ledger.entries import Entry, EntryKind, ProofKind, write_report
from gossip.ledger.manifests import Manifest, sign_manifest, write_two_faces
from gossip.membership.founders import ActKind
from gossip.units import NodeId, UnixMs
from gossip.wire import Value
from tests.support.courts import (
    AGENT,
    DAY,
    MINUTE,
    ROSTER,
    SUITE,
    Feeds,
    court,
    node,
    subject,
)
from tests.support.forks import fork
from tests.support.members import HOUR, NOW, member

ELM = subject("elm")
LATER = NOW + 10 * MINUTE


def face(content: bytes, sequence: int, at: int, key_at: int = NOW) -> bytes:
    """One face of elm's server, dated as it likes."""
    who = member(SUITE, "elm", at=key_at)
    manifest = Manifest(
        cluster=ROSTER.cluster,
        node=NodeId(who.node),
        key=who.chain.key,
        server="sql",
        version="1",
        sequence=sequence,
        content=content * 32,
        issued_at_ms=UnixMs(at),
    )
    return sign_manifest(manifest, who.key)


def tell(
    feeds: Feeds,
    kind: ProofKind,
    number: int,
    dated: int,
    at: int,
    key_at: int = NOW,
    by: str = "birch",
) -> Entry:
    if kind is ProofKind.EQUIVOCATION:  # each in another feed of its
        feed = bytes([number]) * 16
        proof = fork("elm", at=dated, incarnation=feed, key_at=key_at)
    else:
        one, other = (face(c, number, dated, key_at) for c in (b"1", b"2"))
        proof = write_two_faces(one, other, member(SUITE, "elm", at=key_at).chain)
    return feeds.accuse(by, ELM, at, proof=proof, category="x", kind=kind)


def pardons(judge: Court) -> tuple[bytes, ...]:
    case = judge.case(ELM)
    assert case is not None
    return case.stories()


def release(feeds: Feeds, named: tuple[bytes, ...], at: int = LATER) -> Entry:
    payload = write_release(ELM, "mended", named)
    return feeds.decide("ash", ActKind.RELEASE, payload, at)


def is_out(judge: Court, at: int) -> bool:
    return judge.standing(ELM, UnixMs(at)).level is Level.QUARANTINED


BOTH = pytest.mark.parametrize("kind", [ProofKind.EQUIVOCATION, ProofKind.TWO_FACES])


@BOTH
def test_a_story_that_operators_were_shown_is_pardoned_whoever_tells_it_again(
    kind: ProofKind,
) -> None:
    feeds, judge = Feeds(), court()
    judge.hear(tell(feeds, kind, 1, NOW, NOW), NOW)
    judge.hear(release(feeds, pardons(judge)), UnixMs(LATER))
    for at in (LATER - MINUTE, LATER + MINUTE):
        judge.hear(tell(feeds, kind, 1, NOW, at), UnixMs(LATER + MINUTE))
    assert not is_out(judge, LATER + MINUTE)
    assert judge.weight_ppm(node("elm"), UnixMs(LATER + MINUTE)) > 0


@BOTH
@pytest.mark.parametrize("told", [LATER - 5 * MINUTE, LATER + MINUTE])
@pytest.mark.parametrize(
    "dated", [0, NOW - 3 * DAY, LATER - 2 * DAY - MINUTE, NOW, LATER - MINUTE]
)
def test_who_was_released_can_tell_no_more_stories_dated_before_it(
    kind: ProofKind, dated: int, told: int
) -> None:
    """However they are dated, and under whatever stamp a friend tells them."""
    feeds, judge = Feeds(), court()
    judge.hear(tell(feeds, kind, 1, NOW, NOW), NOW)
    judge.hear(release(feeds, pardons(judge)), UnixMs(LATER))
    assert not is_out(judge, LATER)
    judge.hear(tell(feeds, kind, 2, dated, told), UnixMs(LATER + MINUTE))
    assert is_out(judge, LATER + 300 * DAY)
    assert judge.weight_ppm(node("elm"), UnixMs(LATER + DAY)) == 0
    judge.hear(release(feeds, pardons(judge), LATER + 2 * MINUTE), UnixMs(LATER + DAY))
    assert not is_out(judge, LATER + DAY)


def test_a_release_that_does_not_name_a_story_leaves_it_and_ends_all_else() -> None:
    feeds, judge = Feeds(), court()
    judge.hear(tell(feeds, ProofKind.EQUIVOCATION, 1, NOW, NOW), NOW)
    judge.hear(feeds.accuse("ash", AGENT, NOW, proof=b"p%d" % NOW), NOW)
    judge.hear(release(feeds, ()), UnixMs(LATER))
    standing = judge.standing(ELM, UnixMs(LATER))
    assert standing.conviction is not None
    assert standing.conviction.rule == "equivocation"
    assert judge.denial(ELM) is not None


@BOTH
def test_a_key_found_years_later_convicts_nobody_whom_operators_released(
    kind: ProofKind,
) -> None:
    """Whatever stamp its finder writes: the key was over when operators decided."""
    feeds, judge = Feeds(), court()
    judge.hear(tell(feeds, kind, 1, NOW, NOW), NOW)
    judge.hear(release(feeds, pardons(judge)), UnixMs(LATER))
    key_at = LATER - STORY_SLACK_MS - 20 * HOUR  # that long it lives
    for number, dated in enumerate((key_at, NOW, LATER + DAY), 2):
        found = tell(feeds, kind, number, dated, LATER + DAY, key_at)
        judge.hear(found, UnixMs(LATER + DAY))
    assert not is_out(judge, LATER + DAY)


@BOTH
@pytest.mark.parametrize("friend_first", [True, False])
def test_no_friend_that_shows_an_older_chain_of_the_key_gets_a_story_pardoned(
    kind: ProofKind, friend_first: bool
) -> None:
    feeds, judge = Feeds(), court()
    judge.hear(release(feeds, ()), UnixMs(LATER))
    told = [
        tell(feeds, kind, 1, 0, LATER - MINUTE, key_at=DAY, by="cedar"),
        tell(feeds, kind, 1, LATER, LATER + MINUTE),
    ]
    for entry in told if friend_first else told[::-1]:
        judge.hear(entry, UnixMs(LATER + MINUTE))
    assert is_out(judge, LATER + 300 * DAY)


@pytest.mark.parametrize("dated", [0, LATER - 3 * DAY, LATER])
def test_two_faces_shown_after_a_release_are_found_however_they_are_dated(
    dated: int,
) -> None:
    feeds, judge, now = Feeds(), court(), UnixMs(LATER + MINUTE)
    judge.hear(tell(feeds, ProofKind.TWO_FACES, 1, NOW, NOW), NOW)
    judge.hear(release(feeds, pardons(judge)), UnixMs(LATER))
    rulings = [
        ruling
        for content in (b"1", b"2")
        for ruling in judge.hear(
            feeds.say("elm", EntryKind.MANIFEST, face(content, 2, dated), now), now
        )
    ]
    (found,) = [ruling for ruling in rulings if isinstance(ruling, Found)]
    judge.hear(feeds.say("ash", EntryKind.REPORT, write_report(found.report), now), now)
    assert is_out(judge, LATER + 300 * DAY)


def test_a_pardoned_pair_of_faces_is_not_reported_again() -> None:
    feeds, judge, now = Feeds(), court(), UnixMs(LATER + MINUTE)
    judge.hear(tell(feeds, ProofKind.TWO_FACES, 1, NOW, NOW), NOW)
    judge.hear(release(feeds, pardons(judge)), UnixMs(LATER))
    for content in (b"1", b"2"):
        said = feeds.say("elm", EntryKind.MANIFEST, face(content, 1, NOW), now)
        assert not any(isinstance(r, Found) for r in judge.hear(said, now))


def test_a_manifest_carried_after_its_keys_life_is_no_news() -> None:
    """Whoever finds the key could have signed it."""
    feeds, judge, now = Feeds(), court(), UnixMs(NOW + DAY)
    for content in (b"1", b"2"):
        said = feeds.say("elm", EntryKind.MANIFEST, face(content, 2, NOW), now)
        assert judge.hear(said, now) == []


@pytest.mark.parametrize("named", [[b"x" * 31], [b"x" * 32] * (PARDONS_MAX + 1), None])
def test_a_release_of_another_shape_is_void(named: Value) -> None:
    feeds, judge = Feeds(), court()
    payload: list[Value] = [int(ELM.kind), ELM.id, "mended", named]
    ruled = judge.hear(feeds.decide("ash", ActKind.RELEASE, payload), NOW)
    assert any(isinstance(ruling, Disbelieved) for ruling in ruled)


def test_in_whatever_order_they_are_heard() -> None:
    feeds, first, second = Feeds(), court(), court()
    one = tell(feeds, ProofKind.EQUIVOCATION, 1, NOW, NOW)
    first.hear(one, NOW)
    said = [
        one,
        release(feeds, pardons(first)),
        tell(feeds, ProofKind.EQUIVOCATION, 2, NOW, LATER + MINUTE),
        tell(feeds, ProofKind.TWO_FACES, 1, NOW, LATER - MINUTE),
    ]
    for entry in said[1:]:
        first.hear(entry, UnixMs(LATER + MINUTE))
    for entry in reversed(said):
        second.hear(entry, UnixMs(LATER + MINUTE))
    for at in (NOW, LATER, LATER + MINUTE, LATER + DAY):
        assert first.standing(ELM, UnixMs(at)) == second.standing(ELM, UnixMs(at))
