"""Operators' acts that somebody kept back, and carries when they are over."""

from enforcement.decide.acts import write_release
from gossip.membership.founders import ActKind
from gossip.units import UnixMs
from tests.support.courts import AGENT, MINUTE, Feeds, court
from tests.support.members import NOW


def test_a_release_kept_back_pardons_no_more_than_its_signers_knew_of() -> None:
    """Under whatever stamp it is carried."""
    feeds, judge = Feeds(), court()
    known = NOW + MINUTE
    late = known + 10 * MINUTE
    judge.hear(feeds.accuse("birch", AGENT, NOW, proof=b"p"), NOW)
    judge.hear(feeds.accuse("birch", AGENT, late, proof=b"q%d" % late), UnixMs(late))
    before = judge.standing(AGENT, UnixMs(late))

    kept = feeds.decide(
        "elm", ActKind.RELEASE, write_release(AGENT, ""), known, carried_at=known
    )
    judge.hear(kept, UnixMs(late))

    assert judge.denial(AGENT) is not None
    assert judge.standing(AGENT, UnixMs(late)).until_ms == before.until_ms


def test_a_release_kept_back_and_stamped_truly_is_void() -> None:
    feeds, judge = Feeds(), court()
    late = NOW + 3 * MINUTE
    judge.hear(feeds.accuse("birch", AGENT, NOW, proof=b"p"), NOW)

    kept = feeds.decide(
        "elm",
        ActKind.RELEASE,
        write_release(AGENT, ""),
        NOW,
        carried_at=late,
        life_ms=MINUTE,
    )
    judge.hear(kept, UnixMs(late))

    assert judge.denial(AGENT) is not None
