"""Attacks on what is spread that come from members, or from the past."""

from gossip import events
from gossip.ledger.batch import read_batch_untrusted
from gossip.ledger.entries import EntryKind, Keys, write_keys, write_policy
from gossip.spread import frames
from gossip.units import UnixMs
from scenarios.toy import ToySuite
from tests.support.members import NOW
from tests.support.town import Town, forge

NAMES = ["ash", "birch", "cedar"]
PUSHED = (frames.Push, frames.Give)
JUNK_A_SECOND = 100
SECONDS = 60


def said(town: Town, name: str) -> list[bytes]:
    return sorted(e.body for e in town[name].admitted if e.kind == EntryKind.POLICY)


def word(number: int) -> bytes:
    return write_policy(number.to_bytes(32, "big"))


def test_what_was_heard_before_a_restart_is_not_heard_again_after_it() -> None:
    town = Town(ToySuite(), NAMES)
    town.link_all()
    town.say("birch", EntryKind.POLICY, word(1))
    stored = town["ash"].stored
    old = [frame for _, to, frame in town.wire if to == town["ash"].who.node]
    replayed = [f for f in old if isinstance(frames.read_frame_untrusted(f), PUSHED)]
    assert replayed

    town.start("ash", stored)
    town.link("ash", "cedar")
    before = len(town["ash"].admitted)
    cedar = town["cedar"].who.node
    for frame in replayed * 3:
        town.post(town["ash"].who.node, events.Frame(cedar, frame))
    town.settle()

    assert said(town, "ash") == [word(1)]
    assert len(town["ash"].admitted) == before
    assert not town["ash"].closed


def test_a_stamp_from_the_past_is_heard_by_its_chain() -> None:
    town = Town(ToySuite(), NAMES)
    town.link_all()
    town.pass_time(3_600_000)
    birch, ash = town["birch"].who, town["ash"].who
    opening = write_keys(Keys(chain=birch.chain.encoded, closes=None))
    entries = [(int(EntryKind.KEYS), opening), (int(EntryKind.POLICY), word(7))]
    late = forge(birch, town, entries=entries, at=NOW + 1)
    town.post(ash.node, events.Frame(birch.node, frames.push(late)))
    town.settle()

    assert word(7) in said(town, "ash")
    assert not town["ash"].closed


def test_a_hundred_junk_entries_a_second_suppress_and_evict_nothing() -> None:
    town = Town(ToySuite(), NAMES)
    town.link_all()
    junk = town["ash"].who.node
    for second in range(SECONDS):
        for number in range(JUNK_A_SECOND):
            body = b"junk %d" % (second * JUNK_A_SECOND + number)
            town.post(junk, events.Say(999, body))
        town.post(town["birch"].who.node, events.Say(EntryKind.POLICY, word(second)))
        town.pass_time(1_000)

    expected = [word(second) for second in range(SECONDS)]
    assert said(town, "cedar") == expected
    held = {e.body for b in town["cedar"].stored for e in b.entries}
    assert held >= set(expected)


def test_junk_in_a_members_name_that_it_never_signed_costs_it_nothing() -> None:
    town = Town(ToySuite(), NAMES)
    town.link_all()
    ash, birch, cedar = (town[name].who for name in NAMES)
    opening = write_keys(Keys(chain=birch.chain.encoded, closes=None))
    for number in range(500):
        entries = [(int(EntryKind.KEYS), opening), (999, b"%d" % number)]
        forged = forge(ash, town, author=birch, entries=entries)
        town.post(cedar.node, events.Frame(ash.node, frames.push(forged)))
    town.settle()
    assert town["cedar"].closed

    for number in range(100):
        town.say("birch", EntryKind.POLICY, word(number))
    assert len(said(town, "cedar")) == 100


def test_forged_bytes_are_not_remembered_as_what_they_pretend_to_be() -> None:
    """The parse of a batch is kept for a while; its signature is never taken from it."""
    town = Town(ToySuite(), NAMES)
    town.link_all()
    town.say("birch", EntryKind.POLICY, word(1))
    (real,) = (b for b in town["birch"].stored if b.entries[0].body == word(1))
    fresh = Town(ToySuite(), NAMES)
    fresh.link_all()
    opening = next(b for b in town["birch"].stored if b.number == 0)
    bad = read_batch_untrusted(real.encoded)
    forged = real.encoded.replace(bad.signature, bytes(len(bad.signature)))
    ash, birch = fresh["ash"].who.node, fresh["birch"].who.node
    fresh.now = UnixMs(town.now)
    for encoded in (opening.encoded, forged, forged):
        fresh.post(ash, events.Frame(birch, frames.give(encoded)))
    fresh.settle()
    assert said(fresh, "ash") == []

    fresh.post(ash, events.Frame(birch, frames.give(real.encoded)))
    fresh.settle()
    assert said(fresh, "ash") == [word(1)]
