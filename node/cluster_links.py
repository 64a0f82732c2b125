"""The links of a cluster: `node.links`, as the daemon asks for them.

Imported only where there is somebody to link with, since py-libp2p costs some
memory.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

import trio

from gossip import events
from gossip.membership.roster import Roster
from gossip.suite import Suite
from gossip.units import NodeId
from node.clock import Clock
from node.config import Config
from node.keys.node_keys import NodeKeys
from node.linkage import StreamHandler
from node.links.events import (
    Frame,
    HandlerFailed,
    LinkDown,
    LinkEvent,
    LinkUp,
    Refused,
)
from node.links.links import Links
from node.log import Log
from node.metrics import Metrics
from node.proxy.frames import ByteStream
from node.tables import Address

if TYPE_CHECKING:
    from trio_typing import TaskStatus

OnEvent: TypeAlias = Callable[
    [events.LinkUp | events.LinkDown | events.Barred | events.Frame], None
]
_DIAL_S = 5.0


class ClusterLinks:
    """Links to every other member of the founders' file; see `Linkage`."""

    def __init__(
        self,
        *,
        config: Config,
        roster: Roster,
        suite: Suite,
        keys: NodeKeys,
        clock: Clock,
        log: Log,
        metrics: Metrics,
        on_event: OnEvent,
        room: Callable[[NodeId], Awaitable[None]],
    ) -> None:
        """See `Links`; ``on_event`` is told what the engine is to know."""
        self._roster = roster
        self._log = log
        self._metrics = metrics
        self._on_event = on_event
        self._links = Links(
            suite=suite,
            signing_key=keys.signing_key,
            chain=keys.chain,
            roster=roster,
            cluster=roster.cluster,
            listen=config.listen,
            on_event=self._happened,
            now_ms=clock.unix_ms,
            room=room,
            hosts={host for m in roster.members() for host, _port in m.addresses},
        )
        self._sought: frozenset[NodeId] = frozenset()
        self._linked: set[NodeId] = set()
        self._needed: dict[NodeId, trio.Event] = {}
        """Members linked to for their servers; set once they are linked."""
        self._serving: Counter[NodeId] = Counter()
        """How many streams are served here of members who use our servers."""

    @property
    def listening(self) -> tuple[Address, ...]:
        """Where peers may dial."""
        return tuple(self._links.listening)

    async def run(
        self, task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Listen, dial, carry until cancelled."""
        await self._links.run(task_status=task_status)

    def send(self, peer: NodeId, frame: bytes) -> bool:
        """Queue a frame."""
        return self._links.send(peer, frame)

    def drop(self, peer: NodeId) -> None:
        """Close the link soon."""
        self._links.drop(peer)

    def refuse(self, peer: NodeId, refused: bool) -> None:
        """Close the link and refuse new ones, or accept them again."""
        self._links.refuse(peer, refused)
        self._on_event(events.Barred(peer, refused))

    def seek(self, peers: frozenset[NodeId]) -> None:
        """Keep links to exactly these, and those that calls go over, either way."""
        for peer in sorted(self._sought - peers - self._needed.keys()):
            self._links.unwant(peer)
            if not self._serving[peer]:
                self._links.drop(peer)
        for peer in sorted(peers - self._sought):
            self._want(peer)
        self._sought = peers

    def _want(self, peer: NodeId) -> None:
        self._links.want(peer, self._roster.member(peer).addresses)

    async def rotate(self, keys: NodeKeys) -> None:
        """Shake hands with other keys from now on."""
        self._links.rotate(keys.signing_key, keys.chain)

    async def open_stream(self, peer: NodeId, protocol: str) -> ByteStream:
        """A new stream over the link to ``peer``, which is made if there is none.

        Raises:
            PeerError, trio.BrokenResourceError: it cannot be made.
        """
        linked = self._needed.setdefault(peer, trio.Event())
        if peer not in self._linked:
            self._want(peer)
            with trio.move_on_after(_DIAL_S):
                await linked.wait()
        return await self._links.open_stream(peer, protocol)

    def round_trip_s(self, peer: NodeId) -> float | None:
        """Over the link to ``peer``; see `Linkage`."""
        return self._links.round_trip_s(peer)

    def handle_stream(self, protocol: str, handler: StreamHandler) -> None:
        """Let ``handler`` serve the streams that peers open."""

        async def serve(stream: ByteStream, peer: NodeId) -> None:
            self._serving[peer] += 1
            try:
                await handler(stream, peer)
            finally:
                self._serving[peer] -= 1

        self._links.handle_stream(protocol, serve)

    def _happened(self, event: LinkEvent) -> None:
        match event:
            case Frame(peer, data):
                self._on_event(events.Frame(peer, data))
            case LinkUp(chain):
                self._log.info(f"linked with {self._roster.name(chain.node)}")
                self._linked.add(chain.node)
                if chain.node in self._needed:
                    self._needed[chain.node].set()
                self._on_event(events.LinkUp(chain))
            case LinkDown(peer, why):
                self._metrics.links_closed.labels(why.name.lower()).inc()
                self._linked.discard(peer)
                if peer in self._needed:
                    self._needed[peer] = trio.Event()
                name = self._roster.name(peer)
                self._log.info(f"the link with {name} is down: {why.value}")
                self._on_event(events.LinkDown(peer))
            case Refused(address, sentence):
                self._metrics.links_refused.inc()
                self._log.warn(f"no link with {address}: {sentence}")
            case HandlerFailed(protocol, peer, error):
                self._log.error(
                    f"a stream of {self._roster.name(peer)} failed",
                    protocol=protocol,
                    error=repr(error),
                )
