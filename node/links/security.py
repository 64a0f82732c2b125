"""The handshake of `gossip.link` as a security transport of py-libp2p."""

from collections.abc import Callable
from time import monotonic
from typing import Final

import attrs
from libp2p.abc import IRawConnection, ISecureConn, ISecureTransport
from libp2p.connection_types import ConnectionType
from libp2p.crypto.ed25519 import Ed25519PublicKey
from libp2p.crypto.keys import KeyPair, KeyType, PrivateKey, PublicKey
from libp2p.custom_types import TProtocol
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from libp2p.security.base_session import BaseSession
from libp2p.security.exceptions import HandshakeFailure
from multiaddr import Multiaddr  # type: ignore[import-untyped]  # ships no types

from gossip.errors import PeerError
from gossip.link.handshake import Initiator, Responder
from gossip.link.messages import HEADER_BYTES, body_bytes_untrusted
from gossip.link.session import Session
from gossip.link.steps import (
    Begin,
    Established,
    Event,
    Local,
    Received,
    Sign,
    Signed,
    Transmit,
)
from gossip.membership.identity import Chain
from gossip.suite import SigningKey
from gossip.units import MonoMs, NodeId, UnixMs
from node.links.events import ASKED_BYTES_MAX
from node.links.raw import TcpStream

PROTOCOL: Final = TProtocol("/picket/pq/1")
_ED25519_BYTES: Final = 32


class PublicHalf(PrivateKey):
    """A key libp2p may name, but not use: what Picket signs, it signs itself.

    libp2p makes a record of its own addresses when it is born and wants it
    signed; nothing here serves that record, so it stays unsigned.
    """

    def __init__(self, composite: bytes) -> None:
        self._public = libp2p_key(composite)

    def sign(self, data: bytes) -> bytes:
        """No signature at all."""
        return b""

    def get_public_key(self) -> PublicKey:
        """The Ed25519 half of the operational key."""
        return self._public

    def to_bytes(self) -> bytes:
        """No secret at all."""
        return b""

    def get_type(self) -> KeyType:
        """Ed25519."""
        return KeyType.Ed25519


def libp2p_key(composite: bytes) -> Ed25519PublicKey:
    """The Ed25519 half of a composite key, in libp2p's words."""
    return Ed25519PublicKey.from_bytes(composite[-_ED25519_BYTES:])


def libp2p_pair(composite: bytes) -> KeyPair:
    """What a libp2p host is made with."""
    half = PublicHalf(composite)
    return KeyPair(half, half.get_public_key())


def mono_ms() -> MonoMs:
    """Monotonic milliseconds, for ratchets."""
    return MonoMs(int(monotonic() * 1000))


@attrs.define
class Identity:
    """Who we are now; replaced as a whole when the operational key rotates."""

    local: Local
    signing_key: SigningKey
    now_ms: Callable[[], UnixMs]


class PqConnection(BaseSession):
    """A connection after its handshake. Poisoned for good by one bad frame."""

    def __init__(
        self,
        raw: IRawConnection,
        session: Session,
        peer: Chain,
        own: bytes,
        dialled: bool,
    ) -> None:
        key = libp2p_key(peer.operational)
        half = PublicHalf(own)
        super().__init__(
            local_peer=ID.from_pubkey(half.get_public_key()),
            local_private_key=half,
            remote_peer=ID.from_pubkey(key),
            remote_permanent_pubkey=key,
            is_initiator=dialled,
        )
        self.peer = peer
        self._raw = raw
        self._session = session
        self._plain = bytearray()

    def cut(self) -> None:
        """Close the socket at once; whoever waits on it is woken."""
        raw_tcp(self._raw).stream.socket.close()

    async def read(self, n: int | None = None) -> bytes:
        """At most ``n`` bytes; without ``n`` whatever there is, at least one.

        Raises:
            PeerError: a frame was forged or malformed.
            ConnectionClosedError: the peer is gone.
        """
        while not self._plain:
            data = await self._raw.read()
            if not data:
                raise ConnectionClosedError("closed by the peer", transport="pq")
            for plain in self._session.feed(data, mono_ms()):
                self._plain += plain
        portion = bytes(self._plain if n is None else self._plain[: _asked(n)])
        del self._plain[: len(portion)]
        return portion

    async def write(self, data: bytes) -> None:
        """Seal and send; one task at a time."""
        await self._raw.write(self._session.seal(data, mono_ms()))

    def write_now(self, data: bytes) -> bytes:
        """Seal and send what needs no waiting; give back the rest, which is sealed."""
        return raw_tcp(self._raw).write_now(self._session.seal(data, mono_ms()))

    async def write_sealed(self, data: bytes) -> None:
        """Send what `write_now` gave back, before anything else."""
        await self._raw.write(data)

    async def close(self) -> None:
        """Close the socket."""
        await self._raw.close()

    def get_remote_address(self) -> tuple[str, int] | None:
        """Where the peer is."""
        return self._raw.get_remote_address()

    def get_transport_addresses(self) -> list[Multiaddr]:
        """Where the peer is, in libp2p's words."""
        return self._raw.get_transport_addresses()

    def get_connection_type(self) -> ConnectionType:
        """Direct."""
        return self._raw.get_connection_type()


def _asked(n: int) -> int:
    return min(n, ASKED_BYTES_MAX) if n > 0 else ASKED_BYTES_MAX


def raw_tcp(raw: IRawConnection) -> TcpStream:
    """The socket under one of our connections."""
    assert isinstance(raw, RawConnection)
    assert isinstance(raw.stream, TcpStream)
    return raw.stream


class PqTransport(ISecureTransport):
    """Drives the handshake cores over a raw connection.

    Args:
        identity: who we are; read anew for each handshake.
        cookie_key: asked with the caller's address when somebody calls; None in
            calm times, see `Responder`.
        may_answer: whether to sign for a caller at this address.
        admit: last word on an authenticated caller; may raise `PeerError`.
    """

    def __init__(
        self,
        identity: Identity,
        cookie_key: Callable[[str], bytes | None],
        may_answer: Callable[[str], bool],
        admit: Callable[[Chain], None],
    ) -> None:
        self.identity = identity
        self._cookie_key = cookie_key
        self._may_answer = may_answer
        self._admit = admit

    async def secure_inbound(self, conn: IRawConnection) -> ISecureConn:
        """Answer a caller."""
        host = _host(conn)
        core = Responder(self.identity.local, self._cookie_key(host), host.encode())
        return await self._converse(conn, core, ())

    async def secure_outbound(self, conn: IRawConnection, peer_id: ID) -> ISecureConn:
        """Call a node. ``peer_id`` carries the node id that must answer."""
        core = Initiator(self.identity.local, NodeId(peer_id.to_bytes()))
        return await self._converse(conn, core, (Begin(),))

    async def _converse(
        self,
        conn: IRawConnection,
        core: Initiator | Responder,
        first: tuple[Event, ...],
    ) -> ISecureConn:
        dialled = isinstance(core, Initiator)
        try:
            established = await self._exchange(conn, core, list(first))
        except PeerError as error:
            raise HandshakeFailure(str(error)) from error
        session = Session(
            self.identity.local.suite,
            established.send_key,
            established.receive_key,
            mono_ms(),
            asks=dialled,
        )
        own = self.identity.local.chain.operational
        return PqConnection(conn, session, established.peer, own, dialled)

    async def _exchange(
        self, conn: IRawConnection, core: Initiator | Responder, events: list[Event]
    ) -> Established:
        signing_key, now_ms = self.identity.signing_key, self.identity.now_ms
        while True:
            event = events.pop() if events else Received(await _read_message(conn))
            effects = core.handle(event, now_ms())
            established = next((e for e in effects if isinstance(e, Established)), None)
            if established is not None and isinstance(core, Responder):
                self._admit(established.peer)  # before M4, which would accept
            for effect in effects:
                if isinstance(effect, Sign):
                    if isinstance(core, Responder) and not self._may_answer(
                        _host(conn)
                    ):
                        raise PeerError("too many calls to answer them all")
                    signature = signing_key.sign(effect.message, effect.context)
                    events.append(Signed(signature))
                elif isinstance(effect, Transmit):
                    await conn.write(effect.data)
            if established is not None:
                return established


def _host(conn: IRawConnection) -> str:
    address = conn.get_remote_address()
    return address[0] if address else ""


async def _read_message(conn: IRawConnection) -> bytes:
    head = await _read_exactly(conn, HEADER_BYTES)
    return head + await _read_exactly(conn, body_bytes_untrusted(head))


async def _read_exactly(conn: IRawConnection, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        portion = await conn.read(size - len(data))
        if not portion:
            raise PeerError("the peer hung up during the handshake; its log says why")
        data += portion
    return bytes(data)
