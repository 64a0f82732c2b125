"""What the daemon asks of its links, and the links of a cluster of one."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

import trio

from gossip.errors import PeerError
from gossip.units import NodeId
from node.keys.node_keys import NodeKeys
from node.proxy.frames import ByteStream
from node.tables import Address

if TYPE_CHECKING:
    from trio_typing import TaskStatus

StreamHandler = Callable[[ByteStream, NodeId], Awaitable[None]]


class Linkage(Protocol):
    """Links to all other members, kept up by themselves."""

    @property
    def listening(self) -> tuple[Address, ...]:
        """Where peers may dial, with the ports that were really taken."""
        ...

    async def run(
        self, task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Listen, dial, carry. Says started once it listens.

        Raises:
            UserError: an address cannot be listened on.
        """
        ...

    def send(self, peer: NodeId, frame: bytes) -> bool:
        """Queue a frame; False if there is no link, or no room."""
        ...

    def drop(self, peer: NodeId) -> None:
        """Close the link soon; it may come back."""
        ...

    def seek(self, peers: frozenset[NodeId]) -> None:
        """Keep links to exactly these, as far as gossip goes."""
        ...

    def refuse(self, peer: NodeId, refused: bool) -> None:
        """Close the link and refuse new ones, or accept them again."""
        ...

    async def rotate(self, keys: NodeKeys) -> None:
        """Present other keys from now on."""
        ...

    async def open_stream(self, peer: NodeId, protocol: str) -> ByteStream:
        """A new stream over the link to ``peer``.

        Raises:
            PeerError, trio.BrokenResourceError: there is no such link.
        """
        ...

    def round_trip_s(self, peer: NodeId) -> float | None:
        """Over the link to ``peer``; infinite before it was measured, None without
        a link."""
        ...

    def handle_stream(self, protocol: str, handler: StreamHandler) -> None:
        """Let ``handler`` serve the streams that peers open."""
        ...


class NoLinks:
    """The links of a cluster of one. Spares a lone guard py-libp2p's memory."""

    listening: tuple[Address, ...] = ()

    async def run(
        self, task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED
    ) -> None:
        """There is nothing to do, for as long as it takes."""
        task_status.started()
        await trio.sleep_forever()

    def send(self, peer: NodeId, frame: bytes) -> bool:
        """Nobody takes it."""
        del peer, frame
        return False

    def seek(self, peers: frozenset[NodeId]) -> None:
        """There is nobody to seek."""

    def drop(self, peer: NodeId) -> None:
        """There is no link."""

    def refuse(self, peer: NodeId, refused: bool) -> None:
        """There will be no link."""

    async def rotate(self, keys: NodeKeys) -> None:
        """Nobody is shown anything."""

    async def open_stream(self, peer: NodeId, protocol: str) -> ByteStream:
        """Raises `PeerError`."""
        del peer, protocol
        await trio.lowlevel.checkpoint()
        raise PeerError("this node has no peers")

    def round_trip_s(self, peer: NodeId) -> float | None:
        """There is no link."""
        del peer
        return None

    def handle_stream(self, protocol: str, handler: StreamHandler) -> None:
        """Nobody opens one."""
