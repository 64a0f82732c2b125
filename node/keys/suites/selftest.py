"""What a lattice provider must prove at start, beside OpenSSL, before it is used.

A library of another version, another build or another author may lie at the
same path. Two nodes whose providers disagree about one signature disagree
about a proof, so agreement is tested where implementations are known to differ:
with the public key of zeros anybody can sign, which makes such signatures easy
to write down (`hybrid` refuses that key; here the bare provider is asked).
"""

import hashlib
from typing import Final

from gossip.errors import LocalError, PeerError
from node.keys.suites.lattice import (
    MLDSA_PUBLIC_BYTES,
    MLDSA_SEED_BYTES,
    MLKEM_ENCAPSULATION_KEY_BYTES,
    MLKEM_SEED_BYTES,
    Lattice,
)

_SEED: Final = bytes(range(MLKEM_SEED_BYTES))
_MESSAGE: Final = b"picket self-test"
_CONTEXT: Final = b"context"
_ZERO_KEY: Final = bytes(MLDSA_PUBLIC_BYTES)

_GAMMA1: Final = 2**19
_Z_LONGEST: Final = _GAMMA1 - 196 - 1
_OMEGA: Final = 55
_POLYNOMIALS: Final = 6
_COEFFICIENTS: Final = 1280
# Challenges under the key of zeros, where all of z is 0 but its first coefficient.
_CHALLENGE_LONGEST: Final = bytes.fromhex(
    "7d96fe2b116a96dea079a6c8556af9bf733eb649897b571b"
    "b715c864bd3ea99b4be350420af37aa01f86e9882cb87a27"
)
_CHALLENGE_TOO_LONG: Final = bytes.fromhex(
    "36318dc4032f8ad9fb520455a296188fa341c794350f615d"
    "58752173a3625b6f723bc808aae289e1f39573489c5d9f0b"
)


class SelfTestFailed(Exception):
    """The provider must not be used; the message says what it does wrong."""


def self_test(lattice: Lattice, other: Lattice) -> None:
    """Compare a provider with a trusted one; some milliseconds.

    Raises:
        SelfTestFailed: they disagree, or either refuses what it must do.
    """
    try:
        _test_signatures(lattice, other)
        _test_edges(lattice)
        _test_agreement(lattice, other)
    except (LocalError, PeerError) as error:
        raise SelfTestFailed(str(error)) from error


def _test_signatures(lattice: Lattice, other: Lattice) -> None:
    seed = _SEED[:MLDSA_SEED_BYTES]
    secret, reference = lattice.mldsa_secret(seed), other.mldsa_secret(seed)
    _require(secret.public_key == reference.public_key, "it makes another ML-DSA key")
    public = lattice.mldsa_public(secret.public_key)
    signature = secret.sign(_MESSAGE, _CONTEXT)
    trusted = other.mldsa_public(secret.public_key)
    _require(
        trusted.verify(_MESSAGE, signature, _CONTEXT), "its signatures do not verify"
    )
    theirs = reference.sign(_MESSAGE, _CONTEXT)
    _require(public.verify(_MESSAGE, theirs, _CONTEXT), "it refuses good signatures")
    _require(
        not public.verify(_MESSAGE, signature, b"")
        and not public.verify(b"", signature, _CONTEXT)
        and secret.sign(_MESSAGE, _CONTEXT) != signature,
        "it verifies what was not signed, or does not randomise",
    )


def _test_edges(lattice: Lattice) -> None:
    key = lattice.mldsa_public(_ZERO_KEY)
    why = "its ML-DSA is not FIPS 204 (liboqs before 0.15, with AVX2)"
    longest = _signature(_CHALLENGE_LONGEST, _Z_LONGEST)
    _require(key.verify(_MESSAGE, longest, _CONTEXT), why)
    too_long = _signature(_CHALLENGE_TOO_LONG, _Z_LONGEST + 1)
    _require(not key.verify(_MESSAGE, too_long, _CONTEXT), why)
    _require(key.verify(_MESSAGE, _hinted(), _CONTEXT), why)


def _test_agreement(lattice: Lattice, other: Lattice) -> None:
    secret, reference = lattice.mlkem_secret(_SEED), other.mlkem_secret(_SEED)
    _require(
        secret.encapsulation_key == reference.encapsulation_key,
        "it makes another ML-KEM key",
    )
    for sender, recipient in ((lattice, reference), (other, secret)):
        ciphertext, shared = sender.mlkem_encapsulate(secret.encapsulation_key)
        _require(recipient.decapsulate(ciphertext) == shared, "ML-KEM does not agree")
        forged = bytes([ciphertext[0] ^ 1]) + ciphertext[1:]
        implicit = secret.decapsulate(forged)
        _require(
            implicit == reference.decapsulate(forged) != shared,
            "it does not reject as FIPS 203 says",
        )
    try:
        lattice.mlkem_encapsulate(b"\xff" * MLKEM_ENCAPSULATION_KEY_BYTES)
    except PeerError:
        return
    raise SelfTestFailed("it does not check encapsulation keys")


def _signature(challenge: bytes, z: int) -> bytes:
    """All of z is 0 but its first coefficient; no hints."""
    packed = sum(_GAMMA1 << 20 * i for i in range(1, _COEFFICIENTS)) | (_GAMMA1 - z)
    hints = bytes(_OMEGA + _POLYNOMIALS)
    return challenge + packed.to_bytes(_COEFFICIENTS * 20 // 8, "little") + hints


def _hinted() -> bytes:
    """A valid signature whose one hint falls on r0 = 0, r1 = 0 (it means 15)."""
    tr = hashlib.shake_256(_ZERO_KEY).digest(64)
    signed = tr + bytes([0, len(_CONTEXT)]) + _CONTEXT + _MESSAGE
    mu = hashlib.shake_256(signed).digest(64)
    w1 = b"\x0f" + bytes(_POLYNOMIALS * 128 - 1)
    challenge = hashlib.shake_256(mu + w1).digest(48)
    hints = bytes(_OMEGA) + b"\x01" * _POLYNOMIALS
    return _signature(challenge, 0)[: -len(hints)] + hints


def _require(holds: bool, why: str) -> None:
    if not holds:
        raise SelfTestFailed(why)
