"""HTTP through the gate: each message judged, everything else as it was.

::

    POST  messages ─▶ gate ─▶ what passed ─▶ carrier      GET, DELETE ─▶ carrier
    agent ◀─ status, headers, what passed ◀─ gate ◀─ each message of the answer

A passage serves one session of a server behind a URL, or one request that belongs
to none: the stateless revision's, and those of servers without sessions.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import attrs
import trio

from enforcement import limits as gate_limits
from enforcement.mcp.batch import (
    BATCH_REVISION,
    is_batch,
    join_batch,
    split_batch_untrusted,
)
from enforcement.mcp.headers import MISMATCH_CODE
from enforcement.mcp.jsonrpc import Reason, write_denial
from enforcement.mcp.strictjson import INVALID_CODE, PARSE_CODE, MalformedError
from node.proxy.asks import (
    METADATA,
    SESSION_HEADER,
    Answer,
    Ask,
    Carrier,
    Headers,
    Letter,
    Out,
    Piece,
    Way,
    find,
)
from node.proxy.peek import Kind, peek
from node.proxy.session import Lost, Session

JSON: Final = ("content-type", "application/json")
_REPEATING: Final = ("mcp-method", "mcp-name", "mcp-param-")
_OF_MESSAGE: Final = (*_REPEATING, "last-event-id")
_TEXT: Final = ("content-type", "text/plain; charset=utf-8")
_UNREADABLE_MAX: Final = 8_192
_OAUTH_ERRORS: Final = frozenset(
    {
        "access_denied",
        "insufficient_scope",
        "insufficient_user_authentication",
        "invalid_client",
        "invalid_dpop_proof",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "invalid_target",
        "invalid_token",
        "unauthorized_client",
        "use_dpop_nonce",
    }
)
"""What a client can act on: RFC 6749, 6750, 8707, 9449 and 9470."""
_UNCLEAR: Final = (PARSE_CODE, INVALID_CODE, MISMATCH_CODE)


@attrs.define(eq=False)
class Passage:
    """One session's, or one lone request's, way through its gate.

    Attributes:
        lone: It ends with its request: nobody comes back for an answer.
        way: Where its messages go, if that is not the server's own URL.
        on_endpoint: Told of the event ``endpoint``; returns what it says here.
        revision: What server and agent agreed on; empty without a session.
    """

    session: Session
    carrier: Carrier
    lone: bool = True
    way: Way | None = None
    on_endpoint: Callable[[bytes], bytes | None] | None = None
    revision: str = ""

    async def pass_on(
        self, ask: Ask, out: Out, on_head: Callable[[Answer], None]
    ) -> None:
        """Judge a request, carry it, and give ``out`` the answer.

        ``ask.letters`` hold what the agent sent, with the envelopes it came with.
        ``on_head`` sees the head of the server's answer before ``out`` does.
        """
        letters, replies = await self._judge(ask)
        if ask.letters and not letters:
            await self._refuse(ask, replies, out)
            return
        passed = self._address(ask, tuple(letters))
        try:
            answer = await self.carrier.ask(passed)
        except Lost as lost:
            await self._lost(passed, lost, replies, out)
            return
        try:
            on_head(answer)
            if ask.target == METADATA and not answer.events:
                piece = await answer.next()
                words = b"" if piece is None else piece.data
                await out.whole(answer.status, answer.headers, words)
            elif answer.events:
                await self._events(passed, answer, replies, out)
            else:
                await self._whole(passed, answer, replies, out)
        except Lost as lost:
            await self._lost(passed, lost, [], out)
        finally:
            if ask.method == "GET":
                self.session.outlet = None
            if not answer.rest():
                with trio.CancelScope(shield=True):
                    await answer.aclose()

    def _address(self, ask: Ask, letters: tuple[Letter, ...]) -> Ask:
        headers, target, way = ask.headers, ask.target, self.way
        if way is not None:
            headers = tuple(h for h in headers if h[0] != SESSION_HEADER)
            if way.session:
                headers = (*headers, (SESSION_HEADER, way.session))
            target = way.target
        return Ask(ask.method, headers, letters, ask.batch, target)

    async def end(self, ask: Ask, out: Out) -> None:
        """It was ended from outside, perhaps in the middle of an answer."""
        await self._lost(ask, Lost("the session has been ended here"), [], out)

    async def _judge(self, ask: Ask) -> tuple[list[Letter], list[bytes]]:
        """What the gate lets through, and what it answers itself."""
        letters: list[Letter] = []
        replies: list[bytes] = []

        async def send(data: bytes, envelope: bytes | None) -> None:
            letters.append(Letter(data, envelope))

        headers: dict[str, str] | None = None
        for name, _ in ask.headers:
            if name.startswith(_REPEATING):
                headers = dict(ask.headers)
                break
        for letter in ask.letters:
            replies += await self.session.client_said(
                letter.data,
                letter.envelope,
                headers=headers,
                send=send,
                question=partial(self._question, ask),
            )
        return letters, replies

    async def _question(self, ask: Ask, data: bytes) -> bytes:
        """The gate itself asks the server, on a way of its own beside ``ask``."""
        key = peek(data).key
        own = tuple((k, v) for k, v in ask.headers if not k.startswith(_OF_MESSAGE))
        if any(k == "mcp-method" for k, _ in ask.headers):
            own = (*own, ("mcp-method", peek(data).method or ""))
        asked = attrs.evolve(ask, headers=own, letters=(Letter(data),), batch=False)
        try:
            answer = await self.carrier.ask(asked)
            try:
                while (piece := await answer.next()) is not None:
                    if piece.data and peek(piece.data).key == key:
                        return piece.data
            finally:
                with trio.CancelScope(shield=True):
                    await answer.aclose()
        except Lost:
            pass  # the call that waits for it is denied
        sentence = "the server did not answer"
        return write_denial(key[1] if key else None, sentence, Reason.SERVER)

    async def _refuse(self, ask: Ask, replies: list[bytes], out: Out) -> None:
        """Nothing passed: the gate's own answer is the answer."""
        if not replies:
            await out.whole(202, (), b"")
        elif ask.batch:
            await out.whole(200, (JSON,), join_batch(replies))
        else:
            seen = peek(replies[0])
            unclear = seen.key is None or seen.code in _UNCLEAR
            status = 400 if unclear else 200
            await out.whole(status, (JSON,), replies[0])

    async def _whole(
        self, ask: Ask, answer: Answer, replies: Sequence[bytes], out: Out
    ) -> None:
        """An answer in one piece: JSON, nothing, or words about an error."""
        piece = await answer.next()
        body = b"" if piece is None or answer.status == 202 else piece.data
        clear = answer.status == 200 and _is_json(answer.headers)
        told = await self._through(body, clear) if body else []
        if told or not body:
            self._note_revision(ask, told or ())
            passed = [*replies, *(told or ())]
            headers = _without_type(answer.headers)
            if passed:
                headers = (*headers, JSON)
            batch = ask.batch and len(passed) > 0
            data = join_batch(passed) if batch else b"".join(passed[:1])
            await out.whole(answer.status, headers, data)
            return
        else_than = "something else than MCP" if told is None else "at odds"
        nonsense = Lost(f"the server answered {else_than}")
        if answer.status < 400:
            return await self._lost(ask, nonsense, replies, out)
        await self._settle(ask, nonsense)
        kind, words = _words(answer.status, body)
        rest = [h for h in answer.headers if not h[0].startswith("content-")]
        await out.whole(answer.status, (*rest, kind), words)

    async def _events(
        self, ask: Ask, answer: Answer, replies: Sequence[bytes], out: Out
    ) -> None:
        """An answer that comes in events; what is not forwarded leaves its id."""
        await out.begin(answer.status, _without_type(answer.headers))
        if ask.method == "GET":  # the agent listens to what nobody asked for
            self.session.outlet = lambda data: out.piece(Piece(data))
        for reply in replies:
            await out.piece(Piece(reply))
        while (piece := await answer.next()) is not None:
            if not piece.data:
                await out.piece(piece)
                continue
            if piece.name == "endpoint" and self.on_endpoint is not None:
                where = self.on_endpoint(piece.data)
                if where is None:
                    raise Lost("the server wants its messages elsewhere")
                await out.piece(Piece(where, name="endpoint"))
                continue
            passed = await self._through(piece.data) or []
            self._note_revision(ask, passed)
            for told in passed:
                await out.piece(attrs.evolve(piece, data=told))
        await out.end()

    async def _through(self, data: bytes, clear: bool = False) -> list[bytes] | None:
        """What the gate passes of what the server says; None if it is no JSON-RPC.

        What is ``clear`` is the gate's to read, whatever it is.
        """
        if self.revision == BATCH_REVISION and is_batch(data):
            try:
                parts = split_batch_untrusted(data, gate_limits.SERVER_KEYS_MAX)
            except MalformedError:
                return []
            told: list[bytes] = []
            for part in parts:
                told += await self.session.server_said(part, send=self._say_back)
            return told
        if not clear and peek(data).kind is Kind.UNREADABLE:
            return None
        return await self.session.server_said(data, send=self._say_back)

    async def _say_back(self, data: bytes, envelope: bytes | None) -> None:
        """The gate itself answers the server, in place of the agent."""
        del envelope
        answer = await self.carrier.ask(Ask("POST", letters=(Letter(data),)))
        await answer.aclose()

    async def _lost(
        self, ask: Ask, lost: Lost, replies: Sequence[bytes], out: Out
    ) -> None:
        """Nothing more will come: each request that waits is told."""
        told = [*replies, *await self._settle(ask, lost)]
        if not told:
            await out.whole(502, (("content-type", "text/plain"),), str(lost).encode())
        elif ask.batch:
            await out.whole(200, (JSON,), join_batch(told))
        else:
            await out.whole(200, (JSON,), told[0])

    async def _settle(self, ask: Ask, lost: Lost) -> list[bytes]:
        """Tell the gate that these requests get no answer; returns what it tells."""
        told: list[bytes] = []
        for letter in ask.letters:
            seen = peek(letter.data)
            if seen.kind is Kind.REQUEST and seen.key is not None:
                failed = write_denial(
                    seen.key[1], str(lost), Reason.SERVER, advice=lost.advice
                )
                told += await self.session.server_said(failed, send=self._say_back)
        return told

    async def forget(self, ask: Ask) -> None:
        """The agent has gone: an answer may come later, on another stream."""

        async def nowhere(data: bytes, envelope: bytes | None) -> None:
            del data, envelope

        for letter in ask.letters:
            seen = peek(letter.data)
            if seen.kind is Kind.REQUEST and seen.key is not None:
                params = {"requestId": seen.key[1]}
                cancelled = {"method": "notifications/cancelled", "params": params}
                text = json.dumps({"jsonrpc": "2.0", **cancelled})
                await self.session.client_said(text.encode(), send=nowhere)

    def _note_revision(self, ask: Ask, told: Sequence[bytes]) -> None:
        if told and not self.revision and opens(ask):
            self.revision = read_revision(told[0])


def opens(ask: Ask) -> bool:
    """Whether this request asks for a session."""
    if len(ask.letters) != 1 or ask.session or ask.batch:
        return False
    if b"initialize" not in ask.letters[0].data and b"\\" not in ask.letters[0].data:
        return False
    return peek(ask.letters[0].data).method == "initialize"


def letters_of(body: bytes, revision: str) -> tuple[tuple[Letter, ...], bool]:
    """What a POST brings, and whether it is a batch.

    Raises:
        MalformedError: a batch that is not one clear array.
    """
    if revision != BATCH_REVISION or not is_batch(body):
        return (Letter(body),), False
    parts = split_batch_untrusted(body, gate_limits.CLIENT_KEYS_MAX)
    return tuple(Letter(part) for part in parts), True


def refusal(sentence: str, code: int = INVALID_CODE) -> bytes:
    """A JSON-RPC error about what is no readable message."""
    return write_denial(None, sentence, Reason.MALFORMED, code=code)


def read_revision(answer: bytes) -> str:
    """The revision in the answer to `initialize`; empty if it has none."""
    try:
        result = json.loads(answer).get("result")
    except (ValueError, RecursionError, AttributeError):
        return ""
    version = result.get("protocolVersion") if isinstance(result, dict) else None
    return version if isinstance(version, str) else ""


def _words(status: int, body: bytes) -> tuple[tuple[str, str], bytes]:
    """What an agent is told of an error that no rule can judge, and its type.

    Its words could hold what rules keep back, or orders to a model: of them only a
    code of OAuth travels. Challenges are in headers.
    """
    try:
        told: object = json.loads(body) if len(body) <= _UNREADABLE_MAX else None
    except (ValueError, RecursionError):
        told = None
    code = told.get("error") if isinstance(told, dict) else None
    if isinstance(code, str) and code in _OAUTH_ERRORS:
        return JSON, json.dumps({"error": code}).encode()
    sentence = f"the server answered with status {status} and no MCP message for this"
    return _TEXT, sentence.encode() + b"\n"


def _is_json(headers: Headers) -> bool:
    return find(headers, "content-type").startswith("application/json")


def _without_type(headers: Headers) -> Headers:
    dropped = ("content-type", "cache-control")
    return tuple((k, v) for k, v in headers if k not in dropped)
