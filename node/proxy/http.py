"""The Streamable HTTP listener: `/mcp/<server>`, MCP revisions up to 2025-11-25.

::

    POST initialize ──▶ a session, its id in Mcp-Session-Id
    POST            ──▶ 202, or JSON, or events when the server says more
    GET             ──▶ events: what belongs to no call
    DELETE          ──▶ the end of the session

Each session belongs to the agent whose bearer token opened it and to one server.
"""

import contextlib
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs
import trio

from enforcement.effects import Position
from enforcement.mcp.jsonrpc import Reason, write_denial
from enforcement.mcp.strictjson import INVALID_CODE, MalformedError
from enforcement.principal import Principal
from gossip.errors import UserError
from gossip.units import NodeId
from node.proxy import limits
from node.proxy.asks import (
    METADATA,
    SESSION_HEADER,
    Ask,
    Carrier,
    Headers,
    asked,
    find,
)
from node.proxy.desk import Desk
from node.proxy.http_out import STREAM_QUERY, HttpOut, Place
from node.proxy.http_session import HttpSession
from node.proxy.httpd import Exchange
from node.proxy.httpparse import Request
from node.proxy.lone import is_stateless
from node.proxy.origins import Origins as Origins
from node.proxy.passage import letters_of, refusal
from node.proxy.peek import Kind, peek
from node.proxy.resource import WELL_KNOWN, is_meant_for
from node.proxy.routes import Routes
from node.proxy.switchboard import Switchboard, Visit

if TYPE_CHECKING:
    from trio_typing import TaskStatus

_PREFIX = "/mcp/"


@attrs.frozen(kw_only=True)
class _Route:
    """What a request's head says by itself, whoever has which token just now.

    Attributes:
        token: Digest of the bearer token; None without one.
        other_token: Digest of ``picket-token``; None without one.
        place: Where the client is told that it is.
        plain: The headers that travel on; `full`: with ``authorization``.
    """

    server: str
    token: bytes | None
    other_token: bytes | None
    place: Place
    plain: Headers
    full: Headers


@attrs.define(eq=False)
class McpHttp:
    """The listener's handler; open it with `run` before serving with `handle`.

    Attributes:
        tokens: Agents' names by the SHA-256 of their bearer tokens.
        anybody: The agent that everybody is who shows no token of ours.
        tls: Whether the listener speaks TLS.
        hosts: Servers by the `Host` that means them, whatever the path.
    """

    desk: Desk
    tokens: Mapping[bytes, str]
    origins: Origins
    anybody: str | None = None
    tls: bool = False
    hosts: Mapping[str, str] = attrs.field(factory=dict)
    _nursery: trio.Nursery | None = attrs.field(init=False, default=None)
    _sessions: dict[str, HttpSession] = attrs.field(init=False, factory=dict)
    _switchboard: Switchboard = attrs.field(init=False)
    _routes: Routes = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._switchboard, self._routes = Switchboard(self.desk), Routes(self.desk)

    async def run(
        self, task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Hold the sessions, until cancelled; then end them all."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._routes.tend)
                task_status.started()
                await self._switchboard.tend()
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(1):
                await self._routes.close()

    async def handle(self, exchange: Exchange) -> None:
        """Take one HTTP request; its answer may come later."""
        request = exchange.request
        route = request.memo.held
        if not isinstance(route, _Route):
            if not self.origins.admit(request.headers):
                await _refuse(exchange, 403, "this Host or Origin is not served here")
                return
            if request.path.startswith(WELL_KNOWN):
                await self._metadata(exchange)
                return
            server = self._server(request)
            if not server or "/" in server:
                await _refuse(exchange, 404, "MCP servers are at /mcp/NAME")
                return
            route = request.memo.held = self._route(request, server)
        principal = self._authenticate(route)
        if principal is None:
            await _refuse(
                exchange,
                401,
                "a bearer token of an agent of this node is needed",
                headers=[("www-authenticate", 'Bearer realm="picket"')],
            )
        elif request.method not in ("GET", "POST", "DELETE"):
            await _refuse(
                exchange,
                405,
                "only POST, GET and DELETE",
                [("allow", "GET, POST, DELETE")],
            )
        elif request.method == "POST" and not _is_json(request):
            await _refuse(exchange, 415, "a message is application/json")
        else:
            await self._serve(exchange, principal, route)

    def _route(self, request: Request, server: str) -> _Route:
        headers = request.headers
        scheme, _, token = headers.get("authorization", "").partition(" ")
        other = headers.get("picket-token")
        return _Route(
            server=server,
            token=_token_digest(token) if scheme.lower() == "bearer" else None,
            other_token=None if other is None else _token_digest(other),
            place=self._place(request),
            plain=asked(headers, authorization=False),
            full=asked(headers, authorization=True),
        )

    def _server(self, request: Request, prefix: str = "") -> str:
        """The server a request means, by its host or its path; empty for none."""
        named = self.hosts.get(request.headers.get("host", "").lower())
        if named is not None:
            return named
        path = request.path.removeprefix(prefix)
        if path.count("/") == 3:  # some clients want every URL to end so
            path = path.removesuffix("/mcp")
        return path.removeprefix(_PREFIX) if path.startswith(_PREFIX) else ""

    async def _serve(
        self, exchange: Exchange, principal: Principal, route: _Route
    ) -> None:
        server, request = route.server, exchange.request
        try:
            if self._session(request, principal, server) is not None:
                provider, carrier = self.desk.provider(server), None
            else:
                provider, carrier = await self._routes.find(
                    principal,
                    server,
                    stateless=is_stateless(request.headers),
                    at=self._switchboard.provider(principal, server, _named(request)),
                )
        except UserError as unknown:
            await _refuse(exchange, 404, str(unknown))
            return
        if carrier is not None:
            await self._carry(exchange, principal, route, provider, carrier)
        elif exchange.request.method == "POST":
            await self._post(exchange, principal, server)
        else:
            await self._listen_or_end(exchange, principal, server)

    async def _listen_or_end(
        self, exchange: Exchange, principal: Principal, server: str
    ) -> None:
        session = self._session(exchange.request, principal, server)
        if session is None:
            await _refuse(exchange, 404, "there is no such session")
        elif exchange.request.method == "GET":
            await self._get(exchange, session)
        else:
            session.end()
            await exchange.answer(200)

    async def _carry(
        self,
        exchange: Exchange,
        principal: Principal,
        route: _Route,
        provider: NodeId,
        carrier: Carrier,
    ) -> None:
        """Pass one request on to a server that speaks HTTP itself."""
        request = exchange.request
        here = provider == self.desk.node
        position = Position.LOCAL if here else Position.EGRESS
        visit = Visit(position, principal, route.server, provider, carrier)
        theirs = route.full != route.plain and self._agent_of(route.token) is None
        if theirs and not self._is_meant(request, route.server):
            about = route.place.document
            challenge = f'Bearer error="invalid_token", resource_metadata="{about}"'
            sentence = "this token is for another server; get one for this address"
            await _refuse(exchange, 401, sentence, [("www-authenticate", challenge)])
            return
        headers = route.full if theirs else route.plain
        if request.query.startswith(STREAM_QUERY):
            named = _named(request)
            rest = [pair for pair in headers if pair[0] != SESSION_HEADER]
            headers = (*rest, (SESSION_HEADER, named))
        if request.method == "POST":
            revision = self._switchboard.revision(visit, find(headers, SESSION_HEADER))
            try:
                letters, batch = letters_of(request.body, revision)
            except MalformedError as wrong:
                await exchange.answer(400, refusal(str(wrong), wrong.code))
                return
            ask = Ask("POST", headers, letters, batch)
        else:
            ask = Ask(request.method, headers)
        await self._start(exchange, visit, ask, HttpOut(exchange, route.place))

    async def _start(
        self, exchange: Exchange, visit: Visit, ask: Ask, out: HttpOut
    ) -> None:
        try:
            await self._switchboard.serve(visit, ask, out)
        except Exception as fault:  # one request never takes the daemon down
            self.desk.log.error(f"a request failed: {fault!r}")
            if exchange.streaming:
                exchange.cut()
            else:
                await exchange.answer(500)

    async def _metadata(self, exchange: Exchange) -> None:
        """RFC 9728: which authorization server a server behind a URL trusts."""
        request = exchange.request
        server = self._server(request, WELL_KNOWN)
        someone = next(iter(self.desk.agents.values()), None)
        provider: NodeId | None = None
        carrier: Carrier | None = None
        if request.method == "GET" and "/" not in server and someone is not None:
            with contextlib.suppress(UserError):
                provider, carrier = await self._routes.find(someone, server)
        if carrier is None or someone is None or provider is None:
            await _refuse(exchange, 404, "there is no such document")
            return
        visit = Visit(Position.LOCAL, someone, server, provider, carrier)
        place = self._place(request, request.path.removeprefix(WELL_KNOWN))
        ask = Ask("GET", (("accept", "application/json"),), target=METADATA)
        await self._start(exchange, visit, ask, HttpOut(exchange, place))

    def _place(self, request: Request, path: str | None = None) -> Place:
        scheme = "https" if self.tls else "http"
        origin = f"{scheme}://{request.headers.get('host', '')}"
        return Place(origin, request.path if path is None else path)

    def _is_meant(self, request: Request, server: str) -> bool:
        """Whether a server's own token may be for it, here or where it is."""
        place = self._place(request)
        known = [place.origin + place.path, place.origin + place.path + "/mcp"]
        known.append(known[0].removesuffix("/mcp"))
        own = request.headers.get("host", "").lower() in self.hosts
        config = self.desk.servers.get(server)
        if config is not None:
            known += [url for url in (config.url, config.resource) if url]
        token = request.headers["authorization"].partition(" ")[2]
        return is_meant_for(token.strip(), known, place.origin if own else "")

    def _authenticate(self, route: _Route) -> Principal | None:
        name = self._agent_of(route.token)
        if name is None and route.other_token is not None:
            name = self._agent_of(route.other_token)
        elif name is None:
            name = self.anybody
        return None if name is None else self.desk.agents.get(name)

    def _agent_of(self, given: bytes | None) -> str | None:
        """Whose token has this digest."""
        name: str | None = None
        if given is None:
            return None
        for known, agent in self.tokens.items():  # every one: no timing to learn from
            if hmac.compare_digest(known, given):
                name = agent
        return name

    def _session(
        self, request: Request, principal: Principal, server: str
    ) -> HttpSession | None:
        session = self._sessions.get(request.headers.get(SESSION_HEADER, ""))
        if session is None or session.owner != (principal.agent, server):
            return None
        return session

    async def _get(self, exchange: Exchange, session: HttpSession) -> None:
        if "text/event-stream" not in exchange.request.headers.get("accept", ""):
            await _refuse(exchange, 406, "a GET is answered by text/event-stream only")
        elif not await session.listen(exchange):
            await _refuse(exchange, 409, "this session has its stream already")

    async def _post(
        self, exchange: Exchange, principal: Principal, server: str
    ) -> None:
        request = exchange.request
        if SESSION_HEADER in request.headers:
            session = self._session(request, principal, server)
            if session is None:
                await _refuse(exchange, 404, "there is no such session")
                return
        else:
            session = await self._begin(exchange, principal, server)
        if session is not None:
            await session.post(exchange)

    async def _begin(
        self, exchange: Exchange, principal: Principal, server: str
    ) -> HttpSession | None:
        """Open a session for an `initialize`; answers anything else itself."""
        seen = peek(exchange.request.body)
        if seen.kind is not Kind.REQUEST or seen.method != "initialize":
            key = None if seen.key is None else seen.key[1]
            sentence = "a session begins with initialize; send its Mcp-Session-Id"
            denial = write_denial(key, sentence, Reason.MALFORMED, code=INVALID_CODE)
            await exchange.answer(400, denial)
            return None
        held = sum(s.owner[0] == principal.agent for s in self._sessions.values())
        if (
            held >= limits.SESSIONS_PER_AGENT_MAX
            or len(self._sessions) >= limits.SESSIONS_MAX
        ):
            await _refuse(exchange, 503, "too many sessions; end some")
            return None
        if self._nursery is None:
            await _refuse(exchange, 503, "not serving yet")
            return None
        opened: HttpSession | None = await self._nursery.start(
            self._live, principal, server
        )
        if opened is None:
            await _refuse(exchange, 503, "the session could not be opened")
        return opened

    async def _live(
        self,
        principal: Principal,
        server: str,
        *,
        task_status: "TaskStatus[HttpSession | None]",
    ) -> None:
        """One session, from its opening to its end."""
        name = secrets.token_hex(16)
        try:
            async with trio.open_nursery() as nursery:
                session = await self.desk.open(nursery, principal, server)
                held = self._sessions[name] = HttpSession(name, session)
                try:
                    task_status.started(held)
                    await held.run()
                finally:
                    del self._sessions[name]
                    await self.desk.close(session)
                    nursery.cancel_scope.cancel()
        except* Exception as faults:  # one session never takes the daemon down
            self.desk.log.error(f"a session failed: {faults.exceptions[0]!r}")
            with contextlib.suppress(RuntimeError):  # it had been opened already
                task_status.started(None)


def _token_digest(token: str) -> bytes:
    return hashlib.sha256(token.strip().encode("latin-1")).digest()


def _named(request: Request) -> str:
    """The session a request names, by its header or its address; empty for none."""
    if request.query.startswith(STREAM_QUERY):
        return request.query.removeprefix(STREAM_QUERY)
    return request.headers.get(SESSION_HEADER, "")


def _is_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    return kind.lower() == "application/json"


async def _refuse(
    exchange: Exchange,
    status: int,
    sentence: str,
    headers: list[tuple[str, str]] | None = None,
) -> None:
    await exchange.answer(
        status, sentence.encode() + b"\n", "text/plain; charset=utf-8", headers or []
    )
