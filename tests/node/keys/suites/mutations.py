"""Attackers' bytes: seeded mutations, and the outcome each provider gives them."""

from collections.abc import Callable, Iterator
from random import Random

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from gossip.domains import Domain
from gossip.errors import PeerError
from node.keys.suites.hybrid import HybridAgreeSecret, HybridSuite

SEED = bytes(range(64))
MESSAGE = b"the message of the mutation tests"
Outcome = bytes | str
KINDS = ("public key", "signature", "hints", "request", "reply", "ciphertext")


def mutate(rng: Random, data: bytes, low: int = 0, high: int | None = None) -> bytes:
    """One to three random changes between two offsets, or a change of length."""
    changed = bytearray(data)
    high = len(data) if high is None else high
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(low, high)
        end = min(high, at + rng.choice((1, 2, 4, 32, 300)))
        match rng.randrange(8):
            case 0 | 1 | 2:
                changed[at] ^= 1 << rng.randrange(8)
            case 3:
                changed[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 4:
                changed[at:end] = bytes(end - at)
            case 5:
                changed[at:end] = b"\xff" * (end - at)
            case 6:
                changed[at:end] = rng.randbytes(end - at)
            case _:
                changed[at:end] = changed[low : low + end - at]
    if rng.randrange(10) == 0:
        size = rng.choice((0, 1, len(data) - 1, len(data) + 1, rng.randrange(9000)))
        return bytes(changed[:size]).ljust(size, b"\0")
    return bytes(changed)


def extremes(data: bytes) -> Iterator[bytes]:
    """What every parser meets sooner or later."""
    yield from (b"", data[:-1], data[1:], data + b"\0", b"\0" + data, data * 2)
    yield from (bytes(len(data)), b"\xff" * len(data), data[::-1])


def originals(suite: HybridSuite) -> dict[str, bytes]:
    """A good input of each kind, to be spoilt."""
    key = suite.signing_key_from_seed(SEED)
    signature = key.sign(MESSAGE, Domain.BATCH)
    request = fixed_initiator(suite).request
    reply, _ = suite.agree_reply(request)
    return {
        "public key": key.public_key,
        "signature": signature,
        "hints": signature,
        "request": request,
        "reply": reply,
        "ciphertext": reply,
    }


RANGES: dict[str, tuple[int, int | None]] = {
    "hints": (3309 - 61, 3309),
    "ciphertext": (32, None),
}
"""Where the mutations of a kind fall; elsewhere anywhere."""


def fixed_initiator(suite: HybridSuite) -> HybridAgreeSecret:
    """The same secret under every provider, so that results can be compared."""
    mlkem = suite.lattice.mlkem_secret(SEED)
    return HybridAgreeSecret(mlkem, X25519PrivateKey.from_private_bytes(SEED[:32]))


def outcome(
    suite: HybridSuite, kind: str, good: dict[str, bytes], bad: bytes
) -> Outcome:
    """What a provider makes of it; an exception other than `PeerError` escapes."""
    attempts: dict[str, Callable[[], Outcome]] = {
        "public key": lambda: _verify(suite, bad, good["signature"]),
        "signature": lambda: _verify(suite, good["public key"], bad),
        "hints": lambda: _verify(suite, good["public key"], bad),
        "request": lambda: str(len(suite.agree_reply(bad)[1])),
        "reply": lambda: fixed_initiator(suite).finish(bad),
        "ciphertext": lambda: fixed_initiator(suite).finish(bad),
    }
    try:
        return attempts[kind]()
    except PeerError:
        return "refused"


def _verify(suite: HybridSuite, public_key: bytes, signature: bytes) -> str:
    suite.verify(public_key, MESSAGE, signature, Domain.BATCH)
    return "accepted"
