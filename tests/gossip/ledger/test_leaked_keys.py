"""A key that leaks after its life adds nothing to its author's feeds; docs/decisions/0034."""

from gossip import events
from gossip.ledger.entries import (
    Checkpoint,
    EntryKind,
    Keys,
    Report,
    Subject,
    SubjectKind,
    Witness,
    write_checkpoint,
    write_keys,
    write_report,
)
from gossip.spread import frames
from gossip.units import UnixMs
from scenarios.toy import ToySuite
from tests.support.members import NOW
from tests.support.town import Town, forge

FIVE = ["ash", "birch", "cedar", "elm", "fir"]
LATER = UnixMs(NOW + 100 * 3_600_000)
"""Long after the life of every key."""
STAMP = NOW + 3_600_000
LIE = write_report(
    Report(
        subject=Subject(SubjectKind.NODE, bytes(32)),
        category="a lie",
        severity=9,
        evidence=Witness(digest=bytes(32), count=1, first_ms=NOW, last_ms=NOW),
    )
)
KIND = 4711


def town() -> Town:
    made = Town(ToySuite(), FIVE)
    made.link_all()
    made.say("birch", KIND, b"honest")
    return made


def opening(cluster: Town, name: str) -> tuple[int, bytes]:
    chain = cluster[name].who.chain.encoded
    return (int(EntryKind.KEYS), write_keys(Keys(chain=chain, closes=None)))


def give(cluster: Town, by: str, *batches: bytes) -> None:
    """Let a member bring batches to everybody as if they had asked for them."""
    for citizen in cluster.citizens.values():
        if citizen is not cluster[by]:
            for batch in batches:
                frame = events.Frame(cluster[by].who.node, frames.give(batch))
                cluster.post(citizen.who.node, frame)
    cluster.settle()


def heard(cluster: Town, name: str) -> list[bytes]:
    return [e.body for e in cluster[name].admitted]


def test_a_feed_that_a_dead_key_writes_is_not_heard_and_nobody_is_blamed() -> None:
    cluster = town()
    cluster.now = LATER
    birch = cluster["birch"].who
    forged = forge(
        birch,
        cluster,
        at=STAMP,
        entries=[opening(cluster, "birch"), (int(EntryKind.REPORT), LIE)],
    )
    give(cluster, "cedar", forged)
    for name in ("ash", "elm", "fir"):
        assert LIE not in heard(cluster, name)
        assert not cluster[name].closed


def test_a_dead_key_cannot_have_its_authors_feed_forgotten() -> None:
    cluster = town()
    birch = cluster["birch"]
    latest = birch.engine.ledger.latest(birch.who.node)
    assert latest is not None
    (_, incarnation), feed = latest
    checkpoint = Checkpoint(
        incarnation=incarnation, number=feed.next_number, previous=feed.head
    )
    cluster.now = LATER
    forged = forge(
        birch.who,
        cluster,
        at=STAMP,
        entries=[
            opening(cluster, "birch"),
            (int(EntryKind.CHECKPOINT), write_checkpoint(checkpoint)),
        ],
    )
    give(cluster, "cedar", forged)
    kept = cluster["ash"].engine.ledger.feed((birch.who.node, incarnation))
    assert kept is not None
    assert kept.base == 0


def test_a_dead_key_cannot_go_on_where_its_author_stopped() -> None:
    cluster = town()
    birch = cluster["birch"]
    latest = birch.engine.ledger.latest(birch.who.node)
    assert latest is not None
    (_, incarnation), feed = latest
    cluster.now = LATER
    forged = forge(
        birch.who,
        cluster,
        number=feed.next_number,
        previous=feed.head,
        incarnation=incarnation,
        at=STAMP,
        entries=[(int(EntryKind.REPORT), LIE)],
    )
    give(cluster, "cedar", forged)
    assert LIE not in heard(cluster, "ash")


def test_it_is_not_fetched_again_and_again_either() -> None:
    cluster = town()
    cluster.now = LATER
    cedar, ash = cluster["cedar"].who.node, cluster["ash"].who.node
    feed = (cluster["birch"].who.node, forged_incarnation := b"x" * 16)
    offer = frames.heads((), [frames.Head(feed, 9)], answer=False)  # type: ignore[arg-type]  # any 16 bytes are an incarnation
    forged = forge(
        cluster["birch"].who,
        cluster,
        incarnation=forged_incarnation,
        at=STAMP,
        entries=[opening(cluster, "birch"), (int(EntryKind.REPORT), LIE)],
    )
    cluster.wire.clear()
    for _ in range(20):
        cluster.post(ash, events.Frame(cedar, offer))
        cluster.settle()
        cluster.post(ash, events.Frame(cedar, frames.give(forged)))
        cluster.pass_time(30_000)
    wants = [
        frame
        for who, whom, frame in cluster.wire
        if (who, whom) == (ash, cedar)
        and isinstance(frames.read_frame_untrusted(frame), frames.Want)
    ]
    assert len(wants) == 1
    assert LIE not in heard(cluster, "ash")
    assert not cluster["ash"].closed


def test_who_was_away_for_days_hears_all_that_two_neighbours_hold() -> None:
    cluster = town()
    for other in FIVE:
        if other != "elm":
            cluster.unlink("elm", other)
    for number in range(300):
        cluster.say("birch", KIND, b"while away %d" % number)
    for other in ("ash", "cedar", "fir"):
        cluster.unlink("birch", other)  # and is never seen again
    cluster.now = LATER

    cluster.link("elm", "ash")
    cluster.pass_time(60_000)
    assert b"while away 0" not in heard(cluster, "elm")
    cluster.link("elm", "cedar")
    cluster.pass_time(60_000)

    assert {b"while away %d" % n for n in range(300)} <= set(heard(cluster, "elm"))
    for name in ("ash", "cedar"):
        assert cluster["elm"].engine.ledger.buckets() == (
            cluster[name].engine.ledger.buckets()
        )
    assert not cluster["elm"].closed
