"""The promises of ``gossip.engine``: what one node says, every node holds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip import events
from gossip.effects import Fact
from gossip.errors import LocalError
from gossip.ledger.batch import read_batch_untrusted
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
from gossip.spread import frames
from gossip.units import UnixMs
from node.keys.suites.openssl import OpensslSuite
from scenarios.toy import ToySuite
from tests.support.members import NOW, member
from tests.support.town import Town, forge

FIVE = ["ash", "birch", "cedar", "elm", "fir"]


def body(n: int = 0, severity: int = 5) -> bytes:
    return write_report(
        Report(
            subject=Subject(SubjectKind.AGENT, n.to_bytes(32, "big")),
            category="policy-violation",
            severity=severity,
            evidence=Witness(digest=bytes(32), count=1, first_ms=NOW, last_ms=NOW),
        )
    )


def town(names: list[str] = FIVE) -> Town:
    made = Town(ToySuite(), names)
    made.link_all()
    return made


def test_a_report_reaches_everybody_once() -> None:
    cluster = town()

    cluster.say("ash", EntryKind.REPORT, body(1))

    for name in FIVE:
        assert cluster[name].reports() == [body(1)]


def test_it_also_does_so_under_real_signatures() -> None:
    cluster = Town(OpensslSuite(), ["ash", "birch", "cedar"])
    cluster.link("ash", "birch")
    cluster.link("birch", "cedar")

    cluster.say("ash", EntryKind.REPORT, body(1))

    assert cluster["cedar"].reports() == [body(1)]
    assert not any(cluster[name].closed for name in cluster.names)


def test_an_own_entry_is_durable_before_anybody_hears_of_it() -> None:
    cluster = town(["ash", "birch"])
    engine = cluster["ash"].engine
    (sign,) = engine.handle(events.Say(EntryKind.REPORT, body()), UnixMs(NOW + 1000))
    signature = cluster["ash"].who.key.sign(sign.body, sign.context)  # type: ignore[union-attr] # it is a Sign
    (store,) = engine.handle(events.Signed(sign.body, signature), NOW)  # type: ignore[union-attr] # it is a Sign

    assert type(store).__name__ == "Store"
    after = engine.handle(events.Stored(store.batch.id), NOW)  # type: ignore[union-attr] # it is a Store
    assert [type(e).__name__ for e in after] == ["Send", "Admitted"]


def test_what_follows_the_first_entry_shares_a_signature() -> None:
    cluster = town(["ash", "birch"])
    cluster.now = UnixMs(cluster.now + 1000)
    before = len(cluster["birch"].stored)
    node = cluster["ash"].who.node
    for n in range(65):
        cluster.post(node, events.Say(EntryKind.REPORT, body(n)))
    cluster.settle()

    assert len(cluster["birch"].reports()) == 65
    assert len(cluster["birch"].stored) - before == 2


def test_a_node_that_was_away_catches_up_on_everything() -> None:
    cluster = town(["ash", "birch", "cedar"])
    cluster.unlink("cedar", "ash")
    cluster.unlink("cedar", "birch")
    for n in range(frames.WANT_MAX * 2 + 7):
        cluster.now = UnixMs(cluster.now + 1000)
        cluster.say("ash", EntryKind.REPORT, body(n))
    assert cluster["cedar"].reports() == []

    cluster.link("cedar", "birch")

    assert cluster["cedar"].reports() == cluster["ash"].reports()
    assert not any(note.fact is Fact.BATCH_KNOWN for note in cluster["cedar"].notes)


def test_a_restarted_node_forgets_nothing_and_closes_what_it_left() -> None:
    cluster = town(["ash", "birch"])
    cluster.say("ash", EntryKind.REPORT, body(1))
    cluster.unlink("ash", "birch")

    again = cluster.start("ash", stored=list(cluster["ash"].stored))
    cluster.link("ash", "birch")
    cluster.say("ash", EntryKind.REPORT, body(2))

    assert cluster["birch"].reports() == [body(1), body(2)]
    opening = [e for e in again.admitted if e.kind == EntryKind.KEYS][-1]
    assert opening.number == 0
    assert opening.body != write_keys(Keys(chain=again.who.chain.encoded, closes=None))


def test_entries_of_an_unknown_kind_are_kept_and_passed_on() -> None:
    cluster = Town(ToySuite(), ["ash", "birch", "cedar"])
    cluster.link("ash", "birch")
    cluster.link("birch", "cedar")

    cluster.say("ash", 4711, b"from a newer version")

    assert cluster["cedar"].admitted[-1].kind == 4711


def test_a_rotated_key_introduces_itself() -> None:
    cluster = town(["ash", "birch"])
    ash = cluster["ash"]
    ash.who = member(cluster.suite, "ash", turn=1)
    cluster.post(ash.who.node, events.Rotated(ash.who.chain))
    cluster.settle()

    cluster.say("ash", EntryKind.REPORT, body(3))

    assert cluster["birch"].reports() == [body(3)]


@settings(max_examples=25)
@given(st.permutations(range(6)), st.randoms(use_true_random=False))
def test_order_of_arrival_changes_nothing(order: list[int], chance: object) -> None:
    """Batches pushed in any order leave the same ledger."""
    cluster = town(["ash", "birch"])
    cluster.unlink("ash", "birch")
    for n in range(5):
        cluster.now = UnixMs(cluster.now + 1000)
        cluster.say("ash", EntryKind.REPORT, body(n))
    batches = [b for b in cluster["ash"].stored if b.author == cluster["ash"].who.node]
    lone = Town(ToySuite(), ["ash", "birch"])
    lone["birch"].engine.handle(events.LinkUp(cluster["ash"].who.chain), lone.now)
    lone.now = cluster.now
    for i in order:
        lone.post(
            lone["birch"].who.node,
            events.Frame(cluster["ash"].who.node, frames.push(batches[i].encoded)),
        )
        lone.settle()

    assert lone["birch"].reports() == sorted(body(n) for n in range(5))
    assert lone["birch"].engine.ledger.heads()[0][1].head in {
        feed.head for _, feed in cluster["ash"].engine.ledger.heads()
    } | {feed.head for _, feed in lone["birch"].engine.ledger.heads()}


# --- attackers -----------------------------------------------------------------


def attack(cluster: Town, data: bytes, *, by: str = "birch", on: str = "ash") -> None:
    cluster.post(
        cluster[on].who.node, events.Frame(cluster[by].who.node, frames.push(data))
    )
    cluster.settle()


def test_nobody_can_speak_in_anothers_name() -> None:
    cluster = town()
    liar, victim = cluster["birch"].who, cluster["cedar"].who

    attack(
        cluster,
        forge(liar, cluster, author=victim, entries=[(EntryKind.REPORT, body(9))]),
    )

    assert cluster["ash"].reports() == []
    assert cluster["ash"].closed[0].peer == liar.node


def test_a_stranger_cannot_speak_even_with_a_valid_signature() -> None:
    cluster = town()
    stranger = member(cluster.suite, "stranger")
    keys = (EntryKind.KEYS, write_keys(Keys(chain=stranger.chain.encoded, closes=None)))

    attack(
        cluster, forge(stranger, cluster, entries=[keys, (EntryKind.REPORT, body(9))])
    )

    assert cluster["ash"].reports() == []
    assert any("not a member" in note.why for note in cluster["ash"].notes)
    assert cluster["ash"].closed == [], "its carrier may know it for a newcomer"


def test_an_altered_body_is_refused_and_its_carrier_dropped() -> None:
    cluster = town()
    cluster.say("birch", EntryKind.REPORT, body(1, severity=1))
    told = next(b for b in cluster["birch"].stored if len(b.entries) == 1 and b.number)
    altered = told.encoded.replace(body(1, severity=1), body(1, severity=9))
    assert altered != told.encoded
    fresh = Town(ToySuite(), FIVE)
    fresh.link("ash", "birch")

    attack(fresh, altered)

    assert fresh["ash"].reports() == []
    assert fresh["ash"].closed


def test_a_stamp_from_the_future_is_ignored_and_its_carrier_innocent() -> None:
    cluster = town()
    birch = cluster["birch"].who

    attack(
        cluster,
        forge(
            birch,
            cluster,
            at=NOW + 10 * 60_000,
            entries=[(EntryKind.REPORT, body(9))],
        ),
    )

    assert cluster["ash"].reports() == []
    assert cluster["ash"].closed == []


def test_a_replayed_batch_is_heard_once() -> None:
    cluster = town()
    cluster.say("birch", EntryKind.REPORT, body(1))
    told = cluster["birch"].stored[-1]

    for _ in range(5):
        attack(cluster, told.encoded)

    assert cluster["ash"].reports() == [body(1)]


def test_the_other_side_of_a_fork_is_never_admitted() -> None:
    cluster = town()
    birch = cluster["birch"].who
    keys = (EntryKind.KEYS, write_keys(Keys(chain=birch.chain.encoded, closes=None)))
    attack(cluster, forge(birch, cluster, entries=[keys, (EntryKind.REPORT, body(1))]))
    attack(cluster, forge(birch, cluster, entries=[keys, (EntryKind.REPORT, body(2))]))

    assert body(2) not in cluster["ash"].reports()
    assert Fact.BATCH_FORKED in {note.fact for note in cluster["ash"].notes}


def test_a_batch_of_another_cluster_is_refused() -> None:
    cluster, other = town(), Town(ToySuite(), ["ash", "birch"])

    attack(
        cluster,
        forge(other["birch"].who, other, entries=[(EntryKind.REPORT, body(9))]),
    )

    assert cluster["ash"].reports() == []


@given(st.binary(max_size=300))
def test_garbage_on_a_link_closes_that_link_and_nothing_else(data: bytes) -> None:
    cluster = town(["ash", "birch"])
    node = cluster["ash"].who.node

    cluster.post(node, events.Frame(cluster["birch"].who.node, data))
    cluster.settle()

    assert cluster["ash"].reports() == []


def test_a_key_outside_its_life_signs_nothing() -> None:
    cluster = town()
    cluster.now = UnixMs(NOW + 100 * 3_600_000)
    late = read_batch_untrusted(
        forge(
            cluster["birch"].who,
            cluster,
            at=cluster.now,
            entries=[(EntryKind.REPORT, body(9))],
        )
    )

    attack(cluster, late.encoded)

    assert cluster["ash"].reports() == []


def test_a_key_that_leaked_after_its_life_tells_no_news() -> None:
    cluster = town()
    birch = cluster["birch"].who
    stamped = NOW + 3_600_000
    cluster.now = UnixMs(NOW + 100 * 3_600_000)
    keys = (EntryKind.KEYS, write_keys(Keys(chain=birch.chain.encoded, closes=None)))

    attack(
        cluster,
        forge(birch, cluster, at=stamped, entries=[keys, (EntryKind.REPORT, body(9))]),
        by="cedar",
    )

    assert cluster["ash"].reports() == []
    assert not cluster["ash"].closed


def test_an_answer_nobody_asked_for_is_the_drivers_bug() -> None:
    cluster = town(["ash", "birch"])
    with pytest.raises(LocalError):
        cluster["ash"].engine.handle(events.Signed(b"", b""), NOW)
    with pytest.raises(LocalError):
        cluster["ash"].engine.handle(events.Stored(b""), NOW)
