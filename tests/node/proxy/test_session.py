"""The promises of a session's driver, with a gate and a server that are fakes."""

import json

import attrs
import trio
import trio.testing

from enforcement.defend.policy import Policy
from enforcement.effects import Audit, Position
from gossip.units import AgentId, NodeId, UnixMs
from node.birth import starter_policy
from node.clock import SystemClock
from node.proxy.session import Lost, Session, SigningRefused
from tests.support.proxies import FakeGate, FakeSink, desk_of, found, guard

CALL = b'{"jsonrpc":"2.0","id":%d,"method":"ping"}'
NEWS = b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{}}'
ANSWER = b'{"jsonrpc":"2.0","id":%d,"result":{}}'


@attrs.define
class Server:
    """Keeps what it is sent; may be gone."""

    heard: list[bytes] = attrs.field(factory=list)
    gone: bool = False

    async def send(self, data: bytes, envelope: bytes | None) -> None:
        del envelope
        if self.gone:
            raise Lost("the server is gone")
        self.heard.append(data)

    async def receive(self) -> bytes:
        raise Lost("the server has ended")

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@attrs.define
class SlowSigner:
    """Signs when told to."""

    go: trio.Event = attrs.field(factory=trio.Event)
    refusal: str | None = None

    async def sign_request(self, agent: AgentId, body: bytes) -> tuple[bytes, bytes]:
        del agent, body
        await self.go.wait()
        if self.refusal is not None:
            raise SigningRefused(self.refusal)
        return b"a", b"n"

    async def share_request(
        self, agent: AgentId, body: bytes, provider: NodeId, now_ms: UnixMs
    ) -> tuple[bytes, bytes] | None:
        del agent, body, provider, now_ms
        return None

    async def prove_agent(self, agent: AgentId, body: bytes) -> bytes:
        del agent, body
        return b"p"


def session(server: Server, signer: SlowSigner | None = None) -> Session:
    _, places = found("branch")
    position = Position.LOCAL if signer is None else Position.EGRESS
    return Session(
        gate=FakeGate(position),
        position=position,
        principal=places["branch"].principal,
        server="echo",
        audience=places["branch"].node,
        backend=server,
        signer=signer or SlowSigner(),
        sink=FakeSink(),
        now_ms=SystemClock().unix_ms,
    )


async def test_nothing_overtakes_a_request_that_is_being_signed() -> None:
    server, signer = Server(), SlowSigner()
    talk = session(server, signer)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk.client_said, CALL % 1)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(talk.client_said, NEWS)
        await trio.testing.wait_all_tasks_blocked()
        assert server.heard == []
        signer.go.set()

    assert server.heard == [CALL % 1, NEWS]


async def test_what_the_server_says_passes_while_a_request_is_being_signed() -> None:
    talk = session(Server(), signer := SlowSigner())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk.client_said, CALL % 1)
        await trio.testing.wait_all_tasks_blocked()
        assert await talk.server_said(NEWS) == [NEWS]
        signer.go.set()


async def test_a_request_nobody_can_sign_is_denied_and_the_session_goes_on() -> None:
    signer = SlowSigner(refusal="this agent was removed")
    signer.go.set()
    server = Server()
    talk = session(server, signer)
    (denied,) = await talk.client_said(CALL % 1)
    assert "removed" in json.loads(denied)["error"]["message"]
    assert server.heard == []

    signer.refusal = None
    assert await talk.client_said(CALL % 1) == []
    assert server.heard == [CALL % 1]


async def test_a_lost_server_answers_all_that_wait_and_all_that_follow() -> None:
    server = Server()
    talk = session(server)
    assert await talk.client_said(CALL % 1) == []
    server.gone = True
    replies = [json.loads(r) for r in await talk.client_said(CALL % 2)]
    assert {r["id"] for r in replies} == {1, 2}
    (later,) = await talk.client_said(CALL % 3)
    assert "gone" in json.loads(later)["error"]["message"]


async def test_the_end_of_the_server_is_told_to_who_waits() -> None:
    talk = session(Server())
    await talk.client_said(CALL % 1)
    told: list[bytes] = []

    async def keep(data: bytes) -> None:
        told.append(data)

    assert await talk.pump(keep) == "the server has ended"
    assert [json.loads(t)["id"] for t in told] == [1]
    assert await talk.server_said(ANSWER % 1) == []


async def test_an_agent_that_leaves_while_it_is_signed_for_blocks_nobody() -> None:
    server, signer = Server(), SlowSigner()
    talk = session(server, signer)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk.client_said, CALL % 1)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        signer.go.set()
    with trio.fail_after(1):
        await talk.client_said(NEWS)

    assert server.heard == [CALL % 1, NEWS]


async def test_messages_take_their_turns_in_order_though_some_give_up() -> None:
    server, signer = Server(), SlowSigner()
    driven = session(server, signer)
    scopes = [trio.CancelScope() for _ in range(6)]

    async def ask(key: int) -> None:
        with scopes[key]:
            await driven.client_said(CALL % key)

    async with trio.open_nursery() as nursery:
        for key in range(6):
            nursery.start_soon(ask, key)
            await trio.testing.wait_all_tasks_blocked()
        scopes[2].cancel()
        scopes[4].cancel()
        await trio.testing.wait_all_tasks_blocked()
        signer.go.set()
    assert server.heard == [CALL % key for key in (0, 1, 3, 5)]
    await driven.client_said(CALL % 9)
    assert server.heard[-1] == CALL % 9


@attrs.define
class Watching(Server):
    """Notes what had been told when a call came; may never take one."""

    sink: FakeSink = attrs.field(factory=FakeSink)
    known: list[int] = attrs.field(factory=list)
    stuck: bool = False

    async def send(self, data: bytes, envelope: bytes | None) -> None:
        self.known.append(len(self.sink.heard))
        if self.stuck:
            await trio.sleep_forever()
        await super().send(data, envelope)


def watched(*, gone: bool = False, stuck: bool = False) -> tuple[Session, Watching]:
    server = Watching(gone=gone, stuck=stuck)
    roster, places = found("branch")
    desk = desk_of(places["branch"], roster, sink=server.sink)
    guard(desk, places["branch"], Policy.load(starter_policy()))
    me = places["branch"]
    driven = desk.session(Position.LOCAL, me.principal, "echo", me.node, server)
    return driven, server


async def test_a_call_is_recorded_once_the_server_is_at_work() -> None:
    driven, server = watched()
    await driven.client_said(CALL % 1)
    assert server.known == [0]
    assert [type(told) for told in server.sink.heard] == [Audit]


async def test_a_call_is_recorded_though_the_server_is_gone_or_takes_nothing() -> None:
    driven, server = watched(gone=True)
    await driven.client_said(CALL % 1)
    assert [type(told) for told in server.sink.heard] == [Audit]

    driven, server = watched(stuck=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driven.client_said, CALL % 1)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert [type(told) for told in server.sink.heard] == [Audit]
