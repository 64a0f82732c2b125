"""A link's session: plaintext in, sealed frames out, and the other way round.

::

    frame = flags (1 byte) ‖ length of the sealed part (3 bytes) ‖ AEAD{plaintext}

The four bytes in front are authenticated with the frame; nonces are its number.
Each direction's key is replaced by its own hash image every 2^16 frames or
120 s, whichever comes first; the first frame under a new key says so. What was
sealed before stays secret from whoever steals the key afterwards.
"""

from typing import Final

from gossip.errors import LocalError, PeerError
from gossip.link.keys import expand
from gossip.suite import AEAD_NONCE_BYTES, AEAD_TAG_BYTES, Aead, Suite
from gossip.units import MonoMs

FRAME_PLAIN_BYTES_MAX: Final = 131_072
HEADER_BYTES: Final = 4
RATCHET_FRAMES: Final = 65_536
RATCHET_MS: Final = 120_000
_RATCHETED: Final = 1
_SEALED_MAX: Final = FRAME_PLAIN_BYTES_MAX + AEAD_TAG_BYTES


class _Direction:
    """One key, the number of the next frame, and the ratchet between keys."""

    def __init__(self, suite: Suite, key: bytes) -> None:
        self._suite = suite
        self._key = key
        self._number = 0
        self.frames_of_key = 0
        self.aead: Aead = suite.aead(key)

    def ratchet(self) -> None:
        self._key = expand(self._key, b"ratchet")
        self.aead = self._suite.aead(self._key)
        self.frames_of_key = 0

    def next_nonce(self) -> bytes:
        """Never repeats: the number goes on when the key changes."""
        nonce = self._number.to_bytes(AEAD_NONCE_BYTES, "big")
        self._number += 1
        self.frames_of_key += 1
        return nonce


class Session:
    """Both directions of one link after its handshake.

    Args:
        suite: the cryptography.
        send_key, receive_key: 32 bytes each, from `Established`.
        now_ms: monotonic time.
    """

    def __init__(
        self, suite: Suite, send_key: bytes, receive_key: bytes, now_ms: MonoMs
    ) -> None:
        self._sending = _Direction(suite, send_key)
        self._receiving = _Direction(suite, receive_key)
        self._ratcheted_at_ms = now_ms
        self._buffer = bytearray()
        self._failure: PeerError | None = None

    def __repr__(self) -> str:
        return "Session(<SECRET>)"

    def seal(self, plaintext: bytes, now_ms: MonoMs) -> bytes:
        """Seal ``plaintext`` into as many frames as it takes, joined.

        Raises:
            LocalError: nothing to say; an empty frame means nothing.
        """
        if not plaintext:
            raise LocalError("a frame without content")
        view = memoryview(plaintext)
        return b"".join(
            part
            for at in range(0, len(view), FRAME_PLAIN_BYTES_MAX)
            for part in self._seal_frame(
                bytes(view[at : at + FRAME_PLAIN_BYTES_MAX]), now_ms
            )
        )

    def _seal_frame(self, plaintext: bytes, now_ms: MonoMs) -> tuple[bytes, bytes]:
        flags = 0
        if (
            self._sending.frames_of_key >= RATCHET_FRAMES
            or now_ms - self._ratcheted_at_ms >= RATCHET_MS
        ):
            self._sending.ratchet()
            self._ratcheted_at_ms = now_ms
            flags = _RATCHETED
        size = len(plaintext) + AEAD_TAG_BYTES
        head = bytes((flags,)) + size.to_bytes(3, "big")
        nonce = self._sending.next_nonce()
        return head, self._sending.aead.seal(nonce, plaintext, head)

    def feed(self, data: bytes) -> list[bytes]:
        """Take received bytes, in any portions; give the plaintexts completed.

        Raises:
            PeerError: a frame was forged, lost, repeated or malformed. The
                session stays failed: every later call raises it again.
        """
        if self._failure is not None:
            raise self._failure
        try:
            return self._open_frames(data)
        except PeerError as failure:
            self._failure = failure
            self._buffer.clear()
            raise

    def _open_frames(self, data: bytes) -> list[bytes]:
        buffer = self._buffer
        buffer += data
        opened: list[bytes] = []
        at = 0
        while len(buffer) - at >= HEADER_BYTES:
            head = bytes(buffer[at : at + HEADER_BYTES])
            end = at + HEADER_BYTES + self._sealed_bytes(head)
            if end > len(buffer):
                break
            opened.append(self._open(head, bytes(buffer[at + HEADER_BYTES : end])))
            at = end
        del buffer[:at]
        return opened

    def _sealed_bytes(self, head: bytes) -> int:
        size = int.from_bytes(head[1:], "big")
        if head[0] not in (0, _RATCHETED) or not AEAD_TAG_BYTES < size <= _SEALED_MAX:
            raise PeerError("a frame with an impossible header")
        return size

    def _open(self, head: bytes, sealed: bytes) -> bytes:
        receiving = self._receiving
        if head[0] == _RATCHETED:
            receiving.ratchet()
        elif receiving.frames_of_key >= RATCHET_FRAMES:
            raise PeerError("a peer that uses one key for too long")
        return receiving.aead.open(receiving.next_nonce(), sealed, head)
