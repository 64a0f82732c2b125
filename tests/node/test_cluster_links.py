"""Links of a cluster larger than one node links with: gossip's, and those needed."""

import io
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from gossip import events
from gossip.membership.roster import Roster
from gossip.units import NodeId
from node import birth, cluster_links
from node.clock import SystemClock
from node.cluster_links import ClusterLinks
from node.config import load_config
from node.keys.node_keys import fresh_keys
from node.keys.suites.registry import load_suite
from node.linkage import StreamHandler
from node.links.events import Frame, LinkDown, LinkEnd, LinkEvent, LinkUp
from node.log import Log
from node.metrics import Metrics
from node.proxy.frames import ByteStream
from node.tables import Address
from tests.support.members import Member, founders, member

SUITE = load_suite()
NAMES = [f"node-{number:02}" for number in range(20)]
MESH = "/picket/mcp/1"


class FakeStream:
    """A stream nobody reads or writes."""

    async def receive_some(self, size_max: int, /) -> bytes:
        raise AssertionError

    async def send_all(self, data: bytes, /) -> None:
        raise AssertionError

    async def send_eof(self) -> None:
        raise AssertionError

    async def aclose(self) -> None:
        raise AssertionError


@attrs.define
class FakeLinks:
    """What `Links` is asked for, and nothing of what it does."""

    on_event: Callable[[LinkEvent], None]
    wanted: dict[NodeId, tuple[Address, ...]] = attrs.field(factory=dict)
    dropped: list[NodeId] = attrs.field(factory=list)
    up: set[NodeId] = attrs.field(factory=set)
    handlers: dict[str, StreamHandler] = attrs.field(factory=dict)

    def handle_stream(self, protocol: str, handler: StreamHandler) -> None:
        self.handlers[protocol] = handler

    def want(self, node: NodeId, addresses: tuple[Address, ...]) -> None:
        self.wanted[node] = tuple(addresses)

    def unwant(self, node: NodeId) -> None:
        del self.wanted[node]

    def drop(self, node: NodeId) -> None:
        self.dropped.append(node)

    async def open_stream(self, node: NodeId, protocol: str) -> FakeStream:
        await trio.lowlevel.checkpoint()
        if node not in self.up:
            raise trio.BrokenResourceError(f"no link for {protocol}")
        return FakeStream()

    def link(self, who: Member) -> None:
        self.up.add(who.node)
        self.on_event(LinkUp(who.chain))

    def unlink(self, who: Member) -> None:
        self.up.discard(who.node)
        self.on_event(LinkDown(who.node, LinkEnd.BROKEN))


@attrs.define
class Town:
    """One node's cluster links, on fakes."""

    links: ClusterLinks
    fake: FakeLinks
    others: list[Member]
    told: list[object]

    def seek(self, *others: Member) -> None:
        self.links.seek(frozenset(other.node for other in others))


@pytest.fixture
def town(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Town:
    clock = SystemClock()
    now = clock.unix_ms()
    new = birth.NewNode(name="node-00", listen=(("127.0.0.1", 7946),))
    birth.make_node(tmp_path, new, {}, SUITE, now)
    config = load_config(tmp_path / "config.toml")
    made: list[FakeLinks] = []
    told: list[object] = []

    def make(*, on_event: Callable[[LinkEvent], None], **_rest: object) -> FakeLinks:
        made.append(FakeLinks(on_event))
        return made[0]

    async def room(_peer: NodeId) -> None:
        """There is always room."""

    monkeypatch.setattr(cluster_links, "Links", make)
    links = ClusterLinks(
        config=config,
        roster=Roster(founders(SUITE, NAMES)),
        suite=SUITE,
        keys=fresh_keys(config.state, SUITE, now),
        clock=clock,
        log=Log(stream=io.StringIO()),
        metrics=Metrics(),
        on_event=told.append,
        room=room,
    )
    others = [member(SUITE, name, at=now) for name in NAMES[1:]]
    return Town(links, made[0], others, told)


def test_exactly_those_sought_are_dialled(town: Town) -> None:
    a, b, c, *_ = town.others
    town.seek(a, b)
    assert set(town.fake.wanted) == {a.node, b.node}
    assert town.fake.wanted[a.node] == (("127.0.0.1", 7946),)

    town.seek(b, c)
    assert set(town.fake.wanted) == {b.node, c.node}
    assert town.fake.dropped == [a.node]


async def test_a_provider_that_gossip_does_not_link_is_dialled_for_a_call(
    town: Town, autojump_clock: trio.testing.MockClock
) -> None:
    town.seek(*town.others[:8])
    provider = town.others[15]

    async def link_soon() -> None:
        await trio.sleep(1)
        assert provider.node in town.fake.wanted
        town.fake.link(provider)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(link_soon)
        with trio.fail_after(3):
            await town.links.open_stream(provider.node, MESH)

    with trio.fail_after(0.1):
        await town.links.open_stream(provider.node, MESH)


async def test_a_link_that_calls_need_survives_what_gossip_seeks(
    town: Town, autojump_clock: trio.testing.MockClock
) -> None:
    provider, *rest = town.others
    town.seek(*town.others[:8])
    town.fake.link(provider)
    await town.links.open_stream(provider.node, MESH)
    town.fake.unlink(provider)
    with pytest.raises(trio.BrokenResourceError):
        await town.links.open_stream(provider.node, MESH)

    town.seek(*rest[:8])

    assert provider.node in town.fake.wanted
    assert provider.node not in town.fake.dropped


async def test_calls_over_a_link_that_gossip_made_outlive_gossips_interest(
    town: Town,
) -> None:
    provider, *rest = town.others
    town.seek(*town.others[:8])
    town.fake.link(provider)
    await town.links.open_stream(provider.node, MESH)

    town.seek(*rest[:8])

    assert provider.node in town.fake.wanted
    assert provider.node not in town.fake.dropped


async def test_a_link_over_which_a_member_uses_our_server_outlives_gossips_interest(
    town: Town,
) -> None:
    user, *rest = town.others
    begun, done = trio.Event(), trio.Event()

    async def serve(_stream: ByteStream, _peer: NodeId) -> None:
        begun.set()
        await done.wait()

    town.links.handle_stream(MESH, serve)
    town.seek(*town.others[:8])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(town.fake.handlers[MESH], FakeStream(), user.node)
        await begun.wait()
        town.seek(*rest[:8])
        assert town.fake.dropped == []
        done.set()

    town.seek(*town.others[:8])
    town.seek(*rest[:8])
    assert user.node in town.fake.dropped


async def test_a_provider_that_cannot_be_linked_costs_some_seconds_and_no_more(
    town: Town, autojump_clock: trio.testing.MockClock
) -> None:
    began = trio.current_time()
    with pytest.raises(trio.BrokenResourceError):
        await town.links.open_stream(town.others[12].node, MESH)
    assert trio.current_time() - began == pytest.approx(5)


async def test_a_provider_that_goes_and_comes_back_is_waited_for_again(
    town: Town, autojump_clock: trio.testing.MockClock
) -> None:
    provider = town.others[14]
    with pytest.raises(trio.BrokenResourceError):
        await town.links.open_stream(provider.node, MESH)
    town.fake.link(provider)
    town.fake.unlink(provider)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(town.links.open_stream, provider.node, MESH)
        await trio.sleep(2)
        town.fake.link(provider)


async def test_many_calls_at_once_share_one_dial(
    town: Town, autojump_clock: trio.testing.MockClock
) -> None:
    provider = town.others[13]
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(town.links.open_stream, provider.node, MESH)
        await trio.sleep(1)
        assert list(town.fake.wanted) == [provider.node]
        town.fake.link(provider)


def test_the_engine_is_told_what_happened(town: Town) -> None:
    other = town.others[0]
    town.fake.link(other)
    town.fake.on_event(Frame(other.node, b"said"))
    town.fake.unlink(other)
    assert town.told == [
        events.LinkUp(other.chain),
        events.Frame(other.node, b"said"),
        events.LinkDown(other.node),
    ]
