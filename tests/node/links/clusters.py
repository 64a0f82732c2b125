"""Links of several nodes in one process, and what they told."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import trio

from gossip.units import ClusterId, NodeId, UnixMs
from node.links.events import Frame, LinkDown, LinkEvent, LinkUp, Refused
from node.links.links import Links
from tests.support.births import NOW, SUITE, Newborn, newborn

if TYPE_CHECKING:
    from trio_typing import TaskStatus

CLUSTER = ClusterId(b"c" * 32)
LOOPBACK = ("127.0.0.1", 0)
PATIENCE_S = 20.0
E = TypeVar("E", bound=LinkEvent)


async def _room(peer: NodeId) -> None:
    """There is always room."""


class Member:
    """One node with its links and a diary."""

    def __init__(
        self,
        who: Newborn,
        roster: set[NodeId],
        listen: Sequence[tuple[str, int]] = (LOOPBACK,),
        cluster: ClusterId = CLUSTER,
        now_ms: UnixMs = NOW,
        room: Callable[[NodeId], Awaitable[None]] | None = None,
    ) -> None:
        self.who = who
        self.now_ms = now_ms
        self.diary: list[LinkEvent] = []
        self._news = trio.lowlevel.ParkingLot()
        self.links = Links(
            suite=SUITE,
            signing_key=who.signing_key,
            chain=who.chain,
            roster=roster,
            cluster=cluster,
            listen=listen,
            on_event=self._note,
            now_ms=lambda: self.now_ms,
            room=room or _room,
        )

    def _note(self, event: LinkEvent) -> None:
        self.diary.append(event)
        self._news.unpark_all()

    @property
    def node(self) -> NodeId:
        return self.who.node

    def told(self, kind: type[E]) -> list[E]:
        return [event for event in self.diary if isinstance(event, kind)]

    def frames(self) -> list[bytes]:
        return [event.data for event in self.told(Frame)]

    def wants(self, other: "Member") -> None:
        self.links.want(other.node, other.links.listening)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something told makes it true."""
        with trio.fail_after(PATIENCE_S):
            while not holds():
                await self._news.park()

    async def until_frames(self, frames: list[bytes]) -> None:
        await self.until(lambda: self.frames() == frames)

    async def until_up(self, count: int = 1) -> None:
        await self.until(lambda: len(self.told(LinkUp)) >= count)

    async def until_down(self, count: int = 1) -> None:
        await self.until(lambda: len(self.told(LinkDown)) >= count)

    async def until_refused(self, count: int = 1) -> None:
        await self.until(lambda: len(self.told(Refused)) >= count)


@asynccontextmanager
async def running(*members: Member) -> AsyncIterator[None]:
    """Run the links of all members; cancelled and cleaned up at the end."""
    async with AsyncExitStack() as stack:
        for member in members:
            await stack.enter_async_context(_running(member.links))
        yield


@asynccontextmanager
async def _running(links: Links) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(links.run)
        yield
        nursery.cancel_scope.cancel()


def members(count: int) -> list[Member]:
    """Nodes that know each other, the smallest id first."""
    born = sorted((newborn() for _ in range(count)), key=lambda who: who.node)
    roster = {who.node for who in born}
    return [Member(who, roster) for who in born]


async def poll(holds: Callable[[], bool]) -> None:
    """Wait for something nobody tells about."""
    with trio.fail_after(PATIENCE_S):
        while not holds():  # noqa: ASYNC110  # nobody sets an event
            await trio.sleep(0.005)


class Relay:
    """A wire between two nodes that can freeze, and can flip a bit."""

    def __init__(self, to: tuple[str, int]) -> None:
        self._to = to
        self._thaw = trio.Event()
        self._thaw.set()
        self._flip_next = False
        self.said = b""
        """What whoever called first said, all of it."""
        self.address = ("", 0)

    def freeze(self) -> None:
        self._thaw = trio.Event()

    def flip_a_bit(self) -> None:
        self._flip_next = True

    async def run(
        self, task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED
    ) -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.address = listener.socket.getsockname()[:2]
        task_status.started()
        await trio.serve_listeners(self._serve, [listener])

    async def _serve(self, near: trio.SocketStream) -> None:
        far = await trio.open_tcp_stream(*self._to)
        async with far, trio.open_nursery() as nursery:
            nursery.start_soon(self._carry, far, near, nursery.cancel_scope, False)
            await self._carry(near, far, nursery.cancel_scope, True)

    async def _carry(
        self,
        source: trio.SocketStream,
        sink: trio.SocketStream,
        end: trio.CancelScope,
        keep: bool,
    ) -> None:
        try:
            while data := await source.receive_some(65_536):
                await self._thaw.wait()
                if self._flip_next:
                    self._flip_next = False
                    data = data[:-1] + bytes((data[-1] ^ 1,))
                if keep:
                    self.said += data
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        end.cancel()
