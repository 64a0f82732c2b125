"""One MCP session: drives its gate, between an agent's side and a server's.

::

    agent's side ──client_said──▶ ┌──────┐ ──▶ backend.send
                                  │ gate │
    agent's side ◀─── replies ─── └──────┘ ◀── server_said

The gate decides; this performs. What the agent says is taken one message at a
time, so that a notification never overtakes the request before it while that
request is being signed.
"""

import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

import trio

from enforcement.effects import (
    AskServer,
    Audit,
    Effect,
    HangUp,
    Position,
    Proof,
    Prove,
    SignRequest,
    ToClient,
    ToolSeen,
    ToServer,
    Witness,
)
from enforcement.events import (
    ClientMessage,
    Event,
    Proven,
    Renewed,
    RequestShared,
    RequestSigned,
    ServerLost,
    ServerMessage,
    SigningFailed,
)
from enforcement.principal import Principal
from gossip.units import AgentId, NodeId, UnixMs

Told: TypeAlias = Audit | Witness | Proof | ToolSeen
Question: TypeAlias = Callable[[bytes], Awaitable[bytes]]
"""Asks the server in the gate's own name and returns its answer; raises `Lost`."""
Send: TypeAlias = Callable[[bytes, bytes | None], Awaitable[None]]
"""Passes one message and its envelope on to the server; raises `Lost`."""


class Lost(Exception):
    """The server, or the way to it, is gone. The message is for the agent."""

    def __init__(self, sentence: str, advice: str = "") -> None:
        super().__init__(sentence)
        self.advice = advice


class SigningRefused(Exception):
    """A key that should sign is not there. The message is for the agent."""


class GateCore(Protocol):
    """What a session needs of a gate."""

    @property
    def session(self) -> bytes:
        """What both gates of the session call it."""
        ...

    def handle(self, event: Event, now_ms: UnixMs) -> Sequence[Effect]:
        """Take one event; returns what to do, in order."""
        ...


class Signer(Protocol):
    """Signs requests that this node's gate allowed."""

    async def sign_request(self, agent: AgentId, body: bytes) -> tuple[bytes, bytes]:
        """The agent's signature and the node's.

        Raises:
            SigningRefused: one of the keys is not there.
        """
        ...

    async def share_request(
        self, agent: AgentId, body: bytes, provider: NodeId, now_ms: UnixMs
    ) -> tuple[bytes, bytes] | None:
        """A mac under a key shared with ``provider``, and the key's offer.

        None: nothing is known that a key could be sealed to; sign instead.

        Raises:
            SigningRefused: one of the keys is not there.
        """
        ...

    async def prove_agent(self, agent: AgentId, body: bytes) -> bytes:
        """The agent's signature of a challenge.

        Raises:
            SigningRefused: its key is not there.
        """
        ...


class Sink(Protocol):
    """Where a gate's decisions are told. Never blocks."""

    def told(self, effect: Told) -> None:
        """Keep an audit record, a witness or a proof."""
        ...

    def decided(self, position: Position, seconds: float) -> None:
        """One event took the gate so long."""
        ...


class Backend(Protocol):
    """The server's side of a session."""

    async def send(self, data: bytes, envelope: bytes | None) -> None:
        """Pass one message on.

        Raises:
            Lost: nothing passes any more.
        """
        ...

    async def receive(self) -> bytes:
        """The server's next message.

        Raises:
            Lost: there will be none.
        """
        ...

    async def aclose(self) -> None:
        """End it; the server sees its client go."""
        ...


class Session:
    """Drives one gate. What to tell the agent is returned, not sent.

    With ``renew_in_turn`` a renewal waits until no request is being signed, so
    that each request leaves through the ``send`` it came with.
    """

    def __init__(
        self,
        *,
        gate: GateCore,
        position: Position,
        principal: Principal,
        server: str,
        audience: NodeId,
        backend: Backend,
        signer: Signer,
        sink: Sink,
        now_ms: Callable[[], UnixMs],
        renew_in_turn: bool = False,
    ) -> None:
        self.position = position
        self.principal = principal
        self.server = server
        self.audience = audience
        self.backend = backend
        self._gate = gate
        self._signer = signer
        self._sink = sink
        self._now_ms = now_ms
        self._renew_in_turn = renew_in_turn
        self._busy = False
        self._queue = trio.lowlevel.ParkingLot()
        self.outlet: ToAgent | None = None
        """Where the agent's side takes what it did not ask for, if anywhere."""

    @property
    def name(self) -> bytes:
        """What both gates of it call it, in their records and to the court."""
        return self._gate.session

    async def client_said(
        self,
        data: bytes,
        envelope: bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        send: Send | None = None,
        question: Question | None = None,
    ) -> list[bytes]:
        """Take one message of the agent; returns what to answer at once.

        What passes goes to ``send``, by default the backend's. ``headers`` are
        those that may repeat the message.
        """
        await self._take_turn()
        try:
            said = ClientMessage(data, envelope, headers)
            return await self._drive(said, send, question)
        finally:
            self._end_turn()

    async def server_said(self, data: bytes, send: Send | None = None) -> list[bytes]:
        """Take one message of the server; returns what to pass on."""
        return await self._drive(ServerMessage(data), send)

    async def server_lost(self, sentence: str, advice: str = "") -> list[bytes]:
        """The server is gone; returns an error for each call that waits."""
        return await self._drive(ServerLost(sentence, advice))

    async def renewed(self, principal: Principal) -> list[bytes]:
        """The agent has a new certificate."""
        if not self._renew_in_turn:
            self.principal = principal
            return await self._drive(Renewed(principal))
        await self._take_turn()
        try:
            self.principal = principal
            return await self._drive(Renewed(principal))
        finally:
            self._end_turn()

    async def _take_turn(self) -> None:
        """Wait for whoever came before; a lock that nobody wants costs nothing."""
        if self._busy:
            await self._queue.park()  # who wakes us leaves the turn to us
        self._busy = True

    def _end_turn(self) -> None:
        if self._queue:
            self._queue.unpark()
        else:
            self._busy = False

    async def pump(self, to_client: "ToAgent") -> str:
        """Pass on what the backend says until it is lost; returns why it was."""
        self.outlet = to_client
        try:
            while True:
                data = await self.backend.receive()
                for reply in await self.server_said(data):
                    await to_client(reply)
        except Lost as lost:
            for reply in await self.server_lost(str(lost), lost.advice):
                await to_client(reply)
            return str(lost)

    async def tell_agent(self, data: bytes) -> None:
        """Say something that nobody asked for, if the agent's side can hear it."""
        if self.outlet is not None:
            with contextlib.suppress(
                trio.BrokenResourceError, trio.ClosedResourceError, Lost
            ):
                await self.outlet(data)

    async def _drive(
        self,
        event: Event,
        send: Send | None = None,
        question: Question | None = None,
    ) -> list[bytes]:
        send = send or self.backend.send
        replies: list[bytes] = []
        events = [event]
        for event in events:  # and those that come of it
            begun = time.perf_counter()
            effects = self._gate.handle(event, self._now_ms())
            took_s = time.perf_counter() - begun
            told: list[Told] = []
            try:
                for effect in effects:
                    if isinstance(effect, ToClient):
                        replies.append(effect.data)
                    elif isinstance(effect, ToServer):
                        try:
                            await send(effect.data, effect.envelope)
                        except Lost as lost:
                            events.append(ServerLost(str(lost), lost.advice))
                    elif isinstance(effect, AskServer):
                        events += await self._ask(effect, question)
                    elif isinstance(effect, HangUp):
                        raise Lost(effect.sentence)
                    elif isinstance(effect, SignRequest):
                        events.append(await self._sign(effect))
                    elif isinstance(effect, Prove):
                        events.append(await self._prove(effect))
                    else:
                        told.append(effect)
            finally:  # what is told waits until the server is at work
                self._sink.decided(self.position, took_s)
                for effect in told:
                    self._sink.told(effect)
        return replies

    async def _ask(self, asked: AskServer, question: Question | None) -> list[Event]:
        try:
            if question is not None:
                return [ServerMessage(await question(asked.data))]
            await self.backend.send(asked.data, None)
        except Lost as lost:
            return [ServerLost(str(lost), lost.advice)]
        return []

    async def _prove(self, asked: Prove) -> Proven | SigningFailed:
        try:
            with trio.CancelScope(shield=True):
                agent = self.principal.agent
                signature = await self._signer.prove_agent(agent, asked.body)
        except SigningRefused as refused:
            return SigningFailed(asked.ticket, str(refused))
        return Proven(asked.ticket, signature)

    async def _sign(
        self, asked: SignRequest
    ) -> RequestSigned | RequestShared | SigningFailed:
        agent_id, body, signer = self.principal.agent, asked.body, self._signer
        try:
            # Shielded: the gate holds all that follows until it has an answer.
            with trio.CancelScope(shield=True):
                if asked.shares is not None:
                    told = agent_id, body, asked.shares, self._now_ms()
                    shared = await signer.share_request(*told)
                    if shared is not None:
                        return RequestShared(asked.ticket, *shared)
                agent, node = await signer.sign_request(agent_id, body)
        except SigningRefused as refused:
            return SigningFailed(asked.ticket, str(refused))
        return RequestSigned(asked.ticket, agent, node)


class ToAgent(Protocol):
    """Sends one message to the agent's side; may wait for a slow reader."""

    async def __call__(self, data: bytes, /) -> None: ...
