"""A link's session: plaintext in, sealed frames out, and the other way round.

::

    frame = flags (1 byte) ‖ length of the sealed part (3 bytes) ‖ AEAD{inside}

The four bytes in front are authenticated with the frame; nonces are its number;
what is inside is padded (`gossip.link.padding`). Keys never live long:

- each direction's key is replaced by its own hash image every 2^16 frames or
  120 s, and the first frame under a new key says so: what was sealed before
  stays secret from whoever steals the key afterwards;
- every 15 min or 1 GiB a new key agreement is mixed in, so that whoever stole a
  key is locked out again, as far as it only listens. In words::

      asker                       answerer
      ASK{request}     ────────▶                    the side that dialled asks
                       ◀────────  ANSWER{reply}     answerer's sending key changes
      DONE             ────────▶                    asker's sending key changes

A key changes right after the word that says so, so order tells which one opens a
frame. The words ride in front of whatever is sent next; links are never quiet
for long.
"""

from typing import Final

import attrs

from gossip.errors import LocalError, PeerError
from gossip.link.keys import expand, extract
from gossip.link.padding import (
    CONTENT_BYTES_MAX,
    INSIDE_BYTES_MAX,
    Word,
    bucket,
    unwrap_untrusted,
    wrap,
)
from gossip.suite import AEAD_NONCE_BYTES, AEAD_TAG_BYTES, Aead, AgreeSecret, Suite
from gossip.units import MonoMs

HEADER_BYTES: Final = 4
RATCHET_FRAMES: Final = 65_536
RATCHET_MS: Final = 120_000
FRESH_MS: Final = 900_000
FRESH_BYTES: Final = 1 << 30
_RATCHETED: Final = 1


@attrs.frozen
class _Agreed:
    """A key agreement that is to be mixed into a direction's key."""

    secret: bytes = attrs.field(repr=False)
    exchange: bytes = attrs.field(repr=False)


class _Direction:
    """One key, the number of the next frame, and the ways to another key."""

    def __init__(self, suite: Suite, key: bytes) -> None:
        self._suite = suite
        self._number = 0
        self._use(key)

    def _use(self, key: bytes) -> None:
        self._key = key
        self.aead: Aead = self._suite.aead(key)
        self.frames_of_key = 0

    def ratchet(self) -> None:
        """Change to the key's hash image."""
        self._use(expand(self._key, b"ratchet"))

    def refresh(self, agreed: _Agreed) -> None:
        """Change to a key that nobody knows who knew only the last one."""
        mixed = extract(self._key, agreed.secret)
        self._use(expand(mixed, b"fresh", agreed.exchange))

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
        asks: whether this side asks for fresh keys; the one that dialled does.
    """

    def __init__(
        self,
        suite: Suite,
        send_key: bytes,
        receive_key: bytes,
        now_ms: MonoMs,
        *,
        asks: bool,
    ) -> None:
        self._suite = suite
        self._asks = asks
        self._sending = _Direction(suite, send_key)
        self._receiving = _Direction(suite, receive_key)
        self._ratcheted_at_ms = now_ms
        self._agreed_at_ms = now_ms
        self._agreed_bytes = 0
        self._agreement: AgreeSecret | None = None
        self._to_say: tuple[Word, bytes, _Agreed] | None = None
        self._awaits_done: _Agreed | None = None
        self._buffer = bytearray()
        self._failure: PeerError | None = None

    def __repr__(self) -> str:
        return "Session(<SECRET>)"

    # Sealing

    def seal(self, plaintext: bytes, now_ms: MonoMs) -> bytes:
        """Seal ``plaintext`` into as many frames as it takes, joined.

        Raises:
            LocalError: nothing to say; an empty frame means nothing.
        """
        if not plaintext:
            raise LocalError("a frame without content")
        parts = self._words(now_ms)
        view = memoryview(plaintext)
        for at in range(0, len(view), CONTENT_BYTES_MAX):
            content = bytes(view[at : at + CONTENT_BYTES_MAX])
            parts += self._seal_frame(Word.DATA, content, now_ms)
        return b"".join(parts)

    def _words(self, now_ms: MonoMs) -> list[bytes]:
        """What is to be said about keys, sealed, before anything else."""
        if self._to_say is not None:
            word, content, agreed = self._to_say
            self._to_say = None
            parts = self._seal_frame(word, content, now_ms)
            self._sending.refresh(agreed)
            self._ratcheted_at_ms = now_ms
            return parts
        if self._asks and self._agreement is None and self._is_worn(now_ms, 1.0):
            self._agreement = self._suite.agree_begin()
            return self._seal_frame(Word.ASK, self._agreement.request, now_ms)
        return []

    def _seal_frame(self, word: Word, content: bytes, now_ms: MonoMs) -> list[bytes]:
        flags = 0
        if (
            self._sending.frames_of_key >= RATCHET_FRAMES
            or now_ms - self._ratcheted_at_ms >= RATCHET_MS
        ):
            self._sending.ratchet()
            self._ratcheted_at_ms = now_ms
            flags = _RATCHETED
        inside = wrap(word, content)
        self._agreed_bytes += len(inside)
        head = bytes((flags,)) + (len(inside) + AEAD_TAG_BYTES).to_bytes(3, "big")
        nonce = self._sending.next_nonce()
        return [head, self._sending.aead.seal(nonce, inside, head)]

    def _is_worn(self, now_ms: MonoMs, measure: float) -> bool:
        """Whether keys have served ``measure`` times what they are agreed for."""
        return (
            now_ms - self._agreed_at_ms >= measure * FRESH_MS
            or self._agreed_bytes >= measure * FRESH_BYTES
        )

    # Opening

    def feed(self, data: bytes, now_ms: MonoMs) -> list[bytes]:
        """Take received bytes, in any portions; give the plaintexts completed.

        Raises:
            PeerError: a frame was forged, lost, repeated or malformed, or keys
                are used for too long. The session stays failed: every later call
                raises it again.
        """
        if self._failure is not None:
            raise self._failure
        try:
            return self._open_frames(data, now_ms)
        except PeerError as failure:
            self._failure = failure
            self._buffer.clear()
            raise

    def _open_frames(self, data: bytes, now_ms: MonoMs) -> list[bytes]:
        buffer = self._buffer
        buffer += data
        opened: list[bytes] = []
        at = 0
        while len(buffer) - at >= HEADER_BYTES:
            head = bytes(buffer[at : at + HEADER_BYTES])
            end = at + HEADER_BYTES + _sealed_bytes_untrusted(head)
            if end > len(buffer):
                break
            word, content = self._open(head, bytes(buffer[at + HEADER_BYTES : end]))
            if word is not Word.DATA:
                self._hear(word, content, now_ms)
            elif content:
                opened.append(content)
            else:
                raise PeerError("a frame without content")
            at = end
        del buffer[:at]
        if self._is_worn(now_ms, 2.0):
            raise PeerError("a peer that agrees on no fresh keys")
        return opened

    def _open(self, head: bytes, sealed: bytes) -> tuple[Word, bytes]:
        receiving = self._receiving
        if head[0] == _RATCHETED:
            receiving.ratchet()
        elif receiving.frames_of_key >= RATCHET_FRAMES:
            raise PeerError("a peer that uses one key for too long")
        inside = receiving.aead.open(receiving.next_nonce(), sealed, head)
        self._agreed_bytes += len(inside)
        return unwrap_untrusted(inside)

    def _hear(self, word: Word, content: bytes, now_ms: MonoMs) -> None:
        """The peer says something about keys."""
        if word is Word.ASK and not self._asks:
            self._answer(content, now_ms)
        elif word is Word.ANSWER and self._agreement is not None:
            agreement, self._agreement = self._agreement, None
            agreed = _Agreed(agreement.finish(content), agreement.request + content)
            self._receiving.refresh(agreed)
            self._to_say = (Word.DONE, b"", agreed)
            self._renewed(now_ms)
        elif word is Word.DONE and not content and self._awaits_done is not None:
            self._receiving.refresh(self._awaits_done)
            self._awaits_done = None
        else:
            raise PeerError(f"a link that says {word.name} out of turn")

    def _answer(self, request: bytes, now_ms: MonoMs) -> None:
        if self._awaits_done is not None or not self._is_worn(now_ms, 0.5):
            raise PeerError("a peer that asks for fresh keys too often")
        reply, secret = self._suite.agree_reply(request)
        self._awaits_done = agreed = _Agreed(secret, request + reply)
        self._to_say = (Word.ANSWER, reply, agreed)
        self._renewed(now_ms)

    def _renewed(self, now_ms: MonoMs) -> None:
        self._agreed_at_ms = now_ms
        self._agreed_bytes = 0


def _sealed_bytes_untrusted(head: bytes) -> int:
    size = int.from_bytes(head[1:], "big")
    inside = size - AEAD_TAG_BYTES
    if (
        head[0] not in (0, _RATCHETED)
        or not 0 < inside <= INSIDE_BYTES_MAX
        or bucket(inside) != inside
    ):
        raise PeerError("a frame with an impossible header")
    return size
