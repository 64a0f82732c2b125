"""Requests of the stateless revision before servers that are spoken to in messages.

::

    Ask ──▶ a child at rest, or a new one ──▶ what it says until its answer
            └──◀── back to rest ◀── answered      given up ──▶ the child is ended

A child serves one call at a time, always of the same agent, so that whatever it says
belongs to that call, and nothing of one agent reaches another. Beside it somebody may
listen (`subscriptions/listen`): what is meant for them names their request.
"""

import contextlib
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import attrs
import trio

from enforcement.mcp.headers import MISMATCH_CODE, NAMED, VERSION_KEY
from enforcement.mcp.jsonrpc import Reason, write_denial
from enforcement.mcp.strictjson import INVALID_CODE, PARSE_CODE
from node.proxy import limits
from node.proxy.asks import SESSION_HEADER, Answer, Ask, Headers, Letter, Piece, Way
from node.proxy.asks import find as find_header
from node.proxy.peek import Key, Kind, peek
from node.proxy.resource import Document
from node.proxy.session import Backend, Lost

_VERSION: Final = "mcp-protocol-version"
_FIRST: Final = "2026-"
_LISTEN: Final = "subscriptions/listen"
_SUBSCRIPTION: Final = "io.modelcontextprotocol/subscriptionId"
_JSON: Final[Headers] = (("content-type", "application/json"),)
_STATUS: Final[Mapping[int | None, int]] = {
    PARSE_CODE: 400,
    INVALID_CODE: 400,
    -32601: 404,
    -32602: 400,
    MISMATCH_CODE: 400,
    -32021: 400,
    -32022: 400,
}
"""Which HTTP status an error of the protocol has; all others 200."""


def is_stateless(headers: Mapping[str, str]) -> bool:
    """Whether a request says of itself that it needs no session."""
    if SESSION_HEADER in headers:
        return False
    return headers.get(_VERSION, "") >= _FIRST or "mcp-method" in headers


@attrs.define(eq=False)
class ChildCarrier:
    """The way of one agent to one server; see `node.proxy.asks.Carrier`.

    Attributes:
        start: Starts the server anew, or reaches one that cannot be started.
    """

    start: Callable[[], Awaitable[Backend]]
    _rest: deque[tuple["_Child", float]] = attrs.field(init=False, factory=deque)
    _busy: set["_Child"] = attrs.field(init=False, factory=set)
    _open: int = attrs.field(init=False, default=0)
    _starting: int = attrs.field(init=False, default=0)
    _joining: trio.Lock = attrs.field(init=False, factory=trio.Lock)
    """Who listens comes one by one, so that all join the same child."""
    is_open: bool = attrs.field(init=False, default=True)
    """Whether a child may rest, or is ended after its answer."""

    @property
    def is_unused(self) -> bool:
        """Whether it holds no child, and starts none."""
        return not self._rest and not self._open

    @property
    def children(self) -> int:
        """How many it holds or starts."""
        return len(self._rest) + len(self._busy) + self._starting

    async def ask(self, ask: Ask) -> Answer:
        """Pass a request to a child; returns with the first thing it says.

        Raises:
            Lost: it cannot be started, or has ended.
        """
        if ask.method != "POST" or len(ask.letters) != 1:
            return Document(405, (("allow", "POST"),), b"")
        letter = ask.letters[0]
        seen = peek(letter.data)
        if seen.kind is not Kind.REQUEST or seen.key is None:
            return Document(202, (), b"")  # that revision has none that a server needs
        wrong = _find_wrong(ask.headers, seen.method, letter.data)
        if wrong is not None:
            code, sentence = wrong
            denial = write_denial(seen.key[1], sentence, Reason.MALFORMED, code=code)
            return Document(_STATUS[code], _JSON, denial)
        return await self._serve(letter, seen.key, listens=seen.method == _LISTEN)

    async def _serve(self, letter: Letter, key: Key, *, listens: bool) -> Answer:
        if self._open >= limits.LONE_CHILDREN_MAX:
            raise Lost("too many requests of this agent wait for this server")
        self._open += 1
        answer: ChildAnswer | None = None
        try:
            async with self._joining if listens else contextlib.nullcontext():
                child = await self._find(key, listens=listens)
                answer = ChildAnswer(self, child, key, listens)
                child.answers[key] = answer
            await child.backend.send(letter.data, None)
            await answer.begin()
        except BaseException:
            if answer is None:
                self._open -= 1
            else:
                with trio.CancelScope(shield=True):
                    await answer.aclose()
            raise
        return answer

    async def _find(self, key: Key, *, listens: bool) -> "_Child":
        """A child where somebody listens, so that all who do hear what a call changes;
        or one at rest; or a new one."""
        for child in self._busy:
            if child.may_serve(key, listens=listens):
                return child
        rested = next((r for r in reversed(self._rest) if key not in r[0].gone), None)
        if rested is not None:
            self._rest.remove(rested)
            made = rested[0]
        else:
            self._starting += 1
            try:
                made = _Child(await self.start())
            finally:
                self._starting -= 1
        self._busy.add(made)
        return made

    def endpoint(self, data: bytes) -> Way | None:
        """That revision has no such event."""
        del data
        return None

    def keep(self, child: "_Child") -> None:
        """A child has answered all it was asked, and rests."""
        self._open -= 1
        if not child.answers:
            self._busy.discard(child)
            self._rest.append((child, trio.current_time()))

    async def drop(self, child: "_Child", key: Key, *, listened: bool) -> None:
        """Nobody wants this answer any more; who only listened leaves nothing undone."""
        child.gone.add(key)
        child.spoilt |= not listened or len(child.gone) > limits.LONE_CHILDREN_MAX
        params = {"requestId": key[1]}
        told = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
        if child.answers or not child.spoilt:
            sent = False
            with (
                contextlib.suppress(Lost),
                trio.CancelScope(shield=True),
                trio.move_on_after(limits.LINGER_S),
            ):
                await child.backend.send(json.dumps(told).encode(), None)
                sent = True
            child.spoilt |= not sent
        if not child.spoilt and self.is_open:
            self.keep(child)
            return
        self._open -= 1
        if not child.answers:
            self._busy.discard(child)
            await child.backend.aclose()

    async def tend(self) -> None:
        """End the children that have rested for long."""
        long_ago_s = trio.current_time() - limits.LONE_CHILD_REST_S
        while self._rest and self._rest[0][1] <= long_ago_s:
            await self._rest.popleft()[0].backend.aclose()

    async def make_room(self) -> bool:
        """End the child that has rested longest; False if none rests."""
        if not self._rest:
            return False
        await self._rest.popleft()[0].backend.aclose()
        return True

    async def close(self) -> None:
        """End those at rest, and let none rest any more."""
        self.is_open = False
        while self._rest:
            await self._rest.popleft()[0].backend.aclose()


@attrs.define(eq=False)
class _Child:
    """A child: at work for one call at most, and whoever listens beside it."""

    backend: Backend
    answers: dict[Key, "ChildAnswer"] = attrs.field(factory=dict)
    gone: set[Key] = attrs.field(factory=set)
    """Given up: their answers may still come, so no other request may be called so."""
    spoilt: bool = False
    """A call was given up: what it does may go on, so no other request may follow."""
    _reads: bool = False
    _news: trio.Event = attrs.field(factory=trio.Event)

    def may_serve(self, key: Key, *, listens: bool) -> bool:
        """Whether one more may go where somebody listens."""
        if self.spoilt or key in self.answers or key in self.gone:
            return False
        calls = any(not answer.listens for answer in self.answers.values())
        heard = any(answer.listens for answer in self.answers.values())
        return heard if listens else not calls

    async def next_of(self, answer: "ChildAnswer") -> bytes:
        """The next message for one of its answers; who waits reads for all.

        Raises:
            Lost: it has ended.
        """
        while not answer.ready:
            if self._reads:
                await self._news.wait()
                continue
            self._reads = True
            try:
                self._deliver(await self.backend.receive())
            finally:
                self._reads = False
                self._news.set()
                self._news = trio.Event()
        return answer.ready.popleft()

    def _deliver(self, data: bytes) -> None:
        seen = peek(data)
        key = seen.key if seen.kind is Kind.RESPONSE else None
        if key in self.gone:
            return
        answer = None if key is None else self.answers.get(key)
        answer = answer or self._find(data)  # what nobody asked for is the gate's
        if answer is not None:
            answer.ready.append(data)

    def _find(self, data: bytes) -> "ChildAnswer | None":
        """Whose a notification is: what names no subscription is the call's."""
        listening = [a for a in self.answers.values() if a.listens]
        calling = [a for a in self.answers.values() if not a.listens]
        if _SUBSCRIPTION.encode() in data or not calling:
            name = _subscription(data)
            if name in {str(key[1]) for key in self.gone}:
                return None
            named = [a for a in listening if str(a.key[1]) == name]
            return next(iter(named or calling), None)
        return calling[0]


@attrs.define(eq=False)
class ChildAnswer:
    """What a child says to one request; see `node.proxy.asks.Answer`."""

    _carrier: ChildCarrier
    _child: _Child | None
    key: Key
    listens: bool
    status: int = 200
    headers: Headers = ()
    events: bool = False
    ready: deque[bytes] = attrs.field(factory=deque)
    _next: bytes | None = None
    _done: bool = False

    async def begin(self) -> None:
        """Wait for the first message. Raises `Lost`."""
        self._next = await self._receive()
        if self._done:
            failed = peek(self._next)
            self.status = _STATUS.get(failed.code, 200) if failed.failed else 200
            self.headers = _JSON
        else:
            self.events = True

    async def next(self) -> Piece | None:
        """The next message; None after the answer. Raises `Lost`."""
        data, self._next = self._next, None
        if data is None:
            if self._done:
                return None
            data = await self._receive()
        return Piece(data)

    async def _receive(self) -> bytes:
        assert self._child is not None, "nothing is read after its end"
        data = await self._child.next_of(self)
        seen = peek(data)
        self._done = seen.kind is Kind.RESPONSE and seen.key == self.key
        return data

    def rest(self) -> bool:
        """Let the child rest, if it has answered."""
        child = self._child
        if child is None:
            return True
        if not self._done or child.spoilt or not self._carrier.is_open:
            return False
        self._child = None
        del child.answers[self.key]
        self._carrier.keep(child)
        return True

    async def aclose(self) -> None:
        """End the child, or what it does, unless it has answered."""
        child = self._child
        if self.rest() or child is None:
            return
        self._child = None
        del child.answers[self.key]
        await self._carrier.drop(child, self.key, listened=self.listens)


def _subscription(data: bytes) -> str:
    """The listening request that a notification names."""
    try:
        found: object = json.loads(data)
    except (ValueError, RecursionError):
        return ""
    for name in ("params", "_meta", _SUBSCRIPTION):
        found = found.get(name) if isinstance(found, dict) else None
    return "" if found is None else str(found)


def _find_wrong(headers: Headers, method: str, data: bytes) -> tuple[int, str] | None:
    """What the revision requires and is not there; the gate compares what is.

    A child takes the era of the first message it gets: none of another era may be it.
    """
    if method == "initialize":
        return -32601, "this revision has no `initialize`"
    needed = [_VERSION, "mcp-method", *(["mcp-name"] if method in NAMED else [])]
    for name in needed:
        if not find_header(headers, name):
            return MISMATCH_CODE, f"header `{name}` is needed in each request"
    params = json.loads(data).get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    if not isinstance(meta, dict) or not isinstance(meta.get(VERSION_KEY), str):
        return -32602, f"`_meta` needs `{VERSION_KEY}` in each request"
    return None
