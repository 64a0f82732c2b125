"""Admission asks the cheapest question first: what is refused anyway costs no signature."""

from collections.abc import Callable, Sequence

import pytest

from gossip import events
from gossip.ledger.entries import EntryKind, Keys, write_keys
from gossip.spread import frames
from gossip.suite import Claim
from scenarios.toy import ToySuite
from tests.support.members import NOW, member
from tests.support.town import Town, forge

THREE = ["ash", "birch", "cedar"]
KIND = 4711


class CountingSuite(ToySuite):
    """Counts the signatures that are checked."""

    def __init__(self) -> None:
        super().__init__()
        self.checked = 0

    def verify_many(self, claims: Sequence[Claim]) -> list[bool]:
        self.checked += len(claims)
        return super().verify_many(claims)


def known(town: Town) -> bytes:
    return town["birch"].stored[-1].encoded


def oversized(town: Town) -> bytes:
    return bytes(300_000)


def of_a_stranger(town: Town) -> bytes:
    who = member(town.suite, "dogwood")
    keys = write_keys(Keys(chain=who.chain.encoded, closes=None))
    return forge(who, town, entries=[(int(EntryKind.KEYS), keys)])


def of_another_cluster(town: Town) -> bytes:
    other = Town(ToySuite(), [*THREE, "elm"])
    return forge(member(town.suite, "birch"), other, entries=[(KIND, b"x")])


def from_the_future(town: Town) -> bytes:
    return forge(town["birch"].who, town, at=NOW + 600_000, entries=[(KIND, b"x")])


def by_a_dead_key(town: Town) -> bytes:
    long_ago = NOW - 10 * 86_400_000
    return forge(town["birch"].who, town, at=long_ago, entries=[(KIND, b"x")])


def by_an_unknown_key(town: Town) -> bytes:
    who = member(town.suite, "birch", turn=7)
    return forge(who, town, number=5, entries=[(KIND, b"x")])


@pytest.mark.parametrize(
    "make",
    [
        known,
        oversized,
        of_a_stranger,
        of_another_cluster,
        from_the_future,
        by_a_dead_key,
        by_an_unknown_key,
    ],
)
def test_what_is_refused_without_its_signature_costs_none(
    make: Callable[[Town], bytes],
) -> None:
    suite = CountingSuite()
    town = Town(suite, THREE)
    town.link_all()
    town.say("birch", KIND, b"known")
    ash, carrier = town["ash"], town["cedar"].who.node
    data, before, held = make(town), suite.checked, len(ash.admitted)
    frame = events.Frame(carrier, frames.push(data))
    ash.engine.handle(frame, town.now)
    assert suite.checked == before
    assert len(ash.admitted) == held


def test_what_is_news_costs_one() -> None:
    suite = CountingSuite()
    town = Town(suite, THREE)
    town.link_all()
    data = forge(town["birch"].who, town, entries=[(KIND, b"news")])
    before = suite.checked
    frame = events.Frame(town["cedar"].who.node, frames.push(data))
    town["ash"].engine.handle(frame, town.now)
    assert suite.checked == before + 1
