"""Several providers of one server: the nearest healthy one, a quarantined one never."""

import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import attrs
import httpx
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from enforcement.defend.policy import Policy
from gossip.errors import UserError
from gossip.membership.founders import parse_founders
from gossip.membership.roster import Roster
from gossip.units import NodeId
from node.config import ServerConfig
from node.proxy.choosing import NEAR_S, Providers
from node.proxy.desk import Desk, LostBackend
from node.proxy.frames import ByteStream
from node.proxy.httpd import Exchange, listen_on, serve_http
from node.proxy.mesh_http import HTTP_PROTOCOL
from node.proxy.provider import MeshProvider
from node.proxy.routes import Routes
from node.proxy.session import Session
from tests.node.proxy.test_lone import ask, text
from tests.support.members import founders_text
from tests.support.proxies import (
    SUITE,
    TOKEN,
    Pipes,
    desk_of,
    echo_config,
    guard,
    place_of,
    site,
)

OPEN = Policy.load({"p": "permit(principal, action, resource);"})
CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"%b"}}'


def replicated(*providers: str) -> Roster:
    """A cluster of a branch and these, each of which provides ``sql``."""
    told = founders_text(SUITE, ["branch", *providers])
    for name in providers:
        told = told.replace(f'servers = ["{name}-db"]', 'servers = ["sql"]')
    return Roster(parse_founders('replicated = ["sql"]\n' + told, "founders.toml"))


@attrs.define(eq=False)
class Roads:
    """Links of the branch to each provider, each as long as is told."""

    pipes: dict[NodeId, Pipes]
    far_s: dict[NodeId, float]
    opened: list[tuple[NodeId, str]] = attrs.field(factory=list)
    streams: list[tuple[NodeId, ByteStream]] = attrs.field(factory=list)

    def round_trip_s(self, peer: NodeId) -> float | None:
        return self.far_s[peer] if self.pipes[peer].up else None

    async def open_stream(self, peer: NodeId, protocol: str) -> ByteStream:
        stream = await self.pipes[peer].open_stream(peer, protocol)
        self.opened.append((peer, protocol))
        self.streams.append((peer, stream))
        return stream

    async def kill(self, peer: NodeId) -> None:
        """The node is gone, and its links with it."""
        self.pipes[peer].up = False
        for node, stream in self.streams:
            if node == peer:
                await stream.aclose()


@attrs.frozen
class Town:
    """A branch whose agents call ``sql``, which north and south provide."""

    branch: Desk
    north: Desk
    south: Desk
    roads: Roads
    nursery: trio.Nursery

    async def open(self) -> Session:
        principal = next(iter(self.branch.agents.values()))
        return await self.branch.open(self.nursery, principal, "sql")


@asynccontextmanager
async def town() -> AsyncIterator[Town]:
    """South is nearer than north, which the founders' file names first."""
    roster = replicated("north", "south")
    branch = place_of("branch")
    desks = {
        name: desk_of(place_of(name), roster, servers={"sql": echo_config("sql")})
        for name in ("north", "south")
    }
    async with trio.open_nursery() as nursery:
        pipes = {
            desk.node: Pipes(nursery, MeshProvider(desk), branch.node)
            for desk in desks.values()
        }
        far_s = {desks["north"].node: 0.08, desks["south"].node: 0.02}
        roads = Roads(pipes, far_s)
        desk = desk_of(branch, roster, links=roads)
        yield Town(desk, desks["north"], desks["south"], roads, nursery)
        nursery.cancel_scope.cancel()


def guarded(made: Town) -> None:
    for desk, name in ((made.branch, "branch"), (made.north, "north")):
        guard(desk, place_of(name), OPEN)
    guard(made.south, place_of("south"), OPEN)


async def next_of(session: Session) -> dict[str, object]:
    while True:
        for reply in await session.server_said(await session.backend.receive()):
            told: dict[str, object] = json.loads(reply)
            return told


async def test_a_new_session_goes_to_the_nearest_and_is_signed_for_it() -> None:
    async with town() as made:
        guarded(made)  # each gate refuses what was signed for another node
        for nearest in (made.south, made.north):
            session = await made.open()
            assert session.audience == nearest.node
            await session.client_said(CALL % b"echo")
            assert "result" in await next_of(session)
            await made.branch.close(session)
            made.roads.far_s[made.north.node] = 0.001


async def test_a_session_stays_where_it_began() -> None:
    async with town() as made:
        session = await made.open()
        made.roads.far_s[made.north.node] = 0.0
        await session.client_said(CALL % b"echo")
        assert "result" in await next_of(session)
        assert [node for node, _ in made.roads.opened] == [made.south.node]
        await made.branch.close(session)


async def test_a_quarantined_provider_is_never_asked_and_nobody_if_all_are() -> None:
    async with town() as made:
        cut_off = {made.south.node}
        made.branch.is_refused = lambda subject: subject.id in cut_off
        session = await made.open()
        assert session.audience == made.north.node
        await made.branch.close(session)
        made.roads.opened.clear()
        cut_off.add(made.north.node)
        session = await made.open()
        assert isinstance(session.backend, LostBackend)
        assert made.roads.opened == []


async def test_who_declares_other_tools_is_asked_only_if_everybody_does() -> None:
    async with town() as made:
        other = {made.south.node}
        made.branch.providers.differs = lambda server, node: node in other
        session = await made.open()
        assert session.audience == made.north.node
        await made.branch.close(session)


async def test_a_call_under_way_fails_once_and_the_next_session_goes_elsewhere() -> (
    None
):
    async with town() as made:
        session = await made.open()
        await session.client_said(CALL % b"never")
        told: list[bytes] = []

        async def keep(data: bytes) -> None:
            told.append(data)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.pump, keep)
            with trio.fail_after(5):
                while not made.south.sessions():
                    await trio.lowlevel.checkpoint()
            await made.roads.kill(made.south.node)
        (failed,) = told
        assert json.loads(failed)["id"] == 1
        assert "error" in json.loads(failed)
        assert made.north.sessions() == (), "nobody asks it what another was asked"
        again = await made.open()
        assert again.audience == made.north.node
        await again.client_said(CALL % b"echo")
        assert "result" in await next_of(again)
        await made.branch.close(again)
        await made.branch.close(session)


async def test_a_provider_whose_server_does_not_start_is_asked_last_for_a_while() -> (
    None
):
    async with town() as made:
        broken = attrs.evolve(echo_config("sql"), command=("/no/such/command",))
        made.south.serve({"sql": broken})
        session = await made.open()

        async def drop(data: bytes) -> None:
            del data

        assert "could not be started" in await session.pump(drop)
        again = await made.open()
        assert again.audience == made.north.node
        await made.branch.close(again)


async def test_requests_without_a_session_leave_a_provider_that_is_gone() -> None:
    async with town() as made:
        async with (
            site(made.branch, "sql") as place,
            httpx.AsyncClient(trust_env=False) as http,
        ):
            first = text(await ask(http, place.url, 1, "pid"))
            assert text(await ask(http, place.url, 2, "pid")) == first
            await made.roads.kill(made.south.node)
            with trio.fail_after(10):
                assert text(await ask(http, place.url, 3, "pid")) != first
        served = {node for node, kind in made.roads.opened if kind == HTTP_PROTOCOL}
        assert served == {made.south.node, made.north.node}


async def test_a_session_at_a_server_of_ours_that_is_gone_is_no_way_to_it() -> None:
    async with town() as made:
        principal = next(iter(made.branch.agents.values()))
        find = Routes(made.branch).find
        with pytest.raises(UserError, match="promises `branch-db` on this node"):
            await find(principal, "branch-db", at=made.branch.node)


@attrs.define
class Url:
    """A server behind a URL, with one session of its own."""

    session: str
    heard: list[str] = attrs.field(factory=list)

    async def handle(self, exchange: Exchange) -> None:
        said = json.loads(exchange.request.body)
        self.heard.append(said["method"])
        answer = {"jsonrpc": "2.0", "id": said["id"], "result": {}}
        told = [("mcp-session-id", self.session)]
        await exchange.answer(200, json.dumps(answer).encode(), headers=told)


async def test_a_session_of_a_server_behind_a_url_stays_with_its_provider() -> None:
    async with town() as made:
        urls = {"north": Url("of-north"), "south": Url("of-south")}
        for desk, (name, url) in zip(
            (made.north, made.south), urls.items(), strict=True
        ):
            sock = listen_on("127.0.0.1", 0)
            made.nursery.start_soon(serve_http, sock, url.handle, [].append)
            where = f"http://127.0.0.1:{sock.getsockname()[1]}/mcp"
            desk.serve({"sql": ServerConfig(name="sql", url=where)})
            guard(desk, place_of(name), OPEN)
        guard(made.branch, place_of("branch"), OPEN)
        headers = {"authorization": f"Bearer {TOKEN}"}
        async with (
            site(made.branch, "sql") as place,
            httpx.AsyncClient(trust_env=False, headers=headers) as http,
        ):

            async def say(method: str, session: str = "") -> httpx.Response:
                params = {"protocolVersion": "2025-11-25", "capabilities": {}}
                params["clientInfo"] = {"name": "test", "version": "1"}
                told = {"jsonrpc": "2.0", "id": 1, "method": method}
                told |= {"params": params if method == "initialize" else {}}
                named = {"mcp-session-id": session} if session else {}
                return await http.post(place.url, json=told, headers=named)

            with trio.fail_after(20):
                begun = await say("initialize")
                assert begun.headers["mcp-session-id"] == "of-south"
                made.roads.far_s[made.north.node] = 0.0
                assert (await say("tools/list", "of-south")).status_code == 200
                begun = await say("initialize")
                assert begun.headers["mcp-session-id"] == "of-north"
                await say("prompts/list", "of-north")
                await say("resources/list", "of-south")
        assert urls["south"].heard == ["initialize", "tools/list", "resources/list"]
        assert urls["north"].heard == ["initialize", "prompts/list"]


NODES = [place_of(name).node for name in ("north", "south", "west")]
ROSTER = replicated("north", "south", "west")


@attrs.frozen
class Told:
    far_s: dict[NodeId, float | None]

    def round_trip_s(self, peer: NodeId) -> float | None:
        return self.far_s[peer]


FAR = st.none() | st.just(math.inf) | st.floats(0, 10)


@given(
    st.lists(FAR, min_size=3, max_size=3),
    st.sets(st.sampled_from(NODES)),
    st.sets(st.sampled_from(NODES)),
)
def test_whoever_is_chosen_is_the_nearest_of_the_healthy(
    far: list[float | None], cut_off: set[NodeId], other: set[NodeId]
) -> None:
    lengths = dict(zip(NODES, far, strict=True))
    made = Providers(
        me=place_of("branch").node,
        roster=ROSTER,
        links=Told(lengths),
        is_cut_off=cut_off.__contains__,
        differs=lambda server, node: node in other,
        now_s=lambda: 0.0,
    )
    chosen = made.choose("sql")
    healthy = {*NODES} - cut_off - other
    if healthy:
        assert {*chosen} == healthy
        linked = [n for n in chosen if lengths[n] is not None]
        assert chosen[: len(linked)] == linked, "who is linked comes first"
        steps = [lengths[n] for n in linked]
        for near, next_one in pairwise(steps):
            assert near is not None
            assert next_one is not None
            assert near <= next_one + NEAR_S
    elif {*NODES} - cut_off:
        assert not {*chosen} & cut_off
    else:
        assert chosen == NODES[:1], "its gate says why"
