"""A libp2p host whose connections are links, and which survives its peers.

Dialling and accepting are ours, the upgrade of a connection, its streams and
the negotiation of protocols are libp2p's. What differs from libp2p is done by
subclass: a peer id is learnt in the handshake instead of being known before,
and nothing that happens on a stream can end the host.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import trio
from libp2p.abc import IMuxedConn, INetConn, INetStream, IRawConnection, ISecureConn
from libp2p.custom_types import TProtocol
from libp2p.exceptions import BaseLibp2pError
from libp2p.host.basic_host import BasicHost
from libp2p.io.exceptions import IOException
from libp2p.network.config import ConnectionConfig
from libp2p.network.connection.exceptions import RawConnError
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.protocol_muxer.exceptions import MultiselectClientError, MultiselectError
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.security.exceptions import HandshakeFailure
from libp2p.transport.exceptions import SecurityUpgradeFailure
from libp2p.transport.upgrader import TransportUpgrader
from multiaddr import Multiaddr  # type: ignore[import-untyped]  # ships no types

from gossip.errors import PeerError
from gossip.units import NodeId
from node.links.events import HANDSHAKE_S
from node.links.mux import LinkMux
from node.links.raw import TcpStream
from node.links.security import PROTOCOL, PqTransport, libp2p_pair
from node.links.stream import LinkStream

MUXER: Final = TProtocol("/picket/yamux/1")
NOT_PICKET: Final = "does not speak Picket's link protocol"
TOO_SLOW: Final = f"no handshake within {HANDSHAKE_S:.0f} s"
CONNECTIONS_MAX: Final = 20_000
_SOMEWHERE: Final = Multiaddr("/ip4/127.0.0.1/tcp/1")
"""libp2p wants an address for its log, which is silent."""

StreamHandler: TypeAlias = Callable[[LinkStream], Awaitable[None]]


class LinkUpgrader(TransportUpgrader):
    """Takes the peer id from the handshake, which checked the node id."""

    async def upgrade_security(
        self, raw_conn: IRawConnection, is_initiator: bool, peer_id: ID | None = None
    ) -> ISecureConn:
        """Run the handshake; ``peer_id`` carries the expected node id."""
        try:
            if peer_id is None:
                return await self.security_multistream.secure_inbound(raw_conn)
            return await self.security_multistream.secure_outbound(raw_conn, peer_id)
        except (MultiselectError, MultiselectClientError) as error:
            raise SecurityUpgradeFailure(NOT_PICKET) from error
        except HandshakeFailure as error:
            raise SecurityUpgradeFailure(str(error)) from error

    async def upgrade_connection(self, conn: ISecureConn, peer_id: ID) -> IMuxedConn:
        """Put the muxer on top."""
        return await super().upgrade_connection(conn, conn.get_remote_peer())


class LinkSwarm(Swarm):
    """A swarm that is handed sockets, and forgets a connection at its end."""

    async def dial_node(self, stream: TcpStream, node: NodeId) -> LinkMux:
        """Make a link to ``node`` of a connected socket."""
        raw = RawConnection(stream, True)
        connection = await self.upgrade_outbound_raw_conn(raw, ID(node))
        assert isinstance(connection.muxed_conn, LinkMux)
        return connection.muxed_conn

    async def accept_node(self, stream: TcpStream) -> LinkMux:
        """Make a link of an accepted socket."""
        raw = RawConnection(stream, False)
        muxed = await self.upgrade_inbound_raw_conn(raw, _SOMEWHERE)
        assert isinstance(muxed, LinkMux)
        return muxed


class LinkHost(BasicHost):
    """A host that offers our protocols only, and outlives their handlers."""

    def __init__(self, public_key: bytes, transport: PqTransport) -> None:
        pair = libp2p_pair(public_key)
        peer_id = ID.from_pubkey(pair.public_key)
        store = PeerStore()
        store.add_key_pair(peer_id, pair)
        self.swarm = LinkSwarm(
            peer_id,
            store,
            LinkUpgrader({PROTOCOL: transport}, {MUXER: LinkMux}),
            transports=[],
            connection_config=ConnectionConfig(
                min_connections=0,
                low_watermark=0,
                high_watermark=CONNECTIONS_MAX,
                max_connections=CONNECTIONS_MAX,
                inbound_upgrade_timeout=HANDSHAKE_S,
                outbound_upgrade_timeout=HANDSHAKE_S,
                inbound_stream_protocol_negotiation_timeout=HANDSHAKE_S,
            ),
        )
        refuse: OrderedDict[TProtocol, Callable[[INetStream], Awaitable[None]]]
        refuse = OrderedDict({TProtocol("/picket/none"): _reset})
        super().__init__(
            self.swarm,
            default_protocols=refuse,
            announce_addrs=[],
            disable_identify_address_discovery=True,
        )

    def rename(self, public_key: bytes) -> None:
        """Go by the peer id of a new operational key from now on."""
        pair = libp2p_pair(public_key)
        self.swarm.self_id = ID.from_pubkey(pair.public_key)
        self.swarm.peerstore.add_key_pair(self.swarm.self_id, pair)

    def serve(self, protocol: str, handler: StreamHandler) -> None:
        """Run ``handler`` for each stream that a peer opens for ``protocol``."""

        async def handle(stream: INetStream) -> None:
            await handler(_link_stream(stream))

        self.set_stream_handler(TProtocol(protocol), handle)

    async def open(self, mux: LinkMux, protocol: str) -> LinkStream:
        """Open a stream for ``protocol``.

        Raises:
            trio.BrokenResourceError: the link has ended, or carries too many
                streams, or the peer does not speak the protocol.
        """
        stream: LinkStream | None = None
        opened = False
        try:
            stream = await mux.open_stream()
            with trio.fail_after(HANDSHAKE_S):
                await self.multiselect_client.select_one_of(
                    [TProtocol(protocol)],
                    MultiselectCommunicator(stream),
                    int(2 * HANDSHAKE_S),
                )
            opened = True
        except (BaseLibp2pError, trio.TooSlowError, UnicodeError) as error:
            raise trio.BrokenResourceError(
                f"the peer gave no stream for {protocol}"
            ) from error
        finally:
            if stream is not None and not opened:
                stream.throw_away()
        return stream

    async def close_all(self) -> None:
        """Close every connection and the host; at once, where libp2p queues."""
        async with trio.open_nursery() as nursery:
            for connections in tuple(self.swarm.connections.values()):
                for connection in connections:
                    nursery.start_soon(connection.close)
        await self.close()

    async def _swarm_stream_handler(self, net_stream: INetStream) -> None:
        """Negotiate and serve one stream; whatever goes wrong stays in here."""
        try:
            await super()._swarm_stream_handler(net_stream)
        except (BaseLibp2pError, PeerError, UnicodeError, trio.BrokenResourceError):
            await net_stream.reset()

    async def _on_notifee_connected(self, conn: INetConn) -> None:
        """No identify: what a peer is, its chain has said."""


async def _reset(stream: INetStream) -> None:
    await stream.reset()


def _link_stream(stream: INetStream) -> LinkStream:
    muxed = getattr(stream, "muxed_stream", None)
    assert isinstance(muxed, LinkStream)
    return muxed


def explain(error: BaseException) -> str:
    """The sentence that says why a connection did not become a link."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, PeerError | HandshakeFailure | SecurityUpgradeFailure):
            return str(cause)
        if isinstance(cause, trio.TooSlowError):
            return TOO_SLOW
        if isinstance(cause, IOException | RawConnError | OSError):
            return "the connection broke during the handshake"
        cause = cause.__cause__ or cause.__context__
    return NOT_PICKET
