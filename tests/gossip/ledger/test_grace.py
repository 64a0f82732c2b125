"""What is let go of in the same breath still convicts, and still reaches newcomers."""

import attrs

from gossip import events, limits
from gossip.ledger.batch import read_batch_untrusted
from gossip.ledger.entries import (
    Checkpoint,
    EntryKind,
    Keys,
    Proof,
    Report,
    write_checkpoint,
    write_keys,
)
from gossip.ledger.feed import Beginning, Ledger, LetGo
from gossip.ledger.grace import GRACE_MS
from gossip.spread import frames
from gossip.spread.disputes import AGAIN_MAX, DISPUTE_MS
from gossip.units import Incarnation, UnixMs
from scenarios.toy import ToySuite
from tests.gossip.ledger.test_retention import heads, numbers, prune, talk
from tests.support.town import Town, forge

KIND = 4711
FIVE = ["ash", "birch", "cedar", "elm", "fir"]
STORY = Incarnation(b"s" * 16)
Story = list[bytes]


def opening(town: Town, liar: str) -> tuple[int, bytes]:
    chain = town[liar].who.chain.encoded
    return (int(EntryKind.KEYS), write_keys(Keys(chain=chain, closes=None)))


def story(town: Town, liar: str, words: str, length: int, first: int = 0) -> Story:
    """So many batches of a feed that elm tells to some; the first two are as always."""
    told: Story = []
    previous = bytes(32)
    for number in range(length):
        said = words if number >= max(2, first) else "the same"
        entries = [(KIND, f"{said} {number}".encode())]
        if number == 0:
            entries.insert(0, opening(town, liar))
        told.append(
            forge(
                town[liar].who,
                town,
                number=number,
                previous=previous,
                incarnation=STORY,
                entries=entries,
                at=town.now,
            )
        )
        previous = read_batch_untrusted(told[-1]).id
    return told


def release(town: Town, liar: str, told: Story, where: bytes) -> bytes:
    """A feed of its own that lets go of a whole story."""
    said = Checkpoint(
        incarnation=STORY,
        number=len(told),
        previous=read_batch_untrusted(told[-1]).id,
    )
    return forge(
        town[liar].who,
        town,
        incarnation=where * 16,
        entries=[
            opening(town, liar),
            (int(EntryKind.CHECKPOINT), write_checkpoint(said)),
        ],
        at=town.now,
    )


def tell(town: Town, to: str, liar: str, batches: Story) -> None:
    for batch in batches:
        by = town[liar].who.node
        town.post(town[to].who.node, events.Frame(by, frames.push(batch)))


def convict(town: Town, name: str) -> list[Report]:
    """Proofs of two stories that a node heard."""
    return [
        e.said
        for e in town[name].admitted
        if isinstance(e.said, Report) and isinstance(e.said.evidence, Proof)
    ]


def agree(town: Town, names: list[str]) -> bool:
    """Whether nobody of them finds a difference."""
    return len({town[name].engine._sync._root_digest() for name in names}) == 1


def test_two_stories_let_go_in_the_same_breath_convict() -> None:
    town = Town(ToySuite(), FIVE)
    town.link_all()
    one, other = story(town, "elm", "one", 5), story(town, "elm", "other", 5)
    tell(town, "ash", "elm", [*one, release(town, "elm", one, b"1")])
    tell(town, "birch", "elm", [*other, release(town, "elm", other, b"2")])
    town.pass_time(30_000)

    for name in ("ash", "birch", "cedar", "fir"):
        assert convict(town, name), name
    assert agree(town, ["ash", "birch", "cedar", "fir"])


def test_stories_of_different_lengths_convict_too() -> None:
    """The longer one lets the shorter one be forgotten, before the two meet."""
    town = Town(ToySuite(), FIVE)
    town.link_all()
    one, other = story(town, "elm", "one", 9), story(town, "elm", "other", 5)
    tell(town, "ash", "elm", [*one, release(town, "elm", one, b"1")])
    tell(town, "birch", "elm", other)
    town.pass_time(30_000)

    for name in ("ash", "birch", "cedar", "fir"):
        assert convict(town, name), name
    assert agree(town, ["ash", "birch", "cedar", "fir"])


def test_who_forgot_all_but_where_the_story_begins_convicts_all_the_same() -> None:
    town = Town(ToySuite(), FIVE)
    for a, b in (("ash", "cedar"), ("birch", "fir"), ("ash", "elm"), ("birch", "elm")):
        town.link(a, b)
    town.swallow = lambda who, to, _frame: town["elm"].who.node in (who, to)
    one, other = story(town, "elm", "one", 5), story(town, "elm", "other", 5)
    tell(town, "ash", "elm", [*one, release(town, "elm", one, b"1")])
    tell(town, "birch", "elm", [*other, release(town, "elm", other, b"2")])
    town.pass_time(3 * GRACE_MS)
    assert not convict(town, "ash")

    town.link("cedar", "fir")
    town.pass_time(60_000)

    for name in ("ash", "birch", "cedar", "fir"):
        assert convict(town, name), name
    assert agree(town, ["ash", "birch", "cedar", "fir"])


def test_a_newcomer_agrees_although_what_precedes_the_fork_was_forgotten() -> None:
    town = Town(ToySuite(), [*FIVE, "gum"])
    for a in ("ash", "birch", "cedar", "fir", "elm"):
        for b in ("ash", "birch", "cedar", "fir", "elm"):
            if a < b:
                town.link(a, b)
    told = story(town, "elm", "one", 40)
    tell(town, "ash", "elm", [*told, release(town, "elm", told, b"1")])
    town.pass_time(3 * GRACE_MS)
    again = story(town, "elm", "other", 40, first=39)
    tell(town, "birch", "elm", again[-1:])
    town.pass_time(30_000)
    assert convict(town, "ash")

    town.link("gum", "cedar")
    town.link("gum", "fir")
    town.pass_time(60_000)

    assert agree(town, ["ash", "birch", "cedar", "fir", "gum"])
    assert not town["gum"].closed
    town.wire.clear()
    town.pass_time(60_000)
    asked = [frames.read_frame_untrusted(frame) for _, _, frame in town.wire]
    assert not any(isinstance(frame, frames.Want) for frame in asked)


def test_a_newcomer_hears_the_checkpoint_first_and_all_that_lasts_all_the_same() -> (
    None
):
    town = Town(ToySuite(), ["ash", "birch", "cedar"])
    town.link("ash", "birch")
    talk(town, "ash", 5)
    town.say("ash", EntryKind.ENDORSEMENT, b"what lasts")
    talk(town, "ash", 600, first=5)
    prune(town, "ash", 500)
    town.pass_time(GRACE_MS)
    checkpoint = next(
        b
        for b in town["birch"].stored
        if any(isinstance(e.said, Checkpoint) for e in b.entries)
    )

    town.swallow = lambda _who, _to, frame: frame != frames.push(checkpoint.encoded)
    town.link("cedar", "birch")
    town.post(
        town["cedar"].who.node,
        events.Frame(
            town["birch"].who.node, frames.give(town["birch"].stored[0].encoded)
        ),
    )
    show = frames.push(checkpoint.encoded)
    town.post(town["cedar"].who.node, events.Frame(town["birch"].who.node, show))
    town.settle()
    town.swallow = lambda _who, _to, _frame: False
    town.pass_time(60_000)

    assert heads(town, "cedar") == heads(town, "birch")
    assert any(e.body == b"what lasts" for e in town["cedar"].admitted)
    assert numbers(town, "cedar", "ash") == numbers(town, "birch", "ash")
    assert not town["cedar"].closed


def test_what_is_let_go_takes_no_more_than_another_share() -> None:
    """Else the disk would fill with what nobody need keep, for as long as the grace."""
    town = Town(ToySuite(), ["ash", "birch"])
    town.link("ash", "birch")
    birch, ash = town["birch"], town["ash"].who.node
    talk(town, "ash", 20)
    prune(town, "ash", 15)
    ledger = birch.engine.ledger
    share = birch.engine.roster.author_bytes_max
    assert ledger.leaving_of(ash) > 0

    ledger._leaving[ash] += 2 * share
    talk(town, "ash", 1, first=777)
    assert not any(e.body == b"777" for e in birch.admitted)
    ledger._leaving[ash] -= 2 * share
    town.pass_time(GRACE_MS + limits.FUTURE_MS_MAX)
    assert ledger.leaving_of(ash) == 0
    assert any(e.body == b"777" for e in birch.admitted)


def test_a_node_prunes_once_what_it_prunes() -> None:
    """Everybody keeps what a feed follows: that is no reason to prune again."""
    town = Town(ToySuite(), ["ash", "birch"])
    town.link("ash", "birch")
    talk(town, "ash", 20)
    prune(town, "ash", 15)
    town.pass_time(GRACE_MS)
    before = numbers(town, "birch", "ash")
    prune(town, "ash", 15)
    town.now = UnixMs(town.now + 1_000)
    town.settle()
    assert numbers(town, "birch", "ash") == before


def test_an_author_that_disputes_without_end_makes_nobody_ask_much() -> None:
    """Each false checkpoint is a question to every neighbour; many would drown them."""
    town = Town(ToySuite(), FIVE)
    town.link_all()
    liar = town["elm"].who
    false: Story = []
    for number in range(200):
        where = b"%016d" % number
        opened = forge(
            liar, town, incarnation=where, entries=[opening(town, "elm")], at=town.now
        )
        said = Checkpoint(
            incarnation=Incarnation(where), number=1, previous=b"false".ljust(32)
        )
        told = forge(
            liar,
            town,
            number=1,
            previous=read_batch_untrusted(opened).id,
            incarnation=where,
            entries=[(int(EntryKind.CHECKPOINT), write_checkpoint(said))],
            at=town.now,
        )
        false += [opened, told]
    town.wire.clear()
    tell(town, "ash", "elm", false)
    town.settle()
    before = town.now
    town.pass_time(10_000)

    ash, birch = town["ash"].who.node, town["birch"].who.node
    asked = [
        frame
        for who, whom, frame in town.wire
        if (who, whom) == (ash, birch)
        and isinstance(frames.read_frame_untrusted(frame), frames.Want)
    ]
    assert 0 < len(asked) <= 2 + (town.now - before + 2_000) // DISPUTE_MS
    assert not any(town[name].closed for name in FIVE)

    town.wire.clear()
    town.unlink("ash", "birch")
    town.link("ash", "birch")
    greeted = [
        frame
        for who, whom, frame in town.wire
        if (who, whom) == (ash, birch)
        and isinstance(frames.read_frame_untrusted(frame), frames.Want)
    ]
    assert len(greeted) <= AGAIN_MAX + 4


def test_letting_go_one_by_one_takes_no_longer_than_all_at_once() -> None:
    """Each batch may let go of the one before it; none looks at all that is leaving."""
    town = Town(ToySuite(), ["ash"])
    ledger = Ledger()
    feed = (town["ash"].who.node, STORY)
    going: list[LetGo] = []
    previous = bytes(32)
    for number in range(3_000):
        batch = attrs.evolve(
            read_batch_untrusted(story(town, "ash", "one", 1)[0]),
            number=number,
            previous=previous,
            id=b"%032d" % number,
        )
        ledger.add(batch)
        if number:
            told = Beginning(number, previous, (feed, number))
            gone = ledger.checkpoint(feed, told, delivered=True)
            assert gone is not None
            going.append(gone)
        previous = batch.id
    held = ledger.feed(feed)
    assert held is not None
    assert len(held._leaving) == 2_999
    for index, gone in enumerate(going):
        ledger.forget(gone)
        assert len(held._leaves) == len(held._leaving) == 2_999 - min(index + 1, 2_998)
