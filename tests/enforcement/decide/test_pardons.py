"""What a release pardons: what its signers were shown, and nothing told afterwards."""

import pytest

from enforcement.decide.acts import PARDONS_MAX, write_release
from enforcement.decide.case import Level
from enforcement.decide.court import Court, Disbelieved
from enforcement.decide.pardons import STORY_SLACK_MS
from gossip.ledger.entries import Entry, ProofKind
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
from tests.support.members import NOW, member

ELM = subject("elm")
LATER = NOW + 10 * MINUTE


def faces(sequence: int, at: int) -> bytes:
    """Two faces of elm's server, dated as it likes."""
    who = member(SUITE, "elm")

    def shown(content: bytes) -> bytes:
        manifest = Manifest(
            cluster=ROSTER.cluster,
            node=NodeId(who.node),
            key=who.chain.key,
            server="sql",
            version="1",
            sequence=sequence,
            content=content,
            issued_at_ms=UnixMs(at),
        )
        return sign_manifest(manifest, who.key)

    return write_two_faces(shown(b"1" * 32), shown(b"2" * 32), who.chain)


def tell(feeds: Feeds, kind: ProofKind, number: int, dated: int, at: int) -> Entry:
    if kind is ProofKind.EQUIVOCATION:  # each in another feed of its
        proof = fork("elm", at=dated, incarnation=bytes([number]) * 16)
    else:
        proof = faces(number, dated)
    return feeds.accuse("birch", ELM, at, proof=proof, category="x", kind=kind)


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
@pytest.mark.parametrize("dated", [NOW - DAY, NOW, LATER - MINUTE])
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
    """What is dated before the life of any key that was alive then is pardoned."""
    feeds, judge = Feeds(), court()
    judge.hear(tell(feeds, kind, 1, NOW, NOW), NOW)
    judge.hear(release(feeds, pardons(judge)), UnixMs(LATER))
    old = LATER - STORY_SLACK_MS
    judge.hear(tell(feeds, kind, 2, old, LATER + DAY), UnixMs(LATER + DAY))
    assert not is_out(judge, LATER + DAY)


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
