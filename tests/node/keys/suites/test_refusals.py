"""Attackers' bytes are refused alike by both providers, and never crash one."""

from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.suite import AGREE_REQUEST_BYTES, PUBLIC_KEY_BYTES
from node.keys.suites.hybrid import HybridSuite
from tests.node.keys.suites.mutations import (
    KINDS,
    MESSAGE,
    RANGES,
    SEED,
    extremes,
    mutate,
    originals,
    outcome,
)

Q = 3329
NEUTRAL_POINT = b"\x01" + bytes(31)


def compare(openssl: HybridSuite, liboqs: HybridSuite, kind: str, count: int) -> None:
    rng, good = Random(f"{kind} {count}"), originals(openssl)
    inputs = list(extremes(good[kind]))
    for number in range(count):
        bad = inputs[number] if number < len(inputs) else None
        if bad is None:
            bad = mutate(rng, good[kind], *RANGES.get(kind, (0, None)))
        verdicts = [outcome(suite, kind, good, bad) for suite in (openssl, liboqs)]
        assert verdicts[0] == verdicts[1], (kind, number, bad.hex())
        if bad != good[kind] and kind not in ("request", "reply", "ciphertext"):
            assert verdicts[0] == "refused", (kind, number, bad.hex())


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_inputs_are_refused_alike(
    openssl: HybridSuite, liboqs: HybridSuite, kind: str
) -> None:
    compare(openssl, liboqs, kind, 600)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_thousand_mutated_inputs_are_refused_alike(
    openssl: HybridSuite, liboqs: HybridSuite, kind: str
) -> None:
    compare(openssl, liboqs, kind, 100_000)


def test_keys_no_honest_party_would_hold_are_refused(suite: HybridSuite) -> None:
    good = suite.signing_key_from_seed(SEED).public_key
    suite.check_public_key(good)
    rho, t1, ed25519 = good[:32], good[32:1952], good[1952:]
    for bad in (
        bytes(PUBLIC_KEY_BYTES),
        b"\xff" * PUBLIC_KEY_BYTES,
        rho + bytes(len(t1)) + ed25519,
        rho + b"\xff" * len(t1) + ed25519,
        rho + t1 + bytes(32),
        rho + t1 + b"\xff" * 32,
        rho + t1 + NEUTRAL_POINT,
        rho + t1 + (2).to_bytes(32, "little"),
        good[:-1],
        good + b"\0",
        b"",
    ):
        with pytest.raises(PeerError):
            suite.check_public_key(bad)


def test_a_small_order_key_verifies_nothing(suite: HybridSuite) -> None:
    key = suite.signing_key_from_seed(SEED)
    signature = key.sign(MESSAGE, Domain.BATCH)
    weak, forged = key.public_key[:1952] + NEUTRAL_POINT, NEUTRAL_POINT + bytes(32)
    with pytest.raises(PeerError, match="small order"):
        suite.verify(weak, MESSAGE, signature[:3309] + forged, Domain.BATCH)


def test_a_signature_with_s_beyond_the_order_is_refused(suite: HybridSuite) -> None:
    """Or one signature would have two forms (RFC 8032, section 5.1.7)."""
    key = suite.signing_key_from_seed(SEED)
    signature = key.sign(MESSAGE, Domain.BATCH)
    order = 2**252 + 27742317777372353535851937790883648493
    s = int.from_bytes(signature[-32:], "little") + order
    with pytest.raises(PeerError):
        suite.verify(
            key.public_key,
            MESSAGE,
            signature[:-32] + s.to_bytes(32, "little"),
            Domain.BATCH,
        )


@pytest.mark.parametrize("coefficient", [Q, Q + 1, 4095])
@pytest.mark.parametrize("place", [0, 1, 255, 256, 767])
def test_encapsulation_keys_beyond_q_are_refused(
    suite: HybridSuite, coefficient: int, place: int
) -> None:
    request = suite.agree_begin().request
    packed = int.from_bytes(request[32 : 32 + 1152], "little")
    packed &= ~(0xFFF << 12 * place)
    packed |= coefficient << 12 * place
    bad = request[:32] + packed.to_bytes(1152, "little") + request[-32:]
    assert len(bad) == AGREE_REQUEST_BYTES
    with pytest.raises(PeerError):
        suite.agree_reply(bad)


def test_x25519_keys_of_small_order_are_refused(suite: HybridSuite) -> None:
    request = suite.agree_begin().request
    for weak in (bytes(32), b"\x01" + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f"):
        with pytest.raises(PeerError):
            suite.agree_reply(weak + request[32:])
        initiator = suite.agree_begin()
        reply, _ = suite.agree_reply(initiator.request)
        with pytest.raises(PeerError):
            initiator.finish(weak + reply[32:])


def test_a_forged_ciphertext_gives_a_secret_that_nobody_else_has(
    suite: HybridSuite,
) -> None:
    initiator = suite.agree_begin()
    reply, secret = suite.agree_reply(initiator.request)
    forged = reply[:32] + bytes([reply[32] ^ 1]) + reply[33:]
    assert initiator.finish(forged)[:32] != secret[:32]


def test_a_classical_exchange_alone_is_not_the_secret(suite: HybridSuite) -> None:
    """The secret changes with either half: neither can be left out."""
    secrets = set()
    initiator_key = X25519PrivateKey.from_private_bytes(SEED[:32])
    assert initiator_key.public_key().public_bytes_raw() != bytes(32)
    for _ in range(3):
        initiator = suite.agree_begin()
        reply, secret = suite.agree_reply(initiator.request)
        assert initiator.finish(reply) == secret
        secrets |= {secret[:32], secret[32:]}
    assert len(secrets) == 6
