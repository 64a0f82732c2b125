"""The gate: one MCP session between an agent and a server, as a state machine.

::

    LOCAL    agent ─▶ gate ─────────────────────────▶ server
    EGRESS   agent ─▶ gate ─▶ sign ─▶ + envelope ─ ─ ▶ other node
    INGRESS  other node ─ ─ ▶ envelope ─▶ gate ──────▶ server

A request passes, cheapest check first: parse, id, the agent's proof (once a session),
quarantine, envelope (ingress), tool and schema, trust, policy, rate. Whatever fails
is answered with a JSON-RPC error that names the reason, and goes no further; so does
whatever Picket itself fails at. Answers, notifications and the server's own requests
pass both ways, as long as somebody asked for them. What passes, passes byte for byte,
on one line.
"""

from typing import Final

import attrs

from enforcement import limits
from enforcement.antechamber import Antechamber
from enforcement.defend.compliance import mark
from enforcement.effects import Effect, Position, ToClient, ToServer, Verdict
from enforcement.events import (
    ClientMessage,
    Event,
    Proven,
    Renewed,
    RequestShared,
    RequestSigned,
    ServerBack,
    ServerLost,
    ServerMessage,
    SigningFailed,
)
from enforcement.inspecting import Inspector
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
    line_of,
    read_message_untrusted,
    write_denial,
)
from enforcement.mcp.strictjson import MalformedError, RequestKey, as_one_line
from enforcement.outbox import Outbox, Outgoing
from enforcement.post import DeniedError, Post
from enforcement.principal import Principal
from enforcement.signatory import Signatory
from enforcement.tooling import WORDLESS, Tooling, write_refusal
from enforcement.trail import Seen, Trail, is_junk
from gossip.errors import PeerError
from gossip.units import NodeId, UnixMs

_CANCELLED: Final = "notifications/cancelled"
_TOOLS_CHANGED: Final = "notifications/tools/list_changed"


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
    _tooling: Tooling | None = attrs.field(init=False, default=None, repr=False)
    _waiting: Antechamber = attrs.field(init=False, repr=False)
    _signatory: Signatory = attrs.field(init=False, repr=False)
    _lost: ServerLost | None = attrs.field(init=False, default=None)
    _trail: Trail = attrs.field(init=False, repr=False)
    _inspector: Inspector = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        post, at, name, who = self.post, self.position, self.server, self.audience
        self._judge = Judge(post=post, position=at, server=name, audience=who)
        self._trail = Trail(post=post, position=at, server=name, judge=self._judge)
        self._inspector = Inspector(self._trail)
        me = self._judge.session
        self._signatory = Signatory(post=post, server=name, audience=who, session=me)
        if post.pins is not None:
            asks = at is not Position.EGRESS
            self._tooling = Tooling(server=name, pins=post.pins, asks=asks, by=who)
            self._tooling.is_refused = post.is_refused
        tools = self._tooling
        self._waiting = Antechamber(post=post, position=at, server=name, tooling=tools)

    @property
    def session(self) -> bytes:
        """What both gates of this session call it, once one request was signed."""
        return self._judge.session

    def handle(self, event: Event, now_ms: UnixMs) -> list[Effect]:
        """Take one event; return what to do, in order. Never raises."""
        try:
            return self._handle(event, now_ms)
        except Exception:  # a fault of ours lets nothing through and ends no daemon
            said: bytes = getattr(event, "data", b"")
            seen = self._see(said, now_ms)
            return self._trail.dropped(seen, Reason.INTERNAL)

    def _handle(self, event: Event, now_ms: UnixMs) -> list[Effect]:
        match event:
            case ClientMessage(data):
                return self._from_client(event, self._see(data, now_ms))
            case ServerMessage(data):
                return self._from_server(data, self._see(data, now_ms))
            case RequestSigned() | RequestShared():
                return self._outbox.signed(event)
            case Proven(ticket, signature):
                return self._proved(ticket, signature, now_ms)
            case SigningFailed(ticket, sentence):
                if self._waiting.challenges(ticket):
                    self._waiting.failed()
                    return self._deny_held(sentence, Reason.SIGNER, now_ms)
                return self._not_signed(ticket, sentence)
            case ServerLost():
                return self._server_lost(event, now_ms)
            case ServerBack():
                self._lost = None
                return []
            case Renewed(principal):
                return self._renewed(principal)

    # from the agent's side

    def _from_client(self, event: ClientMessage, seen: Seen) -> list[Effect]:
        try:
            message = read_message_untrusted(event.data)
            if event.headers and not isinstance(message, Response):
                mirrors = self.post.mirrors(self.server, message)
                check_headers_untrusted(event.headers, message, mirrors)
            line = line_of(message, event.data)
            if line is not event.data:
                event = attrs.evolve(event, data=line)
        except MalformedError as wrong:
            denial = write_denial(
                wrong.key, str(wrong), Reason.MALFORMED, code=wrong.code
            )
            audit = self._trail.denied(seen, Reason.MALFORMED)
            return [*audit, ToClient(denial), *self._trail.junk(seen)]
        if isinstance(message, Request):
            return self._request(message, event, seen)
        if self._judge.find_refused(self.principal) is not None and not (
            isinstance(message, Notification) and message.method == _CANCELLED
        ):
            return self._trail.dropped_junk(seen, Reason.QUARANTINED)
        if isinstance(message, Response):
            if message.key is not None and not self._asked_back.answer(message.key):
                return self._trail.dropped_junk(seen, Reason.UNASKED)
            why = self._judge.find_fault(
                self.principal, self._asked.tools, message, seen.at_ms
            )
            if why is not None:
                audit = self._trail.denied(seen, why.reason, why.rule)
                denial = write_denial(message.key, "this may not be said", why.reason)
                return [*audit, *self._outbox.put(Outgoing(data=denial))]
        elif not self._judge.has_rate(self.principal, seen.at_ms):
            return self._trail.dropped_junk(seen, Reason.RATE)
        elif message.method == _CANCELLED:
            key = self._asked.withdraw(message.params)
            if self._waiting.cancel(key):
                return self._trail.dropped(seen, Reason.UNASKED)
        if self._lost is not None or not self._outbox.has_room(len(event.data)):
            return self._trail.dropped(seen, Reason.SERVER)
        return self._outbox.put(Outgoing(data=event.data))

    def _request(
        self, request: Request, event: ClientMessage, seen: Seen
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
        denial = write_refusal(request, why)
        return [
            *why.evidence,
            *self._trail.denied(seen, why.reason, why.rule, accuses=accuses),
            ToClient(denial),
            *(self._trail.junk(seen) if is_junk(why) else []),
        ]

    def _admit(
        self, request: Request, event: ClientMessage, seen: Seen
    ) -> list[Effect]:
        if self._asked.is_used(request.key) or self._waiting.holds(request.key):
            raise DeniedError(Reason.REQUEST_ID, "this id is already in use")
        if self._asked.is_full or not self._outbox.has_room(len(event.data)):
            raise DeniedError(Reason.BUSY, "too many calls are waiting for an answer")
        first = self._before(request, event, seen.at_ms)
        if first is not None:
            return first
        manifest, shares = None, False
        if self.position is Position.INGRESS:
            known = [self.principal, *([self._former] if self._former else [])]
            verified = self._judge.admit_signed(
                request, event.envelope, known, seen.digest, seen.at_ms
            )
            seen.request_id = verified.envelope.body.request_id
        else:
            manifest, shares = self._judge.admit(
                request, self.principal, seen.digest, seen.at_ms
            )
        if self._lost is not None:
            sentence, advice = self._lost.sentence, self._lost.advice
            raise DeniedError(Reason.SERVER, sentence, advice=advice)
        item = Outgoing(data=event.data, request=request, shares=shares)
        effects: list[Effect] = []
        if self.position is Position.EGRESS:
            at_ms = seen.at_ms
            asked = self._signatory.ask(item, self.principal, manifest, at_ms)
            effects.append(asked)
            if item.unsigned is not None:
                seen.request_id = item.unsigned.request_id
        item.audit = self._trail.allowed(seen)
        self._asked.ask(request.key, self._judge.tool_of(request))
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

    def _deny_held(
        self, sentence: str, reason: Reason, now_ms: UnixMs, advice: str = ""
    ) -> list[Effect]:
        effects: list[Effect] = []
        for request, event in self._waiting.empty():
            seen = self._see(event.data, now_ms)
            seen.request = request
            effects += self._trail.denied(seen, reason)
            denial = write_denial(request.key, sentence, reason, advice=advice)
            effects.append(ToClient(denial))
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
        alike = principal.shown_to_policy == self._former.shown_to_policy
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

    def _from_server(self, data: bytes, seen: Seen) -> list[Effect]:
        try:
            message = read_message_untrusted(data, limits.SERVER_KEYS_MAX)
            data = line_of(message, data)
        except MalformedError as wrong:
            return self._malformed_from_server(data, wrong, seen)
        tooling = self._tooling
        if isinstance(message, Response):
            if tooling is not None and tooling.is_answer(message.key):
                return self._take_tools(tooling, message, seen.at_ms)
            if message.key is not None and not self._asked.answer(message.key):
                return self._trail.dropped(seen, Reason.UNASKED)
        refused = self._judge.find_refused(self.principal) is not None
        if refused or self.post.is_poisoned(message):
            return self._cut_off(message, seen)
        if isinstance(message, Response):
            return self._answer(message, data, seen.at_ms)
        if isinstance(message, Notification):
            if message.method == _CANCELLED:
                self._asked_back.withdraw(message.params)
            elif message.method == _TOOLS_CHANGED and tooling is not None:
                tooling.changed()
            if tooling is not None and message.params:
                hidden = self._hidden_now(seen.at_ms)
                data = tooling.show_notification(data, message, hidden)
            return [ToClient(data)]
        if self._asked_back.is_full or self._asked_back.is_used(message.key):
            return self._refuse_server(message, Reason.BUSY, seen)
        if message.method not in WORDLESS and self._hidden_now(seen.at_ms):
            return self._refuse_server(message, Reason.NO_PERMIT, seen)
        self._asked_back.ask(message.key)
        return [ToClient(data)]

    def _hidden_now(self, now_ms: UnixMs) -> frozenset[str]:
        """The tags of calls that are open whose data the agent may not be shown."""
        manifests = self._tooling.open_manifests() if self._tooling else []
        return self._judge.hidden(self.principal, manifests, now_ms)

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
        if note.lists:
            data, effects = tooling.show_list(data, answer, now_ms)
        else:
            seen = self._see(data, now_ms)
            data, effects = self._inspector.show(data, answer, note, tooling, seen)
        try:
            return [*effects, ToClient(as_one_line(data))]
        except MalformedError as wrong:  # escapes make it longer
            sentence = f"the server's answer could not be passed on: {wrong}"
            denial = write_denial(answer.key, sentence, Reason.SERVER)
            return [*effects, ToClient(denial)]

    def _cut_off(self, message: Message, seen: Seen) -> list[Effect]:
        """Somebody was quarantined in mid-stream: what still comes goes nowhere."""
        if isinstance(message, Request):
            return self._refuse_server(message, Reason.QUARANTINED, seen)
        effects = self._trail.dropped(seen, Reason.QUARANTINED)
        if isinstance(message, Response) and message.key is not None:
            if self._tooling is not None:
                self._tooling.take_note(message.key)
            sentence = "who answers, or what is in the answer, is quarantined"
            denial = write_denial(message.key, sentence, Reason.QUARANTINED)
            effects.append(ToClient(denial))
        return effects

    def _refuse_server(
        self, request: Request, reason: Reason, seen: Seen
    ) -> list[Effect]:
        seen.request = request
        denial = write_denial(request.key, "the agent cannot be asked now", reason)
        return [*self._trail.denied(seen, reason), ToServer(denial)]

    def _malformed_from_server(
        self, data: bytes, wrong: MalformedError, seen: Seen
    ) -> list[Effect]:
        """Drop it; but if it was an answer, tell whoever waits for it."""
        effects = self._trail.dropped(seen, Reason.MALFORMED)
        key = wrong.key if wrong.key is not None else guess_key_untrusted(data)
        if self._tooling is not None and self._tooling.is_answer(key):
            return [*effects, *self._take_tools(self._tooling, None, seen.at_ms)]
        if key is not None and self._close(key):
            sentence = f"the server's answer could not be read: {wrong}"
            effects.append(ToClient(write_denial(key, sentence, Reason.SERVER)))
        return effects

    def _see(self, data: bytes, now_ms: UnixMs) -> Seen:
        return self._trail.see(data, self.principal, now_ms)

    def _server_lost(self, lost: ServerLost, now_ms: UnixMs) -> list[Effect]:
        self._lost, sentence, advice = lost, lost.sentence, lost.advice
        self._outbox.clear()
        self._asked_back.abandon()
        if self._tooling is not None:
            self._tooling.lost()
        return [
            *self._deny_held(sentence, Reason.SERVER, now_ms, advice),
            *(
                ToClient(write_denial(key, sentence, Reason.SERVER, advice=advice))
                for key in self._asked.abandon()
            ),
        ]
