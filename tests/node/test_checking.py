"""The daemon checks signatures in one way: few on the spot, many beside the loop."""

import io
import threading
from collections.abc import Sequence
from pathlib import Path

import attrs
import trio

from gossip import events
from gossip.domains import Domain
from gossip.effects import VERIFY_FEW
from gossip.engine import Engine
from gossip.ledger.batch import draft_batch, read_batch_untrusted
from gossip.ledger.entries import Entry, EntryKind, Keys, write_keys, write_policy
from gossip.membership.roster import Roster
from gossip.spread import frames
from gossip.suite import Claim
from gossip.units import Incarnation, NodeId, UnixMs
from node.clock import SystemClock
from node.driver import Driver
from node.keys.suites.batches import BATCH_MAX, BATCH_MIN
from node.keys.suites.openssl import OpensslSuite
from node.log import Log
from node.metrics import Metrics
from node.store import Store
from tests.support.members import Member, founders, member

NAMES = ["birch", "cedar", "hazel"]


class Watched(OpensslSuite):
    """Notes how many were checked at once, and whether the event loop did it."""

    def __init__(self) -> None:
        super().__init__()
        self.checked: list[tuple[int, bool]] = []

    def verify_many(self, claims: Sequence[Claim]) -> list[bool]:
        on_the_spot = threading.current_thread() is threading.main_thread()
        self.checked.append((len(claims), on_the_spot))
        return super().verify_many(claims)


@attrs.define
class Dropped:
    """Links of which only the end is noted."""

    peers: list[NodeId] = attrs.field(factory=list)

    def send(self, peer: NodeId, frame: bytes) -> bool:
        return True

    def drop(self, peer: NodeId) -> None:
        self.peers.append(peer)

    def seek(self, peers: frozenset[NodeId]) -> None:
        """Nobody."""


@attrs.define
class Node:
    driver: Driver
    suite: Watched
    links: Dropped
    heard: list[Entry]
    author: Member
    carrier: Member
    feed: list[bytes]


def make(folder: Path, batches: int, forged: frozenset[int] = frozenset()) -> Node:
    """A node, and what another one says: a signature to each entry."""
    suite, clock = Watched(), SystemClock()
    now = clock.unix_ms()
    roster = Roster(founders(suite, NAMES))
    me, author, carrier = (member(suite, name, at=now) for name in NAMES)
    heard: list[Entry] = []
    links = Dropped()
    driver = Driver(
        engine=Engine(me.node, roster, suite),
        store=Store(folder / "store.sqlite"),
        links=links,
        clock=clock,
        log=Log(stream=io.StringIO()),
        metrics=Metrics(),
        on_entry=heard.append,
    )
    feed, previous = list[bytes](), bytes(32)
    for number in range(batches):
        said = [(int(EntryKind.POLICY), write_policy(number.to_bytes(32, "big")))]
        if number == 0:
            keys = Keys(chain=author.chain.encoded, closes=None)
            said = [(int(EntryKind.KEYS), write_keys(keys))]
        draft = draft_batch(
            cluster=roster.cluster,
            author=author.node,
            incarnation=Incarnation(bytes(16)),
            number=number,
            previous=previous,
            issued_at_ms=UnixMs(now - 50 * (batches - number)),
            key=author.chain.key,
            entries=said,
        )
        signature = author.key.sign(draft.header, Domain.BATCH)
        if number in forged:
            signature = bytes(len(signature))
        encoded = draft.join(signature)
        previous = read_batch_untrusted(encoded).id
        feed.append(frames.push(encoded))
    return Node(driver, suite, links, heard, author, carrier, feed)


async def hear_all(node: Node, arriving: list[bytes], until: int) -> None:
    """Let all of this arrive at once, and so many entries be admitted."""
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.driver.store.run)
            nursery.start_soon(node.driver.run)
            await trio.lowlevel.checkpoint()
            for frame in arriving:
                node.driver.receive(node.carrier.node, frame)
            while len(node.heard) < until or node.driver.waiting_frames:  # noqa: ASYNC110 threads are awaited
                await trio.sleep(0.002)
            node.driver.store.stop()
            nursery.cancel_scope.cancel()


async def test_many_are_checked_beside_the_loop_in_batches(tmp_path: Path) -> None:
    node = make(tmp_path, 300)
    node.driver.handle(events.Frame(node.carrier.node, node.feed[0]))
    node.suite.checked.clear()

    await hear_all(node, node.feed[1:], 300)

    assert [entry.number for entry in node.heard] == list(range(300))
    assert sum(size for size, _ in node.suite.checked) == 299
    beside = [size for size, on_the_spot in node.suite.checked if not on_the_spot]
    assert sum(beside) >= 299 - BATCH_MIN
    assert all(BATCH_MIN <= size <= BATCH_MAX for size in beside)
    assert max(beside) > BATCH_MIN, "what several turns of the loop ask is gathered"


async def test_few_are_checked_on_the_spot(tmp_path: Path) -> None:
    node = make(tmp_path, VERIFY_FEW)
    node.driver.handle(events.Frame(node.carrier.node, node.feed[0]))
    node.suite.checked.clear()

    await hear_all(node, node.feed[1:], VERIFY_FEW)

    assert sum(size for size, _ in node.suite.checked) == VERIFY_FEW - 1
    assert all(on_the_spot for _, on_the_spot in node.suite.checked)


async def test_a_forgery_among_many_costs_its_carrier_the_link_and_nobody_else(
    tmp_path: Path,
) -> None:
    node = make(tmp_path, 101, forged=frozenset({100}))
    node.driver.handle(events.Frame(node.carrier.node, node.feed[0]))

    await hear_all(node, node.feed[1:], 100)
    while not node.links.peers:  # noqa: ASYNC110 the last of them is being checked
        await trio.sleep(0.002)

    assert len(node.heard) == 100
    assert node.links.peers == [node.carrier.node]
