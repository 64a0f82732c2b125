"""Serving the streams peers open: so many of each, told why they end, none fatal."""

import contextlib
from collections.abc import Awaitable, Callable, Iterator

import attrs
import trio

from gossip.errors import PeerError
from gossip.units import NodeId
from node.log import Log
from node.proxy.frames import ByteStream, FrameStream
from node.proxy.mesh import GONE
from node.proxy.session import Lost


@attrs.define(eq=False)
class Host:
    """Holds the streams of one protocol.

    Attributes:
        kind: What one of them is called, in the log and to peers.
        most: How many a peer may hold at once.
        lost: The frame that says why a stream ends.
    """

    log: Log
    kind: str
    most: int
    lost: int
    _held: dict[NodeId, int] = attrs.field(init=False, factory=dict)

    async def serve(
        self,
        stream: ByteStream,
        peer: NodeId,
        speak: Callable[[FrameStream], Awaitable[None]],
    ) -> None:
        """``speak`` on a stream of ``peer``, then close it. Raises nothing."""
        frames = FrameStream(stream)
        try:
            with self._place(peer):
                await speak(frames)
        except* (PeerError, Lost) as refused:
            sentence = _sentence_of(refused)
            self.log.info(f"refused a {self.kind}: {sentence}", peer=peer)
            await self.tell_lost(frames, sentence)
        except* GONE:
            pass
        except* Exception as faults:  # one stream never takes the daemon down
            self.log.error(f"a {self.kind} failed: {_sentence_of(faults)}", peer=peer)
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(1):
                await frames.aclose()

    @contextlib.contextmanager
    def _place(self, peer: NodeId) -> Iterator[None]:
        held = self._held.get(peer, 0)
        if held >= self.most:
            raise Lost(f"too many {self.kind}s between these two nodes")
        self._held[peer] = held + 1
        try:
            yield
        finally:
            self._held[peer] -= 1

    async def tell_lost(self, frames: FrameStream, sentence: str) -> None:
        """Say why the stream ends, if the peer still listens."""
        with trio.move_on_after(1), contextlib.suppress(*GONE):
            await frames.send(self.lost, sentence.encode())


def _sentence_of(group: BaseExceptionGroup[BaseException]) -> str:
    """What went wrong first."""
    fault: BaseException = group
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    return str(fault) or repr(fault)
