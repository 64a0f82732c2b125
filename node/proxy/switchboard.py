"""The switchboard: which passage serves a request, its session's or a new one."""

import secrets
from collections.abc import Callable
from typing import Final, TypeAlias

import attrs
import trio

from enforcement.effects import Position
from enforcement.principal import Principal
from gossip.units import AgentId, NodeId
from node.proxy import limits
from node.proxy.asks import (
    SESSION_HEADER,
    Answer,
    Ask,
    Carrier,
    Headers,
    Out,
    find,
)
from node.proxy.desk import Desk
from node.proxy.passage import Passage, opens
from node.proxy.session import Lost

_Key: TypeAlias = tuple[NodeId, AgentId, str, str]

TEXT: Final = ("content-type", "text/plain; charset=utf-8")


@attrs.define
class _Held:
    """A session that is open, and how long nobody has used it."""

    passage: Passage
    used_s: float
    asks: int = 0


@attrs.frozen
class Visit:
    """Who asks which server, and the way there."""

    position: Position
    principal: Principal
    server: str
    audience: NodeId
    carrier: Carrier


@attrs.define(eq=False)
class Switchboard:
    """Finds or makes the passage of each request."""

    desk: Desk
    _held: dict[_Key, _Held] = attrs.field(init=False, factory=dict)

    def revision(self, visit: Visit, session: str) -> str:
        """What a session has agreed on; empty if ``session`` is, or names none."""
        held = self._held.get(_key(visit, session)) if session else None
        return "" if held is None else held.passage.revision

    def provider(self, who: Principal, server: str, session: str) -> NodeId | None:
        """The node where an open session of an agent is; None if there is none."""
        held = self._held.get((who.node, who.agent, server, session))
        return None if held is None else held.passage.session.audience

    async def serve(self, visit: Visit, ask: Ask, out: Out) -> None:
        """Pass one request on; cancelled when the agent has gone."""
        who = visit.principal
        named = ask.session
        if not named:
            opening = opens(ask)
            if opening and not self._has_room(who):
                await refuse(out, 503, "too many sessions; end some")
            else:
                await self._serve_lone(visit, ask, out, opening)
            return
        key = _key(visit, named)
        held = self._held.get(key)
        if held is None:
            await refuse(out, 404, "there is no such session")
            return
        session = held.passage.session
        if _is_newer(who, session.principal):
            await session.renewed(who)
        held.asks += 1
        try:
            await _run(held.passage, ask, out, lambda a: self._see(key, ask, a))
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await held.passage.forget(ask)
            raise
        finally:
            held.asks -= 1
            held.used_s = trio.current_time()
            if self._held.get(key) is not held and held.asks == 0:
                self.desk.forget(session)

    async def _serve_lone(
        self, visit: Visit, ask: Ask, out: Out, opening: bool
    ) -> None:
        who = visit.principal
        session = self.desk.session(
            visit.position,
            who,
            visit.server,
            visit.audience,
            Requests(),
            renew_in_turn=True,
        )
        passage = Passage(session, visit.carrier)
        named: list[_Key] = []

        def on_endpoint(data: bytes) -> bytes | None:
            """A stream of revision 2024-11-05: its messages come by POSTs."""
            passage.way = visit.carrier.endpoint(data)
            if passage.way is None or not self._has_room(who):
                return None
            name = secrets.token_hex(16)
            named.append((who.node, who.agent, visit.server, name))
            self._held[named[0]] = _Held(passage, trio.current_time(), asks=1)
            passage.on_endpoint = None  # it is said once
            return out.endpoint(name)

        if ask.method == "GET" and not ask.target:
            passage.on_endpoint = on_endpoint

        def on_head(answer: Answer) -> None:
            name = find(answer.headers, SESSION_HEADER) if opening else ""
            if name and answer.status == 200:
                key = (who.node, who.agent, visit.server, name)
                holder = self.provider(who, visit.server, name)
                if holder in (None, visit.audience):  # no provider takes another's
                    passage.lone = False
                    self._held[key] = _Held(passage, trio.current_time())

        try:
            await _run(passage, ask, out, on_head)
        finally:
            for key in named:
                self._held.pop(key, None)
            if passage.lone:
                self.desk.forget(session)

    def _has_room(self, who: Principal) -> bool:
        mine = sum(key[:2] == (who.node, who.agent) for key in self._held)
        return (
            mine < limits.SESSIONS_PER_AGENT_MAX
            and len(self._held) < limits.SESSIONS_MAX
        )

    def _see(self, key: _Key, ask: Ask, answer: Answer) -> None:
        ended = ask.method == "DELETE" and answer.status < 300
        if ended or answer.status == 404:
            self._held.pop(key, None)

    async def tend(self) -> None:
        """Forget sessions nobody uses, until cancelled."""
        while True:
            await trio.sleep(limits.EVENTS_PING_S)
            unused_s = trio.current_time() - limits.SESSION_IDLE_S
            for key, held in [*self._held.items()]:
                if held.asks == 0 and held.used_s < unused_s:
                    del self._held[key]
                    self.desk.forget(held.passage.session)


@attrs.define(eq=False)
class Requests:
    """A passage's side of the server: its requests under way, ended together."""

    scopes: set[trio.CancelScope] = attrs.field(init=False, factory=set)

    async def send(self, data: bytes, envelope: bytes | None) -> None:
        """A message leaves with the request that brought it: raises `Lost`."""
        del data, envelope
        raise Lost("this server is reached by requests only")

    async def receive(self) -> bytes:
        """Nothing comes but answers to requests."""
        await trio.sleep_forever()

    async def aclose(self) -> None:
        """End them all, streams too; each agent is told."""
        for scope in self.scopes:
            scope.cancel()


async def _run(
    passage: Passage, ask: Ask, out: Out, on_head: Callable[[Answer], None]
) -> None:
    requests = passage.session.backend
    assert isinstance(requests, Requests), "passages have no other"
    with trio.CancelScope() as scope:
        requests.scopes.add(scope)
        try:
            await passage.pass_on(ask, out, on_head)
        finally:
            requests.scopes.discard(scope)
    if scope.cancelled_caught:
        await passage.end(ask, out)


def _key(visit: Visit, session: str) -> _Key:
    who = visit.principal
    return who.node, who.agent, visit.server, session


def _is_newer(shown: Principal, known: Principal) -> bool:
    if shown is known or shown.cert_digest == known.cert_digest:
        return False
    return shown.cert.not_before_ms > known.cert.not_before_ms


async def refuse(out: Out, status: int, sentence: str, headers: Headers = ()) -> None:
    """Answer in words."""
    await out.whole(status, (*headers, TEXT), sentence.encode() + b"\n")
