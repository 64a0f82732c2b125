"""One MCP session: drives its gate, between an agent's side and a server's.

::

    agent's side ──client_said──▶ ┌──────┐ ──▶ backend.send
                                  │ gate │
    agent's side ◀─── replies ─── └──────┘ ◀── server_said

The gate decides; this performs. What the agent says is taken one message at a
time, so that a notification never overtakes the request before it while that
request is being signed.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import trio

from enforcement.effects import (
    Audit,
    Effect,
    Position,
    Proof,
    SignRequest,
    ToClient,
    ToServer,
    Witness,
)
from enforcement.events import (
    ClientMessage,
    Event,
    Renewed,
    RequestSigned,
    ServerLost,
    ServerMessage,
    SigningFailed,
)
from enforcement.principal import Principal
from gossip.units import AgentId, UnixMs

Told: TypeAlias = Audit | Witness | Proof


class Lost(Exception):
    """The server, or the way to it, is gone. The message is for the agent."""


class SigningRefused(Exception):
    """A key that should sign is not there. The message is for the agent."""


class GateCore(Protocol):
    """What a session needs of a gate."""

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
    """Drives one gate. What to tell the agent is returned, not sent."""

    def __init__(
        self,
        *,
        gate: GateCore,
        position: Position,
        principal: Principal,
        server: str,
        backend: Backend,
        signer: Signer,
        sink: Sink,
        now_ms: Callable[[], UnixMs],
    ) -> None:
        self.position = position
        self.principal = principal
        self.server = server
        self.backend = backend
        self._gate = gate
        self._signer = signer
        self._sink = sink
        self._now_ms = now_ms
        self._turn = trio.Lock()

    async def client_said(
        self, data: bytes, envelope: bytes | None = None
    ) -> list[bytes]:
        """Take one message of the agent; returns what to answer at once."""
        if self._turn.locked():
            await self._turn.acquire()
        else:
            self._turn.acquire_nowait()
        try:
            return await self._drive(ClientMessage(data, envelope))
        finally:
            self._turn.release()

    async def server_said(self, data: bytes) -> list[bytes]:
        """Take one message of the server; returns what to pass on."""
        return await self._drive(ServerMessage(data))

    async def server_lost(self, sentence: str) -> list[bytes]:
        """The server is gone; returns an error for each call that waits."""
        return await self._drive(ServerLost(sentence))

    async def renewed(self, principal: Principal) -> list[bytes]:
        """The agent has a new certificate."""
        self.principal = principal
        return await self._drive(Renewed(principal))

    async def pump(self, to_client: "ToAgent") -> str:
        """Pass on what the backend says until it is lost; returns why it was."""
        try:
            while True:
                data = await self.backend.receive()
                for reply in await self.server_said(data):
                    await to_client(reply)
        except Lost as lost:
            for reply in await self.server_lost(str(lost)):
                await to_client(reply)
            return str(lost)

    async def _drive(self, event: Event) -> list[bytes]:
        replies: list[bytes] = []
        events = deque([event])
        while events:
            begun = time.perf_counter()
            effects = self._gate.handle(events.popleft(), self._now_ms())
            self._sink.decided(self.position, time.perf_counter() - begun)
            for effect in effects:
                if isinstance(effect, ToClient):
                    replies.append(effect.data)
                elif isinstance(effect, ToServer):
                    try:
                        await self.backend.send(effect.data, effect.envelope)
                    except Lost as lost:
                        events.append(ServerLost(str(lost)))
                elif isinstance(effect, SignRequest):
                    events.append(await self._sign(effect))
                else:
                    self._sink.told(effect)
        return replies

    async def _sign(self, asked: SignRequest) -> RequestSigned | SigningFailed:
        try:
            # Shielded: the gate holds all that follows until it has an answer.
            with trio.CancelScope(shield=True):
                agent, node = await self._signer.sign_request(
                    self.principal.agent, asked.body
                )
        except SigningRefused as refused:
            return SigningFailed(asked.ticket, str(refused))
        return RequestSigned(asked.ticket, agent, node)


class ToAgent(Protocol):
    """Sends one message to the agent's side; may wait for a slow reader."""

    async def __call__(self, data: bytes, /) -> None: ...
