"""The promises of retention: what was pruned is gone, what remains is proven."""

from gossip import events, limits
from gossip.effects import Fact
from gossip.ledger.batch import read_batch_untrusted
from gossip.ledger.entries import (
    Checkpoint,
    EntryKind,
    Keys,
    Report,
    write_checkpoint,
    write_keys,
)
from gossip.ledger.grace import GRACE_MS
from gossip.units import NodeId, UnixMs
from scenarios.toy import ToySuite
from tests.gossip.ledger.test_equivocation import body, show
from tests.support.town import Town, forge

KIND = 4711


def talk(town: Town, name: str, count: int, first: int = 0) -> None:
    for i in range(first, first + count):
        town.now = UnixMs(town.now + 100)
        town.say(name, KIND, b"%d" % i)


def prune(town: Town, name: str, keep: int) -> None:
    citizen = town[name]
    latest = citizen.engine.ledger.latest(citizen.who.node)
    assert latest is not None
    town.post(citizen.who.node, events.Prune(latest[0][1], keep))
    town.now = UnixMs(town.now + 100)
    town.settle()


def numbers(town: Town, at: str, of: str) -> list[int]:
    author = town[of].who.node
    return sorted(b.number for b in town[at].stored if b.author == author)


def heads(town: Town, name: str) -> list[tuple[NodeId, int, bytes]]:
    ledger = town[name].engine.ledger
    return [(feed[0], held.next_number, held.head) for feed, held in ledger.heads()]


def test_everybody_forgets_what_its_author_lets_go_but_keys_acts_and_proofs() -> None:
    town = Town(ToySuite(), ["ash", "birch"])
    town.link("ash", "birch")
    talk(town, "ash", 20)

    prune(town, "ash", 15)
    town.pass_time(GRACE_MS)

    for name in town.names:  # and 14, which what remains follows
        assert numbers(town, name, "ash") == [0, 14, 15, 16, 17, 18, 19, 20, 21]


def test_a_newcomer_begins_a_pruned_feed_at_its_checkpoint() -> None:
    town = Town(ToySuite(), ["ash", "birch", "cedar"])
    town.link("ash", "birch")
    talk(town, "ash", 700)
    prune(town, "ash", 650)
    town.pass_time(GRACE_MS)
    talk(town, "ash", 10, first=700)

    town.link("cedar", "birch")
    town.pass_time(2_000)

    assert heads(town, "cedar") == heads(town, "birch")
    heard = [e.body for e in town["cedar"].admitted if e.kind == KIND]
    assert len(heard) == 700 + 10 - 648  # the one that it follows, too


def test_a_node_that_was_away_for_long_goes_on_behind_the_gap() -> None:
    town = Town(ToySuite(), ["ash", "birch", "cedar"])
    town.link_all()
    talk(town, "ash", 30)
    town.unlink("cedar", "ash")
    town.unlink("cedar", "birch")
    talk(town, "ash", 600, first=30)
    prune(town, "ash", 500)

    town.link("cedar", "birch")
    town.pass_time(2_000)

    assert heads(town, "cedar") == heads(town, "ash")


def test_a_restarted_node_finds_its_pruned_feeds_again() -> None:
    town = Town(ToySuite(), ["ash", "birch"])
    town.link("ash", "birch")
    talk(town, "ash", 1_500)
    prune(town, "ash", 200)
    town.unlink("ash", "birch")
    before = heads(town, "birch")

    town.start("birch", stored=list(town["birch"].stored))

    assert set(before) <= set(heads(town, "birch"))
    town.link("ash", "birch")
    talk(town, "ash", 1, first=9_999)
    assert any(e.body == b"9999" for e in town["birch"].admitted)


def test_a_checkpoint_that_contradicts_what_was_signed_changes_nothing() -> None:
    town = Town(ToySuite(), ["ash", "birch"])
    town.link("ash", "birch")
    talk(town, "ash", 20)
    latest = town["ash"].engine.ledger.latest(town["ash"].who.node)
    assert latest is not None
    false = Checkpoint(incarnation=latest[0][1], number=10, previous=b"x" * 32)

    town.say("ash", EntryKind.CHECKPOINT, write_checkpoint(false))

    assert numbers(town, "birch", "ash") == list(range(22))


def test_nobody_can_prune_anybody_elses_feed() -> None:
    town = Town(ToySuite(), ["ash", "birch", "cedar"])
    town.link_all()
    talk(town, "ash", 20)
    feed = town["ash"].engine.ledger.latest(town["ash"].who.node)
    assert feed is not None
    previous = feed[1].id_at(9)
    assert previous is not None
    said = Checkpoint(incarnation=feed[0][1], number=10, previous=previous)

    town.say("birch", EntryKind.CHECKPOINT, write_checkpoint(said))

    assert numbers(town, "cedar", "ash") == list(range(21))


def test_who_never_prunes_waits_and_crowds_out_nobody() -> None:
    town = Town(ToySuite(), ["ash", "birch"])
    town.link("ash", "birch")
    share = town["birch"].engine.roster.author_bytes_max
    ledger = town["birch"].engine.ledger
    ledger._bytes[town["ash"].who.node] = share + 1

    talk(town, "ash", 3)

    assert not any(e.kind == KIND for e in town["birch"].admitted)
    assert Fact.BATCH_IGNORED in {note.fact for note in town["birch"].notes}
    talk(town, "birch", 3)
    assert len([e for e in town["ash"].admitted if e.kind == KIND]) == 6

    prune(town, "ash", 2)
    town.pass_time(30_000)
    assert heads(town, "birch") == heads(town, "ash")
    assert not town["birch"].closed


def test_a_fork_behind_a_checkpoint_is_old_news() -> None:
    """Pruning does not let an author rewrite what it pruned."""
    town = Town(ToySuite(), ["ash", "birch"])
    town.link("ash", "birch")
    talk(town, "ash", 20)
    prune(town, "ash", 15)
    town.pass_time(GRACE_MS)
    latest = town["ash"].engine.ledger.latest(town["ash"].who.node)
    assert latest is not None
    rewritten = forge(
        town["ash"].who,
        town,
        number=5,
        incarnation=latest[0][1],
        entries=[(EntryKind.REPORT, body(1))],
    )

    show(town, "birch", rewritten, via="ash")
    town.settle()

    assert not any(isinstance(e.said, Report) for e in town["birch"].admitted)


def test_what_lasts_binds_its_author_to_a_share_too() -> None:
    """One endorsement that nobody can read must not make the junk beside it last."""
    town = Town(ToySuite(), ["ash", "birch"])
    town.link("ash", "birch")
    liar, birch = town["ash"].who, town["birch"]
    share = birch.engine.roster.lasting_bytes_max
    birch.engine.ledger._lasting[liar.node] = share - 400_000
    keys = write_keys(Keys(chain=liar.chain.encoded, closes=None))
    previous = bytes(32)
    for number in range(20):
        entries = [(int(EntryKind.ENDORSEMENT), b""), *[(KIND, bytes(60_000))] * 4]
        if number == 0:
            entries.insert(0, (int(EntryKind.KEYS), keys))
        batch = forge(
            liar,
            town,
            number=number,
            previous=previous,
            entries=entries[:5],
            at=town.now,
        )
        previous = read_batch_untrusted(batch).id
        show(town, "birch", batch, via="ash")
        town.settle()

    held = sum(len(b.encoded) for b in birch.stored if b.incarnation == b"x" * 16)
    assert 0 < held <= 400_000 + limits.BATCH_BYTES_MAX
    assert birch.engine.ledger.lasting_of(liar.node) <= share + limits.BATCH_BYTES_MAX
    assert not birch.closed
    talk(town, "ash", 3)
    assert len([e for e in birch.admitted if e.body in (b"0", b"1", b"2")]) == 3


def test_what_lasts_is_counted_again_after_a_restart_also_where_it_was_pruned() -> None:
    town = Town(ToySuite(), ["ash", "birch"])
    town.link("ash", "birch")
    talk(town, "ash", 20)
    prune(town, "ash", 15)
    ash = town["ash"].who.node
    before = town["birch"].engine.ledger.lasting_of(ash)
    assert before > 0
    town.unlink("ash", "birch")
    town.start("birch", stored=list(town["birch"].stored))
    assert town["birch"].engine.ledger.lasting_of(ash) == before
