"""What a gate has let through but not yet sent: order kept while one is signed."""

from collections import deque

import attrs

from enforcement import limits
from enforcement.effects import Audit, Effect, ToServer
from enforcement.events import RequestShared, RequestSigned
from enforcement.mcp.jsonrpc import Request
from enforcement.mcp.signing import RequestBody, write_envelope, write_shared_envelope


@attrs.define(kw_only=True)
class Outgoing:
    """One message on its way to the server.

    Attributes:
        request: None for answers and notifications.
        audit: Told when it goes.
        ticket: The signature it waits for; None if it may go.
        shares: A shared key may stand for signatures.
    """

    data: bytes = attrs.field(repr=False)
    audit: Audit | None = None
    request: Request | None = None
    ticket: int | None = None
    shares: bool = False
    unsigned: RequestBody | None = attrs.field(default=None, repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    seed: bytes = attrs.field(default=b"", repr=False)
    envelope: bytes | None = attrs.field(default=None, repr=False)


@attrs.define
class Outbox:
    """A queue whose head may be waiting for signatures."""

    _queue: deque[Outgoing] = attrs.field(init=False, factory=deque, repr=False)
    _bytes: int = attrs.field(init=False, default=0)

    def has_room(self, size: int) -> bool:
        """Whether a message of so many bytes may still be queued."""
        return (
            len(self._queue) < limits.OUTBOX_MAX
            and self._bytes + size <= limits.OUTBOX_BYTES_MAX
        )

    def put(self, item: Outgoing) -> list[Effect]:
        """Queue a message; returns what may go now."""
        self._queue.append(item)
        self._bytes += len(item.data)
        return self.settle()

    def unsigned(self) -> list[Outgoing]:
        """All that wait for signatures, oldest first."""
        return [item for item in self._queue if item.ticket is not None]

    def signed(self, told: RequestSigned | RequestShared) -> list[Effect]:
        """Signatures have come. Those nobody waits for any more are ignored."""
        for item in self._queue:
            if item.ticket != told.ticket:
                continue
            item.ticket = None
            if isinstance(told, RequestShared):
                assert item.shares, "a shared key was asked for"
                item.envelope = write_shared_envelope(
                    item.body, told.mac, told.offer, item.seed
                )
            else:
                by_agent, by_node = told.agent_signature, told.node_signature
                item.envelope = write_envelope(item.body, by_agent, by_node, item.seed)
        return self.settle()

    def drop(self, ticket: int) -> Outgoing | None:
        """Take out a request that could not be signed. Then call `settle`."""
        for item in self._queue:
            if item.ticket == ticket:
                self._queue.remove(item)
                self._bytes -= len(item.data)
                return item
        return None

    def clear(self) -> None:
        """Forget everything: the server is gone."""
        self._queue.clear()
        self._bytes = 0

    def settle(self) -> list[Effect]:
        """Take out what may go now."""
        effects: list[Effect] = []
        while self._queue and self._queue[0].ticket is None:
            item = self._queue.popleft()
            self._bytes -= len(item.data)
            if item.audit is not None:
                effects.append(item.audit)
            effects.append(ToServer(item.data, item.envelope))
        return effects
