"""The promises of ``gossip.spread``: everything reaches everybody, cheaply."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip import events
from gossip.effects import Fact
from gossip.errors import PeerError
from gossip.ledger.entries import EntryKind
from gossip.spread import frames
from gossip.spread.plumtree import ANNOUNCED_PER_PEER_MAX, EAGER_MIN
from gossip.spread.sync import FETCH_MS, SYNC_MS
from gossip.units import Incarnation, NodeId, UnixMs
from scenarios.toy import ToySuite
from tests.support.town import Town

read = frames.read_frame_untrusted

KIND = 4711
"""A kind no engine acts upon, so that bodies can be anything."""


def ring(size: int, chords: int = 2, seed: int = 1) -> Town:
    """A ring with random chords: sparse, and connected."""
    names = [f"node-{i:02}" for i in range(size)]
    town = Town(ToySuite(), names)
    chance = random.Random(seed)
    for i, name in enumerate(names):
        town.link(name, names[(i + 1) % size])
        for _ in range(chords):
            other = names[chance.randrange(size)]
            a, b = town[name].who.node, town[other].who.node
            if a != b and (a, b) not in town.links:
                town.link(name, other)
    return town


def bodies(town: Town, name: str) -> list[bytes]:
    return sorted(e.body for e in town[name].admitted if e.kind == KIND)


def warm(town: Town, count: int = 12) -> None:
    """Let the first messages prune the tree."""
    for i in range(count):
        town.now = UnixMs(town.now + 1_000)
        town.say(town.names[i % len(town.names)], KIND, b"warm %d" % i)


def kinds(town: Town) -> list[str]:
    return [type(read(f)).__name__ for _, _, f in town.wire]


@settings(max_examples=10, deadline=None)
@given(st.integers(3, 16), st.integers(0, 3), st.integers(0, 1_000))
def test_every_entry_reaches_every_node_over_any_connected_graph(
    size: int, chords: int, seed: int
) -> None:
    town = ring(size, chords, seed)
    warm(town, 6)

    for name in town.names:
        assert bodies(town, name) == sorted(b"warm %d" % i for i in range(6))


def test_in_steady_state_there_is_at_most_one_duplicate_for_each_node() -> None:
    town = ring(24, chords=3)
    warm(town, 40)
    for citizen in town.citizens.values():
        citizen.notes.clear()

    for i in range(20):
        town.now = UnixMs(town.now + 1_000)
        town.say(town.names[(i * 7) % 24], KIND, b"steady %d" % i)

    known = sum(
        note.fact is Fact.BATCH_KNOWN
        for citizen in town.citizens.values()
        for note in citizen.notes
    )
    assert known / (20 * 24) <= 1.0


def test_the_tree_never_hangs_by_a_single_thread() -> None:
    town = ring(16, chords=3)
    warm(town, 30)

    for citizen in town.citizens.values():
        assert len(citizen.engine._tree.eager()) >= EAGER_MIN


def test_a_neighbour_that_forwards_nothing_is_grafted_around_within_a_second() -> None:
    town = ring(16, chords=3)
    warm(town, 30)
    mute = town[town.names[5]].who.node
    town.swallow = lambda source, _to, frame: (
        source == mute and isinstance(read(frame), frames.Push | frames.Give)
    )

    town.now = UnixMs(town.now + 1_000)
    town.say(town.names[0], KIND, b"despite the mute")

    for name in town.names:
        assert b"despite the mute" in bodies(town, name), name


def test_announcing_forged_ids_neither_suppresses_nor_grows() -> None:
    town = ring(8, chords=2)
    victim, liar = town["node-00"], town["node-01"].who.node
    town.say("node-04", KIND, b"before")
    real = town["node-04"].stored[-1].id
    for i in range(40):
        ids = [i.to_bytes(2, "big") + n.to_bytes(30, "big") for n in range(512)]
        town.post(victim.who.node, events.Frame(liar, frames.ihave([*ids, real])))
    town.settle()

    town.now = UnixMs(town.now + 1_000)
    town.say("node-04", KIND, b"the real one")

    assert b"the real one" in bodies(town, "node-00")
    assert len(victim.engine._tree._missing) <= ANNOUNCED_PER_PEER_MAX
    town.pass_time(60_000)
    assert len(victim.engine._tree._missing) == 0


def test_equal_nodes_exchange_one_digest_and_nothing_else() -> None:
    town = ring(4, chords=1)
    warm(town, 4)
    town.pass_time(3_000)
    town.wire.clear()

    town.pass_time(SYNC_MS + 1_000)

    assert set(kinds(town)) == {"Root"}
    assert len(town.wire) <= 2 * len(town.names)


def test_what_a_node_missed_crosses_its_wires_about_once() -> None:
    town = Town(ToySuite(), ["ash", "birch", "cedar", "elm", "fir"])
    town.link_all()
    for other in town.names[:4]:
        town.unlink("fir", other)
    for i in range(600):
        town.now = UnixMs(town.now + 100)
        town.say(town.names[i % 4], KIND, b"missed %d" % i * 10)
    missed = sum(
        len(b.encoded) for b in town["ash"].stored if b not in town["fir"].stored
    )
    town.wire.clear()

    for other in town.names[:4]:
        town.link("fir", other)
    town.pass_time(2_000)

    fir = town["fir"].who.node
    received = sum(len(f) for _, to, f in town.wire if to == fir)
    assert bodies(town, "fir") == bodies(town, "ash")
    assert received <= 2 * missed


def test_a_peer_that_offers_and_never_delivers_only_costs_time() -> None:
    town = Town(ToySuite(), ["ash", "birch", "cedar"])
    town.link("ash", "birch")
    for i in range(10):
        town.now = UnixMs(town.now + 100)
        town.say("ash", KIND, b"%d" % i)
    birch = town["birch"].who.node
    town.swallow = lambda source, _to, frame: (
        source == birch and isinstance(read(frame), frames.Give)
    )
    town.link("birch", "cedar")
    assert bodies(town, "cedar") == []

    town.link("ash", "cedar")
    town.pass_time(FETCH_MS + 2_000)

    assert bodies(town, "cedar") == bodies(town, "ash")


def test_a_link_that_breaks_in_the_middle_resumes_where_it_stopped() -> None:
    town = Town(ToySuite(), ["ash", "birch"])
    for i in range(700):
        town.now = UnixMs(town.now + 100)
        town.say("ash", KIND, b"%d" % i)
    ash = town["ash"].who.node
    given_out = 0

    def break_after_300(source: NodeId, _to: NodeId, frame: bytes) -> bool:
        nonlocal given_out
        given_out += source == ash and isinstance(read(frame), frames.Give)
        return given_out > 300

    town.swallow = break_after_300
    town.link("ash", "birch")
    held = len(bodies(town, "birch"))
    assert 250 < held < 700
    town.unlink("ash", "birch")
    town.swallow = lambda *_: False
    town.wire.clear()

    town.link("ash", "birch")
    town.pass_time(2_000)

    assert bodies(town, "birch") == bodies(town, "ash")
    assert kinds(town).count("Give") == 700 - held


def test_a_gap_the_tree_does_not_close_is_fetched() -> None:
    town = Town(ToySuite(), ["ash", "birch"])
    town.link("ash", "birch")
    ash = town["ash"].who.node
    town.swallow = lambda source, _to, _frame: source == ash
    town.now = UnixMs(town.now + 1_000)
    town.say("ash", KIND, b"lost")
    town.swallow = lambda *_: False
    town.now = UnixMs(town.now + 1_000)

    town.say("ash", KIND, b"found")
    town.pass_time(1_000)

    assert bodies(town, "birch") == [b"found", b"lost"]


def test_reconciliation_finds_what_nobody_announced() -> None:
    town = ring(6, chords=1)
    tree = frames.Push | frames.IHave
    town.swallow = lambda _from, _to, frame: isinstance(read(frame), tree)
    town.now = UnixMs(town.now + 1_000)
    town.say("node-00", KIND, b"only by sync")
    town.pass_time(8 * SYNC_MS)

    for name in town.names:
        assert bodies(town, name) == [b"only by sync"], name


many = st.lists(st.binary(min_size=32, max_size=32), max_size=4)


@given(
    st.one_of(
        st.binary(min_size=1, max_size=60).map(frames.push),
        st.binary(min_size=1, max_size=60).map(frames.give),
        many.map(frames.ihave),
        many.map(frames.graft),
        st.just(frames.prune()),
        st.binary(min_size=32, max_size=32).map(lambda d: frames.root(d, UnixMs(1))),
        st.dictionaries(
            st.integers(0, 255), st.binary(min_size=16, max_size=16), max_size=4
        ).map(frames.buckets),
    ),
    st.data(),
)
def test_a_flipped_bit_in_a_frame_is_another_frame_or_the_peers_fault(
    frame: bytes, data: st.DataObject
) -> None:
    read(frame)
    altered = bytearray(frame)
    bit = data.draw(st.integers(0, len(frame) * 8 - 1))
    altered[bit // 8] ^= 1 << bit % 8
    try:
        other = read(bytes(altered))
    except PeerError:
        return
    assert other != read(frame)


@pytest.mark.parametrize("size", [frames.IDS_MAX + 1])
def test_more_ids_than_allowed_are_refused(size: int) -> None:
    with pytest.raises(PeerError):
        frames.read_frame_untrusted(
            frames.ihave([n.to_bytes(32, "big") for n in range(size)])
        )


def test_a_burst_is_verified_together_and_nothing_is_lost() -> None:
    town = Town(ToySuite(), ["ash", "birch"])
    for i in range(100):
        town.now = UnixMs(town.now + 100)
        town.say("ash", KIND, b"%d" % i)
    ash, birch = town["ash"].who, town["birch"].who.node
    arrived = tuple(
        events.Frame(ash.node, frames.push(b.encoded)) for b in town["ash"].stored
    )
    town.post(birch, events.LinkUp(ash.chain))
    town.post(birch, events.Frames(arrived))
    town.settle()

    assert bodies(town, "birch") == bodies(town, "ash")
    assert EntryKind.KEYS in {e.kind for e in town["birch"].admitted}


def test_a_flooder_is_delayed_and_everybody_else_is_heard_at_once() -> None:
    town = Town(ToySuite(), ["ash", "birch", "cedar"])
    town.link_all()
    node = town["ash"].who.node
    for i in range(7_000):
        town.post(node, events.Say(KIND, b"junk %d" % i))
    town.now = UnixMs(town.now + 1_000)
    town.settle()
    heard = len(bodies(town, "cedar"))
    assert heard < 7_000
    assert Fact.BATCH_DELAYED in {note.fact for note in town["cedar"].notes}

    town.say("birch", KIND, b"heard at once")
    assert b"heard at once" in bodies(town, "cedar")

    town.pass_time(15_000)
    assert len(bodies(town, "cedar")) == 7_001


def test_who_never_delivers_what_it_offers_loses_the_link() -> None:
    town = Town(ToySuite(), ["ash", "birch"])
    ash, birch = town["ash"].who.node, town["birch"].who
    town.link("ash", "birch")
    feeds = [
        frames.Head((birch.node, Incarnation(i.to_bytes(16, "big"))), 10)
        for i in range(40)
    ]
    offer = frames.heads((), feeds, answer=False)
    town.swallow = lambda _source, _to, _frame: True

    town.post(ash, events.Frame(birch.node, offer))
    town.pass_time(30 * FETCH_MS)

    assert [closed.peer for closed in town["ash"].closed][:1] == [birch.node]


def test_an_honest_carrier_of_somebody_elses_lies_loses_nothing() -> None:
    town = Town(ToySuite(), ["ash", "birch", "cedar"])
    town.link("ash", "birch")
    town.link("birch", "cedar")
    for i in range(50):
        town.now = UnixMs(town.now + 1_000)
        town.say("ash", KIND, b"a lie %d" % i)

    assert not town["cedar"].closed
    assert len(bodies(town, "cedar")) == 50
