"""The gate: one MCP session between an agent and a server, as a state machine.

::

    LOCAL    agent ─▶ gate ─────────────────────────▶ server
    EGRESS   agent ─▶ gate ─▶ sign ─▶ + envelope ─ ─ ▶ other node
    INGRESS  other node ─ ─ ▶ envelope ─▶ gate ──────▶ server

A request passes, cheapest check first: parse, id, the agent's proof (once a session),
quarantine, envelope (ingress), tool and schema, trust, policy, rate. Whatever fails is answered with a JSON-RPC error that names the reason, and goes no further; so does whatever Picket itself fails at. Answers,
notifications and the server's own requests pass both ways, as long as somebody
asked for them. What passes, passes byte for byte, on one line.
"""

from typing import Final

import attrs

from enforcement import limits
from enforcement.antechamber import Antechamber
from enforcement.defend.compliance import mark
from enforcement.defend.testimony import Patience
from enforcement.detect.pins import Manifest
from enforcement.effects import (
    Audit,
    Effect,
    HangUp,
    Position,
    ToClient,
    ToServer,
    Verdict,
)
from enforcement.events import (
    ClientMessage,
    Event,
    Proven,
    Renewed,
    RequestSigned,
    ServerBack,
    ServerLost,
    ServerMessage,
    SigningFailed,
)
from enforcement.judging import Judge
from enforcement.mcp.exchange import Exchange
from enforcement.mcp.headers import check_headers_untrusted
from enforcement.mcp.jsonrpc import (
    Message,
    Notification,
    Reason,
    Request,
    Response,
    guess_key_untrusted,
    read_message_untrusted,
    write_denial,
)
from enforcement.mcp.strictjson import MalformedError, RequestKey, as_one_line
from enforcement.outbox import Outbox, Outgoing
from enforcement.post import DeniedError, Post
from enforcement.principal import Principal
from enforcement.signatory import Signatory
from enforcement.tooling import Tooling
from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.suite import digest
from gossip.units import NodeId, UnixMs

_CANCELLED: Final = "notifications/cancelled"
_TOOLS_CHANGED: Final = "notifications/tools/list_changed"
_WORDLESS: Final = ("ping", "roots/list")
"""What a server may ask while it works on data that the agent must not see."""


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
    session: bytes = attrs.field(init=False, repr=bytes.hex)
    _judge: Judge = attrs.field(init=False, repr=False)
    _former: Principal | None = attrs.field(init=False, default=None, repr=False)
    _asked: Exchange = attrs.field(init=False, factory=Exchange, repr=False)
    _asked_back: Exchange = attrs.field(init=False, factory=Exchange, repr=False)
    _outbox: Outbox = attrs.field(init=False, factory=Outbox, repr=False)
    _tooling: Tooling | None = attrs.field(init=False, default=None, repr=False)
    _waiting: Antechamber = attrs.field(init=False, repr=False)
    _signatory: Signatory = attrs.field(init=False, repr=False)
    _lost: str | None = attrs.field(init=False, default=None)
    _patience: Patience = attrs.field(init=False, factory=Patience, repr=False)

    def __attrs_post_init__(self) -> None:
        post, at, name, who = self.post, self.position, self.server, self.audience
        self.session = post.suite.random(32)
        self._judge = Judge(
            post=post, position=at, server=name, audience=who, session=self.session
        )
        self._signatory = Signatory(post=post, server=name, audience=who)
        if post.pins is not None:
            asks = at is not Position.EGRESS
            self._tooling = Tooling(server=name, pins=post.pins, asks=asks)
            self._tooling.is_refused = post.is_refused
        tools = self._tooling
        self._waiting = Antechamber(post=post, position=at, server=name, tooling=tools)

    def handle(self, event: Event, now_ms: UnixMs) -> list[Effect]:
        """Take one event; return what to do, in order. Never raises."""
        try:
            return self._handle(event, now_ms)
        except Exception:  # a fault of ours lets nothing through and ends no daemon
            data = (
                event.data if isinstance(event, ClientMessage | ServerMessage) else b""
            )
            seen = self._see(data, now_ms)
            return self._note(seen, Verdict.DROPPED, Reason.INTERNAL)

    def _handle(self, event: Event, now_ms: UnixMs) -> list[Effect]:
        match event:
            case ClientMessage(data):
                return self._from_client(event, self._see(data, now_ms))
            case ServerMessage(data):
                return self._from_server(data, self._see(data, now_ms))
            case RequestSigned(ticket, by_agent, by_node):
                return self._outbox.signed(ticket, by_agent, by_node)
            case Proven(ticket, signature):
                return self._proved(ticket, signature, now_ms)
            case SigningFailed(ticket, sentence):
                if self._waiting.challenges(ticket):
                    self._waiting.failed()
                    return self._deny_held(sentence, Reason.SIGNER, now_ms)
                return self._not_signed(ticket, sentence)
            case ServerLost(sentence):
                return self._server_lost(sentence, now_ms)
            case ServerBack():
                self._lost = None
                return []
            case Renewed(principal):
                return self._renewed(principal)

    # from the agent's side

    def _from_client(self, event: ClientMessage, seen: "_Seen") -> list[Effect]:
        try:
            message = read_message_untrusted(event.data)
            if event.headers and not isinstance(message, Response):
                check_headers_untrusted(event.headers, message)
            event = attrs.evolve(event, data=_as_line(event.data, message))
        except MalformedError as wrong:
            denial = write_denial(
                wrong.key, str(wrong), Reason.MALFORMED, code=wrong.code
            )
            audit = self._note(seen, Verdict.DENIED, Reason.MALFORMED)
            return [*audit, ToClient(denial), *self._junk(seen)]
        if isinstance(message, Request):
            return self._request(message, event, seen)
        if self._judge.find_refused(self.principal) is not None and not (
            isinstance(message, Notification) and message.method == _CANCELLED
        ):
            return self._drop(seen, Reason.QUARANTINED)
        if isinstance(message, Response):
            if message.key is not None and not self._asked_back.answer(message.key):
                return self._drop(seen, Reason.UNASKED)
        elif not self._judge.has_rate(self.principal, seen.at_ms):
            return self._drop(seen, Reason.RATE)
        elif message.method == _CANCELLED:
            key = _cancel(self._asked, message)
            if self._waiting.cancel(key):
                return self._note(seen, Verdict.DROPPED, Reason.UNASKED)
        if self._lost is not None or not self._outbox.has_room(len(event.data)):
            return self._note(seen, Verdict.DROPPED, Reason.SERVER)
        return self._outbox.put(Outgoing(data=event.data))

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
        self._judge.distrust(self.principal, why, seen.at_ms)
        accuses = bool(why.evidence)
        return [
            *why.evidence,
            *self._note(seen, Verdict.DENIED, why.reason, why.rule, always=accuses),
            ToClient(
                write_denial(
                    request.key,
                    str(why),
                    why.reason,
                    rule=why.rule,
                    advice=why.advice,
                )
            ),
            *(self._junk(seen) if _is_junk(why) else []),
        ]

    def _admit(
        self, request: Request, event: ClientMessage, seen: "_Seen"
    ) -> list[Effect]:
        if self._asked.is_used(request.key) or self._waiting.holds(request.key):
            raise DeniedError(Reason.REQUEST_ID, "this id is already in use")
        if self._asked.is_full or not self._outbox.has_room(len(event.data)):
            raise DeniedError(Reason.BUSY, "too many calls are waiting for an answer")
        first = self._before(request, event, seen.at_ms)
        if first is not None:
            return first
        manifest: Manifest | None = None
        if self.position is Position.INGRESS:
            known = [self.principal, *([self._former] if self._former else [])]
            verified = self._judge.admit_signed(
                request, event.envelope, known, seen.digest, seen.at_ms
            )
            seen.request_id = verified.envelope.body.request_id
        else:
            manifest = self._judge.admit(
                request, self.principal, seen.digest, seen.at_ms
            )
        if self._lost is not None:
            raise DeniedError(Reason.SERVER, self._lost)
        item = Outgoing(data=event.data, request=request)
        effects: list[Effect] = []
        if self.position is Position.EGRESS:
            at_ms = seen.at_ms
            asked = self._signatory.ask(item, self.principal, manifest, at_ms)
            effects.append(asked)
            if item.unsigned is not None:
                seen.request_id = item.unsigned.request_id
        item.audit = self._audit(seen, Verdict.ALLOWED, Reason.ALLOWED)
        self._asked.ask(request.key)
        if self._tooling is not None:
            self._tooling.note(request)
        return effects + self._outbox.put(item)

    # before a request: the agent's proof, the server's tools

    def _before(
        self, request: Request, event: ClientMessage, now_ms: UnixMs
    ) -> list[Effect] | None:
        self._judge.check_quarantine(self.principal)
        ticket = self._signatory.ticket()
        return self._waiting.stop(request, event, self.principal, ticket, now_ms)

    def _proved(self, ticket: int, signature: bytes, now_ms: UnixMs) -> list[Effect]:
        try:
            proved = self._waiting.proved(ticket, signature, now_ms)
        except PeerError as wrong:
            return self._deny_held(str(wrong), Reason.CHALLENGE, now_ms)
        return self._release(now_ms) if proved else []

    def _release(self, now_ms: UnixMs) -> list[Effect]:
        """Take up again what was held, as if it came now."""
        effects: list[Effect] = []
        for _, event in self._waiting.empty():
            effects += self._from_client(event, self._see(event.data, now_ms))
        return effects

    def _deny_held(self, sentence: str, reason: Reason, now_ms: UnixMs) -> list[Effect]:
        effects: list[Effect] = []
        for request, event in self._waiting.empty():
            seen = self._see(event.data, now_ms)
            seen.request = request
            effects += self._note(seen, Verdict.DENIED, reason)
            effects.append(ToClient(write_denial(request.key, sentence, reason)))
        return effects

    def _take_tools(
        self, tooling: Tooling, answer: Response | None, now_ms: UnixMs
    ) -> list[Effect]:
        """The server answered a question of our own."""
        last, effects = self._waiting.listed(tooling, answer, now_ms)
        if last:
            effects += self._release(now_ms)
        if answer is None or answer.failed:
            tooling.changed()  # it may do better when it is asked again
        return effects

    # signing

    def _not_signed(self, ticket: int, sentence: str) -> list[Effect]:
        item = self._outbox.drop(ticket)
        if item is None or item.request is None or item.audit is None:
            return []
        self._close(item.request.key)
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
                effects.append(self._signatory.issue(item, body))
            else:
                sentence = "the agent's certificate has changed meanwhile; ask again"
                effects += self._not_signed(item.ticket, sentence)
        return effects

    # from the server's side

    def _from_server(self, data: bytes, seen: "_Seen") -> list[Effect]:
        try:
            message = read_message_untrusted(data, limits.SERVER_KEYS_MAX)
            data = _as_line(data, message)
        except MalformedError as wrong:
            return self._malformed_from_server(data, wrong, seen)
        tooling = self._tooling
        if isinstance(message, Response):
            if tooling is not None and tooling.is_answer(message.key):
                return self._take_tools(tooling, message, seen.at_ms)
            if message.key is not None and not self._asked.answer(message.key):
                return self._note(seen, Verdict.DROPPED, Reason.UNASKED)
        refused = self._judge.find_refused(self.principal) is not None
        if refused:
            return self._cut_off(message, seen)
        if isinstance(message, Response):
            return self._answer(message, data, seen.at_ms)
        if isinstance(message, Notification):
            if message.method == _CANCELLED:
                _cancel(self._asked_back, message)
            elif message.method == _TOOLS_CHANGED and tooling is not None:
                tooling.changed()
            if tooling is not None and message.params:
                hidden = self._hidden_now(seen.at_ms)
                data = tooling.show_notification(data, message, hidden)
            return [ToClient(data)]
        if self._asked_back.is_full or self._asked_back.is_used(message.key):
            return self._refuse_server(message, Reason.BUSY, seen)
        if message.method not in _WORDLESS and self._hidden_now(seen.at_ms):
            return self._refuse_server(message, Reason.NO_PERMIT, seen)
        self._asked_back.ask(message.key)
        return [ToClient(data)]

    def _hidden_now(self, now_ms: UnixMs) -> frozenset[str]:
        """The tags of calls that are open whose data the agent may not be shown."""
        if self._tooling is None:
            return frozenset()
        manifests = self._tooling.open_manifests()
        hidden = (self._judge.hidden(self.principal, m, now_ms) for m in manifests)
        return frozenset().union(*hidden)

    def _close(self, key: RequestKey) -> bool:
        """No answer to this is awaited any more; whether one was."""
        if not self._asked.answer(key):
            return False
        if self._tooling is not None:
            self._tooling.take_note(key)
        return True

    def _answer(self, answer: Response, data: bytes, now_ms: UnixMs) -> list[Effect]:
        """Pass an answer on, without what the agent may not see."""
        tooling = self._tooling
        if tooling is None:
            return [ToClient(data)]
        if answer.key is None and (hidden := self._hidden_now(now_ms)):
            return [ToClient(write_denial(None, mark(hidden), Reason.NO_PERMIT))]
        note = tooling.take_note(answer.key)
        if note is None:
            return [ToClient(data)]
        effects: list[Effect] = []
        if note.lists:
            data, effects = tooling.show_list(data, answer, now_ms)
        elif note.manifest is not None:
            hidden = self._judge.hidden(self.principal, note.manifest, now_ms)
            data = tooling.show_answer(data, answer, note.manifest, hidden)
        try:
            return [*effects, ToClient(as_one_line(data))]
        except MalformedError as wrong:  # escapes make it longer
            sentence = f"the server's answer could not be passed on: {wrong}"
            denial = write_denial(answer.key, sentence, Reason.SERVER)
            return [*effects, ToClient(denial)]

    def _cut_off(self, message: Message, seen: "_Seen") -> list[Effect]:
        """Somebody was quarantined in mid-stream: what still comes goes nowhere."""
        if isinstance(message, Request):
            return self._refuse_server(message, Reason.QUARANTINED, seen)
        effects = self._note(seen, Verdict.DROPPED, Reason.QUARANTINED)
        if isinstance(message, Response) and message.key is not None:
            if self._tooling is not None:
                self._tooling.take_note(message.key)
            sentence = "the answer came after a quarantine"
            denial = write_denial(message.key, sentence, Reason.QUARANTINED)
            effects.append(ToClient(denial))
        return effects

    def _refuse_server(
        self, request: Request, reason: Reason, seen: "_Seen"
    ) -> list[Effect]:
        seen.request = request
        denial = write_denial(request.key, "the agent cannot be asked now", reason)
        return [*self._note(seen, Verdict.DENIED, reason), ToServer(denial)]

    def _malformed_from_server(
        self, data: bytes, wrong: MalformedError, seen: "_Seen"
    ) -> list[Effect]:
        """Drop it; but if it was an answer, tell whoever waits for it."""
        effects = self._note(seen, Verdict.DROPPED, Reason.MALFORMED)
        key = wrong.key if wrong.key is not None else guess_key_untrusted(data)
        if self._tooling is not None and self._tooling.is_answer(key):
            return [*effects, *self._take_tools(self._tooling, None, seen.at_ms)]
        if key is not None and self._close(key):
            sentence = f"the server's answer could not be read: {wrong}"
            effects.append(ToClient(write_denial(key, sentence, Reason.SERVER)))
        return effects

    def _server_lost(self, sentence: str, now_ms: UnixMs) -> list[Effect]:
        self._lost = sentence
        self._outbox.clear()
        self._asked_back.abandon()
        if self._tooling is not None:
            self._tooling.lost()
        return [
            *self._deny_held(sentence, Reason.SERVER, now_ms),
            *(
                ToClient(write_denial(key, sentence, Reason.SERVER))
                for key in self._asked.abandon()
            ),
        ]

    def _see(self, data: bytes, now_ms: UnixMs) -> "_Seen":
        return _Seen(digest(Domain.MESSAGE, self.post.salt, data), now_ms)

    def _drop(self, seen: "_Seen", reason: Reason) -> list[Effect]:
        """The other side sent what no honest one sends."""
        return [*self._note(seen, Verdict.DROPPED, reason), *self._junk(seen)]

    def _junk(self, seen: "_Seen") -> list[Effect]:
        """Count it; a flood is witnessed, and ends what another node opened."""
        if self._patience.spend(seen.at_ms):
            return []
        who = self.principal
        effects = self._judge.witness_flood(who, seen.digest, seen.at_ms)
        if self.position is Position.INGRESS:
            effects.append(HangUp("too much came that no gate lets out"))
        return effects

    def _note(
        self,
        seen: "_Seen",
        verdict: Verdict,
        reason: Reason,
        rule: str = "",
        *,
        always: bool = False,
    ) -> list[Effect]:
        """The record of a refusal, unless a later one will stand for it."""
        record = self._audit(seen, verdict, reason, rule)
        if always:
            return [record]
        count = self.post.audits.spend(self.principal.agent, seen.at_ms)
        return [attrs.evolve(record, count=count)] if count else []

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
            session=self.session,
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


def _is_junk(why: DeniedError) -> bool:
    """Whether no honest gate lets such a request out."""
    if why.reason is Reason.ENVELOPE:
        return isinstance(why.__cause__, PeerError)
    return why.reason in (Reason.REQUEST_ID, Reason.UNSIGNED)


def _as_line(data: bytes, message: Message) -> bytes:
    key = None if isinstance(message, Notification) else message.key
    return as_one_line(data, key)


def _cancel(exchange: Exchange, message: Notification) -> RequestKey | None:
    key = (message.params or {}).get("requestId")
    if not isinstance(key, str) and type(key) is not int:
        return None
    exchange.cancel(key)
    return key
