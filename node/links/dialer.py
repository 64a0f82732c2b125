"""Calling the members that are wanted, until each is linked, and again."""

from collections.abc import Callable, Sequence
from random import uniform
from typing import Final, TypeAlias

import attrs
import trio

from gossip.errors import LocalError
from gossip.units import NodeId
from node.links.events import (
    HANDSHAKE_S,
    REDIAL_FIRST_S,
    REDIAL_MAX_S,
    show_address,
)
from node.links.gatekeeper import Gatekeeper
from node.links.host import LinkHost, explain
from node.links.mux import LinkMux
from node.links.raw import TcpStream
from node.links.stream import LinkStream

GOSSIP: Final = "/picket/gossip/1"
LARGER_WAITS_S: Final = 0.1
"""Of two nodes that start together, one calls first; one that comes back after a crash
should hardly wait. Calls that cross all the same cost a handshake, and no link."""
LARGER_UNTOLD: Final = 4
"""Calls of the larger node are dropped when both call: so many are no news."""
STEADY_S: Final = 5.0
"""A link that lived this long was no failure."""

Address: TypeAlias = tuple[str, int]


@attrs.define(eq=False)
class _Want:
    node: NodeId
    addresses: tuple[Address, ...]
    failures: int = 0
    told: str = ""
    changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    nap: trio.CancelScope = attrs.field(factory=trio.CancelScope)


class Dialer:
    """One task per wanted member, with pauses that grow.

    Args:
        host: makes connections.
        gate: knows who is linked and who is refused.
        adopt: takes a connection and its gossip stream; False if not wanted.
        refuse: told an address and a sentence when a member cannot be reached.
    """

    def __init__(
        self,
        host: LinkHost,
        gate: Gatekeeper,
        adopt: Callable[[LinkMux, LinkStream], bool],
        refuse: Callable[[str, str], None],
    ) -> None:
        self._host = host
        self._gate = gate
        self._adopt = adopt
        self._refuse = refuse
        self._wants: dict[NodeId, _Want] = {}
        self._nursery: trio.Nursery | None = None
        self.dials = 0

    def start(self, nursery: trio.Nursery) -> None:
        """Call from tasks of ``nursery`` from now on."""
        self._nursery = nursery
        for want in self._wants.values():
            nursery.start_soon(self._keep, want)

    def want(self, node: NodeId, addresses: Sequence[Address]) -> None:
        """Keep a link to ``node``; without addresses it has to call us."""
        want = self._wants.get(node)
        if want is not None:
            want.addresses = tuple(addresses)
            return
        if node == self._gate.node:
            raise LocalError("a node that wants a link to itself")
        self._wants[node] = want = _Want(node, tuple(addresses))
        if self._nursery is not None:
            self._nursery.start_soon(self._keep, want)

    def unwant(self, node: NodeId) -> None:
        """Stop calling ``node``."""
        want = self._wants.pop(node, None)
        if want is not None:
            want.scope.cancel()

    def forgive(self, node: NodeId) -> None:
        """Call ``node`` at once, whatever failed before."""
        want = self._wants.get(node)
        if want is not None:
            want.failures = 0
            want.nap.cancel()
            want.changed.unpark_all()

    def on_change(self, node: NodeId) -> None:
        """A link to ``node`` came up or went down."""
        want = self._wants.get(node)
        if want is not None:
            want.told = ""
            want.changed.unpark_all()

    async def _keep(self, want: _Want) -> None:
        smaller = self._gate.node < want.node
        patience = 0.0 if smaller else LARGER_WAITS_S
        untold = 1 if smaller else LARGER_UNTOLD
        with want.scope:
            while True:
                with trio.CancelScope() as want.nap:
                    await trio.sleep(patience)
                await self._until_unlinked(want)
                sentence = await self._dial_any(want)
                want.failures += 1
                if sentence and want.failures > untold:
                    self._tell_once(want, sentence)
                doubled = REDIAL_FIRST_S * 2 ** min(want.failures, 16)
                pause = min(doubled, REDIAL_MAX_S)
                patience = uniform(pause / 2, pause)  # noqa: S311  # spreads load

    async def _until_unlinked(self, want: _Want) -> None:
        began = trio.current_time()
        linked = False
        while want.node in self._gate.linked or want.node not in self._gate:
            linked = linked or want.node in self._gate.linked
            await want.changed.park()
        if linked and trio.current_time() - began >= STEADY_S:
            want.failures = 0

    def _tell_once(self, want: _Want, sentence: str) -> None:
        if want.node in self._gate.linked or sentence == want.told:
            return
        want.told = sentence
        self._refuse(" or ".join(show_address(*a) for a in want.addresses), sentence)

    async def _dial_any(self, want: _Want) -> str:
        """Try each address; returns why the last one failed, or nothing."""
        sentence = ""
        for host, port in want.addresses:
            try:
                with trio.fail_after(HANDSHAKE_S):
                    await self._dial(want.node, host, port)
            except OSError as error:
                sentence = f"cannot be reached: {error.strerror or error}"
            except Exception as error:
                sentence = explain(error)
            if want.node in self._gate.linked:
                return ""
        return sentence

    async def _dial(self, node: NodeId, host: str, port: int) -> None:
        self.dials += 1
        stream = await trio.open_tcp_stream(host, port)
        if node in self._gate.linked:
            stream.socket.close()
            return
        self._gate.calling.add(node)
        adopted = False
        try:
            mux = await self._host.swarm.dial_node(TcpStream(stream), node)
            gossip = await self._host.open(mux, GOSSIP)
            adopted = self._adopt(mux, gossip)
        finally:
            self._gate.calling.discard(node)
            if not adopted:
                stream.socket.close()
