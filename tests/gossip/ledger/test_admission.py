"""The promises of ``gossip.ledger.admission``: what an author does harms no carrier."""

import itertools

from gossip import events
from gossip.domains import Domain
from gossip.ledger.batch import read_batch_untrusted
from gossip.ledger.entries import EntryKind, Keys, write_keys
from gossip.membership.identity import (
    Chain,
    certify,
    encode_chain,
    read_chain_untrusted,
)
from gossip.spread import frames
from gossip.units import UnixMs
from scenarios.toy import ToySuite
from tests.support.members import HOUR, NOW, Member, member, roster, seed_of
from tests.support.town import Town, forge

KIND = 4711
SUITE = ToySuite()
HONEST = ["ash", "birch", "cedar", "dogwood"]


def chain_of(name: str, turn: int, begin: int, end: int) -> Member:
    """A member with one of its keys, which lives from ``begin`` to ``end``."""
    root = SUITE.signing_key_from_seed(seed_of(name, "root"))
    renewal = SUITE.signing_key_from_seed(seed_of(name, "renewal"))
    key = SUITE.signing_key_from_seed(seed_of(name, "operational", str(turn)))
    far = (UnixMs(NOW - 40 * HOUR), UnixMs(NOW + 40 * HOUR))
    encoded = encode_chain(
        root.public_key,
        certify(root, Domain.RENEWAL_CERT, renewal.public_key, *far),
        certify(
            renewal,
            Domain.OPERATIONAL_CERT,
            key.public_key,
            UnixMs(begin),
            UnixMs(end),
        ),
    )
    node = member(SUITE, name).node
    return Member(name, node, read_chain_untrusted(encoded, SUITE), key)


def honest_town() -> Town:
    town = Town(SUITE, [*HONEST, "liar"])
    for one, other in itertools.combinations(HONEST, 2):
        town.link(one, other)
    return town


def meet(town: Town, name: str, shown: Chain) -> None:
    """The liar links with a node and shows it this chain."""
    node = town[name].who.node
    town.links |= {(node, shown.node), (shown.node, node)}
    town.post(node, events.LinkUp(shown))
    town.settle()


def push(town: Town, to: str, batch: bytes) -> None:
    liar = town["liar"].who.node
    town.post(town[to].who.node, events.Frame(liar, frames.push(batch)))
    town.settle()


def opening(shown: Member) -> tuple[int, bytes]:
    keys = Keys(chain=shown.chain.encoded, closes=None)
    return (int(EntryKind.KEYS), write_keys(keys))


def heard(town: Town, name: str) -> list[bytes]:
    return [e.body for e in town[name].admitted if e.kind == KIND]


def heads(town: Town, name: str) -> list[tuple[bytes, bytes, int, bytes]]:
    held = town[name].engine.ledger.heads()
    return [(*feed, state.next_number, state.head) for feed, state in held]


def test_two_lives_of_one_key_part_no_honest_nodes() -> None:
    town = honest_town()
    short = chain_of("liar", 7, town.now - HOUR, town.now + 1_500)
    long = chain_of("liar", 7, town.now - HOUR, town.now + 20 * HOUR)
    meet(town, "ash", short.chain)
    meet(town, "birch", long.chain)
    town.pass_time(3_000)
    push(
        town,
        "birch",
        forge(long, town, entries=[opening(long), (KIND, b"x")], at=town.now),
    )
    town.pass_time(15_000)

    assert all(heard(town, name) == [b"x"] for name in HONEST)
    assert not any(town[name].closed for name in HONEST)


def test_which_of_two_lives_was_announced_first_makes_no_difference() -> None:
    lives = [
        chain_of("liar", 7, NOW - begin, NOW + end).chain
        for begin, end in ((HOUR, 1_500), (2 * HOUR, HOUR), (10, 9 * HOUR))
    ]
    seen = set()
    for order in itertools.permutations(lives):
        known = roster(SUITE, ["ash", "liar"])
        for chain in order:
            known.announce(chain)
        seen.add(known.announced(lives[0].node, lives[0].key))
    (joined,) = seen
    assert joined is not None
    assert joined.not_before_ms == NOW - 2 * HOUR
    assert joined.not_after_ms == NOW + 9 * HOUR


def test_who_carries_what_is_outside_the_life_we_heard_of_is_not_blamed() -> None:
    town = honest_town()
    short = chain_of("liar", 7, town.now - HOUR, town.now + 1_500)
    long = chain_of("liar", 7, town.now - HOUR, town.now + 20 * HOUR)
    meet(town, "ash", short.chain)
    first = forge(short, town, entries=[opening(short)], at=town.now)
    push(town, "ash", first)
    town.pass_time(5_000)
    follows = read_batch_untrusted(first).id
    late = forge(
        short, town, number=1, previous=follows, entries=[(KIND, b"x")], at=town.now
    )
    for name in HONEST:
        push(town, name, late)
    town.pass_time(15_000)
    assert not any(heard(town, name) for name in HONEST)

    wide = forge(
        long, town, entries=[opening(long)], at=town.now, incarnation=b"w" * 16
    )
    push(town, "birch", wide)
    push(town, "birch", late)
    town.pass_time(15_000)
    assert all(heard(town, name) == [b"x"] for name in HONEST)
    assert not any(town[name].closed for name in HONEST)


def test_a_key_shown_to_one_neighbour_alone_signs_nothing_it_takes() -> None:
    """Else it would hold what nobody else can check, and be blamed for offering it."""
    town = honest_town()
    life = (town.now - HOUR, town.now + 20 * HOUR)
    known, one, other = (chain_of("liar", turn, *life) for turn in (0, 11, 12))
    meet(town, "ash", one.chain)
    meet(town, "birch", other.chain)
    first = forge(known, town, entries=[opening(known)], at=town.now)
    follows = read_batch_untrusted(first).id
    for to, key in (("ash", one), ("birch", other)):
        push(town, to, first)
        said = [(KIND, b"to " + to.encode())]
        push(
            town,
            to,
            forge(key, town, number=1, previous=follows, entries=said, at=town.now),
        )
    for _ in range(20):
        town.pass_time(30_000)

    assert not any(heard(town, name) for name in HONEST)
    assert not any(town[name].closed for name in HONEST)
    theirs = [
        [head for head in heads(town, name) if head[0] == known.node] for name in HONEST
    ]
    assert all(held == theirs[0] for held in theirs)


def test_a_key_is_announced_by_what_is_held_not_by_what_was_only_brought() -> None:
    town = honest_town()
    life = (town.now - HOUR, town.now + 20 * HOUR)
    known, secret = (chain_of("liar", turn, *life) for turn in (0, 11))
    meet(town, "ash", known.chain)
    first = forge(known, town, entries=[opening(known)], at=town.now)
    push(town, "ash", first)
    follows = read_batch_untrusted(first).id
    true = forge(
        secret, town, number=1, previous=follows, entries=[opening(secret)], at=town.now
    )
    signature = read_batch_untrusted(true).signature
    push(town, "ash", true.replace(signature, bytes(len(signature))))
    push(
        town,
        "ash",
        forge(secret, town, number=1, previous=follows, entries=[(KIND, b"x")]),
    )
    assert heard(town, "ash") == []


def test_what_comes_right_behind_its_key_need_not_be_asked_for_again() -> None:
    town = honest_town()
    liar = town["liar"].who
    meet(town, "ash", liar.chain)
    batches = [forge(liar, town, entries=[opening(liar), (KIND, b"0")], at=town.now)]
    for number in range(1, 300):
        previous = read_batch_untrusted(batches[-1]).id
        said = [(KIND, b"%d" % number)]
        batches.append(
            forge(
                liar,
                town,
                number=number,
                previous=previous,
                entries=said,
                at=town.now,
            )
        )
    arrived = tuple(events.Frame(liar.node, frames.give(b)) for b in batches)
    town.post(town["ash"].who.node, events.Frames(arrived, 0))
    town.settle()
    assert len(heard(town, "ash")) == 300
