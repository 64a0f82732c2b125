"""The handshake of a link: SIGMA-I, post-quantum and classical, as two tables.

::

    Initiator  IDLE ─Begin▶ AWAIT_M2 ──────────M2▶ SIGNING ─Signed▶ AWAIT_M4 ─M4▶ DONE
                               └─MC▶ AWAIT_M2_ONLY ─M2▶┘
    Responder  AWAIT_M1 ─────────────────────M1▶ SIGNING ─Signed▶ AWAIT_M3 ─M3▶ DONE
               UNDER_LOAD ─M1▶ AWAIT_COOKIED_M1 ─M1▶┘

Every byte of M1 to M3, headers too, enters the transcript that both sides sign
(the shape of TLS 1.3, RFC 8446); M4 is sealed over all of it. The responder
shows its chain first, to whoever addressed it by its id; the initiator shows
its own only to the node it meant to reach. No refusal is ever explained to a
peer, and no application byte travels before M4.
"""

import enum
import hmac
from collections.abc import Mapping
from typing import Final, TypeAlias

from gossip.domains import Domain
from gossip.errors import LocalError, PeerError
from gossip.link.keys import expand, extract
from gossip.link.messages import (
    ACCEPT,
    COOKIE_BYTES,
    HEADER_BYTES,
    M1_COOKIE_AT,
    M1_MACED_BYTES,
    M2_OPEN_BYTES,
    MAC_BYTES,
    NONCE_BYTES,
    Kind,
    decode_identity_untrusted,
    encode_identity,
    header,
    sealed_identity_bytes,
)
from gossip.link.steps import (
    Effect,
    Established,
    Event,
    Local,
    Received,
    Sign,
    Transmit,
    read_event,
)
from gossip.membership.identity import Chain
from gossip.suite import (
    AEAD_NONCE_BYTES,
    AGREE_REPLY_BYTES,
    AGREE_REQUEST_BYTES,
    AgreeSecret,
    digest,
)
from gossip.units import NodeId, UnixMs


class State(enum.Enum):
    """Where one side stands. ``DONE`` and ``DEAD`` are final."""

    IDLE = enum.auto()
    UNDER_LOAD = enum.auto()
    AWAIT_M1 = enum.auto()
    AWAIT_COOKIED_M1 = enum.auto()
    AWAIT_M2 = enum.auto()
    AWAIT_M2_ONLY = enum.auto()
    SIGNING = enum.auto()
    AWAIT_M3 = enum.auto()
    AWAIT_M4 = enum.auto()
    DONE = enum.auto()
    DEAD = enum.auto()


Moves: TypeAlias = Mapping[tuple[State, Kind], State]

INITIATOR_MOVES: Final[Moves] = {
    (State.IDLE, Kind.BEGIN): State.AWAIT_M2,
    (State.AWAIT_M2, Kind.MC): State.AWAIT_M2_ONLY,
    (State.AWAIT_M2, Kind.M2): State.SIGNING,
    (State.AWAIT_M2_ONLY, Kind.M2): State.SIGNING,
    (State.SIGNING, Kind.SIGNED): State.AWAIT_M4,
    (State.AWAIT_M4, Kind.M4): State.DONE,
}
RESPONDER_MOVES: Final[Moves] = {
    (State.AWAIT_M1, Kind.M1): State.SIGNING,
    (State.UNDER_LOAD, Kind.M1): State.AWAIT_COOKIED_M1,
    (State.AWAIT_COOKIED_M1, Kind.M1): State.SIGNING,
    (State.SIGNING, Kind.SIGNED): State.AWAIT_M3,
    (State.AWAIT_M3, Kind.M3): State.DONE,
}
"""Whatever is in neither table kills the handshake it happens to."""

_SEAL_NONCE: Final = bytes(AEAD_NONCE_BYTES)
"""All zeros: every key of a handshake seals one message."""


class _Side:
    """What both sides share: the walk through the table, transcript and keys."""

    def __init__(self, local: Local, state: State, moves: Moves) -> None:
        self._local = local
        self._state = state
        self._moves = moves
        self._chaining = b""
        suite_id = local.suite.suite_id.to_bytes(2, "big")
        self._transcript = digest(Domain.LINK, suite_id, local.cluster)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._state.name})"

    @property
    def state(self) -> State:
        """Where this side stands."""
        return self._state

    def handle(self, event: Event, now_ms: UnixMs) -> tuple[Effect, ...]:
        """Take one event in, give effects out.

        Args:
            event: what happened.
            now_ms: the wall clock; the peer's chain must cover it.

        Raises:
            PeerError: the peer broke the protocol or may not link. Final.
            LocalError: the driver did what the table does not hold. Final.
        """
        state, self._state = self._state, State.DEAD
        kind, data = read_event(event)
        after = self._moves.get((state, kind))
        if after is None:
            wrong = PeerError if isinstance(event, Received) else LocalError
            raise wrong(f"{kind.name} in the state {state.name} of a handshake")
        effects = self._act(state, kind, data, now_ms)
        self._state = after
        return effects

    def _act(
        self, state: State, kind: Kind, data: bytes, now_ms: UnixMs
    ) -> tuple[Effect, ...]:
        raise NotImplementedError

    def _mix(self, data: bytes) -> None:
        self._transcript = digest(Domain.LINK, self._transcript, data)

    def _mac1(self, responder: NodeId, m1: bytes) -> bytes:
        """Proof of knowing whom one calls: keeps port scanners out cheaply."""
        key = digest(Domain.LINK_MAC1, self._local.cluster, responder)
        return hmac.digest(key, m1[:M1_MACED_BYTES], "sha256")[:MAC_BYTES]

    def _agree(self, secret: bytes) -> None:
        self._chaining = extract(self._transcript, secret)

    def _settle(self) -> None:
        """After M3: from here on the keys depend on every byte of M1 to M3."""
        self._chaining = extract(self._transcript, self._chaining)

    def _words(self, signer: bytes, verifier: bytes) -> bytes:
        """What a side signs: all that was said, who says so, and to whom."""
        return digest(Domain.LINK, self._transcript, signer, verifier)

    def _seal(self, use: bytes, plaintext: bytes) -> bytes:
        aead = self._local.suite.aead(expand(self._chaining, use, self._transcript))
        return aead.seal(_SEAL_NONCE, plaintext, self._transcript)

    def _open(self, use: bytes, sealed: bytes) -> bytes:
        aead = self._local.suite.aead(expand(self._chaining, use, self._transcript))
        return aead.open(_SEAL_NONCE, sealed, self._transcript)

    def _seal_identity(self, use: bytes, signature: bytes) -> bytes:
        """Chain and signature, sealed: the AEAD is SIGMA's MAC over identity."""
        sealed = self._seal(use, encode_identity(self._local.chain.encoded, signature))
        self._mix(sealed)
        return sealed

    def _open_identity(self, use: bytes, sealed: bytes) -> tuple[bytes, bytes]:
        return decode_identity_untrusted(self._open(use, sealed))

    def _traffic_keys(self) -> tuple[bytes, bytes]:
        """(initiator to responder, responder to initiator)."""
        return (
            expand(self._chaining, b"initiator traffic", self._transcript),
            expand(self._chaining, b"responder traffic", self._transcript),
        )


class Initiator(_Side):
    """The side that dials, and knows whom it wants to reach."""

    def __init__(self, local: Local, responder: NodeId) -> None:
        super().__init__(local, State.IDLE, INITIATOR_MOVES)
        self._responder = responder
        self._fresh = self._transcript
        self._agreement: AgreeSecret | None = None
        self._m1 = b""
        self._peer: Chain | None = None

    def _act(
        self, state: State, kind: Kind, data: bytes, now_ms: UnixMs
    ) -> tuple[Effect, ...]:
        match kind:
            case Kind.BEGIN:
                return self._begin()
            case Kind.MC:
                return self._say_m1(data[HEADER_BYTES:])
            case Kind.M2:
                return self._hear_m2(data, now_ms)
            case Kind.SIGNED:
                return self._say_m3(data)
            case _:
                return self._hear_m4(data)

    def _begin(self) -> tuple[Effect, ...]:
        self._agreement = self._local.suite.agree_begin()
        nonce = self._local.suite.random(NONCE_BYTES)
        size = M1_COOKIE_AT - HEADER_BYTES + COOKIE_BYTES
        self._m1 = header(Kind.M1, size) + nonce + self._agreement.request
        self._m1 += self._mac1(self._responder, self._m1)
        return self._say_m1(bytes(COOKIE_BYTES))

    def _say_m1(self, cookie: bytes) -> tuple[Effect, ...]:
        self._transcript = self._fresh
        self._mix(self._m1 + cookie)
        return (Transmit(self._m1 + cookie),)

    def _hear_m2(self, m2: bytes, now_ms: UnixMs) -> tuple[Effect, ...]:
        assert self._agreement is not None
        self._mix(m2[:M2_OPEN_BYTES])
        reply = m2[M2_OPEN_BYTES - AGREE_REPLY_BYTES : M2_OPEN_BYTES]
        self._agree(self._agreement.finish(reply))
        self._agreement = None
        sealed = m2[M2_OPEN_BYTES:]
        chain_bytes, signature = self._open_identity(b"responder identity", sealed)
        peer = self._local.admit(chain_bytes, now_ms)
        if peer.node != self._responder:
            raise PeerError(f"node {peer.node.hex()[:16]} answered for another node")
        self._local.suite.verify(
            peer.operational,
            self._words(chain_bytes, b""),
            signature,
            Domain.LINK_RESPONDER,
        )
        self._mix(sealed)
        own = self._local.chain.encoded
        self._mix(header(Kind.M3, sealed_identity_bytes(len(own))))
        self._peer = peer
        return (Sign(self._words(own, self._responder), Domain.LINK_INITIATOR),)

    def _say_m3(self, signature: bytes) -> tuple[Effect, ...]:
        sealed = self._seal_identity(b"initiator identity", signature)
        self._settle()
        return (Transmit(header(Kind.M3, len(sealed)) + sealed),)

    def _hear_m4(self, m4: bytes) -> tuple[Effect, ...]:
        assert self._peer is not None
        if self._open(b"accept", m4[HEADER_BYTES:]) != ACCEPT:
            raise PeerError("a last message that accepts nothing")
        to_responder, to_initiator = self._traffic_keys()
        return (Established(self._peer, to_responder, to_initiator),)


class Responder(_Side):
    """The side that listens. Under load it asks for a round trip first.

    Args:
        local: who we are.
        cookie_key: None in calm times. Under load 32 bytes that the driver
            draws anew now and then: the first M1 is then answered by a cookie
            alone, which costs one HMAC and no memory.
        address: where the initiator calls from; bound into the cookie.
    """

    def __init__(
        self, local: Local, cookie_key: bytes | None = None, address: bytes = b""
    ) -> None:
        first = State.AWAIT_M1 if cookie_key is None else State.UNDER_LOAD
        super().__init__(local, first, RESPONDER_MOVES)
        self._cookie_key = cookie_key
        self._address = address
        self._m2_open = b""

    def _act(
        self, state: State, kind: Kind, data: bytes, now_ms: UnixMs
    ) -> tuple[Effect, ...]:
        match state:
            case State.UNDER_LOAD:
                return self._ask_for_cookie(data)
            case State.SIGNING:
                return self._say_m2(data)
            case State.AWAIT_M3:
                return self._hear_m3(data, now_ms)
            case _:
                return self._hear_m1(data)

    def _ask_for_cookie(self, m1: bytes) -> tuple[Effect, ...]:
        self._check_mac1(m1)
        if any(m1[M1_COOKIE_AT:]):
            raise PeerError("a cookie nobody asked for")
        cookie = self._cookie(m1)
        return (Transmit(header(Kind.MC, len(cookie)) + cookie),)

    def _check_mac1(self, m1: bytes) -> None:
        expected = self._mac1(self._local.chain.node, m1)
        if not hmac.compare_digest(m1[M1_MACED_BYTES:M1_COOKIE_AT], expected):
            cluster = self._local.cluster.hex()[:16]
            raise PeerError(
                "a call meant for another node or another cluster, not for"
                f" {cluster}; all nodes need the same founders' file"
            )

    def _cookie(self, m1: bytes) -> bytes:
        assert self._cookie_key is not None
        bound = len(self._address).to_bytes(2, "big") + self._address
        return hmac.digest(self._cookie_key, bound + m1[:M1_COOKIE_AT], "sha256")

    def _hear_m1(self, m1: bytes) -> tuple[Effect, ...]:
        self._check_mac1(m1)
        expected = bytes(COOKIE_BYTES) if not self._cookie_key else self._cookie(m1)
        if not hmac.compare_digest(m1[M1_COOKIE_AT:], expected):
            raise PeerError("a first message without the cookie it was given")
        self._mix(m1)
        request = m1[M1_MACED_BYTES - AGREE_REQUEST_BYTES : M1_MACED_BYTES]
        reply, secret = self._local.suite.agree_reply(request)
        own = self._local.chain.encoded
        size = M2_OPEN_BYTES - HEADER_BYTES + sealed_identity_bytes(len(own))
        nonce = self._local.suite.random(NONCE_BYTES)
        self._m2_open = header(Kind.M2, size) + nonce + reply
        self._mix(self._m2_open)
        self._agree(secret)
        return (Sign(self._words(own, b""), Domain.LINK_RESPONDER),)

    def _say_m2(self, signature: bytes) -> tuple[Effect, ...]:
        sealed = self._seal_identity(b"responder identity", signature)
        return (Transmit(self._m2_open + sealed),)

    def _hear_m3(self, m3: bytes, now_ms: UnixMs) -> tuple[Effect, ...]:
        self._mix(m3[:HEADER_BYTES])
        sealed = m3[HEADER_BYTES:]
        chain_bytes, signature = self._open_identity(b"initiator identity", sealed)
        peer = self._local.admit(chain_bytes, now_ms)
        self._local.suite.verify(
            peer.operational,
            self._words(chain_bytes, self._local.chain.node),
            signature,
            Domain.LINK_INITIATOR,
        )
        self._mix(sealed)
        self._settle()
        sealed_accept = self._seal(b"accept", ACCEPT)
        m4 = header(Kind.M4, len(sealed_accept)) + sealed_accept
        to_responder, to_initiator = self._traffic_keys()
        return (Transmit(m4), Established(peer, to_initiator, to_responder))
