"""The promises of ``gossip.opening``: a lost or copied disk convicts nobody."""

from gossip.ledger.entries import Closing, EntryKind, Keys
from gossip.opening import PATIENCE_MS
from gossip.units import Incarnation
from scenarios.toy import ToySuite
from tests.support.town import Citizen, Town

FIVE = ["ash", "birch", "cedar", "elm", "fir"]
KIND = 4711


def town() -> Town:
    made = Town(ToySuite(), FIVE)
    made.link_all()
    return made


def part(cluster: Town, name: str) -> None:
    for other in FIVE:
        if other != name:
            cluster.unlink(name, other)


def closes(citizen: Citizen) -> Closing | None:
    """What the citizen's last opening says it closes."""
    said = [e.said for e in citizen.admitted if e.kind == EntryKind.KEYS]
    opening = next(
        e for e in reversed(said) if isinstance(e, Keys) and e.chain == mine(citizen)
    )
    return opening.closes


def mine(citizen: Citizen) -> bytes:
    return citizen.who.chain.encoded


def test_a_restored_backup_closes_what_its_peers_heard_not_what_it_remembers() -> None:
    cluster = town()
    backup = list(cluster["fir"].stored)
    for n in range(5):
        cluster.say("fir", KIND, b"after the backup %d" % n)
    head = cluster["ash"].engine.ledger.latest(cluster["fir"].who.node)
    part(cluster, "fir")

    again = cluster.start("fir", stored=backup, waiting=False)
    cluster.link("fir", "ash")
    cluster.link("fir", "birch")

    closing = closes(again)
    assert head is not None
    assert closing is not None
    assert closing.next_number == head[1].next_number
    assert closing.head == head[1].head


def test_a_cloned_machine_opens_a_feed_of_its_own() -> None:
    cluster = town()
    disk = list(cluster["fir"].stored)
    part(cluster, "fir")
    first = cluster.start("fir", stored=list(disk))
    first.engine.linked()
    one = cluster["fir"].stored[-1]
    two = cluster.start("fir", stored=list(disk)).stored[-1]

    assert one.author == two.author
    assert one.incarnation != two.incarnation


def test_a_node_that_is_alone_begins_after_a_while() -> None:
    cluster = Town(ToySuite(), FIVE)
    lone = cluster.start("ash", waiting=False)
    cluster.say("ash", KIND, b"said while waiting")
    assert lone.stored == []

    cluster.pass_time(PATIENCE_MS)

    assert [e.body for e in lone.admitted if e.kind == KIND] == [b"said while waiting"]
    assert lone.admitted[0].kind == EntryKind.KEYS


def test_f_plus_one_answers_are_enough_and_nobody_waits_longer() -> None:
    cluster = town()
    part(cluster, "fir")
    began = cluster.now
    again = cluster.start("fir", stored=list(cluster["fir"].stored), waiting=False)

    cluster.link("fir", "ash")
    assert not any(b.feed[1] == again.stored[-1].feed[1] for b in again.stored[:-1])
    cluster.link("fir", "birch")

    assert again.stored[-1].number == 0
    assert cluster.now - began < PATIENCE_MS + 5_000


def test_a_liar_about_our_head_only_names_a_feed_that_stays_closed() -> None:
    cluster = town()
    part(cluster, "fir")
    again = cluster.start("fir", stored=list(cluster["fir"].stored), waiting=False)
    false = Closing(
        incarnation=Incarnation(b"z" * 16), next_number=10**6, head=b"z" * 32
    )
    again.engine._opening.hear(cluster["elm"].who.node, false)

    cluster.link("fir", "ash")
    cluster.link("fir", "birch")
    cluster.say("fir", KIND, b"and yet it speaks")

    assert any(e.body == b"and yet it speaks" for e in cluster["ash"].admitted)
    assert not any(citizen.closed for citizen in cluster.citizens.values())


def test_a_copy_that_spoke_under_our_incarnation_silences_us_without_a_crash() -> None:
    """Until the next start: nobody would hear more of a frozen feed anyway."""
    cluster = town()
    fir = cluster["fir"]
    latest = fir.engine.ledger.latest(fir.who.node)
    assert latest is not None
    feed, held = latest
    fir.engine.ledger.freeze(feed, held.next_number)

    cluster.say("fir", KIND, b"into the void")
    cluster.say("fir", KIND, b"and again")

    assert not any(e.body == b"into the void" for e in cluster["ash"].admitted)
    again = cluster.start("fir", stored=list(fir.stored))
    cluster.say("fir", KIND, b"a new beginning")
    assert any(e.body == b"a new beginning" for e in again.admitted)
