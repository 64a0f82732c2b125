"""The driver: durable before it is spread, in order, and a slow link delays nobody."""

import io
from pathlib import Path

import attrs
import pytest
import trio

from gossip import effects, events
from gossip.engine import Engine
from gossip.errors import LocalError
from gossip.ledger.entries import (
    Entry,
    EntryKind,
    Proof,
    ProofKind,
    Report,
    Subject,
    SubjectKind,
    Witness,
    write_policy,
)
from gossip.membership.roster import Roster
from gossip.spread import frames
from gossip.units import INCARNATION_BYTES, Incarnation, NodeId, UnixMs
from node import birth, lasting
from node.clock import SystemClock
from node.config import load_config, load_founders
from node.driver import BACKLOG_REQUESTS_MAX, HELD_BYTES_MAX, Alarm, Driver
from node.keys.node_keys import NodeKeys, fresh_keys
from node.keys.suites.registry import load_suite
from node.log import Log
from node.metrics import Metrics
from node.store import Store

SUITE = load_suite()


@attrs.define
class FakeLinks:
    """Takes frames while there is room, and remembers who was dropped."""

    room: int = 1_000_000
    deaf: NodeId | None = None
    sent: list[tuple[NodeId, bytes]] = attrs.field(factory=list)
    dropped: list[NodeId] = attrs.field(factory=list)

    def send(self, peer: NodeId, frame: bytes) -> bool:
        if self.room == 0 or peer == self.deaf:
            return False
        self.room -= 1
        self.sent.append((peer, frame))
        return True

    def drop(self, peer: NodeId) -> None:
        self.dropped.append(peer)

    def seek(self, peers: frozenset[NodeId]) -> None:
        """Everybody is linked."""


@attrs.define
class Node:
    """One node's driver on fake links."""

    driver: Driver
    links: FakeLinks
    keys: NodeKeys
    entries: list[Entry]

    @property
    def me(self) -> NodeId:
        return self.keys.chain.node

    def open(self) -> None:
        incarnation = Incarnation(SUITE.random(INCARNATION_BYTES))
        self.driver.handle(events.Opened(incarnation, self.keys.chain))
        # The other members heard nothing of us: there is nothing to wait for.
        for member in self.driver.engine.roster.members():
            if member.node != self.me:
                told = frames.tell(None, SystemClock().unix_ms())
                self.driver.handle(events.Frame(member.node, told))

    def say(self, count: int) -> None:
        for number in range(count):
            body = write_policy(number.to_bytes(32, "big"))
            self.driver.handle(events.Say(EntryKind.POLICY, body))


def make(home: Path) -> Node:
    config = load_config(home / "config.toml")
    roster = Roster(load_founders(config))
    keys = fresh_keys(config.state, SUITE, SystemClock().unix_ms())
    links, entries = FakeLinks(), list[Entry]()
    driver = Driver(
        engine=Engine(keys.chain.node, roster, SUITE),
        store=Store(config.store_file),
        links=links,
        clock=SystemClock(),
        log=Log(stream=io.StringIO()),
        metrics=Metrics(),
        on_entry=entries.append,
        keys={keys.chain.key: keys.signing_key},
    )
    return Node(driver, links, keys, entries)


@pytest.fixture
def homes(tmp_path: Path) -> list[Path]:
    return born(tmp_path, "a", "b")


def born(tmp_path: Path, *names: str) -> list[Path]:
    now = SystemClock().unix_ms()
    for name in names:
        new = birth.NewNode(name=name, listen=(("127.0.0.1", 7946),))
        birth.make_node(tmp_path / name, new, {}, SUITE, now)
    _, card = birth.make_operator(tmp_path, "opal", SUITE)
    cards = [tmp_path / name / birth.CARD for name in names]
    birth.join_founders("bank", cards, [card], tmp_path / "founders.toml")
    for name in names:
        text = (tmp_path / "founders.toml").read_text()
        (tmp_path / name / "founders.toml").write_text(text)
    return [tmp_path / name for name in names]


async def until_heard(node: Node, count: int) -> None:
    with trio.fail_after(10):
        while len(node.entries) < count:  # noqa: ASYNC110 the disk is awaited
            await trio.sleep(0.002)


async def test_nothing_is_spread_before_it_is_durable(homes: list[Path]) -> None:
    a, b = make(homes[0]), make(homes[1])
    a.driver.handle(events.LinkUp(b.keys.chain))
    before = len(a.links.sent)
    a.open()
    assert len(a.links.sent) == before, "the disk has not answered yet"
    assert a.entries == []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(a.driver.store.run)
        await until_heard(a, 1)
        a.driver.store.stop()
    assert len(a.links.sent) > before


async def test_a_feed_is_read_back_and_goes_on(homes: list[Path]) -> None:
    for start in range(3):
        a = make(homes[0])
        held = a.driver.restore()
        assert held == sum(1 for e in a.entries if e.kind == EntryKind.KEYS) * 2
        assert len(a.entries) == start * 4
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.driver.store.run)
            nursery.start_soon(a.driver.run)
            a.open()
            a.say(3)
            await until_heard(a, start * 4 + 4)
            a.driver.store.stop()
            nursery.cancel_scope.cancel()
        a.driver.store.close()


async def test_the_last_of_what_all_keep_of_us_is_left_to_our_keys(
    homes: list[Path],
) -> None:
    a, b = make(homes[0]), make(homes[1])
    engine = a.driver.engine
    shown = Report(
        subject=Subject(SubjectKind.NODE, b.me),
        category="policy-violation",
        severity=9,
        evidence=Proof(kind=ProofKind.DENIED_REQUEST, data=b"proof"),
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(a.driver.store.run)
        nursery.start_soon(a.driver.run)
        a.open()
        await until_heard(a, 1)
        a.driver.report(shown)
        await until_heard(a, 2)
        much = round(lasting.FULL * engine.roster.lasting_bytes_max) + 1
        engine.ledger._lasting[a.me] = much
        a.driver.report(shown)
        await until_heard(a, 3)
        a.driver.retell(a.entries[1].place)
        a.say(1)
        await until_heard(a, 4)
        a.driver.store.stop()
        nursery.cancel_scope.cancel()
    proven, voice, *more = (entry.said for entry in a.entries[1:])
    assert proven == shown
    assert isinstance(voice, Report)
    assert isinstance(voice.evidence, Witness)
    assert (voice.subject, voice.severity) == (shown.subject, shown.severity)
    assert engine.ledger.lasting_of(a.me) == much
    assert [entry.kind for entry in a.entries[3:]] == [EntryKind.POLICY]
    assert len(more) == 1


async def test_a_link_without_room_is_dropped_and_the_feed_goes_on(
    homes: list[Path],
) -> None:
    a, b = make(homes[0]), make(homes[1])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(a.driver.store.run)
        a.driver.handle(events.LinkUp(b.keys.chain))
        a.links.room = 0
        a.open()
        await until_heard(a, 1)
        a.driver.store.stop()
    assert b.me in a.links.dropped


async def test_two_drivers_agree_over_lossless_links(homes: list[Path]) -> None:
    a, b = make(homes[0]), make(homes[1])
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for node in (a, b):
                nursery.start_soon(node.driver.store.run)
                nursery.start_soon(node.driver.run)
                node.open()
            a.say(100)
            await until_heard(a, 101)
            a.driver.handle(events.LinkUp(b.keys.chain))
            b.driver.handle(events.LinkUp(a.keys.chain))
            while len(a.entries) < 102 or len(b.entries) < 102:
                for source, target in ((a, b), (b, a)):
                    sent, source.links.sent = source.links.sent, []
                    for peer, frame in sent:
                        assert peer == target.me
                        target.driver.receive(source.me, frame)
                await trio.sleep(0.002)
            for node in (a, b):
                node.driver.store.stop()
            nursery.cancel_scope.cancel()
    assert {e.id for e in a.entries} == {e.id for e in b.entries}
    assert not a.links.dropped + b.links.dropped


def test_signing_with_a_key_that_is_not_there_is_our_own_fault(
    homes: list[Path],
) -> None:
    a = make(homes[0])
    a.driver.keys = {}
    with pytest.raises(LocalError, match="does not hold"):
        a.open()


async def test_an_alarm_rings_once_at_the_time_last_asked_for(
    autojump_clock: object,
) -> None:
    class Trio:
        def unix_ms(self) -> UnixMs:
            return UnixMs(int(trio.current_time() * 1_000))

        mono_ms = unix_ms

    rung: list[float] = []
    began = trio.current_time()
    alarm = Alarm(Trio())  # type: ignore[arg-type]  # one clock for both is enough here
    async with trio.open_nursery() as nursery:
        nursery.start_soon(alarm.run, lambda: rung.append(trio.current_time() - began))
        alarm.set(UnixMs(int(began * 1_000) + 5_000))
        await trio.sleep(1)
        alarm.set(UnixMs(int(began * 1_000) + 3_000))
        await trio.sleep(100)
        nursery.cancel_scope.cancel()
    assert len(rung) == 1
    assert 2.9 < rung[0] < 3.2


async def test_a_flooder_waits_while_what_it_said_waits_and_nobody_else(
    homes: list[Path],
) -> None:
    node = make(homes[0])
    flooder, friend = NodeId(b"f" * 32), NodeId(b"g" * 32)
    frame = bytes(100_000)
    for _ in range(HELD_BYTES_MAX // len(frame) + 1):
        node.driver.receive(flooder, frame)

    with trio.fail_after(5):
        await node.driver.room(friend)
    with trio.move_on_after(0.05) as waited:
        await node.driver.room(flooder)
    assert waited.cancelled_caught

    async with trio.open_nursery() as nursery:
        nursery.start_soon(node.driver.run)
        with trio.fail_after(5):
            await node.driver.room(flooder)
        nursery.cancel_scope.cancel()
    node.driver.store.close()


async def test_frames_without_content_are_bounded_too(homes: list[Path]) -> None:
    node = make(homes[0])
    flooder = NodeId(b"f" * 32)
    count = 0
    with trio.move_on_after(0.5):
        while count < 1_000_000:
            node.driver.receive(flooder, b"x")
            count += 1
            await node.driver.room(flooder)
    assert count < 4_000
    node.driver.store.close()


async def test_a_peer_that_asks_for_more_than_we_remember_loses_its_link(
    homes: list[Path],
) -> None:
    a, b = make(homes[0]), make(homes[1])
    a.driver.handle(events.LinkUp(b.keys.chain))
    asked = effects.SendStored(b.me, a.me, Incarnation(bytes(16)), 0, 9)
    for _ in range(BACKLOG_REQUESTS_MAX):
        a.driver._send_stored(asked)
    assert b.me not in a.links.dropped
    a.driver._send_stored(asked)
    assert b.me in a.links.dropped
    a.driver.store.close()
    b.driver.store.close()


async def test_a_peer_that_asks_and_does_not_read_costs_no_other_its_link(
    tmp_path: Path,
) -> None:
    a, deaf, honest = (make(home) for home in born(tmp_path, "a", "b", "c"))
    a.links.deaf = deaf.me
    async with trio.open_nursery() as nursery:
        nursery.start_soon(a.driver.store.run)
        nursery.start_soon(a.driver.run)
        a.open()
        for count in range(2, 42):
            a.say(1)
            await until_heard(a, count)
        latest = a.driver.engine.ledger.latest(a.me)
        assert latest is not None
        feed, last = latest[0], latest[1].next_number - 1
        assert last >= 20, "more than one turn's piece"
        for peer in (deaf, honest):
            a.driver.handle(events.LinkUp(peer.keys.chain))
        a.links.sent.clear()
        for _ in range(BACKLOG_REQUESTS_MAX):
            a.driver._send_stored(effects.SendStored(deaf.me, *feed, 0, last))
        a.driver._send_stored(effects.SendStored(honest.me, *feed, 0, last))
        with trio.fail_after(10):
            while given(a, honest.me) <= last:  # noqa: ASYNC110 the backlog is awaited
                await trio.sleep(0.002)
        assert honest.me not in a.links.dropped
        assert len(a.driver._backlog[deaf.me]) == BACKLOG_REQUESTS_MAX

        a.links.dropped.clear()
        a.driver._send_stored(effects.SendStored(deaf.me, *feed, 0, last))
        assert a.links.dropped == [deaf.me]
        assert deaf.me not in a.driver._backlog
        a.driver.store.stop()
        nursery.cancel_scope.cancel()
    for node in (a, deaf, honest):
        node.driver.store.close()


def given(node: Node, peer: NodeId) -> int:
    """How many batches went to ``peer``."""
    read = [frames.read_frame_untrusted(f) for who, f in node.links.sent if who == peer]
    return sum(isinstance(frame, frames.Give) for frame in read)
