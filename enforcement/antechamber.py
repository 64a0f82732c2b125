"""Where calls wait before they are judged: for the agent's proof, for a list of tools.

::

    request ──▶ proven in this session? ──no──▶ Prove ──▶ Proven ─┐
                tool ever listed?       ──no──▶ tools/list ──▶ answer ─┐
    judged ◀───────────── taken up again, in order ◀──────────────────┘
"""

import attrs

from enforcement import limits
from enforcement.defend.challenge import WINDOW_MS, Challenge
from enforcement.defend.session import CHALLENGED_BELOW
from enforcement.effects import AskServer, Effect, Position, Prove
from enforcement.events import ClientMessage
from enforcement.mcp.jsonrpc import Reason, Request, Response
from enforcement.mcp.signing import REQUEST_ID_BYTES
from enforcement.mcp.strictjson import RequestKey
from enforcement.post import DeniedError, Post
from enforcement.principal import Principal
from enforcement.tooling import Tooling
from gossip.units import UnixMs


@attrs.define(kw_only=True)
class Antechamber:
    """What one session's calls wait for, and those that do."""

    post: Post
    position: Position
    server: str
    tooling: Tooling | None
    _held: dict[RequestKey, tuple[Request, ClientMessage]] = attrs.field(
        init=False, factory=dict, repr=False
    )
    _challenge: tuple[int, Challenge, Principal] | None = attrs.field(
        init=False, default=None, repr=False
    )
    _proven_ms: UnixMs | None = attrs.field(init=False, default=None)

    def holds(self, key: RequestKey) -> bool:
        """Whether the request with this id waits here."""
        return key in self._held

    def cancel(self, key: RequestKey | None) -> bool:
        """Its agent lost interest; whether it waited here."""
        return key is not None and self._held.pop(key, None) is not None

    def empty(self) -> list[tuple[Request, ClientMessage]]:
        """Take out all that wait, in order."""
        held, self._held = self._held, {}
        return [*held.values()]

    def stop(
        self,
        request: Request,
        event: ClientMessage,
        principal: Principal,
        ticket: int,
        now_ms: UnixMs,
    ) -> list[Effect] | None:
        """What to do first, if the request must wait; None if it need not.

        ``ticket`` is a fresh one, for a proof.

        Raises:
            DeniedError: too many wait already.
        """
        if self._must_prove(principal, now_ms):
            self._hold(request, event)
            if self._challenge is not None:
                return []
            post = self.post
            drawn = Challenge.draw(post.cluster, self.server, post.suite, now_ms)
            self._challenge = (ticket, drawn, principal)
            return [Prove(ticket, drawn.write(principal))]
        if self.tooling is not None and self.tooling.must_ask(request):
            self._hold(request, event)
            key = self.post.suite.random(REQUEST_ID_BYTES).hex()
            asked = self.tooling.ask(request, key)
            return [] if asked is None else [AskServer(asked)]
        return None

    def proved(self, ticket: int, signature: bytes, now_ms: UnixMs) -> bool:
        """The agent answered; whether it answered what was asked.

        Raises:
            PeerError: too late, or not its signature.
        """
        if not self.challenges(ticket) or self._challenge is None:
            return False
        _, challenge, principal = self._challenge
        self._challenge = None
        challenge.check_untrusted(signature, principal, self.post.suite, now_ms)
        self._proven_ms = now_ms
        if self.post.trust is not None:
            self.post.trust.proved(principal.agent, now_ms, self.server)
        return True

    def challenges(self, ticket: int) -> bool:
        """Whether this ticket is that of an open challenge."""
        return self._challenge is not None and self._challenge[0] == ticket

    def failed(self) -> None:
        """The agent's key could not be asked."""
        self._challenge = None

    def listed(
        self, tooling: Tooling, answer: Response | None, now_ms: UnixMs
    ) -> tuple[bool, list[Effect]]:
        """The server answered a question of our own; whether that was the last."""
        page, effects = tooling.take_page(answer, now_ms)
        if page is None:
            return True, effects
        return False, [*effects, AskServer(page)]

    def _hold(self, request: Request, event: ClientMessage) -> None:
        if len(self._held) >= limits.HELD_CALLS_MAX:
            raise DeniedError(Reason.BUSY, "too many calls are waiting to be checked")
        self._held[request.key] = (request, event)

    def _must_prove(self, principal: Principal, now_ms: UnixMs) -> bool:
        if not self.post.proves or self.position is Position.INGRESS:
            return False
        trust = self.post.trust
        if self._proven_ms is None:
            return trust is None or not trust.is_fresh(
                principal.agent, self.server, now_ms
            )
        return (
            trust is not None
            and abs(now_ms - self._proven_ms) > WINDOW_MS
            and trust.trust(principal.agent, now_ms) < CHALLENGED_BELOW
        )
