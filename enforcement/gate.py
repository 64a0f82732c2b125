"""The gate: one MCP session between an agent and a server, as a state machine.

::

    LOCAL    agent ─▶ gate ─────────────────────────▶ server
    EGRESS   agent ─▶ gate ─▶ sign ─▶ + envelope ─ ─ ▶ other node
    INGRESS  other node ─ ─ ▶ envelope ─▶ gate ──────▶ server

A request passes, cheapest check first: parse, id, quarantine, envelope (ingress),
policy, rate. Whatever fails is answered with a JSON-RPC error that names the
reason, and goes no further; so does whatever Picket itself fails at. Answers,
notifications and the server's own requests pass both ways, as long as somebody
asked for them. What passes, passes byte for byte, on one line.
"""

import json
from typing import Final

import attrs

from enforcement import limits
from enforcement.effects import (
    Audit,
    Effect,
    Position,
    SignRequest,
    ToClient,
    ToServer,
    Verdict,
)
from enforcement.events import (
    ClientMessage,
    Event,
    Renewed,
    RequestSigned,
    ServerBack,
    ServerLost,
    ServerMessage,
    SigningFailed,
)
from enforcement.judging import DeniedError, Judge, Post, commit_request
from enforcement.mcp.exchange import Exchange
from enforcement.mcp.jsonrpc import (
    Notification,
    Reason,
    Request,
    Response,
    read_message_untrusted,
    write_denial,
)
from enforcement.mcp.leaves import SEED_BYTES
from enforcement.mcp.signing import REQUEST_ID_BYTES, RequestBody, write_body
from enforcement.mcp.strictjson import MalformedError, RequestKey, as_one_line
from enforcement.outbox import Outbox, Outgoing
from enforcement.principal import Principal
from gossip.domains import Domain
from gossip.suite import digest
from gossip.units import NodeId, UnixMs

_CANCELLED: Final = "notifications/cancelled"


@attrs.define(kw_only=True)
class Gate:
    """One session's gate. Hand it events; perform the effects in order.

    Attributes:
        position: Where it stands; see the diagram above.
        principal: The agent in whose name the session runs.
        server: The MCP server's name in the cluster.
        audience: The node that provides the server.
        post: What it shares with all gates of the daemon.
    """

    position: Position
    principal: Principal
    server: str
    audience: NodeId
    post: Post
    _judge: Judge = attrs.field(init=False, repr=False)
    _former: Principal | None = attrs.field(init=False, default=None, repr=False)
    _asked: Exchange = attrs.field(init=False, factory=Exchange, repr=False)
    _asked_back: Exchange = attrs.field(init=False, factory=Exchange, repr=False)
    _outbox: Outbox = attrs.field(init=False, factory=Outbox, repr=False)
    _tickets: int = attrs.field(init=False, default=0)
    _lost: str | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._judge = Judge(
            post=self.post,
            position=self.position,
            server=self.server,
            audience=self.audience,
        )

    def handle(self, event: Event, now_ms: UnixMs) -> list[Effect]:
        """Take one event; return what to do, in order. Never raises."""
        try:
            return self._handle(event, now_ms)
        except Exception:  # a fault of ours lets nothing through and ends no daemon
            data = (
                event.data if isinstance(event, ClientMessage | ServerMessage) else b""
            )
            seen = self._see(data, now_ms)
            return [self._audit(seen, Verdict.DROPPED, Reason.INTERNAL)]

    def _handle(self, event: Event, now_ms: UnixMs) -> list[Effect]:
        match event:
            case ClientMessage(data):
                return self._from_client(event, self._see(data, now_ms))
            case ServerMessage(data):
                return self._from_server(data, self._see(data, now_ms))
            case RequestSigned(ticket, by_agent, by_node):
                return self._outbox.signed(ticket, by_agent, by_node)
            case SigningFailed(ticket, sentence):
                return self._not_signed(ticket, sentence)
            case ServerLost(sentence):
                return self._server_lost(sentence)
            case ServerBack():
                self._lost = None
                return []
            case Renewed(principal):
                return self._renewed(principal)

    # from the agent's side

    def _from_client(self, event: ClientMessage, seen: "_Seen") -> list[Effect]:
        try:
            message = read_message_untrusted(event.data)
        except MalformedError as wrong:
            denial = write_denial(
                wrong.key, str(wrong), Reason.MALFORMED, code=wrong.code
            )
            audit = self._audit(seen, Verdict.DENIED, Reason.MALFORMED)
            return [audit, ToClient(denial)]
        if isinstance(message, Request):
            return self._request(message, event, seen)
        if self._judge.find_refused(self.principal) is not None and not (
            isinstance(message, Notification) and message.method == _CANCELLED
        ):
            return [self._audit(seen, Verdict.DROPPED, Reason.QUARANTINED)]
        if isinstance(message, Response):
            if message.key is not None and not self._asked_back.answer(message.key):
                return [self._audit(seen, Verdict.DROPPED, Reason.UNASKED)]
        elif message.method == _CANCELLED:
            _cancel(self._asked, message)
        if self._lost is not None or not self._outbox.has_room(len(event.data)):
            return [self._audit(seen, Verdict.DROPPED, Reason.SERVER)]
        return self._outbox.put(Outgoing(data=as_one_line(event.data)))

    def _request(
        self, request: Request, event: ClientMessage, seen: "_Seen"
    ) -> list[Effect]:
        seen.request = request
        try:
            return self._admit(request, event, seen)
        except DeniedError as denied:
            why = denied
        except Exception as wrong:  # whatever we fail at is denied, never forwarded
            kind = type(wrong).__name__
            why = DeniedError(Reason.INTERNAL, f"Picket failed on this call ({kind})")
        return [
            *why.evidence,
            self._audit(seen, Verdict.DENIED, why.reason, why.rule),
            ToClient(
                write_denial(
                    request.key,
                    str(why),
                    why.reason,
                    rule=why.rule,
                    advice=why.advice,
                )
            ),
        ]

    def _admit(
        self, request: Request, event: ClientMessage, seen: "_Seen"
    ) -> list[Effect]:
        if self._asked.is_used(request.key):
            raise DeniedError(Reason.REQUEST_ID, "this id is already in use")
        if self._asked.is_full or not self._outbox.has_room(len(event.data)):
            raise DeniedError(Reason.BUSY, "too many calls are waiting for an answer")
        if self.position is Position.INGRESS:
            known = [self.principal, *([self._former] if self._former else [])]
            verified = self._judge.admit_signed(
                request, event.envelope, known, seen.digest, seen.at_ms
            )
            seen.request_id = verified.envelope.body.request_id
        else:
            self._judge.admit(request, self.principal, seen.digest, seen.at_ms)
        if self._lost is not None:
            raise DeniedError(Reason.SERVER, self._lost)
        item = Outgoing(data=as_one_line(event.data), request=request)
        effects: list[Effect] = []
        if self.position is Position.EGRESS:
            effects.append(self._ask_signature(item, seen))
        item.audit = self._audit(seen, Verdict.ALLOWED, Reason.ALLOWED)
        self._asked.ask(request.key)
        return effects + self._outbox.put(item)

    def _ask_signature(self, item: Outgoing, seen: "_Seen") -> SignRequest:
        assert item.request is not None, "only requests are signed"
        item.seed = self.post.suite.random(SEED_BYTES)
        leaves = commit_request(item.request, item.seed)
        seen.request_id = self.post.suite.random(REQUEST_ID_BYTES)
        item.unsigned = RequestBody(
            cluster=self.post.cluster,
            node=self.principal.node,
            agent=self.principal.agent,
            key=self.principal.chain.key,
            cert=self.principal.cert_digest,
            audience=self.audience,
            server=self.server,
            method=item.request.method,
            tool=item.request.tool,
            request_id=seen.request_id,
            issued_at_ms=seen.at_ms,
            bundle=self.post.bundles.current.digest,
            root=leaves.root,
            count=leaves.count,
        )
        return self._issue(item, item.unsigned)

    def _issue(self, item: Outgoing, body: RequestBody) -> SignRequest:
        self._tickets += 1
        item.ticket = self._tickets
        item.unsigned, item.body = body, write_body(body)
        return SignRequest(self._tickets, item.body)

    def _not_signed(self, ticket: int, sentence: str) -> list[Effect]:
        item = self._outbox.drop(ticket)
        if item is None or item.request is None or item.audit is None:
            return []
        self._asked.answer(item.request.key)
        audit = attrs.evolve(
            item.audit, verdict=Verdict.DENIED, reason=Reason.SIGNER.value
        )
        denial = write_denial(item.request.key, sentence, Reason.SIGNER)
        return [audit, ToClient(denial), *self._outbox.settle()]

    def _renewed(self, principal: Principal) -> list[Effect]:
        """Requests still unsigned are signed anew: the old key may be gone.

        If more than the keys changed, policy has not judged them as they would be
        signed, and an honest node could convict itself: they are denied.
        """
        assert (principal.agent, principal.node) == (
            self.principal.agent,
            self.principal.node,
        ), "a session never changes hands"
        self._former, self.principal = self.principal, principal
        alike = _seen_by_policy(principal) == _seen_by_policy(self._former)
        effects: list[Effect] = []
        for item in self._outbox.unsigned():
            assert item.unsigned is not None, "it waits for signatures"
            assert item.ticket is not None, "it waits for signatures"
            if alike:
                key, cert = principal.chain.key, principal.cert_digest
                body = attrs.evolve(item.unsigned, key=key, cert=cert)
                effects.append(self._issue(item, body))
            else:
                sentence = "the agent's certificate has changed meanwhile; ask again"
                effects += self._not_signed(item.ticket, sentence)
        return effects

    # from the server's side

    def _from_server(self, data: bytes, seen: "_Seen") -> list[Effect]:
        try:
            message = read_message_untrusted(data, limits.SERVER_KEYS_MAX)
        except MalformedError as wrong:
            return self._malformed_from_server(data, wrong, seen)
        forward = ToClient(as_one_line(data))
        if isinstance(message, Response):
            if message.key is None or self._asked.answer(message.key):
                return [forward]
            return [self._audit(seen, Verdict.DROPPED, Reason.UNASKED)]
        if isinstance(message, Notification):
            if message.method == _CANCELLED:
                _cancel(self._asked_back, message)
            return [forward]
        if self._judge.find_refused(self.principal) is not None:
            return self._refuse_server(message, Reason.QUARANTINED, seen)
        if self._asked_back.is_full or self._asked_back.is_used(message.key):
            return self._refuse_server(message, Reason.BUSY, seen)
        self._asked_back.ask(message.key)
        return [forward]

    def _refuse_server(
        self, request: Request, reason: Reason, seen: "_Seen"
    ) -> list[Effect]:
        seen.request = request
        denial = write_denial(request.key, "the agent cannot be asked now", reason)
        return [self._audit(seen, Verdict.DENIED, reason), ToServer(denial)]

    def _malformed_from_server(
        self, data: bytes, wrong: MalformedError, seen: "_Seen"
    ) -> list[Effect]:
        """Drop it; but if it was an answer, tell whoever waits for it."""
        effects: list[Effect] = [self._audit(seen, Verdict.DROPPED, Reason.MALFORMED)]
        key = wrong.key if wrong.key is not None else _guess_key(data)
        if key is not None and self._asked.answer(key):
            sentence = f"the server's answer could not be read: {wrong}"
            effects.append(ToClient(write_denial(key, sentence, Reason.SERVER)))
        return effects

    def _server_lost(self, sentence: str) -> list[Effect]:
        self._lost = sentence
        self._outbox.clear()
        self._asked_back.abandon()
        return [
            ToClient(write_denial(key, sentence, Reason.SERVER))
            for key in self._asked.abandon()
        ]

    def _see(self, data: bytes, now_ms: UnixMs) -> "_Seen":
        return _Seen(digest(Domain.MESSAGE, self.post.salt, data), now_ms)

    def _audit(
        self, seen: "_Seen", verdict: Verdict, reason: Reason, rule: str = ""
    ) -> Audit:
        return Audit(
            at_ms=seen.at_ms,
            position=self.position,
            agent=self.principal.agent,
            node=self.principal.node,
            server=self.server,
            method=seen.request.method if seen.request else "",
            tool=seen.request.tool if seen.request else "",
            verdict=verdict,
            rule=rule,
            reason=reason.value,
            request_id=seen.request_id,
            digest=seen.digest,
        )


@attrs.define
class _Seen:
    """One message and what became known of it, for the trail."""

    digest: bytes
    at_ms: UnixMs
    request: Request | None = None
    request_id: bytes = b""


def _seen_by_policy(principal: Principal) -> tuple[str, tuple[str, ...], str]:
    return principal.name, principal.roles, principal.node_name


def _cancel(exchange: Exchange, message: Notification) -> None:
    key = (message.params or {}).get("requestId")
    if isinstance(key, str) or type(key) is int:
        exchange.cancel(key)


def _guess_key(data: bytes) -> RequestKey | None:
    """The id of an answer that a strict reader refuses, such as one with NaN in it.

    Only tells which waiting call failed; nothing else of it is believed.
    """
    if len(data) > limits.MESSAGE_BYTES_MAX:
        return None
    try:
        message: object = json.loads(data)
    except (ValueError, RecursionError):
        return None
    key = message.get("id") if isinstance(message, dict) else None
    return key if isinstance(key, str) or type(key) is int else None
