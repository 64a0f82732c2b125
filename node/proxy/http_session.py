"""One Streamable HTTP session: which answer goes out on which response."""

from collections import deque

import attrs
import trio

from enforcement.mcp.batch import join_batch
from gossip.units import AgentId
from node.proxy import limits
from node.proxy.asks import SESSION_HEADER
from node.proxy.batches import Batches
from node.proxy.httpd import Exchange
from node.proxy.passage import refusal
from node.proxy.peek import Key, Kind, Peek, peek
from node.proxy.session import Session


@attrs.define(eq=False)
class _Post:
    """A POSTed request whose answer is due."""

    exchange: Exchange
    token: Key | None
    opens: bool
    """It is the `initialize`: its answer names the session."""
    batch: "_Batch | None" = None

    @property
    def takes_events(self) -> bool:
        return "text/event-stream" in self._accept

    @property
    def prefers_events(self) -> bool:
        """Whether it takes nothing else, or names them first."""
        return self._accept.lstrip().startswith("text/event-stream")

    @property
    def _accept(self) -> str:
        return self.exchange.request.headers.get("accept", "")


@attrs.define(eq=False)
class _Batch:
    """Requests that came together, and so do their answers."""

    left: int
    answers: list[bytes] = attrs.field(factory=list)


@attrs.define(eq=False)
class HttpSession:
    """Routes one session's messages between HTTP exchanges and its gate."""

    name: str
    session: Session
    _posts: dict[Key, _Post] = attrs.field(init=False, factory=dict)
    _listener: Exchange | None = attrs.field(init=False, default=None)
    _parked: deque[bytes] = attrs.field(init=False, factory=deque)
    _parked_bytes: int = attrs.field(init=False, default=0)
    _batches: Batches = attrs.field(init=False, factory=Batches)
    _used_s: float = attrs.field(init=False, factory=trio.current_time)
    _ended: bool = attrs.field(init=False, default=False)
    _scope: trio.CancelScope = attrs.field(init=False, factory=trio.CancelScope)

    @property
    def owner(self) -> tuple[AgentId, str]:
        """Whose session it is, and with which server."""
        return self.session.principal.agent, self.session.server

    async def run(self) -> None:
        """Pass on what the server says, until the session ends."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tend)
                await self.session.pump(self._route)
                nursery.cancel_scope.cancel()
        self._ended = True
        with trio.CancelScope(shield=True), trio.move_on_after(limits.LINGER_S):
            for reply in await self.session.server_lost("the session has ended"):
                await self._route(reply)
            for post in list(self._posts.values()):
                await post.exchange.answer(404)
            if self._listener is not None:
                await self._listener.end_events()

    def end(self) -> None:
        """End it from this side."""
        self._scope.cancel()

    async def post(self, exchange: Exchange) -> None:
        """Take one POSTed message; its answer may come later."""
        self._used_s = trio.current_time()
        body = exchange.request.body
        parts = self._batches.part(body)
        if parts:
            await self._post_batch(exchange, parts)
            return
        seen = peek(body)
        key = seen.key if seen.kind is Kind.REQUEST else None
        if key is None or key in self._posts or len(self._posts) >= limits.PENDING_MAX:
            await self._post_other(exchange, key)
            return
        opens = seen.method == "initialize"
        post = self._posts[key] = _Post(exchange, seen.token, opens)
        exchange.on_gone = lambda: self._forget(key, post)
        for reply in await self.session.client_said(body):
            about = peek(reply)
            if about.failed and about.key is None:  # we could read it, the gate not
                self._forget(key, post)
                await exchange.answer(400, reply)
            else:
                await self._route(reply)
        if self._ended:
            await exchange.answer(404)

    async def _post_batch(self, exchange: Exchange, parts: list[bytes]) -> None:
        """Take messages that came together; one array answers them, or events."""
        seen = [peek(part) for part in parts]
        asked = {s.key: s for s in seen if s.kind is Kind.REQUEST and s.key is not None}
        requests = sum(s.kind is Kind.REQUEST for s in seen)
        if len(asked) != requests or asked.keys() & self._posts.keys():
            sentence = "a batch has an id twice, or one that is in use"
            await exchange.answer(400, refusal(sentence))
            return
        batch = _Batch(left=len(asked))
        posts = {k: _Post(exchange, s.token, False, batch) for k, s in asked.items()}
        self._posts.update(posts)

        def forget() -> None:
            for key, post in posts.items():
                self._forget(key, post)

        exchange.on_gone = forget
        for part, told in zip(parts, seen, strict=True):
            for reply in await self.session.client_said(part):
                about = peek(reply)
                if about.failed and about.key is None and told.key in asked:
                    self._posts.pop(told.key, None)  # read here, and not by the gate
                    await self._finish_batched(exchange, batch, reply)
                else:
                    await self._route(reply)
        if self._ended:
            await exchange.answer(404)
        elif not asked:
            await exchange.answer(202)

    def _forget(self, key: Key, post: _Post) -> None:
        if self._posts.get(key) is post:
            del self._posts[key]

    async def _post_other(self, exchange: Exchange, key: Key | None) -> None:
        """Take what waits for no answer: 202, or 400 and why it was refused."""
        refused: bytes | None = None
        for reply in await self.session.client_said(exchange.request.body):
            about = peek(reply)
            ours = about.key in (None, key) or about.key not in self._posts
            if refused is None and about.failed and ours:
                refused = reply
            else:
                await self._route(reply)
        if refused is None:
            await exchange.answer(202)
        else:
            await exchange.answer(400, refused)

    async def listen(self, exchange: Exchange) -> bool:
        """Make a GET the stream of what belongs to no call; False if taken."""
        if self._listener is not None:
            return False
        self._used_s = trio.current_time()
        self._listener = exchange
        exchange.on_gone = self._unlisten
        await exchange.start_events([(SESSION_HEADER, self.name)])
        while self._parked and self._listener is exchange:
            await exchange.event(self._unpark())
        return True

    def _unlisten(self) -> None:
        self._used_s = trio.current_time()
        self._listener = None

    async def _route(self, data: bytes) -> None:
        """Send one message of the server's side to where it belongs."""
        seen = peek(data)
        if seen.kind is Kind.RESPONSE:
            await self._finish(seen, data)
            return
        exchange = self._stream_for(seen)
        if exchange is not None:
            if not exchange.streaming:
                await exchange.start_events()
            await exchange.event(data)
            return
        self._parked.append(data)
        self._parked_bytes += len(data)
        while (
            len(self._parked) > limits.PARKED_MESSAGES_MAX
            or self._parked_bytes > limits.PARKED_BYTES_MAX
        ):
            self._unpark()

    def _unpark(self) -> bytes:
        data = self._parked.popleft()
        self._parked_bytes -= len(data)
        return data

    async def _finish(self, seen: Peek, data: bytes) -> None:
        post = None if seen.key is None else self._posts.pop(seen.key, None)
        if post is None:
            return
        exchange = post.exchange
        if post.batch is not None:
            await self._finish_batched(exchange, post.batch, data)
            return
        self._batches.hear(data)
        began = post.opens and not seen.failed
        headers = [(SESSION_HEADER, self.name)] if began else []
        if post.prefers_events and not exchange.streaming:
            await exchange.start_events(headers)
        if exchange.streaming:
            await exchange.event(data)
            await exchange.end_events()
        else:
            await exchange.answer(200, data, headers=headers)
        if post.opens and not began:
            self.end()

    async def _finish_batched(
        self, exchange: Exchange, batch: _Batch, data: bytes
    ) -> None:
        batch.answers.append(data)
        batch.left -= 1
        if batch.left:
            return
        if not exchange.streaming:
            await exchange.answer(200, join_batch(batch.answers))
            return
        for answer in batch.answers:
            await exchange.event(answer)
        await exchange.end_events()

    def _stream_for(self, seen: Peek) -> Exchange | None:
        """The exchange for a notification or request of the server."""
        posts = [p for p in self._posts.values() if p.takes_events and not p.opens]
        if seen.token is not None:
            for post in posts:
                if post.token == seen.token:
                    return post.exchange
        if self._listener is not None:
            return self._listener
        return posts[-1].exchange if posts else None

    async def _tend(self) -> None:
        """Show signs of life on quiet streams; end a session nobody uses."""
        while True:
            await trio.sleep(limits.EVENTS_PING_S)
            streams = [p.exchange for p in self._posts.values()]
            if self._listener is not None:
                streams.append(self._listener)
            for exchange in streams:
                if exchange.streaming:
                    await exchange.comment()
            unused_s = trio.current_time() - self._used_s
            if not streams and unused_s > limits.SESSION_IDLE_S:
                self.end()
