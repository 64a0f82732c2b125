"""The promises of ``gossip.spread.sync`` where somebody tries to keep things away."""

import pytest

from gossip import events
from gossip.effects import Fact
from gossip.ledger import budget
from gossip.ledger.batch import read_batch_untrusted
from gossip.spread import frames
from scenarios.toy import ToySuite
from tests.support import town as towns
from tests.support.members import HOUR
from tests.support.town import Town, forge

KIND = 4711
OLD = 100
FOUR = ["ash", "birch", "cedar", "dogwood"]


@pytest.fixture(autouse=True)
def _fine_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(towns, "SETTLE_MS", 20)


def late_cedar() -> Town:
    """Everybody but cedar, who is linked with nobody, heard what ash said."""
    town = Town(ToySuite(), FOUR)
    for one, other in (("ash", "birch"), ("ash", "dogwood"), ("birch", "dogwood")):
        town.link(one, other)
    for number in range(OLD):
        town.say("ash", KIND, b"old %d" % number)
        town.pass_time(60)
    return town


def old(town: Town) -> int:
    return sum(entry.body.startswith(b"old") for entry in town["cedar"].admitted)


def gives(town: Town, frame: bytes) -> bool:
    read = frames.read_frame_untrusted(frame)
    if not isinstance(read, frames.Give):
        return False
    return read_batch_untrusted(read.batch).author == town["ash"].who.node


def test_who_is_silent_keeps_no_fetch_because_the_author_goes_on_speaking() -> None:
    town = late_cedar()
    birch, cedar = town["birch"].who.node, town["cedar"].who.node
    town.swallow = lambda by, to, frame: (
        (by, to) == (birch, cedar) and gives(town, frame)
    )
    for other in ("birch", "ash", "dogwood"):
        town.link(other, "cedar")

    for number in range(6):
        town.pass_time(500)
        town.say("ash", KIND, b"live %d" % number)

    assert old(town) == OLD


def test_what_is_known_already_keeps_no_fetch_for_who_repeats_it() -> None:
    town = late_cedar()
    birch, cedar = town["birch"].who.node, town["cedar"].who.node
    gave: list[bytes] = []

    def only_the_first(by: bytes, to: bytes, frame: bytes) -> bool:
        if (by, to) != (birch, cedar) or not gives(town, frame):
            return False
        gave.append(frame)
        return len(gave) > 1

    town.swallow = only_the_first
    for other in ("birch", "ash", "dogwood"):
        town.link(other, "cedar")
    for _ in range(6):
        town.pass_time(900)
        town.post(cedar, events.Frame(birch, gave[0]))
        town.settle()

    assert old(town) == OLD


def test_a_forged_batch_ends_nobodys_offer_but_that_of_who_brought_it() -> None:
    town = late_cedar()
    ash, birch, cedar, liar = (town[name].who for name in FOUR)
    latest = town["ash"].engine.ledger.latest(ash.node)
    assert latest is not None
    forged = forge(
        liar,
        town,
        author=ash,
        number=5,
        incarnation=latest[0][1],
        entries=[(KIND, b"")],
        at=town.now + 10 * HOUR,
    )
    town.swallow = lambda _by, _to, frame: gives(town, frame)
    town.link("birch", "cedar")
    town.post(cedar.node, events.Frame(liar.node, frames.push(forged)))
    town.settle()

    assert latest[0] in town["cedar"].engine._sync._peers[birch.node]


def test_who_brings_what_its_author_said_too_fast_is_no_worse_a_carrier_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It delivered; that it has to wait here is the author's doing."""
    monkeypatch.setattr(budget, "ENTRY_MS", 100)  # a full batch takes two fetches
    town = Town(ToySuite(), list(FOUR))
    ash, birch = (town[name].who.node for name in ("ash", "birch"))
    for i in range(300):
        town.post(ash, events.Say(KIND, b"old %d" % i))
    town.pass_time(100)
    town.start("birch", [*town["ash"].stored], waiting=False)
    town.link("birch", "cedar")
    assert Fact.BATCH_DELAYED in {note.fact for note in town["cedar"].notes}

    town.pass_time(300 * budget.ENTRY_MS)

    cedar = town["cedar"]
    assert old(town) == 300
    assert birch not in cedar.engine._conduct._records
    assert not cedar.closed
