"""The promises of the mesh, over socket pairs."""

import contextlib
import json
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from enforcement.defend.policy import Policy
from enforcement.effects import Position, Subject, SubjectKind, Witness
from node.proxy.desk import Desk
from node.proxy.frames import FrameStream, encode_frame
from node.proxy.mesh import (
    MESH_PROTOCOL,
    Credentials,
    MeshFrame,
    encode_opening,
    encode_renewal,
    encode_request,
)
from node.proxy.provider import MeshProvider
from node.proxy.session import Session
from tests.support.proxies import (
    FakeSink,
    Pipes,
    desk_of,
    echo_config,
    found,
    guard,
    place_of,
)

CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}'

ANSWER = b'{"jsonrpc":"2.0","id":1,"result":{}}'
OPEN = Policy.load({"p": "permit(principal, action, resource);"})


@attrs.frozen
class Mesh:
    """A branch whose agents call ``vault-db`` at the vault."""

    branch: Desk
    vault: Desk
    pipes: Pipes
    nursery: trio.Nursery

    async def open(self) -> Session:
        principal = next(iter(self.branch.agents.values()))
        return await self.branch.open(self.nursery, principal, "vault-db")


@asynccontextmanager
async def mesh() -> AsyncIterator[Mesh]:
    roster, places = found("branch", "vault")
    vault = desk_of(
        places["vault"], roster, servers={"vault-db": echo_config("vault-db")}
    )
    async with trio.open_nursery() as nursery:
        pipes = Pipes(nursery, MeshProvider(vault), places["branch"].node)
        branch = desk_of(places["branch"], roster, links=pipes)
        yield Mesh(branch, vault, pipes, nursery)
        nursery.cancel_scope.cancel()


async def answer_of(session: Session) -> dict[str, object]:
    """What the session passes on next."""
    while True:
        for reply in await session.server_said(await session.backend.receive()):
            answer: dict[str, object] = json.loads(reply)
            return answer


async def test_a_signed_call_reaches_the_server_and_its_answer_returns() -> None:
    async with mesh() as town:
        session = await town.open()
        assert session.position is Position.EGRESS
        assert await session.client_said(CALL) == []

        assert "result" in await answer_of(session)
        await town.branch.close(session)


async def test_closing_the_session_ends_the_server_at_the_provider() -> None:
    async with mesh() as town:
        session = await town.open()
        await session.client_said(CALL.replace(b"echo", b"never"))
        await town.branch.close(session)

        with trio.fail_after(5):
            while town.vault._sessions:
                await trio.lowlevel.checkpoint()


async def test_a_server_that_dies_far_away_is_lost_with_its_reason() -> None:
    async with mesh() as town:
        session = await town.open()
        await session.client_said(CALL.replace(b"echo", b"die"))
        told: list[bytes] = []

        async def keep(data: bytes) -> None:
            told.append(data)

        sentence = await session.pump(keep)

        assert "vault" in sentence
        assert "status 3" in json.loads(told[-1])["error"]["message"]
        await town.branch.close(session)


async def test_a_server_that_cannot_start_far_away_is_named_with_its_node() -> None:
    async with mesh() as town:
        broken = attrs.evolve(echo_config("vault-db"), command=("/no/such/command",))
        town.vault.serve({"vault-db": broken})
        session = await town.open()
        told = await session.client_said(CALL)

        async def keep(data: bytes) -> None:
            told.append(data)

        await session.pump(keep)
        error = json.loads(told[-1])["error"]
        assert "node `vault` says: the server `vault-db` could not" in error["message"]
        assert error["data"]["picket"]["advice"] == "see the log of node `vault`"
        assert town.vault.unstarted == {"vault-db"}
        await town.branch.close(session)


async def test_who_does_not_read_slows_the_server_and_fills_no_memory() -> None:
    async with mesh() as town:
        session = await town.open()
        before = _memory_bytes()
        for key in range(40):
            big = {"name": "big", "arguments": {"size": 1_000_000}}
            asked = {"jsonrpc": "2.0", "id": key, "method": "tools/call", "params": big}
            await session.client_said(json.dumps(asked).encode())
        await trio.sleep(0.5)  # time to misbehave
        assert _memory_bytes() - before < 20_000_000

        assert [(await answer_of(session))["id"] for _ in range(40)] == [*range(40)]
        await town.branch.close(session)


def _memory_bytes() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


async def test_without_a_link_a_call_is_denied_with_a_sentence() -> None:
    async with mesh() as town:
        town.pipes.up = False
        session = await town.open()

        (denied,) = await session.client_said(CALL)
        assert b"node `vault`, which provides `vault-db`, is not linked" in denied


async def test_no_stream_is_opened_to_a_node_that_is_cut_off() -> None:
    """None would come up, and nobody shall wait for it: the gate says why."""
    async with mesh() as town:
        vault = town.branch.provider("vault-db")
        town.branch.is_refused = lambda subject: subject.id == vault
        session = await town.open()

        (denied,) = await session.client_said(CALL)
        assert b"is not linked" in denied


async def test_a_session_outlives_the_rotation_of_its_nodes_key() -> None:
    async with mesh() as town:
        session = await town.open()
        turned = place_of("branch", turn=1).principal
        await town.branch.renew(turned.chain, {turned.name: turned})
        assert session.principal == turned

        await session.client_said(CALL)
        assert "result" in await answer_of(session)
        (far,) = town.vault._sessions
        assert far.principal.chain == turned.chain
        await town.branch.close(session)


def _opening(name: str = "branch", server: str = "vault-db") -> bytes:
    principal = place_of(name).principal
    shown = Credentials(principal.chain.encoded, principal.cert.encoded)
    return encode_frame(MeshFrame.OPEN, encode_opening(server, shown))


async def _answers(said: bytes, *, end: bool) -> list[tuple[int, bytes]]:
    """What a provider says to these bytes of the branch until it ends."""
    heard: list[tuple[int, bytes]] = []
    async with mesh() as town:
        stream = await town.pipes.open_stream(town.vault.node, MESH_PROTOCOL)
        frames = FrameStream(stream)

        async def say() -> None:
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(said)
                if end:
                    await stream.aclose()

        town.nursery.start_soon(say)
        with trio.fail_after(10):
            while (frame := await frames.receive_untrusted()) is not None:
                heard.append(frame)
        with trio.fail_after(10):
            while town.vault._sessions:
                await trio.lowlevel.checkpoint()
    return heard


@pytest.mark.parametrize(
    "said",
    [
        b"\x00\x00\x00\x00",
        b"\xff\xff\xff\xff\x01",
        encode_frame(MeshFrame.REQUEST, b"too early"),
        encode_frame(MeshFrame.OPEN, b"not msgpack"),
        encode_frame(MeshFrame.OPEN, b"\xc1" * 65_000),
        _opening(server="no-such"),
        _opening(name="vault"),
        _opening() + encode_frame(MeshFrame.REQUEST, b"\xff\xff\xff\xff{}"),
        _opening() + encode_frame(MeshFrame.LOST, b"I am the provider"),
        _opening() + encode_frame(MeshFrame.RENEW, b"\x90"),
        _opening() + encode_frame(99, b""),
    ],
)
async def test_a_peer_that_breaks_the_protocol_ends_that_session_only(
    said: bytes,
) -> None:
    heard = await _answers(said, end=False)

    assert [kind for kind, _ in heard] == [MeshFrame.LOST]


async def test_a_renewal_cannot_change_who_the_agent_is() -> None:
    vault = place_of("vault").principal
    shown = Credentials(vault.chain.encoded, vault.cert.encoded)
    said = _opening() + encode_frame(MeshFrame.RENEW, encode_renewal(shown))
    ((kind, sentence),) = await _answers(said, end=False)

    assert kind == MeshFrame.LOST
    assert b"another node" in sentence


async def test_a_peer_that_floods_loses_its_session_and_is_witnessed() -> None:
    flood = encode_frame(MeshFrame.REQUEST, encode_request(ANSWER, None)) * 20_000
    async with mesh() as town:
        guard(town.vault, place_of("vault"), OPEN)
        stream = await town.pipes.open_stream(town.vault.node, MESH_PROTOCOL)

        async def say() -> None:
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(_opening() + flood)

        town.nursery.start_soon(say)
        with trio.fail_after(10):
            kind, sentence = await FrameStream(stream).receive_untrusted() or (0, b"")
            while town.vault._sessions:
                await trio.lowlevel.checkpoint()
        assert kind == MeshFrame.LOST
        assert b"too much" in sentence
        assert isinstance(town.vault.sink, FakeSink)
        told = town.vault.sink.heard
        (seen,) = [effect for effect in told if isinstance(effect, Witness)]
        assert seen.subject.id == town.branch.node
        assert len(told) < 64


async def test_no_server_is_started_for_who_is_quarantined() -> None:
    async with mesh() as town:
        (agent,) = town.branch.agents.values()
        for subject in (
            Subject(SubjectKind.AGENT, agent.agent),
            Subject(SubjectKind.NODE, town.branch.node),
        ):
            town.vault.is_refused = {subject}.__contains__
            stream = await town.pipes.open_stream(town.vault.node, MESH_PROTOCOL)
            await stream.send_all(_opening())
            with trio.fail_after(5):
                frame = await FrameStream(stream).receive_untrusted()
            assert frame is not None
            assert frame[0] == MeshFrame.LOST
            assert b"quarantined" in frame[1]


async def test_an_unsigned_call_is_denied_at_the_provider() -> None:
    said = _opening() + encode_frame(MeshFrame.REQUEST, encode_request(CALL, None))
    said += encode_frame(99, b"")
    (kind, denied), _ = await _answers(said, end=False)

    assert kind == MeshFrame.MESSAGE
    assert b"unsigned" in denied
